"""The listeners of wsgate-client: how many tunnels are opened at a time."""

from __future__ import annotations

import socket
import threading
from typing import Any

from kojuto.tools.wsgate_client import gateways
from tests.conftest import wait_until


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
