"""What standard output is found to show: colours, block characters, a width."""

from __future__ import annotations

import io
import json
import os
import pty
import sys

import pytest

from kojuto.common import terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_colour_is_for_terminals_that_want_it(
    environment: dict[str, str], colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert terminal.shows_colour(Screen()) is colour
    assert terminal.shows_colour(io.StringIO()) is False
    monkeypatch.setattr(sys, "stdout", Screen())
    assert terminal.shows_colour() is colour


def test_blocks_are_for_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, shown in (("UTF-8", True), ("utf8", True), ("ascii", False), ("latin-1", False)):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
        assert terminal.shows_unicode() is shown


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "euc_jp", "shift_jis"])
def test_json_is_utf_8_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding, "backslashreplace"))
    value = {"é東京😀\udcff": ["\x1b", 1.5]}
    print(terminal.json_text(value, indent=2), flush=True)
    assert json.loads(out.getvalue().decode("utf-8")) == value


def test_a_pipe_has_no_width_whatever_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "33")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert terminal.width() is None
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        assert terminal.width() == 33
    os.close(ours)
