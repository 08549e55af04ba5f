"""What a report says on standard error of the logs it read."""

from __future__ import annotations

from typing import Any

import pytest

from kojuto.errors import UsageError
from kojuto.tools.report import telling
from tests.report.fake import FakeReport, made

FACTS = FakeReport(made(lines=20)).facts()


def told(capsys: pytest.CaptureFixture[str], facts: dict[str, Any], *, timed: bool) -> list[str]:
    telling.tell("kojuto report", ["access.log"], facts, timed=timed)
    return capsys.readouterr().err.splitlines()


def test_one_line_says_what_was_taken_as_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, FACTS, timed=True) == [
        "kojuto report: read as ltsv; when: time, request: req, status: status, bytes: size, "
        "time taken: reqtime in s"
    ]
    facts = {**FACTS, "envelope": "docker", "keys": {"status": (b"st\x1b", "")}}
    assert told(capsys, facts, timed=True) == [
        "kojuto report: read as ltsv in docker; status: st\\x1b"
    ]


def test_bad_lines_are_counted_by_reason_with_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {**FACTS, "bad": {"no status": 1200, "no time": 1}, "first_bad": b"\x1b]0;x\x07 \xff"}
    _, line = told(capsys, facts, timed=True)
    assert line == (
        "kojuto report: 1,201 lines not counted (no status: 1,200, no time: 1); "
        "the first: '\\x1b]0;x\\x07 \\xff'"
    )
    facts = {**FACTS, "bad": {"no status": 1}, "first_bad": b"x" * 5000}
    _, line = told(capsys, facts, timed=True)
    assert "1 line not counted" in line
    assert line.endswith("x" * 300 + "…'")


def test_a_log_without_times_is_told_what_to_add(capsys: pytest.CaptureFixture[str]) -> None:
    _, line, hint = told(capsys, FACTS, timed=False)
    assert line == "kojuto report: no line of access.log has the time taken; sorted by count"
    assert "nginx: put rt=$request_time" in hint
    assert "Apache: put rt=%Dus" in hint


def test_where_no_line_is_one_that_was_asked_for_the_log_is_not_blamed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = {**FACTS, "lines": 22, "left_out": 20, "bad": {"no status": 2}, "first_bad": b"x"}
    _, _, line, hint = told(capsys, facts, timed=False)
    assert line == "kojuto report: none of 20 lines of access.log is one that was asked for"
    assert hint == "hint: are --since, --until and --where as meant?"
    assert "has the time taken" in told(capsys, {**facts, "left_out": 19}, timed=False)[2]


def test_of_logs_that_could_not_be_read_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {**FACTS, "format": None, "keys": {}, "lines": 0}
    assert told(capsys, {**facts, "failed": [("a", "gone")]}, timed=False) == []
    assert told(capsys, facts, timed=False) == ["kojuto report: access.log: no lines"]


def test_a_saved_report_among_logs_is_refused() -> None:
    facts = {**FACTS, "bad": {"no": 1}, "first_bad": b"KJREPORT\1"}
    with pytest.raises(UsageError, match="2 files: one of them is a saved report") as caught:
        telling.refuse_nothing(["a", "b"], "auto", facts, 20)
    assert caught.value.hint == "--merge FILE … reads those"


def test_without_a_line_the_first_and_the_formats_tried_are_named() -> None:
    facts = {**FACTS, "lines": 0, "bad": {"not recognised": 2}, "first_bad": b"nonsense"}
    with pytest.raises(UsageError) as caught:
        telling.refuse_nothing(["a", "b"], "auto", facts, 0)
    assert str(caught.value) == (
        "2 files: none of 2 lines can be read (not recognised: 2); the first: 'nonsense'"
    )
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("tried: JSON, LTSV, combined and")
    with pytest.raises(UsageError) as caught:
        telling.refuse_nothing(["-"], "ltsv", facts, 0)
    assert str(caught.value).startswith("standard input: none of 2 lines")
    assert caught.value.hint == "tried: ltsv; --format auto finds out"
    with pytest.raises(UsageError, match="no lines"):
        telling.refuse_nothing(["a"], "auto", {**facts, "bad": {}}, 0)
    telling.refuse_nothing(["a"], "auto", FACTS, 20)
