"""How wsgate-server connects to its upstreams."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import websockets.exceptions
import websockets.sync.client

from kojuto.tools.wsgate_server.dial import Dialer
from tests.conftest import script
from tests.peers.hosts import Hosts
from tests.peers.servers import free_port

if TYPE_CHECKING:
    from tests.peers.servers import Stage


def test_each_address_of_a_name_has_its_share_of_the_time() -> None:
    async def dial() -> socket.socket:
        loop = asyncio.get_running_loop()
        dialer = Dialer(loop, 0.6)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        silent, answers = ("127.0.0.1", 1), ("127.0.0.1", 2)
        connected = []

        async def resolve(_: object) -> list[Any]:
            return [(*kind, silent), (*kind, answers)]

        async def connect(sock: socket.socket, address: object, within_s: float) -> None:
            if address == silent:
                await asyncio.wait_for(asyncio.sleep(60), within_s)
            connected.append(sock)

        dialer._resolve = resolve  # type: ignore[method-assign, assignment]
        dialer._connect = connect  # type: ignore[method-assign]
        return await dialer.dial(("name", 1))

    with closing(asyncio.run(dial())) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "nothing waits for an ACK"


def test_an_address_that_is_no_name_asks_no_resolver() -> None:
    async def dial(family: int, host: str) -> str:
        dialer = Dialer(asyncio.get_running_loop(), 20)

        async def resolve(_: object) -> list[Any]:
            raise AssertionError("it was asked")

        dialer._resolve = resolve  # type: ignore[method-assign, assignment]
        listener = socket.create_server((host, 0), family=family)
        with listener, await dialer.dial(listener.getsockname()[:2]) as sock:
            return str(sock.getpeername()[0])

    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        assert asyncio.run(dial(family, host)) == host


@pytest.mark.parametrize("patient", [True, False])
def test_an_upstream_that_takes_its_time_is_waited_for(patient: bool) -> None:
    """Its queue is full: the handshake is answered once somebody has been taken from it."""
    with socket.socket() as listener, socket.socket() as filler:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filler.connect(listener.getsockname())

        async def dial() -> socket.socket:
            loop = asyncio.get_running_loop()

            def make_room() -> None:
                listener.accept()[0].close()

            if patient:
                loop.call_later(0.3, make_room)
            return await Dialer(loop, 60 if patient else 0.5).dial(listener.getsockname())

        if patient:
            asyncio.run(dial()).close()
        else:
            with pytest.raises(TimeoutError):
                asyncio.run(dial())


def test_a_name_is_resolved_anew_for_each_tunnel(stage: Stage) -> None:
    def names(conn: socket.socket) -> None:
        conn.sendall(conn.getsockname()[0].encode())

    first = stage.peer(names, host="127.0.0.1")
    stage.peer(names, host="127.0.0.2", port=first.port)
    hosts = Hosts(stage.folder)
    hosts.set("127.0.0.1")
    command = [*hosts.prefix, script("wsgate-server"), "--listen", f"127.0.0.1:{free_port()}"]
    (stage.folder / "map").write_text(f"a,db.test:{first.port}\n")
    program = stage.program([*command, "--map", stage.folder / "map"])
    program.wait_for("Start listen")
    url = f"ws://{command[-1]}/proxy/a"

    def reached() -> object:
        with websockets.sync.client.connect(url, compression=None, proxy=None) as tunnel:
            return tunnel.recv(20)

    assert reached() == b"127.0.0.1"
    hosts.set("127.0.0.2")
    assert reached() == b"127.0.0.2"
    hosts.set()
    with pytest.raises(websockets.exceptions.InvalidStatus, match="502"):
        reached()
    hosts.set("127.0.0.1")
    assert reached() == b"127.0.0.1"
