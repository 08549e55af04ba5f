"""`sabo`: no byte lost or added, exit statuses, full disks, what is refused."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import run, script, wait_until
from tests.disks import small_disk
from tests.peers.sabo import FAST, arguments, work
from tests.streams import (
    Meter,
    feed,
    pattern,
    processes_end,
    start,
)

__all__ = ["processes_end", "work"]

EDGES = [0, 1, 4096, 65536, 256 << 10, 1 << 20]
SIZES = sorted({size + by for size in EDGES for by in (-1, 0, 1) if size + by >= 0} | {3_333_333})


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


def test_a_file_is_not_copied_to_its_own_end(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "dump"

    def copy(source: str, target: str) -> tuple[int, bytes]:
        path.write_bytes(b"some lines\n")
        line = ["sh", "-c", f'"$@" {source}"$0" {target}"$0"', str(path), script("sabo")]
        done = subprocess.run(
            [*line, *arguments(work)], capture_output=True, timeout=30, check=False
        )
        return done.returncode, done.stderr

    status, told = copy("<", ">>")
    assert (status, path.read_bytes()) == (2, b"some lines\n")
    assert b"standard output is the file that is read" in told
    # Onto itself, at its own place, it ends; so does what was emptied, or what is another file's.
    assert copy("<", "1<>") == (0, b"")
    assert path.read_bytes() == b"some lines\n"
    assert copy("<", ">") == (0, b"")
    assert path.read_bytes() == b""
    other = str(tmp_path / "other")
    assert copy("<", f">>{other} #") == (0, b"")
    assert Path(other).read_bytes() == b"some lines\n"


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
        ("--max-bandwidth", "2E", "above the maximum of 1EB"),
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


def test_a_pipe_of_packets_passes_whole_at_a_low_rate(work: Path, tmp_path: Path) -> None:
    """What is not read of a packet at once is gone (pipe(2), O_DIRECT); splice(2) refuses a file
    that is open for appending.
    """
    reader, writer = os.pipe2(os.O_DIRECT)
    data = b"".join(b"%4000d" % number for number in range(4))
    with open(tmp_path / "out", "ab") as out:
        process = start("sabo", *arguments(work, "8K"), stdin=reader, stdout=out)
        os.close(reader)
        for number in range(4):
            os.write(writer, data[4000 * number : 4000 * (number + 1)])
        os.close(writer)
        began = time.monotonic()
        assert process.wait(timeout=60) == 0
    assert time.monotonic() - began > 1
    assert (tmp_path / "out").read_bytes() == data


def test_lock_files_can_be_read_by_all_and_dumps_of_their_name_stay(work: Path) -> None:
    for name in ("sabo_1000000_app.sql", "sabo_1000000_1_abc.lock"):
        (work / name).write_bytes(b"INSERT" if name.endswith("lock") else b"")
    before = os.umask(0o077)
    try:
        process = start("sabo", *arguments(work, "1M"), stdin=subprocess.PIPE)
    finally:
        os.umask(before)
    mine = f"sabo_1000000_{process.pid}_"
    wait_until(lambda: any(path.name.startswith(mine) for path in work.iterdir()))
    (path,) = work.glob(f"{mine}*")
    assert path.stat().st_mode & 0o777 == 0o644
    time.sleep(1.2)  # the protocol's second, after which the others are looked at
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    left = sorted(path.name for path in work.iterdir())
    assert left == ["sabo_1000000_1_abc.lock", "sabo_1000000_app.sql"]
