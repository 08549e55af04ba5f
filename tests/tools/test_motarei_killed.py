"""motarei is killed (-9) in the middle of a deploy: its clients, and the motarei that follows."""

from __future__ import annotations

import json
import os
import signal
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.peers.engine import Load, exchange, inside, motarei, newest
from tests.tools.test_motarei_deploy import gone, more
from tests.tools.test_motarei_ports import under_starter

if TYPE_CHECKING:
    from tests.peers.engine import Docker
    from tests.peers.servers import Program, Stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")

MOST_OPEN = 4
"""Connections that a load has open at a time."""
UNREADY = ["--health-cmd", "test -f /ready", "--health-interval", "200ms",
           "--health-start-period", "60s"]  # fmt: skip
"""Options of a container that is not ready before `make_ready`, however slow the machine is."""


def make_ready(docker: Docker, container: str) -> None:
    docker.docker("exec", container, "touch", "/ready")


def worker_of(starter: Program) -> int:
    """The process of the present generation; 0 while there is none."""
    children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
    return int(children[-1]) if children else 0


def test_under_a_supervisor_only_what_was_open_fails(stage: Stage, docker: Docker) -> None:
    """At each step of a deploy. Who comes meanwhile waits in the socket's queue and is served."""
    old = docker.up("plain")
    starter = under_starter(stage, docker, ["127.0.0.1:8085"], "--publish", "80=8085")
    starter.wait_for("Start listen")
    load = Load(docker, 8085)

    def kill_and_wait() -> str:
        """Who takes the connections of the next one first."""
        pid, ups = worker_of(starter), len(starter.lines(msg="Upstreams"))
        listens = len(starter.lines(msg="Start listen"))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(starter.lines(msg="Start listen")) > listens, within_s=30)
        settled, done = len(load.failures), load.done
        wait_until(partial(more, load, done + 20), within_s=30)
        assert load.failures[settled:] == []
        return str(starter.lines(msg="Upstreams")[ups]["containers"][0])

    try:
        wait_until(partial(more, load, 20), within_s=30)
        # It runs, and is not ready yet.
        new = docker.up("plain", *UNREADY)
        starter.wait_for_lines(1, msg="Waiting for a port", container=new[:12])
        assert kill_and_wait() == old[:12]
        make_ready(docker, new)
        wait_until(lambda: newest(starter) == new[:12], within_s=30)
        # The old one is told to stop, and ends while there is no motarei that could hear of it.
        docker.docker("kill", "--signal", "TERM", old)
        assert kill_and_wait() == new[:12]
        wait_until(partial(gone, docker, old[:12]), within_s=30)
        # It was created, and starts while there is no motarei.
        late = (
            docker.docker("create", "-P", "-l", "app=web", "kojuto:plain").stdout.decode().strip()
        )
        pid = worker_of(starter)
        os.kill(pid, signal.SIGKILL)
        docker.docker("start", late)
        wait_until(lambda: newest(starter) == late[:12], within_s=30)
        settled, done = len(load.failures), load.done
        wait_until(partial(more, load, done + 20), within_s=30)
        assert load.failures[settled:] == []
    finally:
        load.end()
    assert len(load.failures) <= 3 * MOST_OPEN, starter.text()
    assert not any("timed out" in failure for failure in load.failures), "they end at once"
    assert not any("refused" in failure for failure in load.failures)
    assert starter.end() == 0


def test_without_one_clients_are_refused_until_the_next_serves_the_newest(
    stage: Stage, docker: Docker
) -> None:
    old = docker.up("plain")
    program = motarei(stage, docker, "--publish", "80=8085")
    program.wait_for("Start listen")

    def talk() -> None:
        with socket.create_connection(("127.0.0.1", 8085), timeout=10) as conn:
            conn.sendall(b"before")
            assert conn.recv(6) == b"before"
            new = docker.up("plain", *UNREADY)
            program.wait_for_lines(1, msg="Waiting for a port", container=new[:12])
            program.kill(signal.SIGKILL)
            program.process.wait(20)
            assert ended(conn), "at once, and it does not hang"
            with pytest.raises(ConnectionRefusedError):
                exchange(8085)
        following = motarei(stage, docker, "--publish", "80=8085")
        following.wait_for("Start listen")
        assert newest(following) == old[:12]
        exchange(8085)
        make_ready(docker, new)
        wait_until(lambda: newest(following) == new[:12])
        exchange(8085)
        docker.docker("stop", "--time", "5", old)
        exchange(8085)
        assert following.lines(status="Failed") == []

    inside(docker, talk)


def test_the_next_one_knows_who_was_told_to_stop(stage: Stage, docker: Docker) -> None:
    """A rollback of one that is called healthy while it serves what it has to the end."""
    first = docker.up("plain")
    second = docker.up("plain", *UNREADY, "--stop-signal", "SIGTERM")
    make_ready(docker, second)
    program = motarei(stage, docker, "--publish", "80=8085")
    wait_until(lambda: newest(program) == second[:12])
    row = json.loads(docker.docker("inspect", second).stdout)[0]
    public = int(row["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])

    def talk() -> None:
        with socket.create_connection(("127.0.0.1", public), timeout=10) as conn:
            conn.sendall(b"before")
            assert conn.recv(6) == b"before"
            program.kill(signal.SIGKILL)
            program.process.wait(20)
            docker.docker("kill", "--signal", "TERM", second)
            following = motarei(stage, docker, "--publish", "80=8085")
            wait_until(lambda: newest(following) == first[:12])
            for _ in range(20):
                exchange(8085)
            assert not gone(docker, second[:12])
            assert following.lines(status="Failed") == []

    inside(docker, talk)


def ended(conn: socket.socket) -> bool:
    try:
        return conn.recv(1) == b""
    except ConnectionResetError:
        return True
