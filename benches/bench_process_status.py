"""What a run of the process plugin costs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from benches.harness import BIN, cost

if TYPE_CHECKING:
    from pathlib import Path

    from benches.harness import Table

TIMES = 20


def test_a_run_costs_little_more_than_a_bare_start(table: Table, inputs: Path) -> None:
    """CPU of a whole run as a ratio to `python -c pass`, each the sum of 20."""
    plugin = BIN / "mackerel-plugin-linux-process-status"
    line: list[str | Path] = [plugin, "--pid", str(os.getpid()), "--key-prefix", "bench"]
    env = {"MACKEREL_PLUGIN_WORKDIR": str(inputs)}
    row = table.compare(
        "start-up, process-status",
        "CPU of a run / bare `python -c pass`",
        lambda: sum(cost(line, env=env).cpu_s for _ in range(TIMES)),
        lambda: sum(cost([sys.executable, "-c", "pass"]).cpu_s for _ in range(TIMES)),
        bound=2.2,
    )
    assert row.ok
