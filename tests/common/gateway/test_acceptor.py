"""The acceptor of the gateways: a connection that cannot be handled, and a shortage."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.common.gateway.acceptor import Acceptor
from kojuto.common.server import forever
from tests.conftest import wait_until
from tests.peers.servers import LOOPBACK, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator


class Log:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def warn(self, message: str, **fields: Any) -> None:
        self.said.append((message, fields))

    def error(self, message: str, **fields: Any) -> None:
        self.said.append((message, fields))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def acceptor(log: Log) -> Iterator[Acceptor]:
    made = Acceptor(log, lambda: True, lambda: 0)  # type: ignore[arg-type]
    yield made
    made.stop()


def test_the_limit_of_connections_is_told_once_and_only_when_somebody_waits(log: Log) -> None:
    looked, room = threading.Semaphore(0), threading.Event()

    def has_room() -> bool:
        looked.release()
        return room.is_set()

    acceptor = Acceptor(log, has_room, lambda: 0)  # type: ignore[arg-type]
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    acceptor.add(listener, lambda connection, _: connection.close())
    try:
        for _ in range(3):  # it has looked at the listener, too
            assert looked.acquire(timeout=20)
        assert not log.said
        with socket.create_connection((LOOPBACK, port), timeout=20) as conn:
            wait_until(lambda: log.said, what="the line of the log")
            while looked.acquire(blocking=False):
                pass
            for _ in range(3):
                assert looked.acquire(timeout=20)
            room.set()
            assert read_all(conn) == b""
        assert log.said == [("Accepting pauses", {"error": "the connection limit is reached"})]
    finally:
        room.set()
        acceptor.stop()


def test_a_failure_that_nobody_expected_ends_no_accepting(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forever, "FIRST_PAUSE_S", 0.01)
    failing = [ZeroDivisionError()]

    def has_room() -> bool:
        if failing:
            raise failing.pop()
        return True

    acceptor = Acceptor(log, has_room, lambda: 0)  # type: ignore[arg-type]
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    acceptor.add(listener, lambda connection, _: connection.close())
    with socket.create_connection((LOOPBACK, port), timeout=20) as conn:
        assert read_all(conn) == b""
    acceptor.stop()
    assert [said for said, _ in log.said] == ["Failed unexpectedly, beginning anew"]


def test_a_handler_that_fails_costs_its_connection_and_nobody_elses(
    acceptor: Acceptor, log: Log
) -> None:
    handled = threading.Event()
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]

    def handle(connection: socket.socket, peer: str) -> None:
        if not log.said:
            raise KeyError(peer)
        connection.close()
        handled.set()

    acceptor.add(listener, handle)
    with socket.create_connection((LOOPBACK, port), timeout=20) as conn:
        peer = "{}:{}".format(*conn.getsockname())
        assert read_all(conn) == b""
    wait_until(lambda: log.said, what="the line of the log")
    assert log.said == [("A connection is refused", {"error": f"KeyError: '{peer}'"})]
    with socket.create_connection((LOOPBACK, port), timeout=20) as conn:
        assert read_all(conn) == b""
    assert handled.wait(20)
