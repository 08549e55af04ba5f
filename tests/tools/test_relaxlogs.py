"""`relaxlogs`: lines and their stamps, the end, what is refused."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import time
from calendar import timegm
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, script, wait_until
from tests.peers.relaxlogs import DAY, Running, content, logs, own
from tests.streams import feed, pattern, processes_end, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["logs", "processes_end"]

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
    lines = data.replace(b"\r\n", b"\n")
    assert content(logs) == lines + (b"" if data.endswith(b"\n") else b"\n")


# -- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(15, 0), (2, 130), (3, 0)])
def test_a_signal_drains_what_the_pipe_holds(number: int, status: int, logs: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    data = b"".join(b"line %d\n" % n for n in range(60_000))
    process = start("relaxlogs", "--log-dir", logs, *DAY, stdin=os.dup(reader))
    wait_until((logs / ".relaxlogs.lock").exists)
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
        os.write(writer, b"whole\nunfin")
        wait_until(lambda: logs.exists() and content(logs).endswith(b"unfin"))
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
    """Without --fsync at the end that a signal asks for (file, then directory); with it, while it
    runs too, and when its input ends.
    """
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
        counts.write_text("")
        running = Running(logs, *more, env={**env, "SYNC_LOG": str(counts)})
        running.write(b"two\n")
        assert running.end() == (0, "")
        assert counts.read_text().endswith("fsync\nfsync\n") is while_running


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
        (["--buffer", "1K"], "--buffer 1K: below the minimum of 64KB"),
        (["--rotation-time", "-1"], "--rotation-time -1: below the minimum of 0"),
        (["--max-age", "-1"], "or none to keep files for ever"),
        (["--link", "a/b"], "--link a/b: not a file name (current, or none for no link)"),
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
