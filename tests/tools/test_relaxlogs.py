"""`relaxlogs`: names, rotation, what is kept, stamps, full disks, locks, options."""

from __future__ import annotations

import fcntl
import gzip
import os
import re
import signal
import subprocess
import termios
import time
from calendar import timegm
from typing import IO, TYPE_CHECKING

import pytest

from tests.conftest import need_program, run, script, wait_until
from tests.disks import fill, small_disk
from tests.streams import feed, pattern, processes_end, spawn, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["processes_end"]

DAY = ["--rotation-time", "1440"]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def own(logs: Path) -> list[Path]:
    """The log files, oldest first."""
    found = [path for path in logs.iterdir() if re.fullmatch(r"log\.\d{12}(\.\d+)?", path.name)]
    return sorted(found, key=lambda p: [int(part) for part in p.name.split(".")[1:]])


def content(logs: Path) -> bytes:
    return b"".join(path.read_bytes() for path in own(logs))


class Running:
    """A relaxlogs with a pipe to it."""

    def __init__(self, logs: Path, *more: str, env: dict[str, str] | None = None) -> None:
        self.process = start(
            "relaxlogs", "--log-dir", logs, *more,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
        wait_until((logs / "current").exists, what="relaxlogs starts")
        time.sleep(0.05)  # the signal handlers are there before the link; this is for the loop

    @property
    def pipe(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def write(self, data: bytes) -> None:
        self.pipe.write(data)
        self.pipe.flush()

    def told(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline().decode()

    def end(self, *, number: int = 0) -> tuple[int, str]:
        """Close the pipe, or send a signal; return the status and what else was told."""
        if number:
            self.process.send_signal(number)
            status = self.process.wait(timeout=20)
            assert self.process.stderr is not None
            return status, self.process.stderr.read().decode()
        _, told = self.process.communicate(timeout=20)
        return self.process.returncode, told.decode()


# -- files ----------------------------------------------------------------------------------------


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
    deadline = time.monotonic() + 15
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
    """The end of summer time, placed two seconds from now: an hour's name comes a second time."""
    now = time.gmtime(time.time() + 2)
    # Standard time is UTC, summer time one hour ahead; in summer time the clock shows an hour more.
    at = f"J{now.tm_yday - (now.tm_yday > 59 and _leap(now.tm_year))}"
    shown = now.tm_hour + 1
    zone = f"STD0SUM-1,J1/0,{at}/{shown}:{now.tm_min:02}:{now.tm_sec:02}"
    logs.mkdir()
    earlier = logs / time.strftime("log.%Y%m%d%H00", now)
    earlier.write_bytes(b"what was written in that hour\n")
    running = Running(logs, env={"TZ": zone})
    summer = os.readlink(logs / "current")
    assert summer == time.strftime("log.%Y%m%d%H00", time.gmtime(time.time() + 3600))
    deadline = time.monotonic() + 15
    number = 0
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
    foreign = ["log.20200101", "log.202001010000.bak", "other", "log.202001010000.gz.tmp"]
    for name in foreign:
        (logs / name).write_bytes(b"")
        os.utime(logs / name, (0, 0))
    (logs / "log.202001020000").rename(logs / "log.202001020000.3.gz")
    limits = [
        (["--max-age", str(int(7.5 * 1440))], 8),
        (["--max-age", "0", "--max-files", "5"], 5),
        (["--max-age", "0", "--max-total-size", "2500"], 3),
        ([], 1),
    ]
    for more, left in limits:
        run("relaxlogs", "--log-dir", logs, *more, stdin=b"line\n")
        kept = [
            path
            for path in logs.iterdir()
            if re.match(r"log\.\d{12}(?!\.bak|\.gz\.tmp)", path.name)
        ]
        assert len(kept) == left, more
    assert all((logs / name).exists() for name in foreign)


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


# -- lines ----------------------------------------------------------------------------------------


def test_with_time_has_the_real_offset(logs: Path) -> None:
    for zone, offset in [("UTC", "+0000"), ("ODD-05:45", "+0545"), ("ODD+03:30", "-0330")]:
        before = int(time.time())
        done = run("relaxlogs", "--with-time", stdin=b"a\n\nb", env={"TZ": zone})
        lines = done.stdout.decode().split("\n")
        assert [line[29:] for line in lines] == ["a", "", "b", ""]
        stamp = time.strptime(lines[0][1:27], "%d/%b/%Y:%H:%M:%S %z")
        assert lines[0][22:29] == f"{offset}] "
        at = timegm(stamp) - stamp.tm_gmtoff
        assert before <= at <= before + 30


@pytest.mark.parametrize("target", ["", "stdout"])
def test_without_a_directory_lines_go_to_stdout(target: str) -> None:
    done = run("relaxlogs", "--log-dir", target, stdin=b"one\ntwo")
    assert (done.returncode, done.stdout) == (0, b"one\ntwo\n")


def test_a_closed_stdout_is_status_1() -> None:
    process = start(
        "relaxlogs", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.close()
    feed(process.stdin, b"x\n" * 10)
    assert process.wait(timeout=20) == 1
    assert process.stderr is not None
    assert b"error: standard output: Broken pipe" in process.stderr.read()


@pytest.mark.parametrize("more", [[], ["--with-time"]])
def test_lines_of_any_length_pass_whole(more: list[str], logs: Path) -> None:
    """One byte to 100 MB; a rotation is asked for while the longest is on its way."""
    sizes = [1, 2, 4095, 4096, 65_535, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 5_000_000]
    lines = [bytes([65 + n % 26]) * size for n, size in enumerate(sizes)] + [
        b"",
        b"Z" * 100_000_000,
    ]
    running = Running(logs, *DAY, *more)
    for line in lines[:-1]:
        running.write(line + b"\n")
    running.write(lines[-1][:50_000_000])
    running.process.send_signal(signal.SIGUSR1)
    running.write(lines[-1][50_000_000:] + b"\nlast\n")
    assert running.end() == (0, "")
    first, second = own(logs)
    found = first.read_bytes().split(b"\n")
    if more:
        assert all(re.match(rb"\[\d\d/", line) for line in found[:-1])
        found = [line[29:] for line in found]
    assert [len(line) for line in found] == [len(line) for line in lines] + [0]
    assert found[:-1] == lines
    assert second.read_bytes().endswith(b"last\n")


def test_lines_are_on_disk_within_100_ms(logs: Path) -> None:
    for more in ([], ["--with-time"]):
        running = Running(logs, *more)
        delays = []
        for number in range(5):
            before = time.monotonic()
            running.write(b"line %s %d\n" % (b"-".join(m.encode() for m in more), number))
            wait_until(lambda n=number: content(logs).endswith(b" %d\n" % n))  # type: ignore[misc]
            delays.append(time.monotonic() - before)
        assert min(delays) < 0.1
        assert running.end() == (0, "")


def test_input_that_is_no_pipe(logs: Path, tmp_path: Path) -> None:
    data = pattern(300_000).replace(b"\0", b"\n")
    source = tmp_path / "source"
    source.write_bytes(data)
    with open(source, "rb") as file:
        process = start("relaxlogs", "--log-dir", logs, stdin=file, stderr=subprocess.PIPE)
        assert process.wait(timeout=20) == 0
    assert content(logs) == data + (b"" if data.endswith(b"\n") else b"\n")


# -- the disk refuses -----------------------------------------------------------------------------


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
        assert "No space left on device" in told
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
        assert feeder.is_alive()  # buffer and pipe hold about a megabyte of four
        waiting = fcntl.ioctl(running.pipe, termios.FIONREAD, bytes(4))
        assert int.from_bytes(waiting, "little") > 500_000
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
        assert (status, rest) == (0, f"relaxlogs: warning: {dropped} lines were dropped\n")
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


# -- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(15, 0), (2, 130), (3, 0)])
def test_a_signal_drains_what_the_pipe_holds(number: int, status: int, logs: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    data = b"".join(b"line %d\n" % n for n in range(60_000))
    process = start("relaxlogs", "--log-dir", logs, *DAY, stdin=os.dup(reader))
    wait_until((logs / "current").exists)
    process.send_signal(signal.SIGSTOP)
    os.write(writer, data)
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=20) == status
    os.close(reader)
    os.close(writer)
    assert content(logs) == data


def test_an_unfinished_line_at_sigterm_is_finished_by_the_successor(logs: Path) -> None:
    for more in ([], ["--with-time"]):
        reader, writer = os.pipe()
        first = start("relaxlogs", "--log-dir", logs, *DAY, *more, stdin=os.dup(reader))
        wait_until((logs / "current").exists)
        os.write(writer, b"whole\nunfin")
        wait_until(lambda: content(logs).endswith(b"unfin"))
        first.terminate()
        assert first.wait(timeout=20) == 0
        assert content(logs).endswith(b"unfin\n")  # so that whoever reads it sees a line
        second = start("relaxlogs", "--log-dir", logs, *DAY, *more, stdin=os.dup(reader))
        os.write(writer, b"ished\nnext\n")
        os.close(writer)
        assert second.wait(timeout=20) == 0
        os.close(reader)
        assert re.search(rb"\bunfinished\n.*\bnext\n$", content(logs), re.DOTALL)
        # On another pipe it would be another line.
        run("relaxlogs", "--log-dir", logs, *DAY, stdin=b"other\n")
        (logs / own(logs)[-1].name).write_bytes(b"torn")
        run("relaxlogs", "--log-dir", logs, *DAY, stdin=b"other\n")
        assert content(logs) == b"torn\nother\n"
        own(logs)[0].unlink()
        (logs / "current").unlink()


def test_lines_are_made_durable_when_asked_and_at_the_end(
    logs: Path, tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    """Without --fsync at the end alone (file, then directory); with it, while it runs too."""
    env = preload("count_sync")
    for more, while_running in [([], False), (["--fsync=50ms"], True), (["--fsync"], True)]:
        counts = tmp_path / f"counts{'-'.join(more)}"
        counts.write_text("")
        running = Running(logs, *more, env={**env, "SYNC_LOG": str(counts)})
        running.write(b"one\n")
        wait_until(lambda: content(logs).endswith(b"one\n"))
        if while_running:
            wait_until(lambda c=counts: "fdatasync\n" in c.read_text())  # type: ignore[misc]
        else:
            time.sleep(0.3)
            assert counts.read_text() == ""
        assert running.end(number=signal.SIGTERM) == (0, "")
        assert counts.read_text().endswith("fsync\nfsync\n")


def test_sigint_can_be_left_to_the_producer(logs: Path) -> None:
    running = Running(logs, "--ignore-int")
    running.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    running.write(b"still there\n")
    assert running.end()[0] == 0
    assert content(logs) == b"still there\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mode", "0444"], "--mode 0444: not a file mode with which its owner may write"),
        (["--buffer", "1K"], "--buffer 1K: below the minimum of 64KiB"),
        (["--rotation-time", "0"], "--rotation-time 0: below the minimum of 1"),
        (["--on-full", "panic"], "--on-full panic: not one of block, drop-oldest, drop-new"),
        (["--on-full", "block", "--drop-when-full"], "contradict each other"),
    ],
)
def test_wrong_options_are_named(options: list[str], words: str) -> None:
    done = run("relaxlogs", *options)
    assert done.returncode == 2
    assert words in done.stderr.decode()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = run("relaxlogs", "--log-dir", tmp_path / "file" / "logs", stdin=b"x\n")
    assert done.returncode == 1
    assert f"error: {tmp_path}/file/logs: Not a directory" in done.stderr.decode()


def test_a_closed_stdin_is_an_error(logs: Path) -> None:
    command = ["sh", "-c", 'exec "$0" --log-dir "$1" <&-', script("relaxlogs"), str(logs)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"standard input: Bad file descriptor" in done.stderr
