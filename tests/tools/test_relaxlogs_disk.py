"""`relaxlogs`: a disk that is full, a directory that goes."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, wait_until
from tests.disks import fill, mount, mount_tmpfs, small_disk
from tests.peers.relaxlogs import DAY, Running, content, logs, own
from tests.streams import feed, processes_end, spawn, start

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.mark.parametrize("more", [[], ["--with-time"]])
def test_a_file_at_the_limit_of_its_process_is_left_for_the_next(
    more: list[str], logs: Path
) -> None:
    running = Running(logs, *DAY, *more)
    running.write(b"before\n")
    wait_until(lambda: content(logs).endswith(b"before\n"))
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    lines = b"".join(b"line %d\n" % n for n in range(1000))
    running.write(lines)
    assert "File too large; going on in the next file" in running.told()
    wait_until(lambda: content(logs).endswith(b"line 999\n"))
    assert all(path.read_bytes().endswith(b"\n") for path in own(logs))
    assert max(path.stat().st_size for path in own(logs)) <= 1000
    running.write(b"x" * 2000 + b"\n")
    assert "File too large; keeping up to" in running.told(), "the line alone is longer"
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert "writing again" in running.told()
    assert running.end() == (0, ""), "each told once"
    found = re.sub(rb"(?m)^\[[^]]*\] ", b"", content(logs))
    assert found == b"before\n" + lines + b"x" * 2000 + b"\n"


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
    # It is made again meanwhile, file by file: then rm finds it not empty.
    wait_until(lambda: subprocess.run(["rm", "-rf", logs], check=False).returncode == 0)
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


def test_lines_are_written_where_the_link_cannot_be_turned(logs: Path) -> None:
    (logs / "current").mkdir(parents=True)
    with small_disk(logs / "current"):  # a mount point can neither be replaced nor renamed
        running = Running(logs, *DAY)
        running.write(b"one\n")
        told = running.told()
        assert f"{logs / 'current'}: Device or resource busy: lines are written to log." in told
        running.write(b"two\n")
        wait_until(lambda: content(logs) == b"one\ntwo\n")
    more = 0
    while more < 100 and not (logs / "current").is_symlink():
        running.write(b"more\n")  # a link is looked at while lines come
        more += 1
        time.sleep(0.1)
    assert running.end() == (0, "")
    assert (logs / "current").samefile(own(logs)[0])
    assert content(logs) == b"one\ntwo\n" + b"more\n" * more


need_loop = pytest.mark.skipif(
    not os.path.exists("/dev/loop-control"), reason="this kernel has no loop devices"
)


@pytest.fixture
def mortal_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of its own, of the file `image` beside it; `die` ends it."""
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    (disk / "logs").touch()  # no folder can be made here while nothing is mounted
    image.write_bytes(bytes(8 << 20))
    subprocess.run([need_program("mkfs.ext4"), "-q", image], check=True)
    mount("-o", "loop", image, disk)
    yield disk
    subprocess.run(["umount", "-l", disk], check=False)


def die(disk: Path) -> None:
    """Whatever is written to the file system from now on fails."""
    opened = os.open(disk, os.O_RDONLY)
    fcntl.ioctl(opened, 0x8004587D, struct.pack("I", 0))  # EXT4_IOC_SHUTDOWN
    os.close(opened)


@need_loop
def test_on_another_disk_in_place_of_a_dead_one_it_goes_on(mortal_disk: Path) -> None:
    disk = mortal_disk
    running = Running(disk / "logs", *DAY)
    running.write(b"before\n")
    wait_until(lambda: content(disk / "logs") == b"before\n")
    die(disk)
    running.write(b"meanwhile\n")
    assert "Input/output error" in running.told()
    subprocess.run(["umount", "-l", disk], check=True)
    mount_tmpfs(disk, "size=1m,mode=755")
    (disk / "logs").mkdir()
    running.write(b"after\n")
    wait_until(lambda: content(disk / "logs") == b"meanwhile\nafter\n")
    assert running.end()[0] == 0


@need_loop
@pytest.mark.parametrize("torn", [b"", b"a line that has"])
def test_a_dead_disk_is_let_go_of_and_written_to_where_it_is_mounted_again(
    torn: bytes, mortal_disk: Path
) -> None:
    """As long as it is held, it can be mounted as often as one likes, and stays dead."""
    disk = mortal_disk
    running = Running(disk / "logs", *DAY)
    running.write(b"before\n" + torn)
    wait_until(lambda: content(disk / "logs") == b"before\n" + torn)
    die(disk)
    running.write(b" its end\nmeanwhile\n")
    assert "Input/output error" in running.told()
    unmount = ["umount", "-q", str(disk)]
    wait_until(lambda: subprocess.run(unmount, check=False).returncode == 0)
    mount("-o", "loop", disk.parent / "image", disk)
    running.write(b"after\n")
    end = b"\n" if torn else b""  # its beginning could not be read
    wanted = b"before\n" + torn + end + b" its end\nmeanwhile\nafter\n"
    wait_until(lambda: content(disk / "logs") == wanted)
    assert running.end() == (0, "relaxlogs: warning: writing again\n")
