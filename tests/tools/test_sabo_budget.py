"""`sabo`: the budget that its processes share, with each other and with the Go program."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from kojuto.common import units
from kojuto.tools.sabo import bandwidth
from tests.conftest import wait_until
from tests.peers.sabo import arguments, work
from tests.streams import (
    feed,
    processes_end,
    start,
    wait_for_handler,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["processes_end", "work"]


class GoMember:
    """A member that follows the Go program's protocol, step by step, in this process."""

    def __init__(self, work: Path, budget: int) -> None:
        name = f"sabo_{budget}_{os.getpid()}_{random.randbytes(6).hex()}.lock"
        self.work, self.prefix, self.path = work, f"sabo_{budget}_", work / name
        self.file = os.open(work / f"_{name}", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(work / f"_{name}", self.path)

    def count(self) -> int:
        """What its once-a-second look finds: locked files are members, others are removed."""
        locked = 0
        for name in os.listdir(self.work):
            if not name.startswith(self.prefix):
                continue
            descriptor = os.open(self.work / name, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                locked += 1
            else:
                os.unlink(self.work / name)
            finally:
                os.close(descriptor)
        return locked

    def leave(self) -> None:
        os.close(self.file)
        self.path.unlink()


def reported_share(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    process.send_signal(signal.SIGUSR1)
    line = process.stderr.readline().decode()
    assert "share " in line, line
    return line.partition("share ")[2].partition(" of ")[0]


def idle(work: Path, rate: str, *more: str, weight: int = 1) -> subprocess.Popen[bytes]:
    """A sabo that waits for its input."""
    # It is a member once its files have the names that others count; they are made under others.
    members = len(list(work.glob("sabo_*"))) + weight
    process = start(
        "sabo", *arguments(work, rate), *more,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: len(list(work.glob("sabo_*"))) == members)
    wait_for_handler(process.pid, signal.SIGUSR1)
    return process


def test_the_budget_is_shared_with_the_go_program_both_ways(work: Path) -> None:
    go = GoMember(work, 9_000_000)
    ours = idle(work, "9M")
    assert go.count() == 2
    assert reported_share(ours) == "4.5 MB/s"
    third = GoMember(work, 9_000_000)
    wait_until(lambda: reported_share(ours) == "3 MB/s")
    third.leave()
    wait_until(lambda: reported_share(ours) == "4.5 MB/s")
    # A Go member that dies leaves its file; ours removes it.
    os.close(go.file)
    wait_until(lambda: reported_share(ours) == "9 MB/s")
    assert not go.path.exists()
    # And the other way round.
    go = GoMember(work, 9_000_000)
    ours.kill()
    ours.communicate()
    assert go.count() == 1
    assert [path.name for path in work.iterdir()] == [go.path.name]
    go.leave()


def test_weights_and_floors_are_understood_by_who_only_counts_files(work: Path) -> None:
    heavy = idle(work, "9M", "--weight", "2", weight=2)
    go = GoMember(work, 9_000_000)
    assert go.count() == 3
    wait_until(lambda: reported_share(heavy) == "6 MB/s")
    floored = start(
        "sabo", *arguments(work, "9M"), "--min-share", "5M",
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert floored.stderr is not None
    wait_for_handler(floored.pid, signal.SIGUSR1)
    assert b"warning: --min-share 5000000 is above the fair share" in floored.stderr.readline()
    assert reported_share(floored) == "5 MB/s"
    assert floored.stdin is not None
    feeder = feed(floored.stdin, bytes(200_000_000))  # who waits would lend its share
    wait_until(lambda: reported_share(heavy) == "4.5 MB/s")
    floored.terminate()
    assert floored.wait(timeout=10) == 143
    feeder.join(10)
    assert heavy.communicate(b"", timeout=10)[0] is None
    assert heavy.returncode == 0
    go.leave()
    assert not list(work.iterdir())


def test_a_work_directory_that_vanishes_is_told_once_and_costs_nothing(work: Path) -> None:
    process = idle(work, "1M")
    assert process.stderr is not None
    for path in work.iterdir():
        path.unlink()
    wait_until(lambda: len(list(work.iterdir())) == 1, what="its lock file comes back")
    subprocess.run(["rm", "-r", work], check=True)
    line = process.stderr.readline().decode()
    # Of the directory, or of what was to be made in it just then.
    assert line.startswith((f"sabo: warning: {work}: ", f"sabo: warning: {work}/"))
    assert ": No such file or directory" in line
    assert "going on with the last share, 1000000 bytes/s" in line
    time.sleep(2.2)  # two more counts, which must not tell it again
    work.mkdir()
    assert b"the work directory is back" in process.stderr.readline()
    _, told = process.communicate(b"x" * 1000, timeout=10)
    assert (process.returncode, told) == (0, b"")
    assert not list(work.iterdir())


def test_lock_files_are_named_as_the_go_program_names_them(work: Path) -> None:
    process = idle(work, "1.005K")
    (path,) = work.iterdir()
    # Go cuts 1.005 * 1000 = 1004.9999999999999 to 1004.
    prefix = f"sabo_1004_{process.pid}_"
    assert path.name.startswith(prefix)
    assert path.name.endswith(".lock")
    assert len(path.name) == len(prefix) + 20 + len(".lock")
    assert path.stat().st_mode & stat.S_IROTH
    process.communicate(b"", timeout=10)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100M", 100_000_000),
        ("1,000K", 1_000_000),
        ("1.1KB", 1100),
        ("1.005K", 1004),
        ("1MiB", 1 << 20),
    ],
)
def test_bandwidths_are_read_as_the_go_program_reads_them(text: str, value: int) -> None:
    assert bandwidth(text) == value
    assert abs(units.size(text.replace(",", "")) - value) <= 1
