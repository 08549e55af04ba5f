"""The rights of tunnels: kept by the engine as long as they are open, and taken away."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from kojuto._native import LogWriter, Relay
from tests.conftest import wait_until
from tests.peers.tunnels import read_frame

if TYPE_CHECKING:
    from collections.abc import Iterator


class Engine:
    """A relay in this process, of two threads so that tunnels are spread."""

    def __init__(self) -> None:
        self._log = LogWriter()
        self.relay = Relay(self._log, threads=2)

    def close(self) -> None:
        self.relay.abort()
        assert self.relay.wait(10)
        self._log.close()

    @contextlib.contextmanager
    def tunnel(self, grant: str | None) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Our ends of one: where WebSocket is spoken, and the other."""
        pairs = [socket.socketpair() for _ in range(2)]
        try:
            self.relay.adopt(
                pairs[0][1].fileno(),
                pairs[1][1].fileno(),
                websocket="client",
                masked=False,
                remote="x",
                listener="y",
                upstream_name="z",
                grant=grant,
            )
            for _, theirs in pairs:
                theirs.close()
            for ours, _ in pairs:
                ours.settimeout(20)
            yield pairs[0][0], pairs[1][0]
        finally:
            for one in (*pairs[0], *pairs[1]):
                one.close()

    def rights(self) -> list[str]:
        return sorted(text for _, text in self.relay.grants())


def test_a_right_is_known_as_long_as_its_tunnel_is_open() -> None:
    with contextlib.closing(Engine()) as engine:
        with engine.tunnel("one"), engine.tunnel(None):
            with engine.tunnel("two"):
                assert engine.rights() == ["one", "two"]
            wait_until(lambda: engine.rights() == ["one"])
        wait_until(lambda: engine.rights() == [])


def test_only_the_tunnels_that_are_named_end_and_are_told_of_no_more() -> None:
    with contextlib.closing(Engine()) as engine, contextlib.ExitStack() as stack:
        tunnels = {
            name: stack.enter_context(engine.tunnel(name)) for name in ("one", "two", "three")
        }
        free = stack.enter_context(engine.tunnel(None))
        lost = [number for number, text in engine.relay.grants() if text != "two"]
        engine.relay.revoke([*lost, 10_000])
        assert engine.rights() == ["two"]
        for name in ("one", "three"):
            assert read_frame(tunnels[name][0]) == (0x88, b"\x03\xf0")
        for end, far in (tunnels["two"], free):
            far.sendall(b"still")
            assert read_frame(end) == (0x82, b"still")
