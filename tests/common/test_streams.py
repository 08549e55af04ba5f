"""The standard streams: lines of progress, output that fails, and streams that do not wait."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

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


def test_a_stream_that_does_not_wait_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    data = os.urandom(1 << 20)  # a pipe holds a sixteenth

    def send() -> None:
        streams.give(writer, data)
        os.close(writer)

    thread = threading.Thread(target=send)
    thread.start()
    got = bytearray()
    while piece := streams.take(reader, 1 << 16):
        got += piece
    thread.join()
    os.close(reader)
    assert got == data
