"""WebSocket over TLS: certificates, records and ends, against OpenSSL's and nginx's TLS."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from kojuto._native import LogWriter, Relay, TlsStream
from tests.conftest import need_program, wait_until
from tests.peers.certificates import authority as authority_in
from tests.peers.certificates import signed
from tests.peers.servers import LOOPBACK, echo, free_port, read_all, read_exactly
from tests.peers.tunnels import CLOSE, answer_upgrade, read_frame, tunnel, websocket_server
from tests.streams import pattern

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from websockets.sync.server import ServerConnection

    from tests.peers.servers import Stage


class Authority:
    """A CA of our own and the servers that it signs."""

    def __init__(self, folder: Path, name: str = "tests") -> None:
        self.folder = folder
        self._stem = authority_in(folder, name)
        self.path = folder / f"{name}.pem"
        self.pem = self.path.read_bytes()

    def server(self, host: str = "localhost", **validity: int) -> tuple[Path, Path]:
        """(certificate, key) of a server, as files."""
        return signed(self.folder, f"server-{host}", host, by=self._stem, **validity)

    def context(self, host: str = "localhost", **validity: int) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.server(host, **validity))
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls_peer(stage: Stage, context: ssl.SSLContext, handle: Callable[[ssl.SSLSocket], None]) -> int:
    """A TLS server whose every connection is handled by a function in a thread."""

    def serve(conn: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(conn, server_side=True) as tls:
            handle(tls)

    return stage.peer(serve).port


def tls(port: int, name: str = "localhost", timeout_s: float = 10, **how: Any) -> TlsStream:
    with socket.create_connection((LOOPBACK, port)) as conn:
        return TlsStream(conn.fileno(), name, timeout_s=timeout_s, **how)


# -- certificates ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_right_certificate_is_accepted(
    stage: Stage, authority: Authority, host: str, version: ssl.TLSVersion
) -> None:
    seen: list[str | None] = []

    def serve(conn: ssl.SSLSocket) -> None:
        seen.append(conn.selected_alpn_protocol())
        echo(conn)

    context = authority.context(host)
    context.minimum_version = context.maximum_version = version
    stream = tls(tls_peer(stage, context, serve), host, ca_pem=authority.pem)
    body = pattern(300_000)
    sender = threading.Thread(target=stream.sendall, args=(body[:100_000],))
    sender.start()
    sender.join()
    got = b""
    while len(got) < 100_000:
        piece = stream.recv(7777)
        assert 0 < len(piece) <= 7777
        got += piece
    assert got == body[:100_000]
    assert seen == ["http/1.1"]


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("name", "not for localhost but for"),
        ("expired", "has expired"),
        ("early", "not valid yet"),
        ("stranger", "not signed by a trusted authority"),
        ("system", "not signed by a trusted authority"),
    ],
)
def test_a_wrong_certificate_is_refused_by_name(
    stage: Stage, authority: Authority, what: str, error: str
) -> None:
    alerts: list[str] = []
    signer = Authority(stage.folder, "another") if what == "stranger" else authority
    validity = {"expired": {"since": -9, "until": -1}, "early": {"since": 1}}.get(what, {})
    context = signer.context("db.example" if what == "name" else "localhost", **validity)

    def serve(conn: socket.socket) -> None:
        try:
            with context.wrap_socket(conn, server_side=True) as spoken:
                spoken.recv(1)
        except ssl.SSLError as failed:
            alerts.append(str(failed))

    port = stage.peer(serve).port
    trusted = None if what == "system" else authority.pem
    with pytest.raises(OSError, match=error) as caught:
        tls(port, ca_pem=trusted)
    assert "TLS with localhost" in str(caught.value)
    wait_until(lambda: alerts)
    assert "ALERT" in alerts[0].upper()
    assert tls(port, insecure=True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_without_checks_both_versions_are_spoken(
    stage: Stage, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.context("db.example", until=-1, since=-9)
    context.minimum_version = context.maximum_version = version
    stream = tls(tls_peer(stage, context, echo), insecure=True)
    stream.sendall(b"said")
    assert stream.recv(9) == b"said"


def test_what_is_no_tls_at_all(stage: Stage, authority: Authority) -> None:
    with pytest.raises(OSError, match="does not speak TLS"):
        tls(stage.peer(lambda conn: conn.sendall(b"220 mail ESMTP\r\n" * 9)).port)
    with pytest.raises(OSError, match="during the handshake"):
        tls(stage.peer(lambda conn: (conn.recv(65536), None)[1]).port)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="timed out"):
        tls(stage.peer(lambda conn: (read_all(conn), None)[1]).port, timeout_s=0.3)
    assert 0.25 < time.monotonic() - start < 5
    with pytest.raises(ValueError, match="is not a host name"):
        tls(stage.peer(echo).port, "a b")
    with pytest.raises(OSError, match="no certificate in the bundle"):
        tls(stage.peer(echo).port, ca_pem=b"nothing")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(*authority.server())
    old.set_ciphers("AES256-SHA")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError, match="refused"):
        tls(tls_peer(stage, old, echo), ca_pem=authority.pem)


def test_a_call_has_a_time_out_too(stage: Stage, authority: Authority) -> None:
    done = threading.Event()
    stage.later(done.set)
    port = tls_peer(stage, authority.context(), lambda _: (done.wait(30), None)[1])
    stream = tls(port, ca_pem=authority.pem, timeout_s=0.3)
    with pytest.raises(TimeoutError):
        stream.recv(1)
    with pytest.raises(TimeoutError):
        stream.sendall(bytes(64 << 20))


def test_a_stream_that_was_handed_over_cannot_be_used(stage: Stage, authority: Authority) -> None:
    port = tls_peer(stage, authority.context(), echo)
    log = LogWriter()
    relay = Relay(log, threads=1)
    left, right = socket.socketpair()
    how: dict[str, Any] = {
        "masked": True, "remote": "x", "listener": "y", "upstream_name": "z"
    }  # fmt: skip
    try:
        with pytest.raises(ValueError, match="only a WebSocket upstream"):
            relay.adopt(left.fileno(), tls(port, ca_pem=authority.pem), websocket="client", **how)
        stream = tls(port, ca_pem=authority.pem)
        relay.adopt(left.fileno(), stream, websocket="upstream", **how)
        for call in (lambda: stream.recv(1), lambda: stream.sendall(b"x")):
            with pytest.raises(ValueError, match="handed over"):
                call()
        relay.abort()
        assert relay.wait(10)
    finally:
        log.close()
        left.close()
        right.close()


# -- tunnels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_independent_server_behind_tls(
    stage: Stage, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.context()
    context.minimum_version = context.maximum_version = version
    codes: list[int | None] = []

    def serve(ws: ServerConnection) -> None:
        for message in ws:
            ws.send(message)
        codes.append(ws.close_code)

    port = websocket_server(stage, serve, ssl=context)
    client = tunnel(stage, "client", port, tls="localhost", ca=authority.path)
    body = pattern(3_000_000)
    with client.connect() as conn:
        for size in (1, 64, 16_384, 16_385, 65_536):
            conn.sendall(body[:size])
            assert read_exactly(conn, size) == body[:size]
        sender = threading.Thread(target=conn.sendall, args=(body,))
        sender.start()
        assert read_exactly(conn, len(body)) == body
        sender.join()
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    wait_until(lambda: codes == [1000])
    line = client.end_of("Suceeded")
    assert line["read"] == line["write"] == 3_000_000 + 1 + 64 + 16_384 + 16_385 + 65_536
    assert client.stats()["open"] == 0


def test_a_bad_certificate_makes_no_tunnel(stage: Stage, authority: Authority) -> None:
    port = websocket_server(stage, lambda _: None, ssl=authority.context("other.example"))
    client = tunnel(stage, "client", port, tls="localhost", ca=authority.path)
    with client.connect() as conn:
        assert conn.recv(1) == b""
    line = client.wait_for_line(msg="no tunnel")
    assert "not for localhost but for" in line["error"]


@pytest.mark.parametrize("how", ["FIN", "close_notify", "reset"])
def test_tls_that_ends_without_a_close_frame_is_cut(
    stage: Stage, authority: Authority, how: str
) -> None:
    def serve(conn: ssl.SSLSocket) -> None:
        answer_upgrade(conn)
        conn.sendall(b"\x82\x05begun")
        read_frame(conn)
        if how == "close_notify":
            conn.unwrap()
        elif how == "reset":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    port = tls_peer(stage, authority.context(), serve)
    client = tunnel(stage, "client", port, tls="localhost", ca=authority.path)
    with client.connect() as conn:
        assert read_exactly(conn, 5) == b"begun"
        conn.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
    error = client.end_of("Failed")["error"]
    assert ("reset by peer" if how == "reset" else "without a Close frame") in error


def test_a_broken_local_side_is_told_to_the_server(stage: Stage, authority: Authority) -> None:
    frames: list[tuple[int, bytes]] = []

    def serve(conn: ssl.SSLSocket) -> None:
        answer_upgrade(conn)
        frames.extend(read_frame(conn) for _ in range(2))

    port = tls_peer(stage, authority.context(), serve)
    client = tunnel(stage, "client", port, tls="localhost", ca=authority.path)
    conn = client.connect()
    conn.sendall(b"x")
    wait_until(lambda: client.lines(status="Connected"))
    time.sleep(0.1)
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()
    wait_until(lambda: len(frames) == 2)
    assert frames == [(0x82, b"x"), (0x88, struct.pack("!H", 1011))]


def test_a_stalled_tls_peer_bounds_memory(stage: Stage, authority: Authority) -> None:
    go = threading.Event()
    stage.later(go.set)
    got: list[str] = []

    def stall(conn: ssl.SSLSocket) -> None:
        answer_upgrade(conn)
        go.wait(30)
        digest = hashlib.sha256()
        while (found := read_frame(conn))[0] == 0x82:
            digest.update(found[1])
        got.append(digest.hexdigest())
        conn.sendall(b"\x88\x02" + CLOSE)

    port = tls_peer(stage, authority.context(), stall)
    client = tunnel(stage, "client", port, tls="localhost", ca=authority.path)
    before = client.resident_bytes()
    block = pattern(1 << 20)
    conn = client.connect()

    def send() -> None:
        for _ in range(24):
            conn.sendall(block)

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.7)
    assert sender.is_alive(), "24 MiB went into a peer that reads nothing"
    assert client.resident_bytes() - before < 4 << 20
    go.set()
    sender.join(30)
    conn.shutdown(socket.SHUT_WR)
    wait_until(lambda: got, within_s=30)
    assert got == [hashlib.sha256(block * 24).hexdigest()]
    assert read_all(conn) == b""
    conn.close()


def test_a_stalled_client_does_not_lose_what_was_decrypted(
    stage: Stage, authority: Authority
) -> None:
    """Plaintext that waits inside while the socket has nothing new must still come out."""
    body = pattern(24_000_000)

    def serve(conn: ssl.SSLSocket) -> None:
        answer_upgrade(conn)
        for at in range(0, len(body), 40_000):
            piece = body[at : at + 40_000]
            conn.sendall(b"\x82\x7e" + struct.pack("!H", len(piece)) + piece)
        read_frame(conn)  # the end of the other direction
        conn.sendall(b"\x88\x02" + CLOSE)

    port = tls_peer(stage, authority.context(), serve)
    client = tunnel(stage, "client", port, tls="localhost", ca=authority.path)
    with client.connect() as conn:
        got = bytearray()
        while len(got) < len(body):
            if len(got) % 3 == 0:
                time.sleep(0.003)
            got += conn.recv(30_000)
        assert bytes(got) == body
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    client.end_of("Suceeded")


def test_through_nginx_with_tls_and_half_closed(stage: Stage, authority: Authority) -> None:
    """A client's end, nginx in between, a server's end: each direction ends by itself."""
    nginx = need_program("nginx")

    def answer_at_the_end(conn: socket.socket) -> None:
        body = read_all(conn)
        time.sleep(0.2)
        conn.sendall(hashlib.sha256(body).digest() + body)

    server = tunnel(stage, "server", stage.peer(answer_at_the_end).port)
    chain, key = authority.server()
    port = free_port()
    folder = stage.folder
    conf = folder / "nginx.conf"
    temp = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in
        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )  # fmt: skip
    conf.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr; user root;\n"
        "events { worker_connections 512; }\n"
        f"http {{ access_log off; {temp}\n"
        f"server {{ listen {LOOPBACK}:{port} ssl; ssl_certificate {chain};\n"
        f"ssl_certificate_key {key};\n"
        f"location / {{ proxy_pass http://{LOOPBACK}:{server.port}; proxy_http_version 1.1;\n"
        "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } } }\n"
    )
    program = stage.program([nginx, "-p", folder, "-c", conf, "-e", "stderr"])
    program.wait_for_port(port)
    client = tunnel(stage, "client", port, tls="localhost", ca=authority.path)
    body = pattern(4_000_000)
    with client.connect() as conn:
        conn.sendall(body)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == hashlib.sha256(body).digest() + body
    client.end_of("Suceeded")
    server.end_of("Suceeded")
