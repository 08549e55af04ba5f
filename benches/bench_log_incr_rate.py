"""mackerel-plugin-log-incr-rate beside `wc -l` of both logs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benches.harness import BIN, cost, growth, scaled
from benches.logs import access_log

if TYPE_CHECKING:
    from pathlib import Path

    from benches.harness import Cost, Table


def plugin(log: Path, base: Path, workdir: Path) -> Cost:
    """A first run over both logs."""
    for state in workdir.iterdir():
        state.unlink()
    command: list[str | Path] = [
        BIN / "mackerel-plugin-log-incr-rate", "--log-file", log, "--base-log-file", base,
               "--key-prefix", "b", "--max-read-size", "100G"]  # fmt: skip
    return cost(command, env={"MACKEREL_PLUGIN_WORKDIR": str(workdir)})


def test_cpu_beside_wc(table: Table, inputs: Path, tmp_path: Path) -> None:
    """CPU seconds over two logs of 300 MB; the bound is 1.3 x wc -l plus a bare interpreter."""
    log = access_log(inputs / "json", "json", 1_200_000)
    base = access_log(inputs / "ltsv", "ltsv", 1_200_000)
    table.compare(
        "log-incr-rate",
        "CPU over two logs of 300 MB / (1.3 x `wc -l` of both + bare python)",
        lambda: plugin(log, base, tmp_path).cpu_s,
        lambda: (
            1.3 * cost(["wc", "-l", log, base]).cpu_s + cost([sys.executable, "-c", "pass"]).cpu_s
        ),
        bound=1.0,
    )


def test_cost_grows_linearly(table: Table, inputs: Path, tmp_path: Path) -> None:
    """CPU a line at three sizes, the start-up taken off."""
    sizes = [100_000, 1_000_000, 4_000_000]
    logs = [access_log(inputs / f"ltsv-{lines}", "ltsv", lines) for lines in sizes]
    empty = inputs / "empty"
    empty.touch()

    def cpu_of(index: int) -> float:
        return plugin(logs[index], empty, tmp_path).cpu_s

    growth(table, "log-incr-rate growth", sizes, cpu_of,
           lambda: plugin(empty, empty, tmp_path).cpu_s)  # fmt: skip
    for log in logs:
        log.unlink()


def test_empty_logs(table: Table, inputs: Path, tmp_path: Path) -> None:
    """What a run costs that finds nothing new, beside a bare interpreter."""
    log = inputs / "empty"
    log.touch()
    table.compare(
        "start-up, log-incr-rate",
        "CPU on empty logs / bare `python -c pass`",
        scaled(20, lambda: plugin(log, log, tmp_path).cpu_s),
        scaled(20, lambda: cost([sys.executable, "-c", "pass"]).cpu_s),
        bound=2.2,
    )
