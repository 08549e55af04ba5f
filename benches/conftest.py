"""Hands every bench the one table and prints and writes it at the end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benches.harness import Table, machine

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

TABLE = Table()
RESULTS = Path(__file__).resolve().parent.parent / "bench-results"


@pytest.fixture(scope="session")
def table() -> Table:
    """The table of this run; a bench adds its rows."""
    return TABLE


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for generated input, shared by the benches of one run."""
    return tmp_path_factory.mktemp("inputs")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    if not TABLE.rows:
        return
    terminalreporter.section("ratios")
    terminalreporter.write_line(", ".join(f"{key} {value}" for key, value in machine().items()))
    terminalreporter.write_line(TABLE.text())
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    path.write_text(json.dumps(TABLE.document(), indent=1) + "\n")
    terminalreporter.write_line(f"written to {path}")
