"""The columns of myps top on narrow terminals, and its picture on the page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kojuto.tools.myps.columns import GIVING_WAY, NAMES, fields, fold, widths
from kojuto.tools.myps.processes import Process
from kojuto.tools.myps.view import View
from tests.conftest import ROOT
from tests.tools.test_myps_view import drawn

HEADS = {name: name for name in NAMES}
ROWS = [
    Process(142, "reporting", "10.0.0.17:59393", "warehouse", "Query", 1234,
            "Waiting for table metadata lock", "SELECT customer FROM orders"),
    Process(7, "app", "localhost", "shop", "Sleep", 3, "", ""),
]  # fmt: skip


def test_columns_give_way_in_their_order() -> None:
    """From wide to narrow: each loses what stands first in the order and is still there."""
    had = set(NAMES) | {"PORT"}
    lost = []
    for total in range(140, 19, -1):
        columns, port = widths(ROWS, HEADS, total)
        has = set(columns) | ({"PORT"} if port and "HOST" in columns else set())
        lost += sorted(had - has, key=GIVING_WAY.index)
        had = has
        assert sum(columns.values()) + len(columns) - 1 <= total
        assert columns["INFO"] >= 20 or total < 20 + 11
    assert lost == [name for name in GIVING_WAY if name in lost]
    assert lost[:4] == ["STATE", "PORT", "DB", "USER"]
    assert {"ID", "INFO"} <= had


def test_the_port_goes_and_nothing_else_of_a_host() -> None:
    for host, short in (("10.0.0.7:59393", "10.0.0.7"), ("::1:59393", "::1"), ("db:x", "db:x"),
                        ("localhost", "localhost"), ("", "")):  # fmt: skip
        process = Process(1, "u", host, "", "Query", 0, "", "")
        assert fields(process)["HOST"] == host
        assert fields(process, port=False)["HOST"] == short


@given(st.text(max_size=60), st.integers(2, 30))
def test_a_folded_text_is_whole_and_fits(text: str, width: int) -> None:
    lines = fold(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


SAMPLE = [
    Process(1, "event_scheduler", "localhost", "", "Daemon", 16, "Waiting on empty queue", ""),
    Process(14, "report", "10.0.0.7:59393", "shop", "Query", 16, "Sending data",
            "SELECT customer, SUM(total) FROM orders GROUP BY customer"),
    Process(19, "batch", "10.0.0.9:41022", "shop", "Query", 7, "Waiting for table metadata lock",
            "ALTER TABLE shop.orders ADD COLUMN note TEXT"),
    Process(21, "app", "10.0.0.7:59401", "shop", "Query", 4, "Waiting for table metadata lock",
            "SELECT * FROM orders WHERE id = 5"),
]  # fmt: skip


@pytest.mark.parametrize(("width", "height"), [(80, 24), (50, 12)])
def test_the_readme_shows_what_is_drawn(width: int, height: int) -> None:
    screen = View(processes=SAMPLE, chosen=19)
    screen.key("X")
    lines = drawn(screen, width, height)
    assert len(lines) == height
    shown = [line.rstrip() for line in lines if line.strip()]
    picture = "\n".join(f"    {line}" for line in shown[2:])
    assert picture in (ROOT / "docs/commands/myps.md").read_text(), "\n" + picture
