"""Every command without threads, with little memory, as nobody, on a machine that may not be
written to, and in a sandbox that forbids system calls.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.common.failures import MORE_THREADS
from tests import sandbox
from tests.conftest import need_program, read_metrics
from tests.jobs import PLUGINS, SERVERS, Job
from tests.test_breath import Running, clean, every_command, every_server, every_short_one

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jobs import Jobs

MIB = 1 << 20
NOBODY = 4242
COUNTS = (1, 2, 3, 4, 5, 7, 9, 12, 16, 40)
WRITERS = (*PLUGINS[:3], "sabo", "relaxlogs")
"""What cannot do its work where nothing can be written."""
as_root = pytest.mark.skipif(
    os.geteuid() != 0 and os.environ.get("CI") != "true", reason="needs root to be another user"
)


def one_line(job: Job, done: subprocess.CompletedProcess[bytes]) -> str:
    """It failed and said so in one line, perhaps with a hint."""
    told = clean(done.stderr)
    assert done.returncode == 1, told
    errors = [line for line in told.splitlines() if ": error: " in line]
    assert len(errors) == 1, told
    return errors[0]


# -- no threads -------------------------------------------------------------------------------


@every_short_one
def test_without_threads_one_after_the_other(name: str, jobs: Jobs) -> None:
    job = jobs.make(name)
    done = job.run(preexec_fn=sandbox.no_threads())
    assert done.returncode == job.status, clean(done.stderr)
    assert bool(done.stdout) == job.prints


@pytest.mark.parametrize("threads", [1, 4])
def test_several_logs_without_threads(threads: int, jobs: Jobs) -> None:
    lines = "status:200\tptime:0.5\n" * 20000
    logs = [jobs.file(f"log-{number}", lines) for number in range(3)]
    job = Job(
        PLUGINS[0],
        "--logfile",
        ",".join(map(str, logs)),
        "--key-prefix",
        "t",
        "--threads",
        str(threads),
    )
    expected = read_metrics(job.run(env={"MACKEREL_PLUGIN_WORKDIR": str(jobs.folder)}).stdout)
    job.env = jobs.make("percentile").env
    done = job.run(preexec_fn=sandbox.no_threads())
    assert (done.returncode, clean(done.stderr)) == (0, "")
    assert read_metrics(done.stdout) == expected
    assert expected


@every_server
def test_a_server_without_threads_says_so(name: str, jobs: Jobs) -> None:
    job = jobs.make(name)
    done = job.run(preexec_fn=sandbox.no_threads())
    error = one_line(job, done)
    assert "no thread can be started" in error or "starting " in error
    assert f"hint: {MORE_THREADS}" in clean(done.stderr)


@as_root
@every_server
def test_a_server_with_too_few_threads_ends(name: str, jobs: Jobs) -> None:
    """Whichever thread is the first that cannot be had: a line and the end, or it serves."""
    served = 0
    for count in COUNTS:
        job = jobs.make(name)
        job.command[:0] = sandbox.as_user(NOBODY + count, count)
        server = Running(job)
        status = server.end()
        if status:
            one_line(job, subprocess.CompletedProcess(job.command, status, b"", server.told))
        else:
            served += 1
    assert 0 < served < len(COUNTS)


# -- little memory ----------------------------------------------------------------------------

INTERPRETERS_OWN = (
    "Fatal Python error",
    "error while loading shared libraries",
    "MemoryError",
    "could not allocate",
    "Cannot allocate memory",
    "SystemError: error return without exception set",
)
"""What the interpreter and the loader say before any line of ours has run."""


@pytest.mark.soak("the interpreter itself fails at random where memory is short")
@every_command
def test_little_memory_is_one_line(name: str, jobs: Jobs) -> None:
    """From an address space in which nothing starts to one in which all is well."""
    ours = served = 0
    for size in (16, 20, 24, 28, 32, 40, 48, 64, 96, 160, 256, 400, 4000):
        job = jobs.make(name)
        how: dict[str, Any] = {"preexec_fn": sandbox.little_memory(size * MIB)}
        if name in SERVERS:
            server = Running(job, **how)
            status = server.end()
            done = subprocess.CompletedProcess(job.command, status, b"", server.told)
        else:
            done = job.run(**how)
        told = done.stderr.decode()
        if done.returncode == job.status and (name in SERVERS or bool(done.stdout) == job.prints):
            served += 1
        elif not any(word in told for word in INTERPRETERS_OWN):
            assert "memory" in one_line(job, done) or "limit of memory" in told, (size, told)
            ours += 1
    assert served


def test_memory_that_runs_out_on_the_way_names_the_way_out(tmp_path: Path) -> None:
    numbers = [tmp_path / f"numbers-{number}" for number in range(6)]
    for path in numbers:
        path.write_bytes(b"".join(b"%d\n" % number for number in range(2_000_000)))
    job = Job("percentile", *numbers)
    done = job.run(preexec_fn=sandbox.little_memory(110 * MIB))
    assert one_line(job, done) == "percentile: error: out of memory"
    assert "hint: --sketch " in done.stderr.decode()
    assert done.stdout == b""
    job = Job("percentile", "--sketch", tmp_path / "sketch", *numbers)
    done = job.run(preexec_fn=sandbox.little_memory(110 * MIB))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"12000000" in done.stdout


# -- nobody, and nowhere to write -------------------------------------------------------------


@as_root
@every_command
def test_a_user_without_a_name_or_a_place_to_write(name: str, jobs: Jobs) -> None:
    """uid 4242 of ``docker run --user``; its home and /tmp are read-only."""
    for where in (jobs.folder, None):
        job = jobs.make(name)
        job.command[:0] = sandbox.as_user(NOBODY)
        if where is None:
            jobs.state.chmod(0o555)
        job.env |= {"HOME": str(jobs.state), "TMPDIR": str(jobs.state)}
        hidden = dict.fromkeys(("USER", "LOGNAME", "LNAME", "USERNAME"), "")
        if name in SERVERS:
            server = Running(job, env=hidden)
            assert server.end() == 0
        else:
            done = job.run(env=hidden)
            told = clean(done.stderr)
            assert done.returncode in (job.status, 1), told
            if done.returncode == 1:
                one_line(job, done)


@as_root
@every_command
def test_a_read_only_tmp(name: str, jobs: Jobs) -> None:
    """A container whose image is read-only: nothing can be written anywhere, not even in /tmp."""
    job = jobs.make(name)
    # In a mount namespace of its own, which ends with it.
    frozen = 'mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp && exec "$0" "$@"'
    job.command[:0] = [need_program("unshare"), "--mount", "/bin/sh", "-c", frozen]
    job.env |= {"TMPDIR": "/tmp", "HOME": "/tmp", "MACKEREL_PLUGIN_WORKDIR": ""}
    if name in SERVERS:
        server = Running(job)
        assert server.ready
        assert server.end() == 0
        clean(server.told)
        return
    done = job.run()
    told = clean(done.stderr)
    if name in WRITERS:
        error = one_line(job, done)
        assert "Read-only file system" in error, told
        assert "/tmp" in error, told
        assert "hint: " in told
    else:
        assert done.returncode == job.status, told
        assert bool(done.stdout) == job.prints


@as_root
def test_myps_asks_for_the_name_that_it_cannot_find() -> None:
    job = Job("myps", "grep", "--user", "x", "--no-defaults", "--mysql-port", "1")
    job.command[:0] = sandbox.as_user(NOBODY)
    done = job.run(env=dict.fromkeys(("USER", "LOGNAME", "LNAME", "USERNAME"), ""))
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"myps grep: error: user id {NOBODY} has no name on this machine",
        "hint: give --mysql-user NAME",
    ]
