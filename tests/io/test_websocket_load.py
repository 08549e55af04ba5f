"""Many tunnels and much in them: bounded memory, even threads, all of it taken down."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import wait_until
from tests.peers.servers import echo, read_all, read_exactly
from tests.peers.tunnels import (
    pair,
    read_frame,
    tunnel,
    upgraded,
)
from tests.streams import pattern

if TYPE_CHECKING:
    from tests.peers.servers import Stage


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_stalled_peer_bounds_memory(stage: Stage, role: str) -> None:
    """24 MiB against a reader that stands still, on either kind of side; then all arrives."""
    go = threading.Event()
    stage.later(go.set)
    got: list[str] = []

    def stall(conn: socket.socket) -> None:
        conn.recv(1)
        go.wait(30)
        got.append(hashlib.sha256(read_all(conn)).hexdigest())

    client, server = pair(stage, stage.peer(stall).port)
    watched = client if role == "client" else server
    before = watched.resident_bytes()
    block = pattern(1 << 20)
    conn = client.connect()

    def send() -> None:
        conn.sendall(b"!")
        for _ in range(48):
            conn.sendall(block)

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.7)
    assert sender.is_alive(), "48 MiB went into a peer that reads nothing"
    assert watched.resident_bytes() - before < 4 << 20
    go.set()
    sender.join(30)
    conn.shutdown(socket.SHUT_WR)
    wait_until(lambda: got, within_s=30)
    assert got == [hashlib.sha256(block * 48).hexdigest()]
    assert read_all(conn) == b""
    conn.close()


def test_many_tunnels_at_once_leave_nothing_behind(stage: Stage) -> None:
    client, server = pair(stage, stage.peer(echo).port)

    def one(seed: int) -> None:
        sizes = [1, 70_000, 64, 1 << 20, 7, 300_000, 100, 65_536, 13]
        body = b"".join(pattern(size, seed + i) for i, size in enumerate(sizes))
        with client.connect(60) as conn:
            sender = threading.Thread(target=conn.sendall, args=(body,))
            sender.start()
            assert read_exactly(conn, len(body)) == body
            sender.join()
            conn.shutdown(socket.SHUT_WR)
            assert read_all(conn) == b""

    one(0)
    idle = [t.descriptors() for t in (client, server)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(60)))
    for t, held in zip((client, server), idle, strict=True):
        wait_until(lambda t=t: len(t.lines(status="Suceeded")) == 61, what=t.text()[-500:])  # type: ignore[misc]
        # Idle pipes stay pooled, 2 descriptors each.
        wait_until(lambda t=t, held=held: t.descriptors() <= held + 64)  # type: ignore[misc]
        stats = t.stats()
        assert (stats["open"], stats["failed"]) == (0, 0)
        assert not t.lines(status="Failed")


def test_a_thousand_tunnels_at_once(stage: Stage) -> None:
    client, server = pair(stage, stage.peer(echo).port)
    before = [t.resident_bytes() for t in (client, server)]
    conns = []
    try:
        for at in range(1000):
            conn = client.connect(60)
            conns.append(conn)
            conn.sendall(b"%04d" % at)
        for at, conn in enumerate(conns):
            assert read_exactly(conn, 4) == b"%04d" % at
        assert (client.stats()["open"], server.stats()["open"]) == (1000, 1000)
        for t, held in zip((client, server), before, strict=True):
            assert t.resident_bytes() - held < 40 << 20
        for conn in conns:
            conn.shutdown(socket.SHUT_WR)
        for conn in conns:
            assert read_all(conn) == b""
    finally:
        for conn in conns:
            conn.close()
    for t in (client, server):
        wait_until(lambda t=t: t.stats()["succeeded"] == 1000)  # type: ignore[misc]
        assert t.stats()["failed"] == 0


def test_the_threads_share_adopted_connections_evenly(stage: Stage) -> None:
    server = tunnel(stage, "server", stage.peer(echo).port, threads=2)
    conns = [upgraded(server) for _ in range(8)]
    wait_until(lambda: server.stats()["open"] == 8)

    def of_each() -> list[int]:
        """Descriptors of sockets that each epoll instance watches."""
        counts = []
        for name in os.listdir(f"/proc/{server.pid}/fd"):
            if os.readlink(f"/proc/{server.pid}/fd/{name}") == "anon_inode:[eventpoll]":
                with open(f"/proc/{server.pid}/fdinfo/{name}", encoding="ascii") as info:
                    counts.append(sum(line.startswith("tfd:") for line in info))
        return sorted(counts)

    # A connection is counted before its thread watches it.
    wait_until(lambda: sum(of_each()) == 2 * (1 + 8))
    assert of_each() == [1 + 8, 1 + 8]  # four connections of two sockets, and the wake-up
    for conn in conns:
        conn.close()


def test_stop_lets_tunnels_end_and_abort_cuts_them(stage: Stage) -> None:
    client, server = pair(stage, stage.peer(echo).port)
    with client.connect() as conn:
        conn.sendall(b"a")
        assert conn.recv(1) == b"a"
        server.say("stop")
        client.say("stop")
        for byte in (b"b", b"c"):
            conn.sendall(byte)
            assert conn.recv(1) == byte
        with client.connect() as late:
            assert late.recv(1) == b""  # the relay takes nothing more
        assert "stopped" in client.wait_for_lines(1, msg="no tunnel")[0]["error"]
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    for t in (client, server):
        assert t.wait_for_lines(1, msg="ended")[0]["ended"] is True
    server = tunnel(stage, "server", stage.peer(echo).port)
    with upgraded(server) as conn:
        wait_until(lambda: server.lines(status="Connected"))
        server.say("abort")
        assert read_frame(conn) == (0x88, struct.pack("!H", 1001))
    assert server.end_of("Failed")["error"] == "stopped before it ended"


def test_the_dump_shows_payload_and_not_frames(stage: Stage) -> None:
    client, server = pair(stage, stage.peer(echo).port, dump=2)
    with client.connect() as conn:
        conn.sendall(b"SELECT secret")
        assert read_exactly(conn, 13) == b"SELECT secret"
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    for t in (client, server):
        wait_until(lambda t=t: len(t.lines(msg="dump")) == 2)  # type: ignore[misc]
        for line, direction in zip(t.lines(msg="dump"), (1, 2), strict=False):
            assert line["ascii"] == "SELECT secret"
            assert line["direction"] in (direction, 3 - direction)


def test_a_bad_descriptor_is_refused() -> None:
    from kojuto._native import LogWriter, Relay

    log = LogWriter()
    relay = Relay(log, threads=1)
    left, right = socket.socketpair()
    how: dict[str, Any] = {
        "websocket": "client", "masked": False, "remote": "x", "listener": "y", "upstream_name": "z"
    }  # fmt: skip
    try:
        with pytest.raises(OSError, match="adopting"):
            relay.adopt(left.fileno(), 10_000, **how)
        with pytest.raises(ValueError, match="websocket=nobody"):
            relay.adopt(left.fileno(), right.fileno(), **{**how, "websocket": "nobody"})
        relay.stop()
        assert relay.wait(10)
        with pytest.raises(OSError, match="stopped"):
            relay.adopt(left.fileno(), right.fileno(), **how)
    finally:
        log.close()
        left.close()
        right.close()


@pytest.mark.timeout(600)
def test_more_than_32_bits_can_count_arrives_whole_both_ways(stage: Stage) -> None:
    """With KOJUTO_STREAM_BYTES it is as much as that says."""
    total = int(os.environ.get("KOJUTO_STREAM_BYTES", str((1 << 32) + (1 << 26))))
    block = pattern((1 << 20) + 7)
    sums: list[tuple[int, int]] = []

    def give(conn: socket.socket) -> int:
        """Send it all and return its checksum."""
        checksum = 0
        for sent in range(0, total, len(block)):
            piece = memoryview(block)[: total - sent]
            checksum = zlib.crc32(piece, checksum)
            conn.sendall(piece)
        conn.shutdown(socket.SHUT_WR)
        return checksum

    def take(conn: socket.socket) -> tuple[int, int]:
        """Read to the end; how many bytes, and their checksum."""
        room = memoryview(bytearray(1 << 18))
        count = checksum = 0
        while got := conn.recv_into(room):
            checksum = zlib.crc32(room[:got], checksum)
            count += got
        return count, checksum

    def upstream(conn: socket.socket) -> None:
        sums.append(take(conn))
        give(conn)

    client, _server = pair(stage, stage.peer(upstream).port)
    with client.connect(120) as conn:
        checksum = give(conn)
        assert take(conn) == (total, checksum)
    assert sums == [(total, checksum)]
