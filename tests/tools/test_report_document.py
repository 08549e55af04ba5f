"""The JSON of a report: one object, raw numbers, names that come back and act on nothing."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st

from kojuto.tools.report import columns
from kojuto.tools.report.document import document, dumps
from tests.report.fake import HOSTILE, FakeReport, made

DATA = FakeReport(made(lines=2000), bad={"no status": 3}, first_bad=b"nonsense \x1b \xff")


def test_it_has_the_members_of_the_report() -> None:
    found = document(DATA)
    assert {"lines", "bad", "from", "to", "format", "keys", "total", "endpoints", "slowest",
            "other"} <= found.keys()  # fmt: skip
    assert (found["lines"], found["bad"]) == (2021, {"no status": 3})
    assert found["bad_example"] == "nonsense \x1b \\xff"
    assert found["from"] == "2025-11-29T09:00:00+09:00"
    assert found["to"].startswith("2025-11-29T09:59:58.2")
    assert found["keys"]["request_time"] == {"key": "reqtime", "unit": "s"}
    assert found["keys"]["status"] == {"key": "status"}
    assert found["other"] == {"count": 0, "sum": 0.0, "off_by": 0}


def test_each_endpoint_has_the_columns_and_an_example() -> None:
    found = document(DATA, [50, 99.9])
    names = columns.all_columns([50, 99.9])
    for endpoint in found["endpoints"]:
        assert list(endpoint) == [*names, "example"]
    assert list(found["total"]) == names[1:]
    assert found["total"]["count"] == found["lines"]
    assert found["total"]["share"] == 1
    assert found["endpoints"][0]["example"].startswith("/")


def test_the_slowest_lines_are_ten_with_their_time_and_target() -> None:
    found = document(DATA)["slowest"]
    assert len(found) == 10
    assert [line["time"] for line in found] == sorted(line["time"] for line in found)[::-1]
    assert found[0].keys() == {"at", "time", "method", "target", "status", "endpoint"}
    assert datetime.fromisoformat(found[0]["at"]).utcoffset() is not None
    assert document(DATA, slowest=0)["slowest"] == []


def test_a_log_without_times_has_nulls() -> None:
    found = document(FakeReport(made(lines=50, timed=False)), zone=timezone.utc)
    assert found["total"]["sum"] is None
    assert found["endpoints"][0]["p99"] is None
    assert found["slowest"] == []
    assert found["from"].endswith("+00:00")
    empty = document(FakeReport([]))
    assert (empty["from"], empty["to"], empty["endpoints"]) == (None, None, [])


def test_it_is_one_line_that_comes_back_whole_and_acts_on_no_terminal() -> None:
    found = document(DATA)
    text = dumps(found)
    assert text.isprintable()
    assert json.loads(text) == found
    names = {endpoint["endpoint"] for endpoint in json.loads(text)["endpoints"]}
    assert {name.decode(errors="backslashreplace") for name in HOSTILE} <= names
    assert "京都" in text


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    written = dumps({text: text})
    assert written.isprintable()
    assert json.loads(written) == {text: text}
