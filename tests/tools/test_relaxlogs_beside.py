"""`relaxlogs` and what others do to its files and its directory, and what it was started in."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import run, wait_until
from tests.disks import fill, small_disk
from tests.peers.relaxlogs import DAY, Running, content, logs, own
from tests.streams import feed, processes_end, start

__all__ = ["logs", "processes_end"]


def test_what_another_program_writes_to_the_file_stays(logs: Path) -> None:
    running = Running(logs, *DAY)
    expected = b""
    for number in range(20):
        running.write(b"line %d\n" % number)
        expected += b"line %d\n" % number
        wait_until(lambda e=expected: content(logs) == e)  # type: ignore[misc]
        with open(logs / "current", "ab") as file:
            file.write(b"marker %d\n" % number)
        expected += b"marker %d\n" % number
    assert running.end() == (0, "")
    assert content(logs) == expected


def test_a_file_that_is_cut_under_load_gets_no_hole(logs: Path) -> None:
    running = Running(logs, *DAY)
    running.write(b"line\n")
    wait_until(lambda: content(logs) == b"line\n")
    feeder = feed(running.pipe, b"".join(b"line %d\n" % n for n in range(2_000_000)))
    path = own(logs)[0]
    cuts = holes = 0
    while feeder.is_alive():
        with open(path, "rb") as file:
            holes += file.read(1) == b"\0"
        os.truncate(path, 0)
        cuts += 1
    running.process.stdin = None
    assert running.process.wait(timeout=20) == 0
    assert cuts > 100
    assert holes == 0


def test_a_lock_file_that_was_removed_is_made_again(logs: Path) -> None:
    running = Running(logs, *DAY)
    lock = logs / ".relaxlogs.lock"
    running.write(b"first\n")
    wait_until(lambda: content(logs) == b"first\n")
    lock.unlink()
    made = 0
    while not lock.exists():
        running.write(b"more\n")
        made += 1
        time.sleep(0.05)  # it looks once a second, and then before it writes
        assert made < 400
    second = run("relaxlogs", "--log-dir", logs, *DAY, stdin=b"second\n")
    assert second.returncode == 1
    assert "another relaxlogs writes there" in second.stderr.decode()
    assert running.end() == (0, "")
    assert content(logs) == b"first\n" + b"more\n" * made


def test_patterns_of_their_own_share_a_directory(logs: Path) -> None:
    one = Running(logs, *DAY)
    two = Running(logs, *DAY, "--pattern", "audit-%Y%m%d", "--link", "audit")
    one.write(b"one\n")
    two.write(b"two\n")
    wait_until(lambda: (logs / "current").exists() and (logs / "audit").exists())
    same = run("relaxlogs", "--log-dir", logs, "--pattern", "audit-%d%m%Y", stdin=b"x\n")
    assert same.returncode == 1, "names that cannot be told apart"
    assert "--pattern and --link" in same.stderr.decode()
    assert one.end() == (0, "")
    assert two.end() == (0, "")
    assert (logs / "current").read_bytes() == b"one\n"
    assert (logs / "audit").read_bytes() == b"two\n"
    assert re.fullmatch(r"audit-\d{8}", os.readlink(logs / "audit"))


def write_for_three_seconds(running: Running) -> None:
    """It looks at its link once a second, when there is something to write."""
    for _ in range(30):
        running.write(b"x\n")
        time.sleep(0.1)


def test_who_turns_the_link_away_is_told_of(logs: Path) -> None:
    one = Running(logs, *DAY)
    one.write(b"one\n")
    wait_until((logs / "current").exists)
    two = Running(logs, *DAY, "--pattern", "audit-%Y%m%d")
    two.write(b"two\n")
    wait_until(lambda: os.readlink(logs / "current").startswith("audit"))
    feeder = threading.Thread(target=write_for_three_seconds, args=[one])
    feeder.start()
    assert "give each relaxlogs its own --link" in one.told()
    feeder.join()
    assert one.end()[0] == 0
    assert two.end()[0] == 0


def test_no_link_and_universal_time(logs: Path) -> None:
    before = time.time()
    done = run("relaxlogs", "--log-dir", logs, "--rotation-time", "1", "--utc", "--link", "none",
               "--with-time", stdin=b"x\n", env={"TZ": "ODD-05:43:21"})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    names = {time.strftime("log.%Y%m%d%H%M", time.gmtime(at)) for at in (before, time.time())}
    assert {path.name for path in logs.iterdir() if path.name[0] != "."} <= names
    assert b" +0000] x\n" in content(logs)


def test_empty_input_makes_no_file(logs: Path) -> None:
    assert run("relaxlogs", "--log-dir", logs, stdin=b"").returncode == 0
    with open(os.devnull, "rb") as empty:
        logger = start("relaxlogs", "--log-dir", logs, stdin=empty)
        assert logger.wait(timeout=20) == 0
    assert [path.name for path in logs.iterdir()] == [".relaxlogs.lock"]


def test_waiting_for_the_first_line_takes_no_time_of_the_processor(logs: Path) -> None:
    running = Running(logs, *DAY)

    def ticks() -> int:
        fields = Path(f"/proc/{running.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(1)
    assert ticks() - before <= 5, "hundredths of a second"
    assert running.end() == (0, "")


def test_a_file_that_is_not_ours_has_one_beside_it(logs: Path) -> None:
    logs.mkdir()
    for name in {time.strftime("log.%Y%m%d0000", time.localtime(time.time() + s)) for s in (0, 60)}:
        (logs / name).mkdir()
    done = run("relaxlogs", "--log-dir", logs, *DAY, stdin=b"one\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert os.readlink(logs / "current").endswith("0000.1")
    assert (logs / "current").read_bytes() == b"one\n"


def test_started_on_a_full_disk_it_holds_the_lines(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=4m,mode=755,nr_inodes=8") as disk:
        with contextlib.suppress(OSError):
            for number in range(8):
                (disk / str(number)).touch()
        logger = start("relaxlogs", "--log-dir", disk, *DAY, stdin=subprocess.PIPE,
                       stderr=subprocess.PIPE)  # fmt: skip
        assert logger.stdin is not None
        assert logger.stderr is not None
        logger.stdin.write(b"one\n")
        logger.stdin.flush()
        assert b"No space left" in logger.stderr.readline()
        for number in range(8):
            (disk / str(number)).unlink(missing_ok=True)
        assert b"writing again" in logger.stderr.readline()
        logger.stdin.close()
        assert logger.wait(timeout=20) == 0
        assert content(disk) == b"one\n"


def test_sigterm_can_be_left_to_the_producer(logs: Path) -> None:
    running = Running(logs, *DAY, "--ignore-term", "--ignore-int")
    running.write(b"one\n")
    wait_until(lambda: content(logs) == b"one\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        running.process.send_signal(number)
    running.write(b"last words\n")
    assert running.end() == (0, "")
    assert content(logs) == b"one\nlast words\n"


def lines_of(logs: Path) -> list[bytes]:
    return sorted(content(logs).splitlines())


def test_after_sigterm_it_writes_on_beside_its_successor(logs: Path) -> None:
    """As behind Apache, whose old processes write on to the old one after a graceful restart."""
    first = Running(logs, *DAY, "--ignore-term")
    first.write(b"one\n")
    wait_until(lambda: content(logs) == b"one\n")
    first.process.send_signal(signal.SIGTERM)
    second = Running(logs, *DAY, "--ignore-term")
    second.write(b"two\n")
    wait_until(lambda: lines_of(logs) == [b"one", b"two"])
    first.write(b"late\n")
    wait_until(lambda: lines_of(logs) == [b"late", b"one", b"two"])
    assert len(own(logs)) == 1, "both write to one file"
    first.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: len(own(logs)) == 2)
    assert (logs / "current").samefile(own(logs)[0]), "the link is the successor's"
    first.write(b"later\n")
    assert first.end() == (0, "")
    second.write(b"three\n")
    assert second.end() == (0, "")
    assert lines_of(logs) == [b"late", b"later", b"one", b"three", b"two"]


def test_after_sigterm_without_a_successor_it_does_all_itself(logs: Path, tmp_path: Path) -> None:
    hook = f"echo closed >> {tmp_path}/closed"
    running = Running(logs, *DAY, "--ignore-term", "--max-files", "1", "--on-rotate", hook)
    running.write(b"begun, ")
    wait_until(lambda: content(logs) == b"begun, ")
    running.process.send_signal(signal.SIGTERM)
    refused = run("relaxlogs", "--log-dir", logs, *DAY, stdin=b"x\n")
    assert b"another relaxlogs writes there" in refused.stderr, "not in the middle of a line"
    running.write(b"ended\n")
    wait_until(lambda: content(logs) == b"begun, ended\n")
    running.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: os.readlink(logs / "current").endswith(".1"))
    wait_until((tmp_path / "closed").exists)
    wait_until(lambda: len(own(logs)) == 1, what="the old file goes")
    running.write(b"last words\n")
    assert running.end() == (0, "")
    assert content(logs) == b"last words\n"


def test_crlf_ends_a_line_as_a_newline_does(logs: Path) -> None:
    running = Running(logs, *DAY)
    running.write(b"a\r\nb\rc\r")
    running.write(b"\nd\r\r\n")
    assert running.end() == (0, "")
    assert content(logs) == b"a\nb\rc\nd\r\n"


@pytest.mark.parametrize("how", ["drop-new", "drop-oldest"])
def test_a_line_without_an_end_is_bounded_too(how: str, tmp_path: Path) -> None:
    """On a full disk; what does not fit is dropped and counted, and the next line is whole."""
    with small_disk(tmp_path / "disk", "size=4m,mode=755") as disk:
        running = Running(disk / "logs", *DAY, "--buffer", "64K", "--on-full", how)
        running.write(b"first\n")
        wait_until(lambda: content(disk / "logs") == b"first\n")
        filler = fill(disk)
        for _ in range(1000):
            running.write(b"x" * 100_000)
        running.write(b"\nnext\n")
        assert "No space" in running.told()
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+)", status)
        assert peak is not None
        assert int(peak[1]) < 100_000, "KB; the line has 100 MB"
        filler.unlink()
        assert "1 lines were dropped" in running.told()
        assert running.end() == (0, ""), "told once"
        lines = content(disk / "logs").split(b"\n")
        assert (lines[0], lines[-2]) == (b"first", b"next")
        assert len(lines[1:-2]) <= 1, "the rest of a line that was dropped is no line"
        assert set(b"".join(lines[1:-2])) <= {ord("x")}


def test_a_kept_away_sigchld_and_a_left_over_file_stop_no_compression(logs: Path) -> None:
    logs.mkdir()
    for name in ("log.202001010000", "log.202001010000.gz", "log.202001020000"):
        (logs / name).write_bytes(b"old\n")
    (logs / ".log.202001030000.gz.tmp").write_bytes(gzip.compress(b"old\n"))
    os.link(logs / ".log.202001030000.gz.tmp", logs / "log.202001030000.gz")
    (logs / "log.202001030000").write_bytes(b"old\n")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        running = Running(logs, *DAY, "--max-age", "none", "--compress", "gz")
    finally:
        signal.signal(signal.SIGCHLD, before)
    running.write(b"x\n")
    assert "log.202001010000.gz is there already" in running.told()
    wait_until(lambda: not (logs / "log.202001020000").exists())
    assert gzip.decompress((logs / "log.202001020000.gz").read_bytes()) == b"old\n"
    assert not (logs / "log.202001030000").exists()
    assert not (logs / ".log.202001030000.gz.tmp").exists()
    assert (logs / "log.202001010000").read_bytes() == b"old\n"
    assert running.end() == (0, "")


def test_nobody_may_read_what_is_being_compressed(tmp_path: Path, logs: Path) -> None:
    """A gzip that notes the rights of the file that it writes to."""
    tools = tmp_path / "tools"
    tools.mkdir()
    noted = tmp_path / "noted"
    (tools / "gzip").write_text(
        f'#!/bin/sh\nexec 3>&1\nstat -Lc %a /proc/self/fd/3 > {noted}\nexec /bin/gzip "$@" 3>&-\n'
    )
    (tools / "gzip").chmod(0o755)
    logs.mkdir()
    old = logs / "log.202001010000"
    old.write_bytes(b"old\n")
    old.chmod(0o600)
    running = Running(logs, *DAY, "--max-age", "none", "--compress", "gz", "--mode", "0600",
                      env={"PATH": f"{tools}:{os.environ['PATH']}"})  # fmt: skip
    running.write(b"x\n")
    wait_until(lambda: not old.exists())
    assert running.end() == (0, "")
    assert noted.read_text() == "600\n"
    assert stat.S_IMODE((logs / "log.202001010000.gz").stat().st_mode) == 0o600
