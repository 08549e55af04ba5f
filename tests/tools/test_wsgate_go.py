"""wsgate-server with the Go wsgate-client (0.4): its Origin, and how it leaves."""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
import threading
import zlib
from typing import TYPE_CHECKING

import pytest
from websockets.frames import Frame, Opcode

from tests.conftest import need_program, wait_until
from tests.keys import private_key, private_pem, public_pem, token
from tests.peers.gates import client, round_trip, server
from tests.peers.servers import LOOPBACK, echo, free_port, read_all, read_exactly, reset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.peers.gates import Server
    from tests.peers.servers import Stage


def handshake(host: str, *lines: str, path: str = "/proxy/a") -> bytes:
    """What the Go client sends (gorilla/websocket 1.5, net/http), header by header."""
    head = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: Go-http-client/1.1",
        "Connection: Upgrade",
        *lines,
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
    ]
    return "\r\n".join([*head, "", ""]).encode()


def status(port: int, request: bytes) -> int:
    """What a request is answered; a proxy may keep the connection."""
    with socket.create_connection((LOOPBACK, port), timeout=20) as conn:
        conn.sendall(request)
        return int(read_exactly(conn, 12)[9:])


# -- who may come -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "origin", "answer"),
    [
        # Recorded answers of the original, which takes them all (cases origin-NN).
        ("gate.example.com", "https://gate.example.com", 101),
        ("127.0.0.1:8086", "https://gate.example.com", 403),
        ("h", "http://h", 101),
        ("h", "https://h", 101),
        ("h", "http://h/proxy/echo", 101),
        ("h", "https://h:443", 403),
        ("h", "http://h:80", 403),
        ("h:443", "https://h", 403),
        ("h", "file://", 403),
        ("h", "HTTP://H", 101),
        ("h", "https://evil.example", 403),
        ("h", "https://evil.example/proxy/echo", 403),
        ("h", "h", 403),
        ("h", "null", 403),
        ("h", "http://h.evil.example", 403),
        ("h", "http://evil.example/h", 403),
        ("h", "http://h@evil.example", 403),
        ("h", "ws://h", 101),
        ("H", "https://h", 101),
        ("127.0.0.1:8086", "http://127.0.0.1:8086", 101),
        ("127.0.0.1:8086", "http://127.0.0.1:8086/proxy/echo", 101),
        ("h", "chrome-extension://abc", 403),
        ("gate.example.com", "https://gate.example.com/proxy/echo", 101),
        ("", "file://", 403),
    ],
)
def test_an_origin_passes_where_it_equals_the_host(
    gate: Server, host: str, origin: str, answer: int
) -> None:
    assert status(gate.port, handshake(host, f"Origin: {origin}")) == answer


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from contextlib import ExitStack

    from tests.peers.servers import Stage

    with ExitStack() as stack:
        stage = Stage(tmp_path_factory.mktemp("gate"), stack)
        yield server(stage, {"a": stage.peer(echo).port})


def test_what_no_page_can_send_and_what_is_allowed_pass_a_foreign_origin(stage: Stage) -> None:
    options = ["--allow-origin", "https://console.example.com"]
    gate = server(stage, {"a": stage.peer(echo).port}, *options)

    def answer(*lines: str) -> int:
        return status(gate.port, handshake("h", *lines))

    foreign = "Origin: https://evil.example"
    assert answer(foreign, "X-Forwarded-Host: evil.example") == 403
    assert answer(foreign, "Authorization: Basic YTpi") == 403
    assert answer(foreign, "Cookie: session=1") == 403
    assert answer(foreign, "X-Wsgate-End: other") == 403
    for line in gate.wait_for_lines(4, msg="Origin is not allowed"):
        assert line["origin"] == "https://evil.example"
        assert line["hint"] == "--allow-origin https://evil.example lets its pages in"
    assert answer(foreign, "Authorization: Bearer x") == 101
    assert answer(foreign, "X-Wsgate-End: close-frame") == 101
    assert answer("Origin: https://console.example.com") == 101
    assert answer() == 101
    every = server(stage, {"a": stage.peer(echo).port}, "--allow-origin", "*")
    assert status(every.port, handshake("h", foreign)) == 101


@pytest.mark.parametrize("checked", [False, True], ids=["open", "token"])
def test_both_clients_behind_nginx_as_it_comes(stage: Stage, checked: bool) -> None:
    """Its default Host is the name of the upstream, the Origin that of the site."""
    options, private, bearer = [], [], []
    if checked:
        key = private_key("ec")
        (stage.folder / "public").write_bytes(public_pem(key))
        (stage.folder / "private").write_bytes(private_pem(key))
        options = ["--public-key", str(stage.folder / "public")]
        private = ["--private-key", str(stage.folder / "private")]
        bearer = [f"Authorization: Bearer {token(key)}"]
    gate = server(stage, {"a": stage.peer(echo).port}, *options)
    port = nginx(stage, gate)
    ours = client(stage, f"http://localhost:{port}/proxy/a", *private)
    with ours.connect() as conn:
        round_trip(conn, b"by ours")
    origin = f"Origin: http://localhost:{port}"
    # Without a token nothing tells Go's client from a page there: nginx has to pass Host on.
    want = 101 if checked else 403
    assert status(port, handshake(f"localhost:{port}", origin, *bearer)) == want
    passed = nginx(stage, gate, "proxy_set_header Host $http_host;")
    origin = f"Origin: http://localhost:{passed}"
    assert status(passed, handshake(f"localhost:{passed}", origin, *bearer)) == 101
    page = "Origin: https://evil.example"
    want = 401 if checked else 403
    for where in (port, passed):
        assert status(where, handshake(f"localhost:{where}", page)) == want


