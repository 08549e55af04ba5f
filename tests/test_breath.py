"""The first and the last breath of every command: descriptors, streams, letters, users.

No traceback, nothing "unexpected", the right status, and nothing lost.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from itertools import chain
from socket import AF_UNIX, SOCK_DGRAM
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.commands import COMMANDS
from tests.conftest import run, script
from tests.jobs import PLUGINS, SERVERS, Job
from tests.peers.servers import LOOPBACK
from tests.streams import full_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.jobs import Jobs

SHORT = tuple(name for name in COMMANDS if name not in SERVERS)
every_command = pytest.mark.parametrize("name", COMMANDS)
every_short_one = pytest.mark.parametrize("name", SHORT)
every_server = pytest.mark.parametrize("name", SERVERS)
FULL = "/dev/full"


def close(*numbers: int) -> Callable[[], None]:
    """What closes descriptors between fork and exec."""

    def closing() -> None:
        for number in numbers:
            os.close(number)

    return closing


def clean(text: bytes, *, lines: int | None = None) -> str:
    """Standard error as it may be: nothing of the interpreter's or the core's own words."""
    told = text.decode()
    for word in ("Traceback", "unexpected", "panicked", "Exception ignored", "Fatal", "codec"):
        assert word not in told, told
    if lines is not None:
        errors = [line for line in told.splitlines() if not line.startswith("hint: ")]
        assert len(errors) == lines, told
    return told


def check_output_failed(job: Job, done: subprocess.CompletedProcess[bytes], words: str) -> None:
    told = clean(done.stderr)
    assert done.returncode == 1, told
    errors = [line for line in told.splitlines() if ": error: " in line]
    assert len(errors) == 1, told
    assert errors[0].startswith(job.name), told
    assert "standard output" in errors[0], told
    assert words in errors[0], told


def results(jobs: Jobs) -> Iterator[Job]:
    """Every job whose result is its output."""
    made = (jobs.make(name) for name in SHORT)
    yield from (job for job in made if job.prints)
    yield from jobs.more()


def unbuffered(jobs: Jobs) -> Iterator[Job]:
    for name in ("percentile", PLUGINS[0], PLUGINS[4]):
        job = jobs.make(name)
        job.env["PYTHONUNBUFFERED"] = "1"
        yield job


def test_a_result_that_cannot_be_written_is_a_failure(jobs: Jobs) -> None:
    for job in results(jobs):
        check_output_failed(job, job.run(preexec_fn=close(1)), "Bad file descriptor")
    for job in results(jobs):
        with open(FULL, "wb") as full:
            check_output_failed(job, job.run(stdout=full), "No space left on device")
    for job in unbuffered(jobs):
        check_output_failed(job, job.run(preexec_fn=close(1)), "Bad file descriptor")


def test_a_reader_that_is_gone(jobs: Jobs) -> None:
    """A filter ends quietly. The figures of a plugin are lost, and a line of a log is too; whoever
    asked for a token, for a pair of keys or for a path has nothing.
    """
    for job in chain(results(jobs), unbuffered(jobs)):
        read, write = os.pipe()
        os.close(read)
        done = job.run(stdout=write)
        os.close(write)
        if job.command[1:] in (["--help"], ["--version"]):
            assert (done.returncode, done.stderr) == (0, b""), job.command
        elif job.name in (*PLUGINS, "relaxlogs", "deteco", "no-excl-open"):
            check_output_failed(job, done, "Broken pipe")
        elif job.name == "sabo":
            clean(done.stderr)
        else:
            assert (done.returncode, done.stderr) == (0, b""), job.command


@every_short_one
def test_a_full_or_closed_standard_error_changes_nothing(name: str, jobs: Jobs) -> None:
    def seen(done: subprocess.CompletedProcess[bytes]) -> tuple[int, int]:
        return done.returncode, done.stdout.count(b"\n")

    first = jobs.make(name)
    expected = seen(first.run())
    assert expected[0] == first.status
    assert bool(expected[1]) == first.prints
    with open(FULL, "wb") as full:
        for how in ({"stderr": full}, {"preexec_fn": close(2)}):
            assert seen(jobs.make(name).run(**how)) == expected


@every_command
def test_a_wrong_call_is_2_whatever_becomes_of_the_message(name: str) -> None:
    wrong = [script(name), "--no-such-option"]
    with open(FULL, "wb") as full:
        assert subprocess.run(wrong, stderr=full, check=False).returncode == 2
    assert subprocess.run(wrong, preexec_fn=close(2), check=False).returncode == 2
    done = subprocess.run(wrong, preexec_fn=close(0, 1), stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert "--no-such-option" in clean(done.stderr)


def test_a_stuck_reader_of_standard_error_is_left(tmp_path: Path) -> None:
    """All at once: each waits a few seconds for somebody to read, and ends as it would have."""
    read, write = full_ends("pipe", tmp_path)
    commands = {name: [script(name), "--no-such-option"] for name in COMMANDS}
    running = {n: subprocess.Popen(command, stderr=write) for n, command in commands.items()}
    os.close(write)
    try:
        ends = {name: process.wait(40) for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
        os.close(read)
    assert set(ends.values()) == {2}, ends


@every_short_one
def test_a_closed_standard_input(name: str, jobs: Jobs) -> None:
    job = jobs.make(name)
    done = job.run(preexec_fn=close(0), stdin=None)
    told = clean(done.stderr)
    if job.stdin is None:
        assert done.returncode == job.status, told
        assert bool(done.stdout) == job.prints
    else:
        assert done.returncode == 1
        assert f"{name}: error: standard input: Bad file descriptor" in told


@every_short_one
def test_all_three_closed(name: str, jobs: Jobs) -> None:
    job = jobs.make(name)
    done = job.run(preexec_fn=close(0, 1, 2), stdin=None, stdout=None, stderr=None)
    assert done.returncode == (1 if job.prints or job.stdin is not None else job.status)
    job = jobs.make(name)
    job.command = [sys.executable, "-m", "kojuto", name, *job.command[1:]]
    through = job.run(preexec_fn=close(0, 1, 2), stdin=None, stdout=None, stderr=None)
    assert through.returncode == done.returncode


LETTERS: tuple[dict[str, str], ...] = (
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)


@pytest.mark.parametrize("env", LETTERS, ids=["latin-1", "ascii", "C"])
def test_no_locale_keeps_a_command_from_talking(env: dict[str, str], jobs: Jobs) -> None:
    for name in (*COMMANDS, "kojuto"):
        done = run(name, "--help", env=env)
        assert (done.returncode, clean(done.stderr)) == (0, ""), name
        assert done.stdout.startswith(f"Usage: {name}".encode())
        wrong = run(name, "--日本語", env=env)
        assert wrong.returncode == 2
        clean(wrong.stderr)
    for name in SHORT:
        job = jobs.make(name)
        done = job.run(env=env)
        assert done.returncode == job.status, clean(done.stderr)
    grouped = run("percentile", "--by", "g", stdin="n:1\tg:日本 é\n".encode() * 3, env=env)
    assert grouped.returncode in (0, 2)
    clean(grouped.stderr)


def test_a_directory_as_standard_input_is_the_interpreters(jobs: Jobs) -> None:
    """Before any line of ours the interpreter itself refuses a directory, in words of its own:
    ``Fatal Python error: init_sys_streams``. To look first, a launcher of its own would have to
    start before Python. So much is ours: a status that is not 0, and nothing done.
    """
    for name in ("sabo", "percentile", "relaxlogs"):
        folder = os.open(jobs.folder, os.O_RDONLY)
        done = jobs.make(name).run(stdin=folder)
        os.close(folder)
        assert done.returncode == 1
        assert b"is a directory" in done.stderr.lower()
        assert done.stdout == b""


def test_a_panic_of_the_core_is_one_line(
    tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    """A real one, of a clock that tells what no clock may."""
    clock = preload("clock_out_of_order")
    message = "unexpected PanicException: called `Result::unwrap()` on an `Err` value"
    for command in (
        ("percentile",),
        ("relaxlogs",),
        ("sabo", "--max-bandwidth", "1M", "--work-dir", str(tmp_path)),
    ):
        for debug in ("", "0", "1"):
            env = {**os.environ, **clock, "KOJUTO_DEBUG": debug}
            done = run(*command, stdin=b"5\n", env=env)
            told = done.stderr.decode()
            assert done.returncode == 1, told
            assert done.stdout == b""
            line, hint = told.splitlines()[-2:]
            assert line.startswith(f"{command[0]}: error: {message}"), told
            assert hint.startswith("hint: run again with KOJUTO_DEBUG=1"), told
            if debug == "1":
                assert "panicked at" in told
                assert "Traceback (most recent call last)" in told
            else:
                assert told == f"{line}\n{hint}\n"


# -- servers ----------------------------------------------------------------------------------


class Running:
    """A server under a condition; ready, or at its end."""

    def __init__(self, job: Job, **how: Any) -> None:
        within_s = how.pop("within_s", 20)
        how.setdefault("stdin", subprocess.DEVNULL)
        with TemporaryDirectory() as folder, socket.socket(AF_UNIX, SOCK_DGRAM) as told:
            told.bind(f"{folder}/notify")
            os.chmod(folder, 0o755)
            os.chmod(f"{folder}/notify", 0o777)
            told.settimeout(0.05)
            job.env["NOTIFY_SOCKET"] = f"{folder}/notify"
            self.job, self.process = job, job.start(**how)
            deadline = time.monotonic() + within_s
            self.ready = False
            while not self.ready and self.process.poll() is None:
                if time.monotonic() > deadline:
                    self.process.kill()
                    pytest.fail(f"{job.command} is not ready")
                with suppress(TimeoutError):
                    self.ready = told.recv(100) == b"READY=1"

    def end(self, within_s: float = 20) -> int:
        """End it with SIGTERM; answers the status, and `told` is what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            told = self.process.communicate(timeout=within_s)[1]
        finally:
            self.process.kill()
        self.told: bytes = told or b""
        return self.process.returncode


