"""WebSocket sides of the relay engine, against `websockets` as a plain peer and raw frames."""

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
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Opcode
from websockets.sync.client import connect as websocket_connect

from tests.conftest import wait_until
from tests.peers.servers import LOOPBACK, echo, read_all, read_exactly, reset
from tests.peers.tunnels import (
    CLOSE,
    UPGRADE,
    Tunnel,
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


# -- frames ------------------------------------------------------------------------------------


def test_one_byte_at_a_time(stage: Stage) -> None:
    """Every header and payload is cut everywhere, with control frames in between."""
    server = tunnel(stage, "server", stage.peer(echo).port)
    frames = [
        (frame(Opcode.PING, b"are you there"), (0x8A, b"are you there")),
        (frame(Opcode.BINARY, b"a" * 5, fin=False), (0x82, b"aaaaa")),
        (frame(Opcode.PING, b"?" * 125), (0x8A, b"?" * 125)),
        (frame(Opcode.PONG, b"unasked") + frame(Opcode.CONT, b"", fin=False), None),
        (frame(Opcode.CONT, b"b" * 200), (0x82, b"b" * 200)),
        (frame(Opcode.CLOSE, CLOSE), (0x88, CLOSE)),
    ]
    with upgraded(server) as conn:
        for wire, answer in frames:
            for at in range(len(wire)):
                conn.sendall(wire[at : at + 1])
            if answer is None:
                continue
            opcode, data = answer
            got = b""
            while True:  # the echo comes in as many frames as there were reads
                first, payload = read_frame(conn)
                assert first == opcode
                got += payload
                if len(got) >= len(data):
                    break
            assert got == data
        assert conn.recv(1) == b""
    server.end_of("Suceeded")


def test_the_bytes_behind_the_handshake_are_not_lost(stage: Stage) -> None:
    """Both peers speak before the other has seen the end of the handshake."""
    body = pattern(100_000)
    server = tunnel(stage, "server", stage.peer(echo).port)
    with server.connect() as conn:
        sent = UPGRADE + frame(Opcode.BINARY, body) + frame(Opcode.CLOSE, CLOSE)
        threading.Thread(target=conn.sendall, args=(sent,)).start()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += conn.recv(1)
        data = b""
        while (got := read_frame(conn))[0] == 0x82:
            data += got[1]
    assert data == body

    def speak_first(conn: socket.socket) -> None:
        frames = frame(Opcode.BINARY, body, mask=False) + frame(Opcode.CLOSE, CLOSE, mask=False)
        answer_upgrade(conn, frames)
        read_frame(conn)

    client = tunnel(stage, "client", stage.peer(speak_first).port)
    with client.connect() as conn:
        assert read_all(conn) == body
    client.end_of("Suceeded")


def test_a_huge_frame_streams_through(stage: Stage) -> None:
    """What has come of a frame of 4 GiB goes on before the rest of it has."""
    received = threading.Semaphore(0)
    count = 0

    def upstream(conn: socket.socket) -> None:
        nonlocal count
        while data := conn.recv(1 << 20):
            count += len(data)
            received.release()

    server = tunnel(stage, "server", stage.peer(upstream).port)
    before = server.resident_bytes()
    with upgraded(server) as conn:
        conn.sendall(b"\x82\xff" + struct.pack("!Q", 4 << 30) + bytes(4))
        conn.sendall(b"first")
        assert received.acquire(timeout=10)
        assert count == 5
        block = bytes(1 << 20)
        for _ in range(256):
            conn.sendall(block)
        wait_until(lambda: count == 5 + (256 << 20), within_s=30)
        assert server.resident_bytes() - before < 4 << 20
    assert "in the middle of a frame" in server.end_of("Failed")["error"]


def pipes(t: Tunnel) -> int:
    """Pipes for splice(2) that the relay holds, by their two ends."""
    folder = f"/proc/{t.pid}/fd"
    return sum(os.readlink(f"{folder}/{name}").startswith("pipe:") for name in os.listdir(folder))


def test_large_frames_from_a_server_are_spliced_and_arrive_whole(stage: Stage) -> None:
    """Sizes that change between copying and splicing, pings and fragments in between."""
    sizes = [300_000, 70_000, 65_536, 65_535, 125, 2_000_000, 0, 65_545, 1, 5_000_000, 262_144] * 3
    body = [pattern(size, i) for i, size in enumerate(sizes)]
    pongs = []

    def serve(conn: socket.socket) -> None:
        answer_upgrade(conn)
        begun = False
        for at, piece in enumerate(body):
            opcode = Opcode.CONT if begun else Opcode.BINARY
            begun = at % 3 == 1
            conn.sendall(frame(opcode, piece, fin=not begun, mask=False))
            if at % 5 == 4:
                conn.sendall(frame(Opcode.PING, b"%d" % at, mask=False))
        conn.sendall(frame(Opcode.CONT, b"end", mask=False) if begun else b"")
        while (got := read_frame(conn))[0] != 0x88:
            pongs.append(got)
        conn.sendall(frame(Opcode.CLOSE, CLOSE, mask=False))

    client = tunnel(stage, "client", stage.peer(serve).port)
    wanted = hashlib.sha256(b"".join(body) + (b"end" if len(body) % 3 == 2 else b""))
    before = pipes(client)
    with client.connect() as conn:
        got = hashlib.sha256()
        left = sum(sizes) + (3 if len(body) % 3 == 2 else 0)
        while left:
            data = conn.recv(min(left, 1 << 16))
            assert data
            got.update(data)
            left -= len(data)
        assert got.hexdigest() == wanted.hexdigest()
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    client.end_of("Suceeded")
    assert pongs
    assert all(first == 0x8A for first, _ in pongs)
    assert pipes(client) > before


def test_a_cut_inside_a_spliced_frame_is_no_clean_end(stage: Stage) -> None:
    def serve(conn: socket.socket) -> None:
        answer_upgrade(conn)
        conn.sendall(b"\x82\x7f" + struct.pack("!Q", 1 << 30))
        for _ in range(20):
            conn.sendall(bytes(1 << 20))

    client = tunnel(stage, "client", stage.peer(serve).port)
    count = 0
    with pytest.raises(ConnectionResetError), client.connect() as conn:  # noqa: PT012
        while data := conn.recv(1 << 16):
            count += len(data)
    assert count <= 20 << 20
    assert "in the middle of a frame" in client.end_of("Failed")["error"]


def test_a_server_end_splices_into_frames_and_still_answers_pings(stage: Stage) -> None:
    block = pattern(1 << 20)

    def talk(conn: socket.socket) -> None:
        for _ in range(40):
            conn.sendall(block)

    server = tunnel(stage, "server", stage.peer(talk).port)
    before = pipes(server)
    pongs = 0
    with upgraded(server) as conn:
        conn.sendall(frame(Opcode.PING, b"now"))
        digest, count, longest = hashlib.sha256(), 0, 0
        while (got := read_frame(conn))[0] != 0x88:
            first, payload = got
            if first == 0x8A:
                assert payload == b"now"
                pongs += 1
                if pongs < 5:
                    conn.sendall(frame(Opcode.PING, b"now"))
                continue
            assert first == 0x82
            longest = max(longest, len(payload))
            count += len(payload)
            digest.update(payload)
        assert got[1] == CLOSE
        conn.sendall(frame(Opcode.CLOSE, CLOSE))
        assert conn.recv(1) == b""
    assert (count, digest.hexdigest()) == (40 << 20, hashlib.sha256(block * 40).hexdigest())
    assert longest <= 256 << 10
    assert pongs
    assert pipes(server) > before
    server.end_of("Suceeded")


def test_masks_cannot_be_foreseen(stage: Stage) -> None:
    keys: list[bytes] = []

    def serve(conn: socket.socket) -> None:
        answer_upgrade(conn)
        for _ in range(300):
            first, second = read_exactly(conn, 2)
            assert (first, second) == (0x82, 0x81)
            keys.append(read_exactly(conn, 5)[:4])
            conn.sendall(frame(Opcode.BINARY, b"k", mask=False))

    client = tunnel(stage, "client", stage.peer(serve).port)
    with client.connect() as conn:
        for _ in range(300):
            conn.sendall(b"k")
            assert conn.recv(1) == b"k"
    assert len(set(keys)) == 300
    ones = sum(int.from_bytes(key, "big").bit_count() for key in keys)
    assert abs(ones - 300 * 16) < 400  # a fair coin: 4 standard deviations are 196


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


# -- load --------------------------------------------------------------------------------------


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
def test_ten_gigabytes_arrive_whole_both_ways(stage: Stage) -> None:
    """With KOJUTO_STREAM_BYTES it is as much as that says."""
    total = int(os.environ.get("KOJUTO_STREAM_BYTES", "10000000000"))
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
