"""WebSocket sides of the relay engine, against `websockets` as a plain peer and raw frames."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Opcode
from websockets.sync.client import connect as websocket_connect

from tests.conftest import wait_until
from tests.peers.servers import LOOPBACK, echo, read_all, read_exactly, reset
from tests.peers.tunnels import (
    answer_upgrade,
    collect,
    frame,
    pair,
    read_frame,
    tunnel,
    upgraded,
    websocket_server,
)
from tests.streams import pattern

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

    from tests.peers.servers import Stage


# -- `websockets` as an independent peer on either side ----------------------------------------


def test_an_independent_client_gets_through_a_servers_end(stage: Stage) -> None:
    server = tunnel(stage, "server", stage.peer(echo).port)
    with websocket_connect(f"ws://{LOOPBACK}:{server.port}/", max_size=None) as ws:
        for size in (0, 1, 64, 125, 126, 65535, 65536, 3_000_000):
            body = pattern(size, size)
            ws.send(body)
            got = b""
            while len(got) < size:
                message = ws.recv(20)
                assert isinstance(message, bytes)
                assert 0 < len(message) <= 256 << 10
                got += message
            assert got == body
        pieces = [pattern(size, 7) for size in (1, 0, 70_000, 5)]
        ws.send(iter(pieces))  # one message in fragments
        got = b""
        while len(got) < 70_006:
            got += bytes(ws.recv(20))  # type: ignore[arg-type]
        assert got == b"".join(pieces)
        assert ws.ping().wait(10)
    line = server.end_of("Suceeded")
    assert line["read"] == line["write"] == 70_006 + 3_000_000 + 65536 + 65535 + 126 + 125 + 65
    assert line["seq"] == "1"
    assert line["disconnect_at"] == "client_nextreader"
    assert line["upstream"].startswith(LOOPBACK)
    assert len(server.wait_for_lines(1, status="Connected")) == 1
    stats = server.stats()
    assert (stats["accepted"], stats["succeeded"], stats["open"]) == (1, 1, 0)


def test_a_clients_end_gets_through_to_an_independent_server(stage: Stage) -> None:
    heard: list[int | None] = []

    def serve(ws: ServerConnection) -> None:
        for message in ws:
            assert isinstance(message, bytes)
            ws.send(message)
        heard.append(ws.close_code)

    client = tunnel(stage, "client", websocket_server(stage, serve))
    body = pattern(2_000_000)
    with client.connect() as conn:
        sender = threading.Thread(target=conn.sendall, args=(body,))
        sender.start()
        assert read_exactly(conn, len(body)) == body
        sender.join()
        conn.shutdown(socket.SHUT_WR)  # this peer answers the Close at once
        assert read_all(conn) == b""
    wait_until(lambda: heard == [1000])
    line = client.end_of("Suceeded")
    assert line["read"] == line["write"] == len(body)


def test_an_independent_server_that_ends_first(stage: Stage) -> None:
    body = pattern(300_000)

    def serve(ws: ServerConnection) -> None:
        ws.send(body)

    client = tunnel(stage, "client", websocket_server(stage, serve))
    with client.connect() as conn:
        assert read_all(conn) == body
    client.end_of("Suceeded")


def test_an_independent_client_hears_how_the_upstream_ended(stage: Stage) -> None:
    def greet(conn: socket.socket) -> None:
        conn.sendall(b"bye" * 1000)

    def break_off(conn: socket.socket) -> None:
        conn.sendall(b"bye" * 1000)
        conn.recv(1)
        reset(conn)

    server = tunnel(stage, "server", stage.peer(greet).port)
    with websocket_connect(f"ws://{LOOPBACK}:{server.port}/") as ws:
        assert collect(ws) == b"bye" * 1000
        assert ws.close_code == 1000
    server.end_of("Suceeded")
    server = tunnel(stage, "server", stage.peer(break_off).port)
    with websocket_connect(f"ws://{LOOPBACK}:{server.port}/") as ws:
        ws.send(b"x")
        with pytest.raises(ConnectionClosedError):
            collect(ws)
        assert ws.close_code == 1011
    line = server.end_of("Failed")
    assert line["error"] == "upstream: Connection reset by peer"
    assert line["disconnect_at"] == "upstream_read"


# -- half-close --------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_between_two_ends_each_direction_ends_by_itself(stage: Stage, first: str) -> None:
    """Whoever ends first still gets all that the other says afterwards."""
    body = pattern(5_000_000)
    got: list[bytes] = []

    def upstream(conn: socket.socket) -> None:
        if first == "client":
            digest = hashlib.sha256(read_all(conn)).digest()
            conn.sendall(digest + body)
        else:
            conn.sendall(b"that is all")
            conn.shutdown(socket.SHUT_WR)
            got.append(read_all(conn))

    client, server = pair(stage, stage.peer(upstream).port)
    with client.connect() as conn:
        if first == "client":
            conn.sendall(body)
            conn.shutdown(socket.SHUT_WR)
            assert read_all(conn) == hashlib.sha256(body).digest() + body
        else:
            assert read_all(conn) == b"that is all"
            time.sleep(0.3)  # longer than any round trip: the ends know of the half-close
            conn.sendall(body)
            conn.shutdown(socket.SHUT_WR)
            wait_until(lambda: got)
            assert got == [body]
    assert client.end_of("Suceeded")["read"] in (len(body), len(body))
    server.end_of("Suceeded")


# -- what a broken stream looks like -----------------------------------------------------------


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_a_reset_never_looks_like_a_clean_end(stage: Stage, who: str) -> None:
    seen: list[str] = []
    ready = threading.Event()

    def upstream(conn: socket.socket) -> None:
        conn.sendall(b"x")
        conn.recv(1)
        ready.set()
        if who == "upstream":
            reset(conn)
            return
        try:
            seen.append(f"end {conn.recv(1)!r}")
        except ConnectionResetError:
            seen.append("reset")

    client, server = pair(stage, stage.peer(upstream).port)
    conn = client.connect()
    conn.recv(1)
    conn.sendall(b"y")
    assert ready.wait(10)
    if who == "client":
        reset(conn)
        wait_until(lambda: seen)
        assert seen == ["reset"]
        assert client.end_of("Failed")["error"] == "client: Connection reset by peer"
        assert "closed with code 1011" in server.end_of("Failed")["error"]
    else:
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
        conn.close()
        assert server.end_of("Failed")["error"] == "upstream: Connection reset by peer"
        assert "closed with code 1011" in client.end_of("Failed")["error"]


@pytest.mark.parametrize(
    ("tail", "error"),
    [
        (b"", "without a Close frame"),
        (frame(Opcode.BINARY, bytes(200))[:100], "in the middle of a frame"),
        (frame(Opcode.BINARY, b"x")[:1], "in the middle of a frame"),
        (frame(Opcode.CLOSE, struct.pack("!H", 1001)), "closed with code 1001"),
        (frame(Opcode.CLOSE, struct.pack("!H", 1011)), "closed with code 1011"),
    ],
    ids=["FIN", "in payload", "in header", "1001", "1011"],
)
def test_a_stream_that_is_cut_resets_the_tcp_side(stage: Stage, tail: bytes, error: str) -> None:
    seen: list[str] = []

    def upstream(conn: socket.socket) -> None:
        try:
            data = read_all(conn)
            seen.append(f"end after {len(data)}")
        except ConnectionResetError:
            seen.append("reset")

    server = tunnel(stage, "server", stage.peer(upstream).port)
    conn = upgraded(server)
    conn.sendall(frame(Opcode.BINARY, b"begun") + tail)
    conn.close()
    wait_until(lambda: seen)
    assert seen == ["reset"]
    assert error in server.end_of("Failed")["error"]


@pytest.mark.parametrize(
    ("wire", "code", "error"),
    [
        (frame(Opcode.TEXT, b"hello"), 1003, "text"),
        (frame(Opcode.BINARY, b"hello", mask=False), 1002, "unmasked"),
        (b"\xc2\x80\0\0\0\0", 1002, "reserved"),
        (b"\x83\x80\0\0\0\0", 1002, "opcode"),
        (b"\x89\xfe\x00\x7e\0\0\0\0", 1002, "125"),
        (b"\x09\x80\0\0\0\0", 1002, "fragments"),
        (b"\x80\x80\0\0\0\0", 1002, "continuation"),
        (b"\x02\x80\0\0\0\0\x82\x80\0\0\0\0", 1002, "message"),
        (b"\x82\xfe\x00\x7d\0\0\0\0", 1002, "length"),
        (b"\x82\xff" + b"\xff" * 8 + bytes(4), 1002, "63 bits"),
    ],
)
def test_a_violation_is_answered_by_its_code(
    stage: Stage, wire: bytes, code: int, error: str
) -> None:
    seen: list[str] = []

    def upstream(conn: socket.socket) -> None:
        try:
            seen.append(f"end {read_all(conn)!r}")
        except ConnectionResetError:
            seen.append("reset")

    server = tunnel(stage, "server", stage.peer(upstream).port)
    with upgraded(server) as conn:
        conn.sendall(wire)
        assert read_frame(conn) == (0x88, struct.pack("!H", code))
        assert conn.recv(1) == b""
    assert error in server.end_of("Failed")["error"]
    wait_until(lambda: seen)
    assert seen == ["reset"]


def test_a_server_that_masks_is_refused(stage: Stage) -> None:
    closes: list[tuple[int, bytes]] = []

    def serve(conn: socket.socket) -> None:
        answer_upgrade(conn)
        conn.sendall(frame(Opcode.BINARY, b"x", mask=True))
        closes.append(read_frame(conn))

    client = tunnel(stage, "client", stage.peer(serve).port)
    with pytest.raises(ConnectionResetError), client.connect() as conn:
        conn.recv(1)
    assert "a server's frame masked" in client.end_of("Failed")["error"]
    wait_until(lambda: closes)
    assert closes == [(0x88, struct.pack("!H", 1002))]


# -- pings -------------------------------------------------------------------------------------


def test_a_silent_tunnel_is_kept_alive_by_pings(stage: Stage) -> None:
    pings: list[bytes] = []

    def serve(conn: socket.socket) -> None:
        answer_upgrade(conn)
        while True:
            first, payload = read_frame(conn)
            if first == 0x88:
                conn.sendall(frame(Opcode.CLOSE, payload, mask=False))
                return
            if first == 0x89:
                pings.append(payload)
                conn.sendall(frame(Opcode.PONG, payload, mask=False))
            else:
                conn.sendall(frame(Opcode.BINARY, payload, mask=False))

    client = tunnel(stage, "client", stage.peer(serve).port, ping_s=0.2)
    with client.connect() as conn:
        wait_until(lambda: len(pings) >= 3)
        conn.sendall(b"still here")
        assert read_exactly(conn, 10) == b"still here"
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    line = client.end_of("Suceeded")
    assert (line["read"], line["write"]) == (10, 10)


def test_pings_do_not_hide_silence_from_the_idle_time_out(stage: Stage) -> None:
    client, server = pair(stage, stage.peer(echo).port, ping_s=0.1, idle_s=0.7)
    with pytest.raises(ConnectionResetError), client.connect() as conn:
        conn.recv(1)
    wait_until(lambda: client.lines(status="Failed") and server.lines(status="Failed"))
    errors = [t.wait_for_lines(1, status="Failed")[0]["error"] for t in (client, server)]
    assert "idle for 0.7 s" in errors
    assert all(t.wait_for_lines(1, status="Failed")[0]["duration"] > 0.6 for t in (client, server))


def test_pings_that_nobody_can_answer_cost_no_memory(stage: Stage) -> None:
    """The peer sends pings and never reads while our side of the socket is full."""
    release = threading.Event()
    stage.later(release.set)

    def flood(conn: socket.socket) -> None:
        block = bytes(1 << 20)
        while not release.is_set():
            conn.sendall(block)

    server = tunnel(stage, "server", stage.peer(flood).port)
    with upgraded(server) as conn:
        time.sleep(0.5)  # the upstream has filled every buffer
        before = server.resident_bytes()
        many = frame(Opcode.PING, b"p" * 125) * 8000  # a megabyte
        for _ in range(100):
            conn.sendall(many)
        conn.sendall(frame(Opcode.PING, b"the last one"))
        assert server.resident_bytes() - before < 2 << 20
        while True:  # what had been stuck comes, and the last ping's answer between frames
            first, payload = read_frame(conn)
            if first == 0x8A and payload == b"the last one":
                break
