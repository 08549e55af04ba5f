"""Clients that talk first: what they said before the accept goes out with the connection."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.peers.servers import echo, read_all, read_exactly, reset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.peers.servers import Ppdp, Stage


@contextlib.contextmanager
def held(ppdp: Ppdp) -> Iterator[None]:
    """The relay stands still, so that clients are made and heard by the kernel alone."""
    tasks = Path(f"/proc/{ppdp.pid}/task")

    def stands() -> bool:
        states = [(task / "stat").read_text().rpartition(") ")[2][0] for task in tasks.iterdir()]
        return set(states) == {"T"}

    ppdp.kill(signal.SIGSTOP)
    try:
        wait_until(stands)
        yield
    finally:
        ppdp.kill(signal.SIGCONT)


# The relay reads 8 KiB at first.
@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 300_000])
def test_what_was_said_before_the_accept_arrives_whole_and_so_does_its_end(
    stage: Stage, size: int
) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    said = bytes(i * 7 % 251 for i in range(size))
    with held(ppdp):
        conn = ppdp.connect()
        stage.later(conn.close)
        conn.sendall(said)
        conn.shutdown(socket.SHUT_WR)
    assert read_all(conn) == said
    wait_until(lambda: ppdp.lines(status="Suceeded", read=size, write=size))


def test_more_may_follow_what_was_said_first(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    with held(ppdp):
        conn = ppdp.connect()
        stage.later(conn.close)
        conn.sendall(b"first")
    assert read_exactly(conn, 5) == b"first"
    conn.sendall(b"second")
    assert read_exactly(conn, 6) == b"second"


@pytest.mark.parametrize("said", [b"", b"x"])
def test_a_client_that_was_gone_before_the_accept_is_logged_and_leaves_nothing(
    stage: Stage, said: bytes
) -> None:
    """Where it has said nothing, no upstream is troubled."""
    upstream = stage.peer(echo)
    ppdp = stage.ppdp(upstream.port)
    before = ppdp.descriptors()
    with held(ppdp):
        conn = ppdp.connect()
        conn.sendall(said)
        reset(conn)
    if said:
        line = ppdp.wait_for_line(status="Failed")
        assert line["error"] == "client: Connection reset by peer"
    else:
        ppdp.wait_for_line(status="Suceeded")
    wait_until(lambda: ppdp.descriptors() <= before)
    wait_until(lambda: upstream.accepted >= len(said))  # its own thread counts
    assert upstream.accepted == len(said)


@pytest.mark.parametrize("options", [[], ["--send-proxy=v1"]])
def test_an_upstream_that_answers_in_pieces_is_acknowledged_at_once(
    stage: Stage, options: list[str]
) -> None:
    """With Nagle's algorithm it holds the second piece back until the first one is acknowledged:
    a relay that delays its acknowledgements (40 ms) would slow each such answer down.
    """

    def answer(conn: socket.socket) -> None:
        conn.recv(1 << 10)
        conn.sendall(b"head")
        conn.sendall(b"body")
        read_all(conn)

    ppdp = stage.ppdp(stage.peer(answer).port, *options)
    took = []
    for _ in range(7):
        with held(ppdp):
            conn = ppdp.connect()
            conn.sendall(b"x")
        began = time.monotonic()
        with conn:
            assert read_exactly(conn, 8) == b"headbody"
        took.append(time.monotonic() - began)
    assert sorted(took)[3] < 0.03, took


def test_an_upstream_that_talks_first_is_not_made_to_wait(stage: Stage) -> None:
    """Its side of the handshake ends at once, though the client has nothing to say."""
    accepted = threading.Event()

    def greet(conn: socket.socket) -> None:
        accepted.set()
        conn.sendall(b"hello")
        read_all(conn)

    ppdp = stage.ppdp(stage.peer(greet).port)
    took = []
    for _ in range(7):
        began = time.monotonic()
        with ppdp.connect() as conn:
            assert read_exactly(conn, 5) == b"hello"
        took.append(time.monotonic() - began)
    assert sorted(took)[3] < 0.03, took