def nginx(stage: Stage, gate: Server, more: str = "") -> int:
    """The port of a reverse proxy that does what the manual says for WebSocket, and no more."""
    program = need_program("nginx")
    port = free_port()
    folder = stage.folder / f"nginx-{port}"
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; master_process off; worker_processes 1; pid {folder}/pid;
        error_log {folder}/error.log; events {{ worker_connections 64; }}
        http {{
            access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
            fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
            server {{
                listen {LOOPBACK}:{port};
                location / {{
                    proxy_pass http://{LOOPBACK}:{gate.port};
                    proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection "upgrade";
                    {more}
                }}
            }}
        }}
        """
    )
    proxy = stage.program([program, "-c", folder / "nginx.conf", "-p", folder])
    proxy.wait_for_port(port)
    return port


# -- how it leaves ----------------------------------------------------------------------------

LENGTH = 3_000_000
PIECE = 32_768
"""What the Go client's io.Copy sends as one frame."""
RSV1 = 0x40
"""This frame is compressed (RFC 7692, section 6)."""


class Slow:
    """A backend that takes its time, speaks to a client that is gone, and notes how it ended."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.end = ""
        self.gone = threading.Event()

    def __call__(self, conn: socket.socket) -> None:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        try:
            # A busy machine sends the rest more slowly than it is read unless little is.
            while data := conn.recv(65536 if self.gone.is_set() else 4096):
                self.got += data
                if self.gone.is_set():
                    conn.sendall(b"thank you")
                self.gone.wait(0.02)
            self.end = "FIN"
        except OSError as error:
            self.end = type(error).__name__


def packed(data: bytes) -> bytes:
    """permessage-deflate without context takeover is a stream of its own per frame."""
    squeeze = zlib.compressobj(wbits=-15)
    return (squeeze.compress(data) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frames(data: bytes, *, deflate: bool) -> Iterator[bytes]:
    for at in range(0, len(data), PIECE):
        piece = data[at : at + PIECE]
        frame = Frame(Opcode.BINARY, packed(piece) if deflate else piece).serialize(mask=True)
        yield bytes([frame[0] | (RSV1 if deflate else 0)]) + frame[1:]


def in_flight(conn: socket.socket) -> int:
    """The bytes that the peer's kernel doesn't have yet; an end is one (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(conn, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def opened(gate: Server, *lines: str) -> socket.socket:
    conn = socket.create_connection((LOOPBACK, gate.port), timeout=60)
    conn.sendall(handshake(f"{LOOPBACK}:{gate.port}", *lines))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read_exactly(conn, 1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return conn


DEFLATE = (
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
    "client_no_context_takeover"
)


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "packed"])
def test_what_came_before_the_end_of_tcp_arrives(stage: Stage, deflate: bool) -> None:
    slow = Slow()
    gate = server(stage, {"a": stage.peer(slow).port}, "--enable-compression")
    data = (bytes(range(256)) * 12_000)[:LENGTH]
    with opened(gate, *([DEFLATE] if deflate else [])) as conn:
        for frame in frames(data, deflate=deflate):
            conn.sendall(frame)
        conn.shutdown(socket.SHUT_WR)
        # A kernel whose program has closed forgets what it has not sent yet once it is spoken to.
        wait_until(lambda: in_flight(conn) == 0)
    assert len(slow.got) < len(data), "not slow enough to tell anything"
    slow.gone.set()
    wait_until(lambda: slow.end, what=lambda: f"{len(slow.got)} of {len(data)} bytes")
    assert slow.end == "FIN"
    assert slow.got == data
    line = gate.wait_for_line(status="Suceeded")
    assert line["read"] == len(data)
    assert not gate.lines(status="Failed")


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("how", ["announced", "torn", "reset"])
def test_a_cut_stays_a_cut(stage: Stage, how: str, deflate: bool) -> None:
    slow = Slow()
    gate = server(stage, {"a": stage.peer(slow).port}, "--enable-compression")
    lines = ["X-Wsgate-End: close-frame"] if how == "announced" else []
    with opened(gate, *lines, *([DEFLATE] if deflate else [])) as conn:
        (frame,) = frames(b"whole", deflate=deflate)
        conn.sendall(frame)
        wait_until(lambda: slow.got == b"whole")
        if how == "torn":
            conn.sendall(frame[:7])
        if how == "reset":
            reset(conn)
    gate.wait_for_line(status="Failed")
    wait_until(lambda: slow.end)
    assert slow.end == "ConnectionResetError"


def test_an_upstream_that_is_left_is_read_to_its_end(stage: Stage) -> None:
    """It gets its end and may take leave, though nobody listens any more."""
    done = threading.Event()

    def talkative(conn: socket.socket) -> None:
        assert read_all(conn) == b"question"
        conn.sendall(bytes(4_000_000))
        done.set()

    gate = server(stage, {"a": stage.peer(talkative).port})
    with opened(gate) as conn:
        conn.sendall(next(frames(b"question", deflate=False)))
    assert done.wait(60)
    line = gate.wait_for_line(status="Suceeded")
    assert line["dropped"] == 4_000_000
