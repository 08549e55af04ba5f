"""A sandbox that forbids the quick system calls (seccomp(2), gVisor): the plain ones serve."""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests import sandbox
from tests.jobs import NUMBERS, Job
from tests.peers import gates
from tests.peers.servers import Ppdp, echo, read_exactly
from tests.test_breath import Running, clean, every_server, every_short_one

if TYPE_CHECKING:
    from tests.jobs import Jobs
    from tests.peers.servers import Stage

BULK = os.urandom(1 << 20) * 24
refusals = pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])


def forbid(number: int, *calls: str) -> dict[str, object]:
    return {"preexec_fn": sandbox.forbid(dict.fromkeys(calls or sandbox.QUICK_CALLS, number))}


def test_the_filter_forbids(jobs: Jobs) -> None:
    """Else all below would say nothing."""
    script = "import os, sys\nr, w = os.pipe()\nos.splice(0, w, 10)"
    job = Job("kojuto")
    job.command = [sys.executable, "-c", script]
    told = job.run(**forbid(errno.EPERM)).stderr.decode()
    assert "PermissionError" in told, told


@refusals
@every_short_one
def test_every_job_is_done(number: int, name: str, jobs: Jobs) -> None:
    job = jobs.make(name)
    done = job.run(**forbid(number))
    assert done.returncode == job.status, clean(done.stderr)
    assert bool(done.stdout) == job.prints


@refusals
@every_server
def test_every_server_serves(number: int, name: str, jobs: Jobs) -> None:
    server = Running(jobs.make(name), **forbid(number))
    assert server.ready
    assert server.end() == 0


@refusals
def test_sabo_passes_every_byte_on(number: int, jobs: Jobs) -> None:
    job = jobs.make("sabo")
    job.stdin = BULK
    done = job.run(**forbid(number))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == BULK


@refusals
@pytest.mark.parametrize("calls", [(), ("splice",), ("tee",)], ids=["all", "splice", "tee"])
@pytest.mark.parametrize("options", [(), ("--with-time",)], ids=["plain", "with time"])
def test_relaxlogs_writes_every_line_once(
    number: int, calls: tuple[str, ...], options: tuple[str, ...], jobs: Jobs
) -> None:
    job = jobs.make("relaxlogs")
    job.command += options
    job.stdin = NUMBERS * 300
    done = job.run(**forbid(number, *calls))
    assert (done.returncode, done.stderr) == (0, b"")
    (log,) = (path for path in (jobs.folder / "lines").glob("[!.]*") if not path.is_symlink())
    lines = log.read_bytes().splitlines(keepends=True)
    assert b"".join(line.rpartition(b"] ")[2] for line in lines) == job.stdin


@refusals
def test_ppdp_relays_every_byte(number: int, stage: Stage) -> None:
    preexec = forbid(number)["preexec_fn"]
    program = Ppdp(stage.folder, stage.peer(echo).port, preexec=preexec)
    stage.later(program.close)
    with program.connect() as conn:
        sender = threading.Thread(target=conn.sendall, args=(BULK,))
        sender.start()
        assert read_exactly(conn, len(BULK)) == BULK
        sender.join()
    assert program.end() == 0


@refusals
def test_a_tunnel_masks_what_it_sends(number: int, stage: Stage) -> None:
    how = {"preexec": forbid(number)["preexec_fn"]}
    server = gates.server(stage, {"t": stage.peer(echo).port}, **how)
    client = gates.client(stage, server.url("t"), **how)
    with client.connect() as conn:
        sender = threading.Thread(target=conn.sendall, args=(BULK,))
        sender.start()
        assert read_exactly(conn, len(BULK)) == BULK
        sender.join()
    assert client.end() == 0
    assert server.end() == 0
