"""The table of a report: as wide as the terminal, whole in a pipe, harmless with any name."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kojuto.tools.report import columns, figures, slow, text
from kojuto.tools.report.times import zone_of
from tests.report.fake import FakeReport, made

DATA = FakeReport(made(lines=3000))
ROWS = columns.rows_of(DATA, [50, 90, 99])
TOTAL = columns.total_of(DATA, [50, 99])
USUAL = columns.table_columns([50, 99], timed=True)
REST = columns.left_over(TOTAL, ROWS[:20], ROWS[20:])


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (0, "0"), (1e-7, "100ns"), (850e-6, "850us"), (0.0009996, "1.00ms"),
     (0.0123, "12.3ms"), (0.09996, "100ms"), (0.1234, "123ms"), (0.9994, "999ms"),
     (0.9996, "1.00s"), (12.34, "12.3s"), (59.94, "59.9s"), (59.96, "1m00s"), (123, "2m03s"),
     (3599.6, "1h00m"), (7260, "2h01m"), (359_970, "100h"), (4e6, "1,111h")],
)  # fmt: skip
def test_a_time_has_three_digits_and_its_unit(seconds: float | None, shown: str) -> None:
    assert figures.duration(seconds) == shown


@given(st.floats(min_value=0, max_value=1e9))
def test_a_time_is_never_wide(seconds: float) -> None:
    shown = figures.duration(seconds)
    assert len(shown) <= 8
    assert "e" not in shown


def test_what_is_not_nothing_is_not_shown_as_nothing() -> None:
    assert [figures.percent(part) for part in (None, 0, 1e-9, 0.0005, 1)] == [
        "-", "0.0%", "<0.1%", "0.1%", "100.0%",
    ]  # fmt: skip


@pytest.mark.parametrize("room", range(25, 130))
def test_the_table_is_as_wide_as_the_terminal(room: int) -> None:
    lines = text.table(ROWS[:20], REST, USUAL, room=room)
    assert len(lines) == 22
    assert max(map(figures.width_of, lines)) <= room
    assert lines[0].split()[:2] == ["endpoint", "count"]


def test_the_columns_go_in_the_order_of_their_weight() -> None:
    kept = [text.table(ROWS, None, USUAL, room=room)[0].split() for room in range(120, 20, -1)]
    assert kept[0] == USUAL
    gone = []
    for wide, narrow in pairwise(kept):
        assert [name for name in wide if name in narrow] == narrow
        gone += [name for name in wide if name not in narrow]
    assert gone[:4] == ["min", "p50", "499", "4xx"]
    assert {"endpoint", "count"} <= set(kept[-1])


def test_columns_that_were_asked_for_stay() -> None:
    lines = text.table(ROWS, None, USUAL, room=30, fixed=True)
    assert lines[0].split() == USUAL


def test_nothing_is_cut_in_a_pipe_and_a_long_name_widens_no_other_row() -> None:
    long = {**ROWS[0], "endpoint": "GET /" + "x" * 5000}
    lines = text.table([long, *ROWS[1:3]], None, USUAL)
    assert long["endpoint"] in lines[1]
    assert max(map(len, [lines[0], *lines[2:]])) < 200
    assert "…" not in "".join(lines)
    assert "\x1b" not in "".join(lines)


def test_colours_are_for_faults_and_change_no_width() -> None:
    plain = text.table(ROWS[:20], REST, USUAL, room=100)
    coloured = text.table(ROWS[:20], REST, USUAL, room=100, colour=True)
    assert [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in coloured] == plain
    assert text.RED in "".join(coloured)
    at = plain[0].split().index("5xx")
    for line, shown in zip(plain[1:21], coloured[1:21], strict=True):
        assert (line.split("  ")[-1].strip() != "0") == (text.RED in shown), (at, line)


def test_the_rest_has_a_row_whose_percentiles_nobody_knows() -> None:
    last = text.table(ROWS[:20], REST, USUAL)[-1]
    assert last.startswith(f"other ({len(ROWS) - 20} endpoints)")
    assert REST is not None
    assert f"{REST['count']:,}" in last
    assert len(last.split()) == len(USUAL) + 2 - 2  # a name of three words, and no p50 and p99


@given(st.text(min_size=1))
def test_no_name_acts_on_a_terminal_or_breaks_a_line(name: str) -> None:
    row = {**ROWS[0], "endpoint": name}
    for lines in (text.table([row], None, USUAL, room=80), text.markdown([row], None, USUAL)):
        assert all(line.isprintable() for line in lines), lines
    assert max(map(figures.width_of, text.table([row], None, USUAL, room=80))) <= 80


@pytest.mark.parametrize(
    ("name", "code"),
    [("GET /a", "`GET /a`"), ("GET /*/b/*", "`GET /*/b/*`"), ("a|b", "`a\\|b`"), ("`", "`` ` ``"),
     ("a``b", "```a``b```"), ("a`b", "``a`b``"), ("<b>", "`<b>`")],
)  # fmt: skip
def test_a_name_is_code_in_markdown(name: str, code: str) -> None:
    assert text.as_code(name) == code


def test_markdown_has_a_cell_for_each_column() -> None:
    lines = text.markdown(ROWS[:20], REST, USUAL)
    cells = [len(re.split(r"(?<!\\)\|", line)) for line in lines]
    assert set(cells) == {len(USUAL) + 2}
    assert lines[1].count("---:") == len(USUAL) - 1


def test_the_slowest_lines_have_their_raw_targets() -> None:
    found = DATA.slowest()[:3]
    head, *lines = slow.slowest(found, zone_of(0))
    assert head.split() == ["time", "at", "status", "request"]
    for line, each in zip(lines, found, strict=True):
        assert line.endswith(f"{each['method'].decode()} {each['target'].decode()}")
        assert line.split()[0] == figures.duration(each["time_s"])
        assert line.split()[1].startswith("2025-11-29T00:")
    assert all(len(line) <= 50 for line in slow.slowest(found, None, room=50))
    marked = slow.slowest(found, None, markdown=True)
    assert marked[2].startswith("| ")
    assert marked[2].endswith("` |")
