"""`relaxlogs`: names of files, rotation, what is kept, locks."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, run, script, wait_until
from tests.peers.relaxlogs import DAY, Running, content, logs, own
from tests.streams import processes_end

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["logs", "processes_end"]


def test_lines_go_to_a_dated_file_and_current_leads_there(logs: Path) -> None:
    done = run("relaxlogs", "--log-dir", logs, stdin=b"one\ntwo")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (path,) = own(logs)
    now = time.localtime()
    assert path.name == time.strftime("log.%Y%m%d%H00", now) or now.tm_min == 0
    assert path.read_bytes() == b"one\ntwo\n"  # a last line without newline gets one
    assert os.readlink(logs / "current") == path.name
    assert path.stat().st_mode & 0o777 == 0o644
    run("relaxlogs", "--log-dir", logs, stdin=b"three\n")
    assert content(logs) == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("minutes", [1, 60, 1440, 10080])
def test_names_are_floored_in_local_time(minutes: int, logs: Path) -> None:
    """Local midnight, not UTC's; the offset has minutes and seconds."""
    zone = "ODD-05:43:21"
    began = int(time.time()) + 5 * 3600 + 43 * 60 + 21
    run(
        "relaxlogs",
        "--log-dir",
        logs,
        "--rotation-time",
        str(minutes),
        stdin=b"x\n",
        env={"TZ": zone},
    )
    ended = int(time.time()) + 5 * 3600 + 43 * 60 + 21
    year_one = 719_162 * 86_400
    names = {
        time.strftime("log.%Y%m%d%H%M", time.gmtime(wall - (wall + year_one) % (minutes * 60)))
        for wall in (began, ended)
    }
    assert own(logs)[0].name in names


def zone_that_turns_the_minute_in(seconds: int) -> dict[str, str]:
    """A time zone in which the next minute begins so many seconds from now."""
    ahead = (60 - seconds - int(time.time()) % 60) % 60
    return {"TZ": f"ODD-00:00:{ahead:02}"}


def test_a_new_period_begins_a_new_file_between_two_lines(logs: Path) -> None:
    running = Running(logs, "--rotation-time", "1", env=zone_that_turns_the_minute_in(2))
    # Where the start takes longer than that it is the minute after.
    deadline = time.monotonic() + 90
    number = 0
    while len(own(logs)) < 2:
        assert time.monotonic() < deadline
        running.write(b"%d begins," % number)  # the boundary falls into the middle of a line
        time.sleep(0.01)
        running.write(b" %d ends\n" % number)
        number += 1
    assert running.end() == (0, "")
    first, second = own(logs)
    assert int(second.name[4:]) - int(first.name[4:]) in (1, 41, 7641)
    assert os.readlink(logs / "current") == second.name
    for path in (first, second):
        assert path.read_bytes().endswith(b"ends\n")
    expected = b"".join(b"%d begins, %d ends\n" % (n, n) for n in range(number))
    assert first.read_bytes() + second.read_bytes() == expected


def test_a_clock_that_goes_back_appends_and_never_overwrites(logs: Path) -> None:
    """The end of summer time, placed soon after the start: an hour's name comes a second time."""
    began = time.monotonic()
    run("relaxlogs", "--log-dir", logs.with_name("other"), stdin=b"")
    ahead_s = 2 + 5 * (time.monotonic() - began)  # a start takes as long as the machine lets it
    now = time.gmtime(time.time() + ahead_s)
    # Standard time is UTC, summer time one hour ahead; in summer time the clock shows an hour more.
    at = f"J{now.tm_yday - (now.tm_yday > 59 and _leap(now.tm_year))}"
    shown = now.tm_hour + 1
    zone = f"STD0SUM-1,J1/0,{at}/{shown}:{now.tm_min:02}:{now.tm_sec:02}"
    logs.mkdir()
    earlier = logs / time.strftime("log.%Y%m%d%H00", now)
    earlier.write_bytes(b"what was written in that hour\n")
    running = Running(logs, env={"TZ": zone})
    running.write(b"0\n")
    wait_until((logs / "current").exists)
    summer = os.readlink(logs / "current")
    assert summer == time.strftime("log.%Y%m%d%H00", time.gmtime(time.time() + 3600))
    deadline = time.monotonic() + ahead_s + 30
    number = 1
    while os.readlink(logs / "current") == summer:
        assert time.monotonic() < deadline
        running.write(b"%d\n" % number)
        number += 1
        time.sleep(0.02)
    assert running.end() == (0, "")
    after = earlier.read_bytes()
    assert after.startswith(b"what was written in that hour\n")
    both = (logs / summer).read_bytes() + after.removeprefix(b"what was written in that hour\n")
    assert both == b"".join(b"%d\n" % n for n in range(number))


