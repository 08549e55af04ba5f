"""A signal ends what writes to a reader who stands still, in bounded time, wherever it falls."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from kojuto.commands import COMMANDS
from tests.jobs import PLUGINS, Jobs
from tests.streams import KINDS, ends, full_ends, pattern, processes_end, start, wait_for_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["processes_end"]

LAST_BYTES_S = 5.0
"""So long what sabo has read waits for its reader."""
ROUNDS = int(os.environ.get("KOJUTO_STUCK_ROUNDS", "1"))
SLACK_S = 8.0
"""For the start of the next step on a machine that is busy."""


class Stuck:
    """A command whose standard output is one of `KINDS`, and nobody reads there."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        source: str,
        data: bytes,
        *command: str,
        env: Mapping[str, str],
    ) -> None:
        self.name = f"{kind} from {source}"
        self.reader, output = ends(kind, folder / f"fifo-{source}")
        into: int
        if source == "pipe":
            self.left, self.feeder = os.pipe()
            fcntl.fcntl(self.feeder, fcntl.F_SETPIPE_SZ, 1 << 20)  # more than any output takes
            os.set_blocking(self.feeder, False)
            self.put = os.write(self.feeder, data)
            into = self.left
        else:
            path = folder / f"{kind}.in"
            path.write_bytes(data)
            self.left, self.feeder, self.put = os.open(path, os.O_RDONLY), -1, len(data)
            into = self.left
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env}
        self.read = 0
        self.process = start(*command, stdin=into, stdout=output, stderr=subprocess.PIPE, env=env)
        os.close(output)

    def end(self, began: float) -> tuple[int, float, str]:
        """The status, the seconds since `began`, and what it said."""
        _, told = self.process.communicate(timeout=LAST_BYTES_S + SLACK_S)
        return self.process.returncode, time.monotonic() - began, told.decode()

    def sip(self, most: int = 1 << 16) -> bool:
        """Read a little, as a slow reader does; False when there is nothing."""
        os.set_blocking(self.reader, False)
        count = 0
        with contextlib.suppress(BlockingIOError, OSError):  # a terminal's end is EIO
            count = len(os.read(self.reader, most))
        self.read += count
        return count > 0

    def came(self) -> int:
        """The bytes that came to the reader."""
        while self.sip():
            pass
        return self.read

    def unread(self) -> int:
        """The bytes that the command left in its input."""
        os.set_blocking(self.left, False)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.left, 1 << 16):
                count += len(data)
        return count

    def close(self) -> None:
        for descriptor in (self.reader, self.left, self.feeder):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def shim(preload: Callable[[str], dict[str, str]]) -> dict[str, str]:
    """The environment of a command that gets SIGTERM right before a call that blocks."""
    return preload("signal_before_write")


@contextlib.contextmanager
def stuck(
    folder: Path, sources: tuple[str, ...], *command: str, env: Mapping[str, str]
) -> Iterator[list[Stuck]]:
    """One command for each kind of output and each kind of input, all at once."""
    data = pattern(3_000_000)
    made = [Stuck(kind, folder, source, data, *command, env=env)
            for kind in KINDS for source in sources]  # fmt: skip
    try:
        yield made
    finally:
        for one in made:
            one.process.kill()
            one.close()


def check_sabo(one: Stuck, began: float, number: int = signal.SIGTERM) -> None:
    status, took_s, told = one.end(began)
    assert status == 128 + number, (one.name, told)
    assert took_s < LAST_BYTES_S + SLACK_S, one.name
    lost = 0
    if told:
        assert (
            "bytes that were read are not written: the reader did not take them within 5 s" in told
        ), told
        lost = int(told.split("warning: ")[1].split()[0])
    assert one.came() + lost + one.unread() == one.put, (one.name, told)
    if one.name in ("pipe from pipe", "fifo from pipe", "socket from pipe"):
        assert told == "", one.name  # what is moved inside the kernel is never held


def sabo(folder: Path) -> tuple[str, ...]:
    # Below the rate from which pipes are made larger.
    return ("sabo", "--max-bandwidth", "7M", "--work-dir", str(folder))


