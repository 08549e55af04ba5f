"""A report in each form, by its options."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.common.parser import parse
from kojuto.common.streams import one_line
from kojuto.tools.report import columns, printing
from kojuto.tools.report.options import COMMAND
from tests.report.fake import FakeReport, made

if TYPE_CHECKING:
    from kojuto.common.cli import Values

DATA = FakeReport(made(lines=3000))
ENDPOINTS = len(DATA.columns([])["endpoint"])


def values(*arguments: str) -> Values:
    return parse(COMMAND, [*arguments, "access.log"])[0]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    def write(*arguments: str, data: FakeReport = DATA) -> str:
        printing.write(data, values(*arguments))
        return capsys.readouterr().out

    return write


def test_a_table_has_a_summary_and_20_rows_and_the_rest(printed: Any) -> None:
    summary, table = printed().split("\n\n")
    assert summary.startswith("3,021 lines of access.log\n2025-11-29 09:00:00 to 09:59:58 +09:00")
    lines = table.splitlines()
    assert lines[0].split() == columns.table_columns([50, 99], timed=True)
    assert len(lines) == 22
    assert lines[-1].startswith(f"other ({ENDPOINTS - 20} endpoints)")
    assert len(printed("--limit", "0").splitlines()) == len(summary.splitlines()) + ENDPOINTS + 2
    assert printed("--limit", "3").splitlines()[-1].startswith(f"other ({ENDPOINTS - 3} ")


def rows_of_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_all_rows_and_raw_numbers(printed: Any) -> None:
    rows = rows_of_csv(printed("--output", "csv"))
    assert list(rows[0]) == columns.all_columns(columns.DEFAULT_PERCENTILES)
    assert len(rows) == ENDPOINTS
    sums = [float(row["sum"]) for row in rows]
    assert sums == sorted(sums, reverse=True)
    assert len(rows_of_csv(printed("--output", "csv", "--limit", "5"))) == 5


def test_one_set_of_names_for_columns_sort_csv_and_json(printed: Any) -> None:
    wanted = ["p99.9", "endpoint", "count", "example", "timed", "other_status", "bytes"]
    options = ("--columns", ",".join(wanted), "--sort", "p95", "--reverse", "--limit", "4")
    rows = rows_of_csv(printed("--output", "csv", *options))
    assert list(rows[0]) == wanted
    endpoints = json.loads(printed("--output", "json", *options))["endpoints"]
    assert [list(row) for row in endpoints] == [wanted] * 4
    assert [one_line(row["endpoint"]) for row in endpoints] == [row["endpoint"] for row in rows]
    assert printed(*options).split("\n\n")[1].split()[: len(wanted)] == wanted
    fastest = sorted(columns.rows_of(DATA, [95]), key=lambda row: row["p95"])
    assert [row["endpoint"] for row in endpoints] == [row["endpoint"] for row in fastest[:4]]


def test_percentiles_stand_in_for_the_usual_ones(printed: Any) -> None:
    head = printed("--percentiles", "90,99.0,99").split("\n\n")[1].splitlines()[0].split()
    assert [name for name in head if name[0] == "p"] == ["p90", "p99"]
    found = json.loads(printed("--output", "json", "--percentiles", "90,99.0"))
    assert [name for name in found["total"] if name[0] == "p"] == ["p90", "p99"]


def test_a_log_without_times_is_sorted_by_count_unless_told(printed: Any) -> None:
    data = FakeReport(made(lines=500, timed=False))
    lines = printed(data=data).split("\n\n")[1].splitlines()
    assert lines[0].split() == ["endpoint", "count", "4xx", "499", "5xx"]
    endpoints = json.loads(printed("--output", "json", data=data))["endpoints"]
    counts = [row["count"] for row in endpoints]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) > 20
    names = [row["endpoint"] for row in json.loads(
        printed("--output", "json", "--sort", "endpoint", data=data))["endpoints"]]  # fmt: skip
    assert names == sorted(names)


def test_the_slowest_lines_and_the_heat_map_are_below(printed: Any) -> None:
    _, _, slowest, plot = printed("--slowest", "3", "--plot").split("\n\n")
    assert slowest.split()[:4] == ["time", "at", "status", "request"]
    assert len(slowest.splitlines()) == 4
    assert plot.startswith("Time taken of the requests")
    assert len(json.loads(printed("--output", "json"))["slowest"]) == 10
    assert len(json.loads(printed("--output", "json", "--slowest", "2"))["slowest"]) == 2


def test_markdown_has_all_of_it_in_its_own_signs(printed: Any) -> None:
    text = printed("--output", "markdown", "--slowest", "2", "--plot")
    summary, table, slowest, plot = text.split("\n\n")
    assert all(line.startswith("- ") for line in summary.splitlines())
    assert table.splitlines()[1].startswith("| --- | ---:")
    assert slowest.splitlines()[2].count("|") == 5
    assert plot.splitlines()[0] == plot.splitlines()[-1] == "```"


def test_times_are_shown_in_the_zone_of_the_log_or_in_another(printed: Any) -> None:
    assert json.loads(printed("--output", "json"))["from"] == "2025-11-29T09:00:00+09:00"
    for zone, wanted in (("UTC", "00:00:00+00:00"), ("-03:30", "28T20:30:00-03:30")):
        found = json.loads(printed("--output", "json", "--tz", zone))
        assert found["from"].endswith(wanted)
    assert "2025-11-29 00:00:00 to 00:59:58 +00:00" in printed("--tz", "UTC")


def test_nothing_of_a_hostile_name_reaches_any_output_as_it_is(printed: Any) -> None:
    for form in ("table", "markdown", "csv", "tsv", "json"):
        text = printed("--output", form, "--limit", "0", "--slowest" if form == "json" else "--tz",
                       "9" if form == "json" else "UTC")  # fmt: skip
        assert "京都" in text
        for sign in ("\x1b", "\u202e", "\x07", "\r"):
            assert sign not in text, form
        # Each of its rows is one line.
        assert form == "json" or all("nc\\r" in x for x in text.splitlines() if "/a\\tb" in x)
