"""wsgate-client: answers that only announce the one to come (RFC 9110, 15.2)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from websockets.frames import Opcode

from tests.peers.gates import client, opens
from tests.peers.servers import LOOPBACK, read_all
from tests.peers.tunnels import CLOSE, answer_upgrade, frame, read_frame

if TYPE_CHECKING:
    import socket

    from tests.peers.servers import Stage

INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
)


def shake_and_echo(conn: socket.socket) -> None:
    conn.sendall(INTERIM)
    answer_upgrade(conn)
    _, data = read_frame(conn)
    conn.sendall(frame(Opcode.BINARY, data, mask=False) + frame(Opcode.CLOSE, CLOSE, mask=False))
    with contextlib.suppress(ConnectionError):
        read_all(conn)


@pytest.mark.parametrize("packed", [[], ["--enable-compression"]], ids=["plain", "compressed"])
def test_a_backend_that_announces_its_answer(stage: Stage, packed: list[str]) -> None:
    peer = stage.peer(shake_and_echo)
    local = client(stage, f"http://{LOOPBACK}:{peer.port}/proxy/a", *packed)
    with local.connect() as conn:
        assert opens(conn), local.text()


def test_a_proxy_that_announces_its_answer(stage: Stage) -> None:
    asked = []

    def handle(conn: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += conn.recv(1)
        asked.append(head.split(b"\r\n")[0])
        conn.sendall(INTERIM + b"HTTP/1.1 200 OK\r\n\r\n")
        shake_and_echo(conn)

    proxy = stage.peer(handle)
    env = {"http_proxy": f"http://{LOOPBACK}:{proxy.port}", "no_proxy": ""}
    local = client(stage, "http://gate.invalid/proxy/a", env=env)
    with local.connect() as conn:
        assert opens(conn), local.text()
    assert asked == [b"CONNECT gate.invalid:80 HTTP/1.1"]
