"""Connections that settle while upstreams come and go: nothing is lost, nothing sent twice."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from kojuto._native import LogWriter, Relay
from tests.conftest import wait_until
from tests.peers.servers import LOOPBACK, Most, echo, free_port, hammer, read_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.peers.servers import Stage


class Engine:
    """A relay in this process with one listener and one pool."""

    def __init__(self, connect_timeout_s: float = 1.0, **options: Any) -> None:
        self._log = LogWriter()
        self.relay = Relay(self._log, connect_timeout_s=connect_timeout_s, **options)
        self.pool = self.relay.add_pool("first", max_fails=0)
        with socket.create_server((LOOPBACK, 0)) as sock:
            self.port = sock.getsockname()[1]
            self.relay.listen(sock.fileno(), "here", self.pool)

    def to(self, *ports: int) -> None:
        self.relay.set_upstreams(self.pool, [(LOOPBACK, port) for port in ports])

    def connect(self) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.port), timeout=10)

    def close(self) -> None:
        self.relay.abort()
        self.relay.wait(5)
        self._log.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.close()


def close_at_once(conn: socket.socket) -> None:
    """What docker-proxy does for a container that does not listen."""
    conn.close()


def refused(engine: Engine) -> None:
    """A client that is reset at once, perhaps before it knows that it was connected."""
    with pytest.raises(ConnectionResetError), engine.connect() as conn:
        conn.recv(1)


def lost(engine: Engine, question: bytes) -> None:
    """A client that gets no answer: its connection is reset or ended."""
    try:
        with engine.connect() as conn:
            conn.sendall(question)
            answer = conn.recv(5)
    except ConnectionError:
        return
    assert answer == b""


def test_an_upstream_that_closes_at_once_is_not_given_a_byte(stage: Stage, engine: Engine) -> None:
    front = stage.peer(close_at_once)
    engine.to(front.port, stage.peer(echo).port)
    engine.relay.set_settling(engine.pool, settle_s=0.1, wait_for_upstream=False)
    for _ in range(5):
        with engine.connect() as conn:
            conn.sendall(b"hello")
            assert read_exactly(conn, 5) == b"hello"
    assert front.accepted == 5
    engine.relay.set_settling(engine.pool, settle_s=0.0, wait_for_upstream=False)
    lost(engine, b"hello")


def test_an_upstream_that_speaks_first_is_heard_at_once(stage: Stage, engine: Engine) -> None:
    def greet(conn: socket.socket) -> None:
        conn.sendall(b"welcome")
        conn.shutdown(socket.SHUT_WR)  # its word counts, although it has ended
        echo(conn)

    engine.to(stage.peer(greet).port)
    engine.relay.set_settling(engine.pool, settle_s=30.0, wait_for_upstream=False)
    with engine.connect() as conn:
        assert read_exactly(conn, 7) == b"welcome"
        assert conn.recv(1) == b""


def test_a_silent_upstream_is_trusted_after_a_while(stage: Stage, engine: Engine) -> None:
    engine.to(stage.peer(echo).port)
    engine.relay.set_settling(engine.pool, settle_s=0.2, wait_for_upstream=False)
    with engine.connect() as conn:
        began = time.monotonic()
        conn.sendall(b"hello")
        assert read_exactly(conn, 5) == b"hello"
        assert 0.15 < time.monotonic() - began < 5


def test_an_upstream_that_left_the_list_meanwhile_is_not_given_a_byte(
    stage: Stage, engine: Engine
) -> None:
    """docker-proxy keeps silent when its container has just gone."""
    seen: list[bytes] = []
    old = stage.peer(lambda conn: seen.append(conn.recv(5)))
    engine.to(old.port)
    engine.relay.set_settling(engine.pool, settle_s=0.3, wait_for_upstream=False)
    with engine.connect() as conn:
        conn.sendall(b"hello")
        while not old.accepted:
            time.sleep(0.005)
        engine.to(stage.peer(echo).port)
        assert read_exactly(conn, 5) == b"hello"
    assert b"hello" not in seen


def test_bytes_that_an_upstream_may_have_seen_are_not_sent_again(
    stage: Stage, engine: Engine
) -> None:
    """A request may have been carried out: the client is told of the loss."""
    seen: list[bytes] = []

    def take_and_leave(conn: socket.socket) -> None:
        seen.append(conn.recv(5))
        conn.close()

    second = stage.peer(echo)
    engine.to(stage.peer(take_and_leave).port, second.port)
    engine.relay.set_settling(engine.pool, settle_s=0.05, wait_for_upstream=True)
    lost(engine, b"order")
    assert seen == [b"order"]
    assert second.accepted == 0


def test_a_pool_can_let_clients_wait_for_an_upstream(stage: Stage, engine: Engine) -> None:
    port = free_port()
    engine.to(port)
    engine.relay.set_settling(engine.pool, settle_s=0.0, wait_for_upstream=True)
    with engine.connect() as conn:
        conn.sendall(b"hello")
        threading.Timer(0.3, lambda: stage.peer(echo, port=port)).start()
        assert read_exactly(conn, 5) == b"hello"


def test_waiting_for_an_upstream_ends_with_the_connect_time_out(engine: Engine) -> None:
    engine.relay.set_settling(engine.pool, settle_s=0.0, wait_for_upstream=True)
    began = time.monotonic()
    refused(engine)
    waited_s = time.monotonic() - began
    assert 0.9 < waited_s < 10
    engine.relay.set_settling(engine.pool, settle_s=0.0, wait_for_upstream=False)
    began = time.monotonic()
    refused(engine)
    assert time.monotonic() - began < waited_s


def test_cut_ends_the_connections_to_one_upstream(stage: Stage, engine: Engine) -> None:
    first, second = stage.peer(echo), stage.peer(echo)
    engine.to(first.port)
    with engine.connect() as old, engine.connect() as older:
        for conn in (old, older):
            conn.sendall(b"hello")
            assert read_exactly(conn, 5) == b"hello"
        engine.to(second.port)
        with engine.connect() as new:
            new.sendall(b"hello")
            assert read_exactly(new, 5) == b"hello"
            engine.relay.cut(engine.pool, (LOOPBACK, first.port))
            for conn in (old, older):
                with pytest.raises(ConnectionResetError):
                    conn.recv(1)
            new.sendall(b"hello")
            assert read_exactly(new, 5) == b"hello"


def ended(conn: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        conn.recv(1)


@pytest.mark.parametrize("aborted", [False, True], ids=["cut", "abort"])
def test_a_connection_that_settles_is_ended_too(aborted: bool, stage: Stage) -> None:
    engine = Engine(connect_timeout_s=60)
    stage.later(engine.close)
    peer, other = stage.peer(echo), free_port()
    engine.to(peer.port)
    engine.relay.set_settling(engine.pool, settle_s=50, wait_for_upstream=False)
    with engine.connect() as conn:
        wait_until(lambda: peer.accepted == 1)
        if aborted:
            engine.relay.abort()
        else:
            engine.relay.cut(engine.pool, (LOOPBACK, other))
            conn.settimeout(0.2)
            with pytest.raises(TimeoutError):
                conn.recv(1)
            conn.settimeout(10)
            engine.relay.cut(engine.pool, (LOOPBACK, peer.port))
        ended(conn)


@pytest.mark.parametrize("aborted", [False, True], ids=["cut", "abort"])
def test_a_connection_that_is_being_made_is_ended_too(aborted: bool, stage: Stage) -> None:
    """And one that waits for an upstream, which only the end of all ends."""
    engine = Engine(connect_timeout_s=60)
    stage.later(engine.close)
    address = stage.full_backlog()
    engine.relay.set_upstreams(engine.pool, [address])
    waiting = engine.relay.add_pool("first", max_fails=0)
    engine.relay.set_settling(waiting, settle_s=0, wait_for_upstream=True)
    with socket.create_server((LOOPBACK, 0)) as sock:
        engine.relay.listen(sock.fileno(), "there", waiting)
        at = sock.getsockname()
    with engine.connect() as conn, socket.create_connection(at, timeout=10) as without:
        wait_until(lambda: engine.relay.stats()["open"] == 2)
        if aborted:
            engine.relay.abort()
            ended(without)
        else:
            engine.relay.cut(waiting, address)
            engine.relay.cut(engine.pool, address)
        ended(conn)
        if not aborted:
            without.settimeout(0.2)
            with pytest.raises(TimeoutError):
                without.recv(1)


def test_the_most_connections_are_never_more(stage: Stage) -> None:
    """Several threads accept, none of them beyond the limit."""
    engine = Engine(max_connections=2, threads=4)
    stage.later(engine.close)
    engine.to(stage.peer(echo).port)
    with Most(lambda: int(engine.relay.stats()["open"])) as most:
        assert hammer([engine.port], b"ping", rounds=100) == 600
    assert most.seen <= 2
    assert engine.relay.stats()["accepted"] == 600


@pytest.mark.parametrize("gone", ["upstream", "client"])
def test_a_socket_that_an_application_forgot_does_not_keep_a_relay_that_stops(
    stage: Stage, gone: str
) -> None:
    """One half is gone, nothing moves in the other: a minute, here half a second."""
    held = threading.Event()
    ended = threading.Event()

    def upstream(conn: socket.socket) -> None:
        if gone == "upstream":
            conn.shutdown(socket.SHUT_WR)
        else:
            conn.recv(1)
            ended.set()
        held.wait(60)

    stage.later(held.set)
    engine = Engine(leaving_timeout_s=0.5)
    stage.later(engine.close)
    engine.to(stage.peer(upstream).port)
    with engine.connect() as conn, engine.connect() as whole:
        if gone == "upstream":
            assert conn.recv(1) == b""
            assert whole.recv(1) == b""
        else:
            conn.shutdown(socket.SHUT_WR)
            assert ended.wait(20)
            whole.shutdown(socket.SHUT_WR)
        assert not engine.relay.wait(1)
        engine.relay.stop()
        assert engine.relay.wait(20)


def test_a_whole_connection_is_not_cut_by_a_stop(stage: Stage) -> None:
    engine = Engine(leaving_timeout_s=0.2)
    stage.later(engine.close)
    engine.to(stage.peer(echo).port)
    with engine.connect() as conn:
        conn.sendall(b"x")
        assert read_exactly(conn, 1) == b"x"
        engine.relay.stop()
        assert not engine.relay.wait(1)
        conn.sendall(b"y")
        assert read_exactly(conn, 1) == b"y"
