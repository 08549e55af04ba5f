"""What the tests of the pipe commands share: byte patterns, starting and killing."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import select
import socket
import subprocess
import threading
import time
import tty
from typing import IO, TYPE_CHECKING, Any

import pytest

from tests.conftest import script, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes in which every loss, repetition and exchange shows."""
    return random.Random(seed).randbytes(size)


def wait_for_handler(pid: int, number: int) -> None:
    """Wait until the process has its own answer to this signal: before, it would just die."""
    bit = 1 << (number - 1)

    def there() -> bool:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            masks = [line.split()[1] for line in file if line.startswith(("SigCgt", "SigBlk"))]
        return any(int(mask, 16) & bit for mask in masks)

    wait_until(there, what=f"process {pid} handles signal {number}")


KINDS = ("pipe", "fifo", "socket", "tty")
"""What a standard stream may be, a file left out."""


def ends(kind: str, fifo: Path) -> tuple[int, int]:
    """The reader's end and the writer's of one of `KINDS`; `fifo` is where that kind is made."""
    if kind == "pipe":
        return os.pipe()
    if kind == "fifo":
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        return reader, os.open(fifo, os.O_WRONLY)
    if kind == "tty":
        reader, writer = pty.openpty()
        tty.setraw(writer)
        return reader, writer
    near, far = socket.socketpair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return near.detach(), far.detach()


def full_ends(kind: str, fifo: Path) -> tuple[int, int]:
    """As `ends`, and the writer's takes nothing more, for nobody reads."""
    reader, writer = ends(kind, fifo)
    os.set_blocking(writer, False)
    waiting = select.poll()
    waiting.register(writer, select.POLLOUT)
    # What a terminal took goes on to its reader's end a moment later, and leaves room.
    while waiting.poll(100):
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writer, b"x" * size)
    os.set_blocking(writer, True)
    return reader, writer


_started: list[subprocess.Popen[bytes]] = []


def start(name: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start an installed command; pipes and the like as for `subprocess.Popen`."""
    return spawn([script(name), *map(str, arguments)], **options)


def spawn(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start any program; `processes_end` sees to its end."""
    process = subprocess.Popen(command, **options)
    _started.append(process)
    source: Any = options.get("stdin")
    if hasattr(source, "close"):
        source.close()  # the child has its own
    return process


@pytest.fixture(autouse=True)
def processes_end() -> Iterator[None]:
    """Kill what a test started and left, and close its pipes."""
    yield
    for process in _started:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()
    _started.clear()


def feed(pipe: IO[bytes], data: bytes) -> threading.Thread:
    """Write all of `data` from a thread and close; a reader that is gone ends it quietly."""

    def work() -> None:
        with contextlib.suppress(BrokenPipeError):
            pipe.write(data)
        with contextlib.suppress(BrokenPipeError):
            pipe.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


class Meter(threading.Thread):
    """Reads a descriptor to its end and notes when how much came, in this process's clock."""

    def __init__(self, descriptor: int, chunk: int = 1 << 20) -> None:
        super().__init__(daemon=True)
        self.descriptor = descriptor
        self.chunk = chunk
        self.marks: list[tuple[float, int]] = [(time.monotonic(), 0)]
        self.start()

    def run(self) -> None:
        total = 0
        while data := os.read(self.descriptor, self.chunk):
            total += len(data)
            self.marks.append((time.monotonic(), total))

    def total_at(self, moment: float) -> int:
        """How many bytes had come by then."""
        from bisect import bisect_right

        marks = self.marks
        return marks[max(bisect_right(marks, moment, key=lambda mark: mark[0]) - 1, 0)][1]

    def rate(self, since: float, until: float) -> float:
        """Bytes a second between two moments."""
        return (self.total_at(until) - self.total_at(since)) / (until - since)
