"""The shared part of progress lines on a terminal."""

from __future__ import annotations

import contextlib
import sys

import pytest

from kojuto.common import streams


@pytest.mark.parametrize(
    ("line", "columns", "shown"),
    [
        ("plain", 3, "pla"),
        ("plain", 9, "plain"),
        ("漢字x", 5, "漢字x"),
        ("漢字x", 4, "漢字"),
        ("漢字x", 3, "漢"),
        ("漢字x", 1, ""),
        ("Ｗide", 3, "Ｗi"),
        ("ｶﾅ", 2, "ｶﾅ"),  # halfwidth katakana, one each
        ("e\u0301a\u0300!", 2, "e\u0301a\u0300"),
        ("é" * 5, 4, "é" * 4),
    ],
)
def test_a_line_of_progress_is_cut_by_the_columns_that_it_takes(
    line: str, columns: int, shown: str
) -> None:
    assert streams._cut(line, columns) == shown


def test_output_that_fails_is_told_by_what_it_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", full)
    assert not streams.output_fails(), "it holds nothing"
    full.write("a result")
    assert streams.output_fails()
    with contextlib.suppress(OSError):
        full.close()
