"""`sabo`: shares of who waits are lent, and the rate changes while it runs."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING

from tests.conftest import run, wait_until
from tests.peers.sabo import arguments, work
from tests.streams import Meter, feed, processes_end, spawn, start
from tests.tools.test_sabo_budget import GoMember

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 64 << 10
__all__ = ["processes_end", "work"]


class Busy:
    """A sabo whose producer never waits, and the meter at its output."""

    def __init__(self, work: Path, rate: str) -> None:
        self.process = start("sabo", *arguments(work, rate), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.producer = spawn(["cat", "/dev/zero"], stdout=self.process.stdin,
                              stderr=subprocess.DEVNULL)  # fmt: skip
        self.process.stdin.close()
        self.meter = Meter(self.process.stdout.fileno())

    def rate(self, seconds: float = 1.0) -> float:
        """Bytes a second over the last seconds."""
        now = time.monotonic()
        return self.meter.rate(now - seconds, now)

    def runs_at(self, rate: float) -> None:
        wait_until(lambda: abs(self.rate() - rate) < 0.1 * rate, what=f"{rate} bytes/s")

    def told(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline().decode()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(timeout=20) == 143
        self.meter.join(10)
        self.producer.wait(timeout=20)


def test_who_has_nothing_to_pass_lends_its_share_and_takes_it_back(work: Path) -> None:
    busy = Busy(work, "4M")
    waiting = start("sabo", *arguments(work, "4M"), stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE)  # fmt: skip
    assert waiting.stdin is not None
    assert waiting.stdout is not None
    meter = Meter(waiting.stdout.fileno())
    busy.runs_at(4_000_000)
    feeder = feed(waiting.stdin, bytes(20_000_000))
    wait_until(lambda: meter.total_at(time.monotonic()) > 0)
    begun = time.monotonic()
    time.sleep(3.6)
    both = [each.rate(begun + 1.5, begun + 3.5) for each in (busy.meter, meter)]
    assert all(abs(rate - 2_000_000) < 0.05 * 2_000_000 + CHUNK for rate in both), both
    busy.stop()
    waiting.kill()
    waiting.wait()
    meter.join(10)
    feeder.join(10)


def test_a_member_of_the_go_program_lends_nothing(work: Path) -> None:
    go = GoMember(work, 4_000_000)
    busy = Busy(work, "4M")
    wait_until(lambda: busy.meter.total_at(time.monotonic()) > 0)
    time.sleep(3.2)
    assert abs(busy.rate(2) - 2_000_000) < 0.05 * 2_000_000 + CHUNK
    assert go.count() == 2
    busy.stop()
    go.leave()


def test_the_rate_of_a_running_group_is_set(work: Path) -> None:
    busy = Busy(work, "4M")
    busy.runs_at(4_000_000)
    done = run("sabo", "set", *arguments(work, "4M"), "1M")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert busy.told() == "sabo: warning: all members together have 1000000 bytes/s now\n"
    busy.runs_at(1_000_000)
    later = Busy(work, "4M")
    later.runs_at(500_000)
    go = GoMember(work, 4_000_000)
    done = run("sabo", "set", *arguments(work, "4M"), "3M")
    assert done.returncode == 0
    assert re.search(rb"warning: 1 of 3 members are of another program", done.stderr)
    later.runs_at(1_000_000)
    go.leave()
    busy.stop()
    later.stop()
    assert list(work.iterdir()) == [], "it ends with the last member"
    done = run("sabo", "set", *arguments(work, "4M"), "3M")
    assert done.returncode == 1
    assert b"no sabo with --max-bandwidth 4000000 works there" in done.stderr


def test_a_rate_that_is_none_is_not_set(work: Path) -> None:
    for more, words in [([], b"one new rate is needed"), (["x"], b"x: "), (["1"], b"1: below")]:
        done = run("sabo", "set", *arguments(work, "4M"), *more)
        assert done.returncode == 2
        assert words in done.stderr


def test_two_budgets_in_a_directory_are_told_of(work: Path) -> None:
    busy = Busy(work, "1MiB")
    wait_until(lambda: busy.meter.total_at(time.monotonic()) > 0)
    done = run("sabo", *arguments(work, "1M"), stdin=b"x")
    assert (done.returncode, done.stdout) == (0, b"x")
    assert b"members of another budget, 1048576 bytes/s, work in the directory too" in done.stderr
    busy.stop()
    done = run("sabo", *arguments(work, "1M"), stdin=b"x")
    assert done.stderr == b""