def _leap(year: int) -> bool:
    return (year % 4 == 0 and year % 100 != 0) or year % 400 == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGALRM])
def test_signals_rotate_at_once_and_between_lines(number: int, logs: Path) -> None:
    running = Running(logs, *DAY)
    running.write(b"one\n")
    wait_until(lambda: content(logs) == b"one\n")
    running.process.send_signal(number)
    wait_until(lambda: len(own(logs)) == 2)
    running.write(b"unfinished")
    wait_until(lambda: content(logs).endswith(b"unfinished"))
    running.process.send_signal(number)
    time.sleep(0.2)
    assert len(own(logs)) == 2
    running.write(b" line\nthree\n")
    wait_until(lambda: len(own(logs)) == 3)
    assert running.end() == (0, "")
    assert [path.read_bytes() for path in own(logs)] == [b"one\n", b"unfinished line\n", b"three\n"]
    assert os.readlink(logs / "current") == own(logs)[2].name


def test_sighup_opens_the_file_again(logs: Path) -> None:
    running = Running(logs, *DAY)
    running.write(b"one\n")
    wait_until(lambda: content(logs) == b"one\n")
    (path,) = own(logs)
    path.rename(logs / "taken-away")
    running.write(b"two\n")
    wait_until(lambda: (logs / "taken-away").read_bytes() == b"one\ntwo\n")
    running.process.send_signal(signal.SIGHUP)
    wait_until(path.exists)
    running.write(b"three\n")
    assert running.end() == (0, "")
    assert path.read_bytes() == b"three\n"


@pytest.mark.parametrize("more", [[], ["--with-time"]])
def test_a_size_ends_a_file_at_the_end_of_a_line(more: list[str], logs: Path) -> None:
    lines = [b"%06d\n" % number for number in range(20_000)]
    run("relaxlogs", "--log-dir", logs, *DAY, "--max-size", "30K", *more, stdin=b"".join(lines))
    files = own(logs)
    assert re.sub(rb"\[[^]]*\] ", b"", content(logs)) == b"".join(lines)
    assert len(files) in (4, 5) if not more else len(files) > 15
    for path in files[:-1]:
        assert 30_000 <= path.stat().st_size < 30_100
        assert path.read_bytes().endswith(b"\n")
    run("relaxlogs", "--log-dir", logs, *DAY, "--max-size", "30K", stdin=b"more\n")
    assert content(logs).endswith(b"more\n")


def test_old_files_go_by_age_number_and_total(logs: Path) -> None:
    logs.mkdir()
    now = time.time()
    for days in range(1, 10):
        path = logs / f"log.202001{days:02}0000"
        path.write_bytes(b"x" * 1000)
        os.utime(path, (now - days * 86_400,) * 2)
    foreign = ["log.20200101", "other", "log.202001010000.gz.tmp", "log.202001010000_lock"]
    kin = ["log.202001010000.bak", "log.202001010000.xz", "log.202001010000_old"]
    for name in foreign + kin:
        (logs / name).write_bytes(b"")
        os.utime(logs / name, (0, 0))
    (logs / "log.202001020000").rename(logs / "log.202001020000.3.gz")
    limits = [
        (["--max-age", str(int(7.5 * 1440))], 8),
        (["--max-age", "none", "--max-files", "5"], 5),
        (["--max-age", "none", "--max-total-size", "2500"], 3),
        ([], 1),
    ]
    for more, left in limits:
        run("relaxlogs", "--log-dir", logs, *more, stdin=b"line\n")
        kept = [
            path
            for path in logs.iterdir()
            if re.match(r"log\.\d{12}(?!_lock|\.gz\.tmp)", path.name)
        ]
        assert len(kept) == left, more
    assert all((logs / name).exists() for name in foreign)