@every_server
@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)], ids=["2", "0-2"])
def test_no_connection_becomes_a_standard_stream(
    name: str, closed: tuple[int, ...], jobs: Jobs
) -> None:
    streams = dict.fromkeys(("stdin", "stdout", "stderr"))
    server = Running(jobs.make(name), preexec_fn=close(*closed), **streams)
    with socket.create_connection((LOOPBACK, server.job.port), timeout=10) as conn:
        conn.sendall(b"GET / HTTP/1.0\r\n\r\n")
        for number in closed:
            assert os.readlink(f"/proc/{server.process.pid}/fd/{number}") == os.devnull
    assert server.end() == 0


def test_a_stuck_reader_of_a_log_is_left_at_the_end(jobs: Jobs, tmp_path: Path) -> None:
    read, write = full_ends("pipe", tmp_path)
    servers = [Running(jobs.make(name), stderr=write) for name in SERVERS]
    try:
        for server in servers:
            assert server.ready
            server.process.send_signal(signal.SIGTERM)
        assert [server.process.wait(20) for server in servers] == [0] * len(servers)
    finally:
        for server in servers:
            server.process.kill()
            server.process.communicate()
        os.close(read)
        os.close(write)


@every_server
def test_a_server_with_a_full_disk_behind_it_serves(name: str, jobs: Jobs) -> None:
    with open(FULL, "wb") as full:
        server = Running(jobs.make(name), stdout=full, stderr=full)
        assert server.end() == 0
