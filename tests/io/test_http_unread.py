"""Clients that are still sending when the HTTP front has answered and ends the connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.io.test_http import Front, start
from tests.peers.servers import read_all

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["start"]

HALF = 1 << 20
"""Bytes of a body; more than fits into what the systems of both sides hold on loopback."""
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (2 * HALF)


@pytest.mark.parametrize(
    ("begin", "options", "status"),
    [
        (POST, {"pass_over_bodies": True}, 200),
        (POST, {"max_body_bytes": 10}, 413),
        (b"no request\r\n\r\n", {}, 400),
        (b"GET / HTTP/1.1\r\nX: ", {}, 431),
    ],
    ids=["passed over", "too large", "no request", "head too large"],
)
def test_who_is_still_sending_is_not_reset(
    start: Callable[..., Front], begin: bytes, options: dict[str, int], status: int
) -> None:
    front = start(**options)
    with front.connect() as conn:
        conn.sendall(begin + b"a" * 70000)
        assert conn.recv(12) == f"HTTP/1.1 {status}".encode()
        for _ in range(8):
            time.sleep(0.02)  # a reset has time to come
            conn.sendall(b"a" * (HALF // 4))
        read_all(conn)
        assert front.server.stats()["open"] == 1
    wait_until(lambda: front.server.stats()["open"] == 0)
    assert front.server.stats()["timeouts"] == 0


def test_who_never_stops_sending_is_cut(start: Callable[..., Front]) -> None:
    front = start(pass_over_bodies=True)
    with front.connect() as conn:
        conn.sendall(POST)
        read_all(conn)
        began = time.monotonic()
        wait_until(lambda: front.server.stats()["open"] == 0)
        assert 3 < time.monotonic() - began < 8


def test_http_1_0_is_not_told_that_its_connection_goes_on(start: Callable[..., Front]) -> None:
    front = start(pass_over_bodies=True)
    post = POST.replace(b"HTTP/1.1", b"HTTP/1.0\r\nConnection: keep-alive")
    with front.connect() as conn:
        conn.sendall(post)
        head = read_all(conn).partition(b"\r\n\r\n")[0]
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"http/1.0 200 ok"
    assert [line for line in lines if line.startswith(b"connection:")] == [b"connection: close"]
