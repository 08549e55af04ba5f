"""mackerel-plugin-axslog beside `wc -l`: CPU, memory, and how the cost grows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benches.harness import BIN, Row, cost, growth, scaled
from benches.logs import access_log, access_log_of_groups

if TYPE_CHECKING:
    from pathlib import Path

    from benches.harness import Cost, Table

LINES = 1_200_000
GROUPS = 100_000
LOG_FORMAT = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
    '"$http_referer" "$http_user_agent" $request_time'
)


def plugin(log: Path, form: str, workdir: Path, *options: str) -> Cost:
    """A first run over the whole log."""
    for state in workdir.iterdir():
        state.unlink()
    command: list[str | Path] = [
        BIN / "mackerel-plugin-axslog", "--logfile", log, "--key-prefix", "b",
               "--max-read-size", "100G", *options]  # fmt: skip
    if form != "log-format":
        command += ["--format", form]
    return cost(command, env={"MACKEREL_PLUGIN_WORKDIR": str(workdir)})


@pytest.mark.parametrize("form", ["ltsv", "json"])
def test_cpu_beside_wc(form: str, table: Table, inputs: Path, tmp_path: Path) -> None:
    """CPU seconds over 1.2 million lines; the bound is 2.5 x wc -l plus a bare interpreter."""
    log = access_log(inputs / form, form, LINES)
    row = table.compare(
        f"axslog, {form}",
        f"CPU over {LINES:,} lines / (2.5 x `wc -l` + bare python)",
        lambda: plugin(log, form, tmp_path).cpu_s,
        lambda: 2.5 * cost(["wc", "-l", log]).cpu_s + cost([sys.executable, "-c", "pass"]).cpu_s,
        bound=1.0,
    )
    row.figures["GB/s of CPU"] = log.stat().st_size / row.figures["ours"] / 1e9


@pytest.mark.parametrize("form", ["ltsv", "json"])
def test_docker_beside_wc(form: str, table: Table, inputs: Path, tmp_path: Path) -> None:
    """The same lines in docker's json-file; the bound is 4 x wc -l plus a bare interpreter."""
    log = access_log(inputs / f"docker-{form}", form, LINES, docker=True)
    row = table.compare(
        f"axslog, {form} in docker's json-file",
        f"CPU over {LINES:,} lines / (4 x `wc -l` + bare python)",
        lambda: plugin(log, form, tmp_path, "--envelope", "docker").cpu_s,
        lambda: 4 * cost(["wc", "-l", log]).cpu_s + cost([sys.executable, "-c", "pass"]).cpu_s,
        bound=1.0,
    )
    row.figures["GB/s of CPU"] = log.stat().st_size / row.figures["ours"] / 1e9


@pytest.mark.parametrize("form", ["combined", "log-format"])
def test_combined_beside_wc(form: str, table: Table, inputs: Path, tmp_path: Path) -> None:
    """Combined lines with the time last, also by nginx's words; the bound is 4 x wc -l."""
    log = access_log(inputs / "combined", "combined", LINES)
    options = ["--log-format", LOG_FORMAT] if form == "log-format" else []
    row = table.compare(
        f"axslog, {form}",
        f"CPU over {LINES:,} lines / (4 x `wc -l` + bare python)",
        lambda: plugin(log, form, tmp_path, *options).cpu_s,
        lambda: 4 * cost(["wc", "-l", log]).cpu_s + cost([sys.executable, "-c", "pass"]).cpu_s,
        bound=1.0,
    )
    row.figures["GB/s of CPU"] = log.stat().st_size / row.figures["ours"] / 1e9


def test_many_groups_beside_wc(table: Table, inputs: Path, tmp_path: Path) -> None:
    """`--by` with 100,000 values, of which 20 are kept apart; the bound is 4 x wc -l."""
    log = access_log_of_groups(inputs / "groups", LINES, GROUPS)
    row = table.compare(
        f"axslog, --by, {GROUPS:,} values",
        f"CPU over {LINES:,} lines / (4 x `wc -l` + bare python)",
        lambda: plugin(log, "ltsv", tmp_path, "--by", "user").cpu_s,
        lambda: 4 * cost(["wc", "-l", log]).cpu_s + cost([sys.executable, "-c", "pass"]).cpu_s,
        bound=1.0,
    )
    row.figures["GB/s of CPU"] = log.stat().st_size / row.figures["ours"] / 1e9


@pytest.mark.parametrize("form", ["ltsv", "json"])
def test_memory(form: str, table: Table, inputs: Path, tmp_path: Path) -> None:
    """Peak memory over 1.2 million lines; the bound is 32 MiB + 8 bytes a line."""
    log = access_log(inputs / form, form, LINES)
    peak = plugin(log, form, tmp_path).peak_bytes
    ratio = peak / (32 * 2**20 + 8 * LINES)
    table.add(Row(f"axslog memory, {form}", "peak / (32 MiB + 8 bytes a line)", ratio, ratio, ratio,
                  1.0, figures={"peak_mib": peak / 2**20}))  # fmt: skip


@pytest.mark.parametrize("form", ["ltsv", "json"])
def test_cost_grows_linearly(form: str, table: Table, inputs: Path, tmp_path: Path) -> None:
    """CPU a line from 10 thousand over a million to 10 million lines, the start-up taken off."""
    sizes = [10_000, 1_000_000, 10_000_000]
    logs = [access_log(inputs / f"{form}-{lines}", form, lines) for lines in sizes]
    empty = inputs / "empty"
    empty.touch()

    def cpu_of(index: int) -> float:
        return plugin(logs[index], form, tmp_path).cpu_s

    growth(table, f"axslog growth, {form}", sizes, cpu_of,
           lambda: plugin(empty, form, tmp_path).cpu_s)  # fmt: skip
    for log in logs:
        log.unlink()


def test_an_empty_log(table: Table, inputs: Path, tmp_path: Path) -> None:
    """What a run costs that finds nothing new, beside a bare interpreter."""
    log = inputs / "empty"
    log.touch()
    table.compare(
        "start-up, axslog",
        "CPU on an empty log / bare `python -c pass`",
        scaled(20, lambda: plugin(log, "ltsv", tmp_path).cpu_s),
        scaled(20, lambda: cost([sys.executable, "-c", "pass"]).cpu_s),
        bound=2.2,
    )