def test_an_old_file_that_cannot_be_removed_is_told_once(logs: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a file that nobody may change needs root")

    def has(files: int) -> bool:
        return len(own(logs)) == files

    logs.mkdir()
    old = logs / "log.202001010000"
    old.write_bytes(b"old\n")
    os.utime(old, (0, 0))
    chattr = need_program("chattr")
    subprocess.run([chattr, "+i", old], check=True)
    try:
        running = Running(logs, *DAY)
        running.write(b"line\n")
        for files in range(2, 5):
            wait_until(partial(has, files))
            running.process.send_signal(signal.SIGUSR1)
        wait_until(partial(has, 5))
        told = f"relaxlogs: warning: {old}: cannot be removed: Operation not permitted\n"
        assert running.end() == (0, told)
    finally:
        subprocess.run([chattr, "-i", old], check=True)
    assert run("relaxlogs", "--log-dir", logs, *DAY, stdin=b"line\n").stderr == b""
    assert not old.exists()


@pytest.mark.parametrize("form", ["gz", "zst"])
def test_closed_files_are_compressed(form: str, logs: Path) -> None:
    if form == "zst":
        need_program("zstd")
    data = b"".join(b"line %d\n" % n for n in range(50_000))
    running = Running(logs, *DAY, "--compress", form, "--mode", "0640")
    running.write(data)
    wait_until(lambda: content(logs) == data)
    (path,) = own(logs)
    running.process.send_signal(signal.SIGUSR1)
    packed = logs / f"{path.name}.{form}"
    wait_until(lambda: packed.exists() and not path.exists())
    assert packed.stat().st_mode & 0o777 == 0o640
    if form == "gz":
        assert gzip.decompress(packed.read_bytes()) == data
    else:
        shown = subprocess.run(["zstd", "-dc", packed], capture_output=True, check=True)
        assert shown.stdout == data
    running.write(b"after\n")
    assert running.end() == (0, "")
    # Never a second time under the same name.
    packed_again = (logs / "current").resolve()
    assert packed_again.name == f"{path.name}.1"
    (logs / "current").unlink()
    packed_again.unlink()
    run("relaxlogs", "--log-dir", logs, *DAY, stdin=b"again\n")
    assert (logs / f"{path.name}.1").read_bytes() == b"again\n"
    assert not list(logs.glob(".*.tmp"))


def test_pattern_and_mode(logs: Path) -> None:
    run("relaxlogs", "--log-dir", logs, "--pattern", "app-%Y.log", "--mode", "0600", stdin=b"x\n")
    path = logs / time.strftime("app-%Y.log")
    assert path.read_bytes() == b"x\n"
    assert path.stat().st_mode & 0o777 == 0o600
    for text in ("a/b%Y", "nodate", "%Q"):
        done = run("relaxlogs", "--log-dir", logs, "--pattern", text)
        assert done.returncode == 2
        assert done.stderr.decode().startswith(f"relaxlogs: error: --pattern {text}: ")


@pytest.mark.parametrize(
    ("asked", "umask", "file", "folder"),
    [
        (["--mode", "0660"], 0o022, 0o660, 0o770),
        (["--mode", "0644"], 0o077, 0o644, 0o755),
        (["--mode", "0600"], 0o022, 0o600, 0o700),
        ([], 0o022, 0o644, 0o755),
        ([], 0o077, 0o600, 0o700),
    ],
)
def test_a_mode_that_is_asked_for_is_that_of_the_file(
    asked: list[str], umask: int, file: int, folder: int, logs: Path
) -> None:
    """The umask takes something from the default alone."""
    line = [script("relaxlogs"), "--log-dir", str(logs), *asked]
    subprocess.run(line, input=b"x\n", umask=umask, check=True)
    (path,) = own(logs)
    assert path.stat().st_mode & 0o777 == file
    assert logs.stat().st_mode & 0o777 == folder


def test_what_another_program_left_as_current_is_kept(logs: Path) -> None:
    logs.mkdir()
    (logs / "current").write_bytes(b"multilog's newest lines\n")
    run("relaxlogs", "--log-dir", logs, stdin=b"x\n")
    (kept,) = logs.glob("current.before-*")
    assert kept.read_bytes() == b"multilog's newest lines\n"
    assert (logs / "current").is_symlink()


def test_two_writers_on_one_directory_are_refused(logs: Path) -> None:
    running = Running(logs)
    done = run("relaxlogs", "--log-dir", logs, stdin=b"intruder\n")
    assert done.returncode == 1
    assert f"error: {logs}: another relaxlogs writes there" in done.stderr.decode()
    running.write(b"mine\n")
    assert running.end() == (0, "")
    assert content(logs) == b"mine\n"
