"""The listeners of wsgate-client: how many tunnels are opened at a time, and out of descriptors."""

from __future__ import annotations

import resource
import socket
import threading
from typing import TYPE_CHECKING, Any

from kojuto.tools.wsgate_client import gateways
from tests.conftest import wait_until
from tests.peers.gates import client, opens, server
from tests.peers.servers import echo

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
