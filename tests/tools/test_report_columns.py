"""The columns of a report: names, order, shares, what is left over."""

from __future__ import annotations

import math

import pytest

from kojuto.tools.report import columns
from tests.report.fake import HOSTILE, FakeReport, made

DATA = FakeReport(made(lines=3000))
SUMS = ("count", "timed", "bytes", "other_status", *columns.CLASSES)


def test_names_are_checked_and_each_is_one_column() -> None:
    assert columns.read_columns("endpoint, p99.0,p99,p99.9,count") == [
        "endpoint", "p99", "p99.9", "count",
    ]  # fmt: skip
    assert columns.all_columns([50, 99.9]) == [
        "endpoint", "count", "share", "1xx", "2xx", "3xx", "4xx", "499", "5xx", "avg", "min",
        "p50", "p99.9", "max", "sum", "stddev", "bytes",
    ]  # fmt: skip
    for wrong in ("", "counts", "p101", "p-1", "pnan", "p", "p1_0", "p\u0665", "p1e400", "percent"):
        with pytest.raises(ValueError, match="is not a column"):
            columns.read_columns(f"endpoint,{wrong}")


def test_every_row_has_every_column_and_the_shares_are_one() -> None:
    rows = columns.rows_of(DATA, [50, 99.9])
    wanted = {*columns.all_columns([50, 99.9]), *columns.MORE}
    assert all(row.keys() == wanted for row in rows)
    assert math.isclose(sum(row["share"] for row in rows), 1)
    assert sum(row["count"] for row in rows) == DATA.facts()["lines"]
    assert {row["endpoint"] for row in rows} > {name.decode(errors="backslashreplace")
                                               for name in HOSTILE}  # fmt: skip
    assert all(isinstance(row["example"], str) for row in rows)


@pytest.mark.parametrize("key", ["count", "p99", "share", "5xx", "endpoint"])
def test_the_largest_is_first_a_name_by_the_alphabet_and_reverse_turns_it(key: str) -> None:
    rows = columns.rows_of(DATA, [99])
    found = [row[key] for row in columns.order(rows, key, reverse=False)]
    assert found == sorted(found, reverse=key != "endpoint")
    turned = [row[key] for row in columns.order(rows, key, reverse=True)]
    assert turned == found[::-1]


def test_what_has_no_value_is_last_both_ways() -> None:
    rows = [{"p99": value} for value in (None, 2.0, None, 3.0)]
    for reverse, wanted in ((False, [3.0, 2.0, None, None]), (True, [2.0, 3.0, None, None])):
        assert [row["p99"] for row in columns.order(rows, "p99", reverse=reverse)] == wanted


def test_the_rest_is_the_total_without_what_is_shown() -> None:
    rows, total = columns.rows_of(DATA, []), columns.total_of(DATA, [])
    rest = columns.left_over(total, rows[:7], rows[7:])
    assert rest is not None
    assert rest["endpoints"] == len(rows) - 7
    for name in SUMS:
        assert rest[name] == sum(row[name] for row in rows[7:])
    assert math.isclose(rest["sum"], sum(row["sum"] for row in rows[7:]))
    assert rest["max"] == max(row["max"] for row in rows[7:])
    assert rest["min"] == min(row["min"] for row in rows[7:])
    assert math.isclose(rest["avg"], rest["sum"] / rest["timed"])
    assert columns.left_over(total, rows, []) is None


def test_what_was_dropped_is_in_the_rest_whose_extremes_nobody_knows() -> None:
    rows, total = columns.rows_of(DATA, []), columns.total_of(DATA, [])
    rest = columns.left_over(total, rows[:5], rows[5:10])
    assert rest is not None
    assert rest["count"] == total["count"] - sum(row["count"] for row in rows[:5])
    assert (rest["endpoints"], rest["min"], rest["max"]) == (5, None, None)


def test_a_log_without_times_has_none_of_their_columns() -> None:
    data = FakeReport(made(lines=200, timed=False))
    total = columns.total_of(data, [50])
    assert (total["sum"], total["share"], total["p50"]) == (None, None, None)
    assert columns.table_columns([50, 99], timed=False) == [
        "endpoint", "count", "4xx", "499", "5xx",
    ]  # fmt: skip
    rows = columns.rows_of(data, [50])
    rest = columns.left_over(total, rows[:1], rows[1:])
    assert rest is not None
    assert (rest["sum"], rest["share"], rest["avg"]) == (None, None, None)
