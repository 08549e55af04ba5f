"""Round trips on loopback beside fping, and what a run costs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benches.harness import BIN, cost

if TYPE_CHECKING:
    from pathlib import Path

    from benches.harness import Table

PLUGIN = BIN / "mackerel-plugin-pinging"
COUNT = 50


def ours() -> float:
    told = subprocess.run(
        [PLUGIN, "--host", "127.0.0.1", "--key-prefix", "lo", "--count", str(COUNT)],
        capture_output=True,
        check=True,
        text=True,
    )
    rows = dict(line.split("\t")[:2] for line in told.stdout.splitlines())
    return float(rows["pinging.lo_rtt_ms.average"])


def fping() -> float:
    told = subprocess.run(
        ["fping", "-q", "-c", str(COUNT), "-p", "10", "127.0.0.1"],
        capture_output=True,
        check=True,
        text=True,
    )
    return float(told.stderr.rsplit("=", 1)[1].split("/")[1])


def icmplib() -> float:
    code = (
        "import icmplib;"
        f"print(icmplib.ping('127.0.0.1', count={COUNT}, interval=0.01, privileged=True).avg_rtt)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return float(told.stdout)


def test_the_mean_on_loopback(table: Table) -> None:
    """Mean round trip of 50 packets, 10 ms apart, as a ratio to fping's."""
    if shutil.which("fping") is None:
        pytest.skip("fping is not installed")
    row = table.compare(
        "pinging, mean on loopback",
        "mean ms of 50 round trips / fping's",
        ours,
        fping,
        bound=0.75,
    )
    table.compare("icmplib, mean on loopback", "the same for icmplib / fping's", icmplib, fping)
    assert row.ok


def test_a_run_costs_little_more_than_a_bare_start(table: Table) -> None:
    """CPU of one host and one packet, as a ratio to `python -c pass`; the sum of 20 starts."""
    line: list[str | Path] = [PLUGIN, "--host", "127.0.0.1", "--key-prefix", "lo", "--count", "1"]
    row = table.compare(
        "start-up, pinging",
        "CPU of a run with one packet / bare `python -c pass`",
        lambda: sum(cost(line).cpu_s for _ in range(20)),
        lambda: sum(cost([sys.executable, "-c", "pass"]).cpu_s for _ in range(20)),
        bound=2.2,
    )
    assert row.ok
