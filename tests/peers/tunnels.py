"""The two ends of a WebSocket tunnel as processes, and plain peers for them."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosedOK
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.sync.server import serve as websocket_serve

from tests.conftest import ROOT, wait_until
from tests.peers.servers import LOOPBACK, Program, free_port, read_exactly

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from websockets.sync.connection import Connection
    from websockets.sync.server import ServerConnection

    from tests.peers.servers import Stage

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
CLOSE = struct.pack("!H", 1000)


class Tunnel(Program):
    """`tests/programs/tunnel.py` on a free port."""

    def __init__(self, folder: Path, role: str, target: int, **options: object) -> None:
        self.port = free_port()
        command = [sys.executable, str(ROOT / "tests/programs/tunnel.py"), role, str(self.port)]
        command += [str(target), *(f"{key}={value}" for key, value in options.items())]
        super().__init__(command, folder, stdin=subprocess.PIPE)
        self.wait_for("ready")

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()

    def stats(self) -> dict[str, Any]:
        before = len(self.lines(msg="stats"))
        self.say("stats")
        wait_until(lambda: len(self.lines(msg="stats")) > before)
        return self.lines(msg="stats")[-1]

    def connect(self, timeout_s: float = 20) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.port), timeout=timeout_s)

    def end_of(self, status: str) -> dict[str, Any]:
        """The log line of the only connection that ended so."""
        wait_until(lambda: self.lines(status=status), what=f"{status} in {self.text()}")
        (line,) = self.lines(status=status)
        return line

    def close(self) -> None:
        super().close()
        assert self.process.stdin is not None
        self.process.stdin.close()


def tunnel(stage: Stage, role: str, target: int, **options: object) -> Tunnel:
    made = Tunnel(stage.folder, role, target, **options)
    stage.later(made.close)
    return made


def pair(stage: Stage, target: int, **options: object) -> tuple[Tunnel, Tunnel]:
    """A client's and a server's end in a row, to `target`."""
    server = tunnel(stage, "server", target, **options)
    return tunnel(stage, "client", server.port, **options), server


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=mask)


def upgraded(server: Tunnel) -> socket.socket:
    """A connection to a server's end, after the handshake."""
    conn = server.connect()
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    conn.sendall(UPGRADE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += conn.recv(1)
    assert ACCEPT in head
    return conn


def answer_upgrade(conn: socket.socket, behind: bytes = b"") -> None:
    """The server's half of a handshake, and bytes in the same write."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += conn.recv(1)
    protocol = ServerProtocol()
    protocol.receive_data(head)
    (request,) = protocol.events_received()
    protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
    conn.sendall(b"".join(protocol.data_to_send()) + behind)


def read_frame(conn: socket.socket) -> tuple[int, bytes]:
    """(first byte, payload unmasked)."""
    first, second = read_exactly(conn, 2)
    length = second & 0x7F
    if length >= 126:
        length = int.from_bytes(read_exactly(conn, 2 if length == 126 else 8), "big")
    key = read_exactly(conn, 4) if second & 0x80 else bytes(4)
    data = read_exactly(conn, length)
    if any(key):
        size = len(data)
        wide = int.from_bytes((key * (size // 4 + 1))[:size], "big")
        data = (int.from_bytes(data, "big") ^ wide).to_bytes(size, "big")
    return first, data


def websocket_server(stage: Stage, handle: Callable[[ServerConnection], None], **how: Any) -> int:
    server = websocket_serve(handle, LOOPBACK, 0, max_size=None, compression=None, **how)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        thread.join(10)

    stage.later(end)
    return int(server.socket.getsockname()[1])


def collect(peer: Connection) -> bytes:
    """All payload until the peer's Close."""
    data = bytearray()
    try:
        while True:
            message = peer.recv()
            assert isinstance(message, bytes)
            data += message
    except ConnectionClosedOK:
        return bytes(data)
