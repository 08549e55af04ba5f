"""CSV and TSV of a report: raw numbers, and cells in which nothing is a formula."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kojuto.tools.report import columns, plain
from tests.report.fake import FakeReport, made

ROWS = columns.rows_of(FakeReport(made(lines=500)), [50, 99.9])
NAMES = columns.all_columns([50, 99.9])


def read_back(lines: list[str], form: str) -> list[list[str]]:
    if form == "csv":
        return list(csv.reader(lines, strict=True))
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_numbers_come_back_as_they_are(form: str) -> None:
    lines = list(plain.lines(ROWS, NAMES, form))
    head, *read = read_back(lines, form)
    assert head == NAMES
    for row, cells in zip(ROWS, read, strict=True):
        for name, cell in zip(NAMES[1:], cells[1:], strict=True):
            assert (float(cell) if cell else None) == row[name]
            assert "." not in cell or isinstance(row[name], float)


@given(st.text(), st.sampled_from(["csv", "tsv"]))
def test_any_name_is_one_cell_of_one_line_and_no_formula(name: str, form: str) -> None:
    _, line = plain.lines([{"endpoint": name, "count": 7}], ["endpoint", "count"], form)
    assert line.isprintable() or (form == "tsv" and line.replace("\t", "").isprintable())
    ((cell, count),) = read_back([line], form)
    assert count == "7"
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize(
    ("name", "cell"),
    [("=1+1", "'=1+1"), ("+a", "'+a"), ("-a", "'-a"), ("@a", "'@a"), ("GET /=", "GET /="),
     ("a\tb\n", "a\\tb\\n"), ("\x1b[31m", "\\x1b[31m"), ("\u202e", "\\u202e"), (None, "")],
)  # fmt: skip
def test_a_cell(name: str | None, cell: str) -> None:
    assert plain.cell(name) == cell


def test_a_number_is_never_taken_for_a_formula() -> None:
    assert plain.cell(-1.5) == "-1.5"
    assert plain.cell(1_000_000) == "1000000"


def test_what_is_so_or_not_stands_as_in_json() -> None:
    assert [plain.cell(value) for value in (True, False)] == ["true", "false"]
