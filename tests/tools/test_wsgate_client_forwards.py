"""wsgate-client without a map file: ``-L``, and ``--quiet``."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING

from tests.conftest import run, script
from tests.peers.gates import backend, client, opens, server
from tests.peers.servers import LOOPBACK, echo, free_port, reset

if TYPE_CHECKING:
    from tests.peers.servers import Program, Stage


def test_lines_of_the_command_line_stand_beside_those_of_a_map(stage: Stage) -> None:
    peer, ports = backend(stage), [free_port(), free_port()]
    forwards = [f"-L{LOOPBACK}:{port}={peer.url()}?a=b" for port in ports]

    def works(port: int) -> bool:
        with socket.create_connection((LOOPBACK, port), timeout=30) as conn:
            return opens(conn)

    alone = stage.program([script("wsgate-client"), *forwards])
    alone.wait_for_lines(2, msg="Start listen")
    assert all(map(works, ports))
    assert alone.end() == 0
    both = client(stage, peer.url(), forwards[0])
    assert works(both.port)
    assert works(ports[0])
    both.kill(signal.SIGHUP)
    both.wait_for("Reloaded")
    assert works(ports[0])
    twice = stage.folder / "twice.map"
    twice.write_text(f"{LOOPBACK}:{ports[1]},{peer.url()}\n")
    done = run("wsgate-client", "--map", str(twice), forwards[1])
    assert b"this address is already given" in done.stderr


def test_quiet_logs_what_fails_and_nothing_else(stage: Stage) -> None:

    def reset_once_reached(conn: socket.socket) -> None:
        conn.recv(1)  # before that, no connection could be made: 502
        reset(conn)

    gate = server(stage, {"a": stage.peer(echo).port, "b": stage.peer(reset_once_reached).port})
    done = run("wsgate-client", "--quiet", "stdio", gate.url("a"), stdin=b"hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")
    failed = run("wsgate-client", "stdio", gate.url("b"), "-q", stdin=b"hello")
    assert failed.returncode == 1
    (line,) = failed.stderr.decode().splitlines()
    assert json.loads(line)["status"] == "Failed"
    local = client_quietly(stage, gate.url("a"))
    with socket.create_connection((LOOPBACK, local[1]), timeout=30) as conn:
        assert opens(conn)
    gate.wait_for_lines(2, status="Suceeded")
    assert local[0].end() == 0
    assert local[0].text() == ""


def client_quietly(stage: Stage, url: str) -> tuple[Program, int]:
    """A client that says nothing, once it listens; and its port."""
    port = free_port()
    program = stage.program([script("wsgate-client"), "-q", "-L", f"{LOOPBACK}:{port}={url}"])
    program.wait_for_port(port)
    return program, port
