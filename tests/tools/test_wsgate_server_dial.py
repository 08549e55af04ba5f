"""How wsgate-server connects to its upstreams."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import websockets.exceptions
import websockets.sync.client

from kojuto.tools.wsgate_server.dial import Dialer
from tests.conftest import script
from tests.peers.hosts import Hosts, several
from tests.peers.servers import free_port

if TYPE_CHECKING:
    from tests.peers.servers import Stage


def test_a_dead_address_of_a_name_costs_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not its share of the time-out, which here would be half a minute."""
    with several(monkeypatch, "dead", "refuses", "answers") as answers:

        async def dial() -> socket.socket:
            return await Dialer(asyncio.get_running_loop(), 60).dial(("name.test", 1))

        began = time.monotonic()
        with asyncio.run(dial()) as sock:
            assert sock.getpeername() == answers
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "none waits for an ACK"
        assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("kinds", "error"), [("dead dead", TimeoutError), ("dead refuses", TimeoutError)]
)
def test_without_one_that_answers_the_time_is_over(
    kinds: str, error: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    with several(monkeypatch, *kinds.split()):

        async def dial() -> None:
            await Dialer(asyncio.get_running_loop(), 1.5).dial(("name.test", 1))

        with pytest.raises(error):
            asyncio.run(dial())


def test_addresses_that_refuse_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with several(monkeypatch, "refuses", "refuses"):

        async def dial() -> None:
            await Dialer(asyncio.get_running_loop(), 60).dial(("name.test", 1))

        with pytest.raises(ConnectionRefusedError):
            asyncio.run(dial())


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
