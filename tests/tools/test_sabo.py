"""`sabo`: no byte lost or added, exit statuses, signals, full disks, the shared budget."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kojuto.common import units
from kojuto.tools.sabo import bandwidth
from tests.conftest import run, script, wait_until
from tests.disks import small_disk
from tests.streams import (
    Meter,
    feed,
    pattern,
    processes_end,
    start,
    wait_for_handler,
)

__all__ = ["processes_end"]

FAST = "100G"
EDGES = [0, 1, 4096, 65536, 256 << 10, 1 << 20]
SIZES = sorted({size + by for size in EDGES for by in (-1, 0, 1) if size + by >= 0} | {3_333_333})


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "members"
    path.mkdir()
    return path


def arguments(work: Path, rate: str | int = FAST) -> list[str]:
    return ["--max-bandwidth", str(rate), "--work-dir", str(work)]


# -- no byte lost or added ------------------------------------------------------------------------


def through(way: str, data: bytes, work: Path, rate: str, name: Path) -> bytes:
    """Send `data` through sabo between two kinds of descriptors; return what came out."""
    source, sink = way.split(" to ")
    out = name.with_suffix(".out")
    out.write_bytes(b"")
    into = name.with_suffix(".in")
    into.write_bytes(data if source == "file" else b"")
    flags = os.O_WRONLY | (os.O_APPEND if sink == "append" else 0)
    with open(into, "rb") as file, open(os.open(out, flags), "wb") as target:
        near, far = socket.socketpair()
        process = start(
            "sabo",
            *arguments(work, rate),
            stdin={"pipe": subprocess.PIPE, "file": file, "socket": far}[source],
            stdout=subprocess.PIPE if sink == "pipe" else target,
            stderr=subprocess.PIPE,
        )
        far.close()
        if source == "pipe":
            assert process.stdin is not None
            feed(process.stdin, data)
            process.stdin = None
        elif source == "socket":
            feed(near.makefile("wb"), data)
        near.close()
        stdout, stderr = process.communicate(timeout=60)
    assert stderr == b""
    assert process.returncode == 0
    return stdout if sink == "pipe" else out.read_bytes()


WAYS = [
    "pipe to pipe", "pipe to file", "pipe to append", "file to file", "file to pipe",
    "socket to pipe", "socket to file",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_size_around_every_buffer_passes_whole(way: str, work: Path, tmp_path: Path) -> None:
    def one(size: int) -> None:
        data = pattern(size, size)
        assert through(way, data, work, FAST, tmp_path / f"s{size}") == data, size

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, SIZES))
    assert not list(work.iterdir())


@pytest.mark.parametrize(("way", "copies"), [("file", False), ("pipe", False), ("append", True)])
def test_splice_where_it_goes_and_copies_where_not(
    way: str, copies: bool, work: Path, tmp_path: Path
) -> None:
    """The kernel counts what read(2) and write(2) move, and not what splice(2) does."""
    with open(tmp_path / "out", "ab" if way == "append" else "wb") as sink:
        process = start(
            "sabo", *arguments(work),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE if way == "pipe" else sink,
        )  # fmt: skip
    assert process.stdin is not None
    data = pattern(20_000_000)
    reader = None if process.stdout is None else Meter(process.stdout.fileno())
    process.stdin.write(data)
    process.stdin.flush()

    def arrived() -> int:
        return reader.marks[-1][1] if reader else (tmp_path / "out").stat().st_size

    wait_until(lambda: arrived() == len(data))
    counters = dict(
        line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines()
    )
    assert (int(counters["wchar"]) >= len(data)) is copies
    assert (int(counters["rchar"]) >= len(data)) is copies
    process.stdin.close()
    process.stdin = None
    assert process.wait(timeout=10) == 0
    if way != "pipe":
        assert (tmp_path / "out").read_bytes() == data


def test_every_rate_from_one_kilobyte_passes_whole(tmp_path: Path) -> None:
    """The original drops data, with status 0, once a share is below its 32 KB buffer."""

    def one(case: tuple[str, int, str]) -> None:
        way, rate, key = case
        work = tmp_path / f"members{key}"
        work.mkdir()
        data = pattern(rate * 2 + 1, rate)
        began = time.monotonic()
        assert through(way, data, work, str(rate), tmp_path / key) == data, case
        assert time.monotonic() - began > 1.9, f"{case} passed too fast"

    rates = [1000, 1001, 4096, 31_999, 32_000, 65_535, 1_000_000, 20_000_000]
    cases = [
        (way, rate, f"{number}-{rate}")
        for number, way in enumerate(["pipe to pipe", "pipe to append"])
        for rate in rates
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        list(pool.map(one, cases))


@pytest.mark.parametrize(
    ("members", "rate", "size"),
    [
        (1, 2_000_000, 400_000),
        (2, 2_000_000, 400_000),
        (7, 2_000_000, 400_000),
        (100, 4_000_000, 60_000),
        (100, 100_000, 3_000),  # shares of 1 KB/s
    ],
)
def test_members_that_join_leave_and_die_cost_no_byte(
    members: int, rate: int, size: int, work: Path, tmp_path: Path
) -> None:
    dice = random.Random(members)
    data = pattern(size, members)
    alive: dict[int, subprocess.Popen[bytes]] = {}
    dead: set[int] = set()
    for number in range(members):
        with open(tmp_path / str(number), "wb") as sink:
            process = start(
                "sabo", *arguments(work, rate),
                stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.PIPE,
            )  # fmt: skip
        assert process.stdin is not None
        feed(process.stdin, data)
        alive[number] = process
        if number == 1 or (number and dice.random() < 0.4):
            victim = dice.choice([n for n in alive if n and n not in dead] or [number])
            alive[victim].kill()
            dead.add(victim)
    for number, process in alive.items():
        process.wait(timeout=90)
        assert process.stderr is not None
        told = process.stderr.read()
        process.stderr.close()
        came = (tmp_path / str(number)).read_bytes()
        if number in dead and process.returncode != 0:
            assert data.startswith(came)
        else:
            assert (process.returncode, told) == (0, b"")
            assert came == data
    assert members == 1 or dead
    # The last one may have died after the last count; the next member clears up.
    assert run("sabo", *arguments(work, rate), stdin=b"x").stdout == b"x"
    assert not [path for path in work.iterdir() if path.name.startswith("sabo_")]


# -- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["spliced", "written"])
def test_a_full_disk_is_status_1_with_a_message(mode: str, work: Path, tmp_path: Path) -> None:
    data = pattern(3_000_000)
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "dump"
        with open(path, "wb" if mode == "spliced" else "ab") as sink:
            process = start(
                "sabo", *arguments(work), stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.PIPE
            )
            assert process.stdin is not None
            feed(process.stdin, data)
            process.stdin = None
            _, told = process.communicate(timeout=30)
        assert process.returncode == 1
        written = path.stat().st_size
        expected = f"error: standard output: No space left on device (after {written} bytes)"
        assert expected in told.decode()
        assert data.startswith(path.read_bytes())
        assert 900_000 < written <= 1 << 20


@pytest.mark.parametrize("mode", ["spliced", "written"])
def test_a_broken_reader_is_status_1_with_a_message(mode: str, work: Path) -> None:
    source = subprocess.PIPE if mode == "spliced" else open("/dev/zero", "rb")  # noqa: SIM115
    process = start(
        "sabo",
        *arguments(work, "10M"),
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if process.stdin is not None:
        feed(process.stdin, bytes(5_000_000))
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(timeout=30) == 1
    assert process.stderr is not None
    assert b"error: standard output: Broken pipe (after " in process.stderr.read()


def test_a_read_error_is_status_1_with_a_message(work: Path) -> None:
    with open("/proc/self/mem", "rb") as unreadable:  # nothing is mapped at address 0
        process = start(
            "sabo", *arguments(work), stdin=unreadable, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    out, told = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, b"")
    assert b"error: standard input: Input/output error (after 0 bytes)" in told


@pytest.mark.parametrize(("closing", "name"), [("<&-", "input"), (">&-", "output")])
def test_a_closed_descriptor_is_not_taken_for_the_lock_file(
    closing: str, name: str, work: Path
) -> None:
    """Its number would go to the next file that is opened, and the data into that file."""
    command = f'exec "$0" "$@" {closing}'
    process = subprocess.run(
        ["sh", "-c", command, script("sabo"), *arguments(work)],
        input=b"data", capture_output=True, check=False,
    )  # fmt: skip
    assert process.returncode == 1
    assert f"error: standard {name}: Bad file descriptor" in process.stderr.decode()
    assert not list(work.iterdir())


@pytest.mark.parametrize("kind", ["missing", "file", "read-only", "full"])
def test_an_unusable_work_directory_is_a_clear_error(kind: str, tmp_path: Path) -> None:
    def check(path: Path, reason: str) -> None:
        done = run("sabo", *arguments(path), stdin=b"data")
        assert (done.returncode, done.stdout) == (1, b"")
        error, hint = done.stderr.decode().splitlines()
        assert error.startswith(f"sabo: error: --work-dir: {path}")
        assert error.endswith(reason)
        assert hint.startswith("hint: ")

    path = tmp_path / "work"
    if kind == "missing":
        check(path, "No such file or directory")
    elif kind == "file":
        path.write_bytes(b"")
        check(path, "Not a directory")
    elif kind == "read-only":
        with small_disk(path, "ro,size=1m"):
            check(path, "Read-only file system")
    else:
        with small_disk(path, "size=1m,nr_inodes=4"):
            for number in range(3):
                (path / f"file{number}").write_bytes(b"")
            check(path, "No space left on device")
            assert len(list(path.iterdir())) == 3


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--max-bandwidth", "999", "below the minimum of 1K bytes a second"),
        ("--max-bandwidth", "fast", "not a size"),
        ("--max-bandwidth", "2000T", "above the maximum of 1P bytes a second"),
        ("--burst", "9e9", "not a size"),
        ("--burst", "2E", "above the maximum of 1EB"),
        ("--weight", "0", "below the minimum of 1"),
        ("--stats-interval", "soon", "not a duration"),
    ],
)
def test_wrong_values_are_named(option: str, value: str, words: str, work: Path) -> None:
    done = run("sabo", "--work-dir", work, "--max-bandwidth", "1M", option, value)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"sabo: error: {option} {value}: {words}")


# -- signals --------------------------------------------------------------------------------------


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
    assert time.monotonic() - began < 2
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
    while process.poll() is None:
        process.terminate()
        time.sleep(0.05)
    assert process.returncode == 143
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


# -- the budget -----------------------------------------------------------------------------------


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


def idle(work: Path, rate: str, *more: str) -> subprocess.Popen[bytes]:
    """A sabo that waits for its input."""
    before = len(list(work.iterdir()))
    process = start(
        "sabo", *arguments(work, rate), *more,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: len(list(work.iterdir())) > before)
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
    heavy = idle(work, "9M", "--weight", "2")
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
    wait_until(lambda: reported_share(heavy) == "4.5 MB/s")
    for process in (heavy, floored):
        assert process.communicate(b"", timeout=10)[0] is None
        assert process.returncode == 0
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
    assert line.startswith(f"sabo: warning: {work}: No such file or directory")
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
