"""What the page is given: the report in columns, cut, rounded, within its bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kojuto.tools.report.page import packed


def endpoint(name: str, **figures: Any) -> dict[str, Any]:
    return {"endpoint": name, "count": 2, "sum": 1.0, "p50": 0.25, "example": "", **figures}


def document(*endpoints: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {
        "lines": 4, "bad": {}, "from": None, "to": None, "format": "ltsv", "envelope": None,
        "keys": {"time": {"key": "t"}, "request_time": {"key": "took", "unit": "ms"}},
        "files": ["a.log"], "hosts": [], "slowest": [],
        "total": {"count": 4, "sum": 4.0, "p99": 2.0, "p99.9": 3.0, "p50": 0.123456789},
        "endpoints": list(endpoints), "other": {"count": 0, "sum": 0.0, "off_by": 0}, **facts,
    }  # fmt: skip


def data(told: dict[str, Any], **more: Any) -> Any:
    given: dict[str, Any] = {"timeline": [], "maps": {}, "title": "t", "resolution_s": 0.001}
    return json.loads(packed.data(told, **{**given, **more}))


def test_figures_come_as_columns_with_their_share() -> None:
    found = data(document(endpoint("GET /a", sum=3.0), endpoint("GET /b", sum=None, p50=None)))
    assert found["columns"] == {
        "endpoint": ["GET /a", "GET /b"], "example": ["", ""], "count": [2, 2], "sum": [3.0, None],
        "p99": [None, None], "p99.9": [None, None], "p50": [0.25, None], "share": [0.75, 0.0],
    }  # fmt: skip
    assert found["total"]["p50"] == 0.1235
    assert found["percentiles"] == ["p50", "p99", "p99.9"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("GET /caf\u00e9/京都", "GET /caf\u00e9/京都"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202e\u200b\ufeff", "\\u202e\\u200b\\ufeff"),
        ("\udcff", "\\udcff"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("\x01" * 60, ("\\x01" * 60)[:199] + "…"),
    ],
)
def test_a_name_is_shown_without_anything_that_acts(text: str, seen: str) -> None:
    assert packed.shown(text) == seen


def test_rows_of_other_fields_are_named_by_their_values() -> None:
    rows = [
        {**endpoint(""), "host": "a.example", "path": "/x"},
        {**endpoint(""), "host": "", "path": "/"},
    ]
    found = data(document(*rows), of=("host", "path"))
    assert found["columns"]["endpoint"] == ["a.example · /x", "/"]
    assert (found["of"], found["noun"]) == ("host and path", "row")
    rows = [{**endpoint(""), "method": "GET", "path": "/x"}]
    assert data(document(*rows), of=("method", "path"))["columns"]["endpoint"] == ["GET /x"]
    assert data(document())["of"] == data(document())["noun"] == "endpoint"


def test_slices_come_as_lists_of_statuses_and_steps() -> None:
    slices = [
        {"start_s": 64, "width_s": 32, "count": 3, "2xx": 2, "5xx": 1, "steps": {40: 2, -1: 1}},
        {"start_s": 128, "width_s": 32, "count": 1, "499": 1, "steps": {}},
    ]
    found = data(
        document(endpoint("GET /a"), endpoint("GET /b")), timeline=slices, maps={1: slices}
    )
    assert found["timeline"] == {
        "width": 32,
        "slices": [[2, 3, [0, 2, 0, 0, 0, 1], -1, 1, 40, 2], [4, 1, [0, 0, 0, 0, 1, 0]]],
    }
    assert found["maps"] == [None, found["timeline"]]


def test_an_example_that_is_the_name_once_more_is_left_out() -> None:
    rows = [endpoint("GET /a", example="/a"), endpoint("GET /{n}", example="/7")]
    assert data(document(*rows))["columns"]["example"] == ["", "/7"]


def test_endpoints_beyond_the_bounds_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [endpoint(f"GET /{n:04}") for n in range(4)]
    monkeypatch.setattr(packed, "MOST_ENDPOINTS", 3)
    found = data(document(*rows))
    assert len(found["columns"]["endpoint"]) == 3
    assert found["left_out"]["rows"] == 1
    assert "1 more endpoint with 2 requests (50.00%)" in found["left_out"]["words"]
    monkeypatch.setattr(packed, "MOST_ROW_BYTES", 60)
    assert len(data(document(*rows))["columns"]["endpoint"]) == 2
    assert data(document(*rows[:1]))["left_out"] is None


def test_examples_and_charts_have_their_bounds_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [endpoint(f"GET /{n}", example=f"/{n}?x=1") for n in range(4)]
    slices = [{"start_s": 0, "width_s": 1, "count": 1, "steps": {7: 1}}]
    maps = dict.fromkeys(range(4), slices)
    assert len(data(document(*rows), maps=maps)["maps"]) == 4
    monkeypatch.setattr(packed, "MOST_EXAMPLE_BYTES", 20)
    monkeypatch.setattr(packed, "MOST_MAP_BYTES", 150)
    found = data(document(*rows), maps=maps)
    assert found["columns"]["example"] == ["/0?x=1", "/1?x=1", "", ""]
    assert len(found["maps"]) == 3


def test_it_tells_how_the_log_was_read() -> None:
    told = document(
        bad={"no status": 1200}, bad_example="ab\tc", envelope="docker", hosts=["a", "b"],
        other={"count": 5, "sum": 1.0, "off_by": 7},
    )  # fmt: skip
    facts = dict(data(told)["facts"])
    assert facts["format"] == "ltsv in docker"
    assert facts["time taken"] == "took in ms"
    assert facts["when"] == "t"
    assert facts["bad lines: no status"] == "1,200"
    assert facts["the first bad line"] == "ab\\tc"
    assert facts["hosts"] == "a, b"
    assert facts["the log's resolution"] == "1 ms"
    assert facts["requests of endpoints that were dropped"] == "5"
    assert facts["a count can be off by at most"] == "7"
    assert "hosts" not in dict(data(document())["facts"])
