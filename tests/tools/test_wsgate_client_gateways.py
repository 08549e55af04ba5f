"""The listeners of wsgate-client: how many tunnels are opened at a time, and out of descriptors."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.tools.wsgate_client import gateways
from tests.conftest import need_program, script, wait_until
from tests.peers.gates import client, opens, server
from tests.peers.servers import echo, free_port
from tests.tools.test_wsgate_client import named

if TYPE_CHECKING:
    from tests.peers.servers import Stage


def test_so_many_tunnels_are_opened_at_a_time_so_many_wait_and_one_more_is_refused() -> None:
    opener: Any = None
    gate, begun = threading.Event(), []

    def work(_: gateways.Line, conn: socket.socket, __: str) -> None:
        begun.append(conn)
        gate.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as sock:
        line = gateways.Line(sock, opener)
        try:
            for _ in range(gateways.MAX_OPENING):
                assert line.submit(sock, "", work)
            wait_until(lambda: len(begun) == 256)
            for _ in range(gateways.MAX_WAITING):
                assert line.submit(sock, "", work)
            assert not line.submit(sock, "", work)
            assert len(begun) == 256
            assert len(line._waiting) == 4096
        finally:
            gate.set()
        wait_until(lambda: len(begun) == 256 + 4096 and line._workers == 0)


def test_running_out_of_descriptors_pauses_and_goes_on(stage: Stage) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    gate = server(stage, {"a": stage.peer(echo).port})
    local = client(stage, gate.url("a"), preexec=few)
    conns = [local.connect() for _ in range(100)]
    local.wait_for("Accepting pauses")
    for conn in conns:
        conn.close()

    def serves() -> bool:
        with local.connect() as conn:
            return opens(conn)

    wait_until(serves)
    assert local.process.poll() is None


def said(host: str, port: int) -> bytes:
    """What a port says first; nothing where its clients are turned away."""
    try:
        with socket.create_connection((host, port), timeout=20) as conn:
            return conn.recv(1)
    except ConnectionResetError:  # which may come before connect(2) has returned
        return b""


def test_each_inherited_socket_is_for_the_line_of_its_address(stage: Stage) -> None:
    """Two databases on one port of two local addresses; a line that goes and comes back."""
    port, hosts = free_port(), ["127.0.0.1", "127.0.0.2"]
    gate = server(stage, {name: stage.peer(named(name.encode())).port for name in "ab"})
    lines = [f"{host}:{port},{gate.url(name)}\n" for host, name in zip(hosts, "ab", strict=True)]
    table = stage.folder / "lines.map"
    table.write_text("".join(lines))
    sockets = [word for host in reversed(hosts) for word in ("--port", f"{host}:{port}")]
    command = [need_program("start_server"), *sockets, "--", script("wsgate-client")]
    starter = stage.program([*command, "--map", str(table)])
    starter.wait_for_lines(2, msg="Start listen")
    assert [said(host, port) for host in hosts] == [b"a", b"b"]
    pid = int(Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text())
    table.write_text(lines[0])
    os.kill(pid, signal.SIGHUP)
    warned = "No line is for an inherited socket, its clients are turned away"
    (line,) = starter.wait_for_lines(1, msg=warned)
    assert line["listener"] == f"127.0.0.2:{port}"
    assert [said(host, port) for host in hosts] == [b"a", b""]
    table.write_text("".join(lines))
    os.kill(pid, signal.SIGHUP)
    starter.wait_for_lines(3, msg="Start listen")
    assert [said(host, port) for host in hosts] == [b"a", b"b"]
    assert len(starter.lines(msg=warned)) == 1
    assert starter.end() == 0


@pytest.mark.parametrize(
    ("places", "hosts", "expected"),
    [
        (["127.0.0.1"], ["0.0.0.0"], {"127.0.0.1": 0}),
        ([""], ["0.0.0.0"], {"": 0}),
        (["localhost", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], {"localhost": 1, "127.0.0.2": 0}),
        (["127.0.0.1", "127.0.0.2"], ["127.0.0.2"], {"127.0.0.2": 0}),
        (["127.0.0.1", "127.0.0.2"], ["127.0.0.3"], {}),
        (["127.0.0.1"], ["127.0.0.2", "127.0.0.3"], {}),
    ],
)
def test_a_port_alone_tells_where_there_is_no_other(
    places: list[str], hosts: list[str], expected: dict[str, int]
) -> None:
    port = free_port()
    sockets = [socket.create_server((host, port)) for host in hosts]
    try:
        found = gateways.match([(host, port) for host in places], sockets)
        assert found == {(host, port): sockets[at] for host, at in expected.items()}
        assert gateways.match([(host, port + 1) for host in places], sockets) == {}
    finally:
        for sock in sockets:
            sock.close()
