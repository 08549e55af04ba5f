"""`ReportLive` as Python calls it, beside a real logrotate and a writer with numbered lines."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from kojuto._native import ReportLive
from tests.conftest import wait_until
from tests.peers.rotators import Clock, Logrotate, SetUp, Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SET_UPS = {
    "create": SetUp("rotate 5, create 0644"),
    "create, a late writer": SetUp("rotate 5, create 0644", late=True),
    "nocreate": SetUp("rotate 5, nocreate"),
    "compress": SetUp("rotate 5, create, compress"),
    "delaycompress": SetUp("rotate 5, create, compress, delaycompress", late=True),
    "dateext": SetUp("rotate 5, create, dateext, dateformat -%Y%m%d%H"),
    "copytruncate": SetUp("rotate 5, copytruncate"),
    "copytruncate, compress": SetUp("rotate 5, copytruncate, compress"),
    "copytruncate, dateext": SetUp("rotate 5, copytruncate, dateext, dateformat -%Y%m%d%H"),
}


def numbered(number: int) -> str:
    """A line of now whose time taken is its number."""
    return (
        f"time:{time.time():.3f}\tmethod:GET\turi:/item/{number}\tstatus:200\treqtime:{number}"
        f"\tua:{'Mozilla/5.0 ' * 4}"
    )


def figures(live: ReportLive) -> tuple[int, float]:
    total = live.data().total([])
    return total["count"], total["sum"] or 0


@pytest.mark.parametrize("set_up", SET_UPS.values(), ids=SET_UPS)
def test_beside_logrotate_each_line_counts_once(
    set_up: SetUp, tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    """None to three rotations between two looks; most lines come while nobody looks."""
    log = tmp_path / "logs" / "access.log"
    log.parent.mkdir()
    logrotate = Logrotate(tmp_path, log, set_up.body, Clock(tmp_path, preload("shift_clock")))
    writer = Writer(log, numbered)
    writer.write(50)
    live = ReportLive([str(log)], 3600)
    for step, rotations in enumerate((0, 1, 2, 3, 1, 3, 0)):
        for number in range(rotations):
            writer.write(11 + number)
            with log.open("a") as late:
                logrotate.rotate()
                if set_up.late:
                    writer.write(2, late)
            writer.write(step % 3)
        live.read(time.time())
        expected = writer.written, writer.written * (writer.written + 1) / 2
        assert figures(live) == expected, live.states()
    assert live.states() == [(str(log), None, None, False)]


@pytest.mark.parametrize("body", ["rotate 50, create", "rotate 50, copytruncate"])
def test_one_who_looks_all_the_time_sees_each_line_once(
    body: str, tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    """Also while logrotate renames, copies and cuts."""
    log = tmp_path / "logs" / "access.log"
    log.parent.mkdir()
    logrotate = Logrotate(tmp_path, log, body, Clock(tmp_path, preload("shift_clock")))
    writer = Writer(log, numbered)
    writer.write(1)
    live, over, looks = ReportLive([str(log)], 3600), threading.Event(), 0
    live.read(time.time())

    def look() -> None:
        nonlocal looks
        while not over.is_set():
            live.read(time.time())
            looks += 1

    def has_looked_since(before: int) -> Callable[[], bool]:
        return lambda: looks > before + 1

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(20):
            for _ in range(10):
                writer.write(7)
            wait_until(has_looked_since(looks))
            logrotate.rotate()
    finally:
        over.set()
        looking.join()
    live.read(time.time())
    expected = writer.written, writer.written * (writer.written + 1) / 2
    assert figures(live) == expected, live.states()


def test_lines_leave_the_window_and_the_log_may_be_there_later(tmp_path: Path) -> None:
    log, now_s = tmp_path / "access.log", time.time()
    live = ReportLive([str(log)], 60)
    assert not live.read(now_s)
    ((name, trouble, note, has_ended),) = live.states()
    assert (name, note, has_ended) == (str(log), None, False)
    assert trouble == f"{log}: No such file or directory"
    Writer(log, numbered).write(5)
    assert live.read(now_s)
    assert live.states() == [(str(log), None, None, False)]
    assert not live.read(now_s + 30)
    assert figures(live)[0] == 5
    assert live.read(now_s + 63)
    assert figures(live)[0] == 0


def test_a_pipe_tells_when_there_is_something_and_when_it_has_ended(tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    live = ReportLive([fifo], 60, where="status >= 500")
    with open(fifo, "w") as writer:
        assert not live.read(time.time())
        assert len(live.descriptors()) == 1
        print(numbered(1).replace("status:200", "status:503"), numbered(2), sep="\n", file=writer)
        writer.flush()
        assert live.read(time.time())
        assert figures(live) == (1, 1)
    live.read(time.time())
    assert (live.descriptors(), live.states()) == ([], [(fifo, None, None, True)])


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for options in ({"where": "status"}, {"matches": ["("]}, {"no_such": 1}):
        with pytest.raises((ValueError, TypeError)):
            ReportLive([str(tmp_path / "x")], 60, **options)
