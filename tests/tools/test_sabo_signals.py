"""`sabo`: signals, and what it tells of its progress."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, wait_until
from tests.peers.sabo import FAST, arguments, work
from tests.streams import (
    feed,
    pattern,
    processes_end,
    start,
    wait_for_handler,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["processes_end", "work"]


@pytest.mark.parametrize("mode", ["spliced", "written"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_the_middle_loses_nothing_that_was_read(
    mode: str, number: int, status: int, work: Path, tmp_path: Path
) -> None:
    """What came out and what is left in the pipe are together all that was put in."""
    data = pattern(400_000)
    out = tmp_path / "out"
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(writer, data)
    with open(out, "wb" if mode == "spliced" else "ab") as sink:
        process = start("sabo", *arguments(work, "300K"), stdin=reader, stdout=sink)
    wait_until(lambda: out.stat().st_size > 10_000)
    process.send_signal(number)
    assert process.wait(timeout=10) == status
    os.close(writer)
    left = b"".join(iter(lambda: os.read(reader, 1 << 20), b""))
    os.close(reader)
    assert out.stat().st_size < len(data)
    assert out.read_bytes() + left == data
    assert not list(work.iterdir())


@pytest.mark.parametrize("blocked", ["input", "rate", "output", "rate and input"])
def test_a_signal_is_answered_at_once_wherever_it_waits(blocked: str, work: Path) -> None:
    rate = "1K" if blocked.startswith("rate") else FAST
    process = start("sabo", *arguments(work, rate), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    if blocked == "rate and input":
        process.stdin.write(bytes(40))  # all that may pass at once
        process.stdin.flush()
    elif blocked != "input":
        feed(process.stdin, bytes(10_000_000))
    wait_until(lambda: any(p.name.startswith("sabo_") for p in work.iterdir()))
    wait_for_handler(process.pid, signal.SIGTERM)
    time.sleep(0.3)  # until it waits; nothing shows that from outside, and either is right
    began = time.monotonic()
    process.terminate()
    assert process.wait(timeout=10) == 143
    assert time.monotonic() - began < 8
    process.stdout.close()


def test_a_second_signal_ends_even_a_stalled_write_and_says_what_is_lost(work: Path) -> None:
    process = start(
        "sabo", *arguments(work), stdin=open("/dev/zero", "rb"),  # noqa: SIM115
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    pipe = process.stdout.fileno()
    room = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)

    def full() -> bool:
        waiting = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) >= room

    wait_until(full, what="a pipe without room")
    time.sleep(0.3)  # until it waits in its next write
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    # Once it has said so it is ending, and one more signal would meet the interpreter's own end.
    while not select.select([process.stderr], [], [], 1)[0]:
        process.terminate()
    assert process.wait(timeout=10) == 143
    assert b"bytes that were read are not written" in process.stderr.read()


def test_sigusr1_prints_a_report(work: Path) -> None:
    process = start(
        "sabo", *arguments(work, "50K"), "--size", "100K",
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(bytes(40_000))
    process.stdin.flush()
    wait_until(lambda: any(p.name.startswith("sabo_") for p in work.iterdir()))
    wait_for_handler(process.pid, signal.SIGUSR1)
    process.send_signal(signal.SIGUSR1)
    line = process.stderr.readline().decode()
    assert line.startswith("sabo: ")
    assert line.endswith("share 50 KB/s of 50 KB/s, 1 member\n")
    assert " %, " in line
    assert " left, " in line
    process.stdin.close()
    process.stdin = None
    assert process.wait(timeout=10) == 0


def test_progress_interval_and_summary(work: Path) -> None:
    done = run(
        "sabo", *arguments(work, "100K"), "--stats-interval", "200ms", "--summary=json",
        stdin=bytes(60_000),
    )  # fmt: skip
    assert done.stdout == bytes(60_000)
    *lines, last = done.stderr.decode().splitlines()
    assert len(lines) >= 2
    document = json.loads(last)
    assert document["bytes"] == 60_000
    assert document["status"] == 0
    assert 0.5 < document["seconds"] < 5
    done = run("sabo", *arguments(work), "--progress", "--summary", stdin=b"abc")
    assert b"3 bytes, status 0" in done.stderr


def test_progress_stays_on_one_line_of_a_terminal(work: Path) -> None:
    ours, theirs = os.openpty()
    process = start(
        "sabo", *arguments(work, "100K"), "--progress", "--stats-interval", "100ms", "--summary",
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    assert process.stdin is not None
    feed(process.stdin, bytes(50_000))
    assert process.wait(timeout=20) == 0
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert shown.count("\r") >= 3
    assert shown.count("\n") == 2  # after the last progress line and after the summary
    assert "50000 bytes, status 0" in shown.splitlines()[-1]
