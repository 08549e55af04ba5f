"""Frames that the relay engine streams: cut anywhere, huge, spliced, and masked."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from websockets.frames import Opcode

from tests.conftest import wait_until
from tests.peers.servers import echo, read_all, read_exactly
from tests.peers.tunnels import (
    CLOSE,
    UPGRADE,
    Tunnel,
    answer_upgrade,
    frame,
    read_frame,
    tunnel,
    upgraded,
)
from tests.streams import pattern

if TYPE_CHECKING:
    from tests.peers.servers import Stage


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