@pytest.mark.parametrize("slow", [False, True], ids=["stuck", "slow"])
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_sabo_ends_at_a_random_moment(round_: int, slow: bool, tmp_path: Path) -> None:
    """Whether its reader stands still or takes a little now and then.

    KOJUTO_STUCK_ROUNDS=25 makes a soak of it: eight signals a round and kind of reader.
    """
    number = random.choice((signal.SIGTERM, signal.SIGINT))
    with stuck(tmp_path, ("pipe", "file"), *sabo(tmp_path), env={}) as all_of_them:
        for one in all_of_them:
            wait_for_handler(one.process.pid, signal.SIGTERM)  # ^C has Python's own before
        began = time.monotonic()
        moments = [(random.random() * (0.5 if slow else 0.05), one) for one in all_of_them]
        while any(one.process.poll() is None for one in all_of_them):
            since = time.monotonic() - began
            assert since < LAST_BYTES_S + SLACK_S
            for moment, one in list(moments):
                if since >= moment:
                    one.process.send_signal(number)
                    moments.remove((moment, one))
            for one in all_of_them if slow else ():
                one.sip(random.randrange(1, 5000))
            time.sleep(0.002)
        for one in all_of_them:
            check_sabo(one, began, number)


def test_sabo_ends_when_the_signal_falls_right_before_a_call_that_blocks(
    tmp_path: Path, shim: dict[str, str]
) -> None:
    with stuck(tmp_path, ("pipe", "file"), *sabo(tmp_path), env=shim) as all_of_them:
        began = time.monotonic()
        for one in all_of_them:
            check_sabo(one, began)


@pytest.mark.parametrize("preloaded", [False, True], ids=["any moment", "before the call"])
def test_relaxlogs_ends_after_its_stop_timeout(
    preloaded: bool, tmp_path: Path, shim: dict[str, str]
) -> None:
    command = ("relaxlogs", "--stop-timeout", "500ms")
    env = shim if preloaded else {}
    with stuck(tmp_path, ("pipe", "file"), *command, env=env) as all_of_them:
        for one in all_of_them:
            if not preloaded:
                wait_for_handler(one.process.pid, signal.SIGTERM)
                one.process.terminate()
        began = time.monotonic()
        for one in all_of_them:
            status, took_s, told = one.end(began)
            assert took_s < SLACK_S, one.name
            assert status == 1, (one.name, told)
            assert "bytes of lines could not be written before the end" in told, told


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_ends_every_command_that_nobody_reads(kind: str, tmp_path: Path) -> None:
    """Neither its output nor its errors; and what a plugin has not told stays to be told."""
    with contextlib.ExitStack() as stack:
        running = [Unread(name, kind, tmp_path / name, stack) for name in COMMANDS]
        for one in running:
            with contextlib.suppress(subprocess.TimeoutExpired):  # a few have nothing to say
                one.process.wait(random.uniform(0, 0.5))
            one.process.terminate()
        began = time.monotonic()
        for one in running:
            one.process.wait(ENDS_WITHIN_S + SLACK_S)
            assert time.monotonic() - began < ENDS_WITHIN_S + SLACK_S, one.job.name
        for one in running:
            if one.job.name in PLUGINS[:3]:
                assert one.process.returncode == -signal.SIGTERM
                assert one.positions() == one.before


ENDS_WITHIN_S = 5.0


class Unread:
    """A command whose standard output and error are of one kind and full."""

    def __init__(self, name: str, kind: str, folder: Path, stack: contextlib.ExitStack) -> None:
        folder.mkdir()
        self.jobs = Jobs(folder)
        stack.callback(self.jobs.upstream.close)
        self.job = self.jobs.make(name)
        self.before = self.positions()
        reader, writer = full_ends(kind, folder / "fifo")
        stack.callback(os.close, reader)
        # What it reads stays open, so that no end of its input ends it.
        into, feeder = os.pipe()
        stack.callback(os.close, feeder)
        os.write(feeder, self.job.stdin or b"")
        self.process = self.job.start(stdin=into, stdout=writer, stderr=writer)
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)
        os.close(into)
        os.close(writer)

    def positions(self) -> dict[str, bytes]:
        """How far the logs have been read; locks and what is staged beside them do not count."""
        files = (path for path in self.jobs.state.iterdir() if path.suffix not in (".lock", ".new"))
        return {path.name: path.read_bytes() for path in files}
