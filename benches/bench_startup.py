"""What starting a command costs beside a bare interpreter."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benches.harness import BIN, cost

if TYPE_CHECKING:
    from benches.harness import Table

TIMES = 20


def test_listing_the_commands(table: Table) -> None:
    """CPU of `kojuto` as a ratio to `python -c pass`, each the sum of 20 starts."""
    row = table.compare(
        "start-up, kojuto",
        "CPU of `kojuto` / bare `python -c pass`",
        lambda: sum(cost([BIN / "kojuto"]).cpu_s for _ in range(TIMES)),
        lambda: sum(cost([sys.executable, "-c", "pass"]).cpu_s for _ in range(TIMES)),
        bound=2.2,
    )
    assert row.ok
