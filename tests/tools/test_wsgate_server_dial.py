"""How wsgate-server connects to its upstreams."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import Any

from kojuto.tools.wsgate_server.dial import Dialer


def test_each_address_of_a_name_has_its_share_of_the_time() -> None:
    async def dial() -> socket.socket:
        loop = asyncio.get_running_loop()
        dialer = Dialer(loop, 0.6)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        silent, answers = ("127.0.0.1", 1), ("127.0.0.1", 2)
        connected = []

        async def resolve(_: object) -> list[Any]:
            return [(*kind, silent), (*kind, answers)]

        async def connect(sock: socket.socket, address: object) -> None:
            if address == silent:
                await asyncio.sleep(60)
            connected.append(sock)

        dialer._resolve = resolve  # type: ignore[method-assign, assignment]
        loop.sock_connect = connect  # type: ignore[method-assign]
        return await dialer.dial(("name", 1))

    with closing(asyncio.run(dial())) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "nothing waits for an ACK"
