"""`relaxlogs`: a disk that is full, a directory that goes."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import termios
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.disks import fill, small_disk
from tests.peers.relaxlogs import DAY, Running, content, logs, own
from tests.streams import feed, processes_end, spawn, start

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["logs", "processes_end"]


@pytest.mark.parametrize("more", [[], ["--with-time"]])
def test_a_full_disk_keeps_the_lines_and_says_so_once(more: list[str], tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=2m,mode=755") as disk:
        logs = disk / "logs"
        running = Running(logs, *DAY, *more)
        running.write(b"before\n")
        wait_until(lambda: content(logs).endswith(b"before\n"))
        filler = fill(disk)
        lines = b"".join(b"line %d\n" % n for n in range(3000))
        running.write(lines)
        told = running.told()
        assert "No space left on device; keeping up to" in told
        assert "keeping up to 64000000 bytes of lines, then the producer waits" in told
        time.sleep(0.5)
        filler.unlink()
        assert running.told() == "relaxlogs: warning: writing again\n"
        running.write(b"after\n")
        assert running.end() == (0, "")
        found = re.sub(rb"(?m)^\[[^]]*\] ", b"", content(logs))
        assert found == b"before\n" + lines + b"after\n"


def test_a_full_buffer_blocks_the_producer(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=2m,mode=755") as disk:
        logs = disk / "logs"
        running = Running(logs, *DAY, "--buffer", "100K")
        filler = fill(disk)
        data = b"".join(b"%07d\n" % n for n in range(500_000))
        feeder = feed(running.pipe, data)
        assert "No space" in running.told()
        time.sleep(0.5)
        assert feeder.is_alive()  # buffer and pipe hold less than half a megabyte of four
        waiting = fcntl.ioctl(running.pipe, termios.FIONREAD, bytes(4))
        assert int.from_bytes(waiting, "little") > 200_000
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        feeder.join(20)
        running.process.stdin = None
        assert running.process.wait(timeout=20) == 0
        assert content(logs) == data


@pytest.mark.parametrize("how", ["--drop-when-full", "--on-full=drop-oldest"])
def test_dropped_lines_are_whole_and_counted(how: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=2m,mode=755") as disk:
        logs = disk / "logs"
        running = Running(logs, *DAY, "--buffer", "100K", how)
        filler = fill(disk)
        running.write(b"".join(b"%07d\n" % n for n in range(200_000)))  # 1.6 MB, never blocks
        assert "lines are dropped" in running.told()
        filler.unlink()
        told = running.told()
        dropped = int(told.partition("; ")[2].split()[0])
        status, rest = running.end()
        assert (status, rest) == (0, ""), "told once"
        found = [int(line) for line in content(logs).split()]
        assert all(len(line) == 7 for line in content(logs).split())
        assert len(found) + dropped == 200_000
        assert found == sorted(set(found))
        assert (found[0] == 0) is (how == "--drop-when-full")
        assert how == "--drop-when-full" or found[-1] == 199_999


def test_sigterm_on_a_full_disk_tries_for_a_while_and_fails(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=2m,mode=755") as disk:
        running = Running(disk / "logs", *DAY, "--stop-timeout", "500ms")
        fill(disk)
        running.write(b"x" * 5000 + b"\n")
        assert "No space" in running.told()
        wait_until(lambda: int.from_bytes(
            fcntl.ioctl(running.pipe, termios.FIONREAD, bytes(4)), "little") == 0
        )  # fmt: skip
        status, told = running.end(number=signal.SIGTERM)
        assert status == 1
        lost = int(re.search(r"error: (\d+) bytes of lines could not be written", told)[1])  # type: ignore[index]
        assert 0 < lost <= 5001


def test_a_directory_that_is_removed_is_made_again_and_no_later_line_is_lost(logs: Path) -> None:
    source = str(__file__).rsplit("/tools/", 1)[0] + "/programs/numbered.py"
    reader, writer = os.pipe()
    logger = start("relaxlogs", "--log-dir", logs, *DAY, stdin=reader, stderr=subprocess.PIPE)
    producer = spawn(
        ["python3", source, "1", "3000", "0.0005"], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(reader)
    os.close(writer)
    wait_until(lambda: logs.exists() and own(logs) and own(logs)[0].stat().st_size > 50_000)
    before = int(content(logs).split(b"\n")[-2].split()[0])
    subprocess.run(["rm", "-rf", logs], check=True)
    wait_until(lambda: logs.exists() and own(logs) and own(logs)[0].stat().st_size > 50_000)
    producer.terminate()
    _, count = producer.communicate(timeout=20)
    _, told = logger.communicate(timeout=20)
    assert logger.returncode == 0
    assert b"was removed; making it again" in told
    numbers = []
    for line in content(logs).splitlines():
        first, _, last = line.split(b" ")
        assert first == last
        numbers.append(int(first))
    assert numbers == list(range(numbers[0], int(count)))
    assert numbers[0] > before
