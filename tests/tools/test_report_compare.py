"""The comparison of two sides as it is shown: table, Markdown, JSON, exit statuses.

What is found is made up here; the test that finds it is the core's own."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest

from kojuto.errors import UsageError
from kojuto.tools.report import compare
from kojuto.tools.report.compare import Comparison
from kojuto.tools.report.document import dumps

PERCENTILES = (50.0, 99.0)


def row(count: int, p50: float | None, *, failed: int = 0) -> dict[str, Any]:
    """The columns of a side that takes `p50` for each line."""
    classes = dict.fromkeys(("1xx", "2xx", "3xx", "4xx", "499"), 0)
    total = None if p50 is None else count * p50
    return {
        "count": count, **classes, "5xx": failed, "avg": p50, "min": p50, "p50": p50, "max": p50,
        "p99": None if p50 is None else p50 * 3, "sum": total, "stddev": p50, "bytes": 0,
    }  # fmt: skip


def change(
    name: bytes | None, old: Any, new: Any, verdict: str, moved: str | None = None, *,
    above: bool = False,
) -> dict[str, Any]:  # fmt: skip
    found = {"old": old, "new": new, "verdict": verdict, "moved": moved, "above": above}
    return found if name is None else {"endpoint": name, **found}


def made(*changes: dict[str, Any], unknown: float = 0.0, bound: float | None = None) -> Comparison:
    sides = {
        "old": {"from_s": 1000.0, "to_s": 1100.0, "length_s": 100.0, "files": [b"old.log"]},
        "new": {"from_s": 2000.0, "to_s": 2050.0, "length_s": 50.0, "files": [b"new.log"]},
    }
    whole = change(None, row(1000, 0.1), row(1000, 0.1), "same")
    return Comparison(
        {**sides, "all": whole, "endpoints": changes, "unknown_share": unknown}, bound
    )


SLOWER = change(b"GET /slow", row(500, 0.1), row(500, 0.12), "slower", "median", above=True)
TAIL = change(b"GET /tail", row(100, 0.1), row(100, 0.1), "slower", "tail")
FASTER = change(b"GET /fast", row(300, 0.02), row(300, 0.01), "faster", "median")
FAILING = change(b"GET /bad", row(50, 0.1), row(50, 0.1, failed=5), "failing", above=True)
SAME = change(b"GET /same", row(5000, 0.1), row(5000, 0.1), "same")
NEW = change(b"GET /new", None, row(10, 0.1), "new")
GONE = change(b"GET /gone", row(10, 0.1), None, "gone")
UNKNOWN = change(b"GET /rare", row(7, 0.1), row(7, 0.1), "unknown")
ALL = (SAME, UNKNOWN, GONE, NEW, FASTER, TAIL, SLOWER, FAILING)


def lines_of(text: list[str]) -> dict[str, str]:
    """The rows of a table by endpoint."""
    return {" ".join(line.split("GET ")[1].split()[:1]): line for line in text if "GET /" in line}


def test_what_needs_a_look_comes_first() -> None:
    names = [each.endpoint for each in made(*ALL).changes]
    assert names == [
        f"GET /{name}" for name in ("bad", "slow", "tail", "fast", "new", "gone", "rare", "same")
    ]


def test_the_table_shows_both_sides_and_the_change() -> None:
    shown = lines_of(compare.table(made(*ALL)))
    assert "100ms→120ms +20%" in shown["/slow"]
    assert "300ms→360ms +20%" in shown["/slow"]
    assert "20.0ms→10.0ms -50%" in shown["/fast"]
    assert "0.0%→10.0%" in shown["/bad"]
    assert shown["/tail"].startswith("slower (tail)")
    assert "-→100ms" in shown["/new"]
    assert "100ms→-" in shown["/gone"]
    assert "100ms +0%" in shown["/same"]
    assert "5/s→10/s +100%" in shown["/slow"], "500 lines in 100 s, then in 50 s"
    assert "50.0%→60.0%" in shown["/slow"], "its share of all time"


def test_without_unicode_the_arrow_is_two_signs() -> None:
    assert "100ms->120ms" in lines_of(compare.table(made(SLOWER), unicode=False))["/slow"]


def test_colours_are_for_verdicts_of_terminals() -> None:
    plain = "\n".join(compare.table(made(*ALL)))
    assert "\x1b" not in plain
    shown = lines_of(compare.table(made(*ALL), colour=True))
    assert shown["/slow"].startswith("\x1b[31mslower")
    assert shown["/bad"].startswith("\x1b[31mfailing")
    assert shown["/fast"].startswith("\x1b[32mfaster")
    assert "\x1b" not in shown["/same"]


def test_a_narrow_terminal_loses_columns_not_names() -> None:
    long = change(b"GET /" + b"n" * 90, row(500, 0.1), row(500, 0.12), "slower", "median")
    for room in (200, 120, 80, 60):
        shown = compare.table(made(long), room=room)
        assert max(map(len, shown)) <= room
        assert "100ms→120ms" in shown[2]
        assert "GET /nnnnn" in shown[2]
    assert shown[0].split() == ["verdict", "endpoint", "p50", "5xx"], shown
    whole = compare.table(made(long))
    assert "n" * 90 in whole[2], "a pipe cuts nothing"


def test_a_limit_hides_nothing_that_has_a_mark() -> None:
    shown = compare.table(made(*ALL), limit=1)
    assert sorted(lines_of(shown)) == ["/bad", "/fast", "/slow", "/tail"]
    assert shown[-1] == "(4 more without a mark)"
    assert len(lines_of(compare.table(made(*ALL), limit=0))) == len(ALL)


def test_names_of_a_log_act_on_nothing() -> None:
    hostile = [b"GET /\x1b[31m", "GET /\u202egnp".encode(), b"GET /|`x`|", b"GET /\n\xff"]
    changes = [change(name, row(50, 0.1), row(50, 0.1), "same") for name in hostile]
    shown = [*compare.table(made(*changes)), *compare.markdown(made(*changes))]
    assert all(line.isprintable() for line in shown)
    table = compare.markdown(made(*changes))
    assert {line.replace("\\|", "").count("|") for line in table} == {len(compare.COLUMNS) + 1}
    assert dumps(compare.document(made(*changes), PERCENTILES)).isprintable()


def test_markdown_prints_marks_bold_and_names_as_code() -> None:
    lines = compare.markdown(made(*ALL))
    assert lines[0].startswith("| verdict | endpoint |")
    assert any(line.startswith("| **slower** | `GET /slow` |") for line in lines)
    assert any(line.startswith("| same | all |") for line in lines)


def test_the_summary_counts_verdicts() -> None:
    assert compare.summary(made(*ALL)) == [
        "old: 1,000 lines in 1m40s, 10/s",
        "new: 1,000 lines in 50.0s, 20/s",
        "endpoints: 1 failing, 2 slower, 1 faster, 1 new, 1 gone, 1 unknown, 1 same",
    ]


def test_json_has_old_new_and_verdict_of_each_endpoint() -> None:
    found = json.loads(dumps(compare.document(made(*ALL, unknown=0.02, bound=0.1), PERCENTILES)))
    by_name = {each["endpoint"]: each for each in found["endpoints"]}
    slow = by_name["GET /slow"]
    assert (slow["verdict"], slow["moved"], slow["above"]) == ("slower", "median", True)
    assert (slow["old"]["p50"], slow["new"]["p50"], slow["new"]["share"]) == (0.1, 0.12, 0.6)
    assert list(slow["old"]) == [
        "count", "share", "1xx", "2xx", "3xx", "4xx", "499", "5xx", "avg", "min", "p50", "p99",
        "max", "sum", "stddev", "bytes",
    ]  # fmt: skip
    assert by_name["GET /new"]["old"] is None
    assert by_name["GET /gone"]["new"] is None
    assert found["all"]["verdict"] == "same"
    assert "above" not in found["all"]
    assert (found["old"]["lines"], found["old"]["files"]) == (1000, ["old.log"])
    assert found["old"]["from"].startswith("1970-01-01T00:16:40")
    assert (found["unknown_share"], found["fail_above"]) == (0.02, 0.1)


def test_csv_leaves_empty_what_a_side_has_not() -> None:
    head, new, gone = csv.reader(compare.plain(made(NEW, GONE), PERCENTILES, "csv"))
    assert head[:3] == ["endpoint", "verdict", "moved"]
    assert head[3:7] == ["old_count", "new_count", "old_share", "new_share"]
    assert (new[:5], gone[:5]) == (
        ["GET /new", "new", "", "", "10"],
        ["GET /gone", "gone", "", "10", ""],
    )
    (named,) = csv.DictReader(compare.plain(made(SLOWER, bound=0.1), PERCENTILES, "csv"))
    assert (named["above"], named["old_p50"], named["new_p99"]) == ("true", "0.1", "0.36")
    assert list(compare.plain(made(SAME, SLOWER), PERCENTILES, "csv", limit=1))[1:] == [
        line
        for line in compare.plain(made(SLOWER, SAME), PERCENTILES, "csv")
        if line.startswith("GET /slow,")
    ]


def test_a_log_without_times_is_compared_too() -> None:
    untimed = change(b"GET /a", row(50, None), row(60, None), "unknown")
    found = {"all": change(None, row(50, None), row(60, None), "unknown"), "endpoints": [untimed]}
    sides: dict[str, Any] = {
        side: {"from_s": None, "to_s": None, "length_s": 0.0, "files": []}
        for side in ("old", "new")
    }
    both = Comparison({**sides, **found, "unknown_share": 1.0})
    assert "50→60 +20%" in compare.table(both)[2]
    assert compare.summary(both)[0] == "old: 50 lines"
    assert compare.document(both, PERCENTILES)["old"]["from"] is None


@pytest.mark.parametrize(
    ("changes", "unknown", "bound", "status"),
    [
        ([SLOWER], 0.0, 0.1, 1),
        ([SLOWER], 0.5, 0.1, 1),
        ([FAILING], 0.0, 0.1, 1),
        ([TAIL], 0.0, 0.1, 0),
        ([SAME], 0.09, 0.1, 0),
        ([SAME], 0.1, 0.1, 3),
        ([SAME], 1.0, 0.0, 3),
        ([SLOWER], 1.0, None, 0),
    ],
)
def test_the_exit_status_tells_who_is_over_the_bound(
    changes: list[dict[str, Any]], unknown: float, bound: float | None, status: int
) -> None:
    found = made(*changes, unknown=unknown, bound=bound)
    assert found.status() == status
    assert (compare.words(found) is None) == (status == 0)


def test_those_over_the_bound_are_named() -> None:
    assert compare.words(made(SLOWER, FAILING, bound=0.1)) == (
        "over --fail-above: 2 endpoints (GET /bad, GET /slow)"
    )
    assert "12.0% of the old time" in (compare.words(made(unknown=0.12, bound=0.1)) or "")


def test_several_runs_of_a_side_are_split_at_commas() -> None:
    assert compare.runs("a.log") == ["a.log"]
    assert compare.runs("a.log,b.log") == ["a.log", "b.log"]
    assert compare.runs("a,b.log", exists=["a,b.log"]) == ["a,b.log"]
    with pytest.raises(UsageError, match="a run has no name"):
        compare.runs("a,,b")
