"""wsgate-client: certificates and proxies on the way to the backend."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run
from tests.peers.certificates import authority, self_signed, signed
from tests.peers.gates import Backend, backend, client, opens, round_trip, tls
from tests.peers.servers import LOOPBACK, read_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage


# -- TLS --------------------------------------------------------------------------------------


def test_certificates_are_checked(stage: Stage) -> None:
    context, cert = tls(stage.folder, LOOPBACK, "gate.test")
    wrong, wrong_cert = tls(stage.folder, "other.test")
    good, bad = backend(stage, ssl=context), backend(stage, ssl=wrong)

    def works(peer: Backend, *options: str) -> bool:
        local = client(stage, peer.url("https"), *options)
        with local.connect() as conn:
            found = opens(conn)
        if not found:
            local.wait_for("Failed to connect backend")
            error = local.wait_for_line(msg="Failed to connect backend")["error"]
            assert error.startswith("TLS with ")
            assert error.count("TLS with ") == 1
            assert "DnsName" not in error
        warned = "certificates are NOT checked" in local.text()
        assert warned == ("--insecure" in options)
        return found

    assert works(good, "--ca-file", str(cert))
    assert works(good, "--ca", str(cert), "--sni", "gate.test")
    assert works(good, "--insecure")
    assert works(bad, "--insecure")
    assert works(bad, "--ca-file", str(wrong_cert), "--sni", "other.test")
    assert not works(good)
    assert not works(good, "--ca-file", str(wrong_cert))
    assert not works(good, "--ca-file", str(cert), "--sni", "evil.test")
    assert not works(bad, "--ca-file", str(wrong_cert))


@pytest.mark.parametrize("packed", [[], ["--enable-compression"]], ids=["plain", "compressed"])
@pytest.mark.parametrize(
    ("what", "trusted"),
    [
        ("openssl req -x509", True),
        ("an authority by its extensions", True),
        ("signed by nobody", True),
        ("signed by an authority that is not in the bundle", True),
        ("another name", False),
        ("expired", False),
        ("not valid yet", False),
        ("one beside it in the bundle", False),
    ],
)
def test_the_servers_own_certificate_may_be_in_the_bundle(
    stage: Stage, what: str, trusted: bool, packed: list[str]
) -> None:
    """Both TLS stacks come to the same."""
    folder = stage.folder
    match what:
        case "openssl req -x509":
            cert, key = folder / "own.pem", folder / "own-key.pem"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=gate", "-addext",
                 f"subjectAltName=IP:{LOOPBACK}", "-keyout", key, "-out", cert],
                check=True, capture_output=True,
            )  # fmt: skip
        case "another name":
            cert, key = self_signed(folder, "own", "other.test", ca=True)
        case "expired":
            cert, key = self_signed(folder, "own", LOOPBACK, ca=True, since=-9, until=-1)
        case "not valid yet":
            cert, key = self_signed(folder, "own", LOOPBACK, ca=True, since=1)
        case "signed by an authority that is not in the bundle":
            cert, key = signed(folder, "own", LOOPBACK, by=authority(folder))
        case _:
            cert, key = self_signed(folder, "own", LOOPBACK, ca=what != "signed by nobody")
    bundle = folder / "bundle.pem"
    beside, _ = self_signed(folder, "beside", LOOPBACK, ca=True)
    own = b"" if what == "one beside it in the bundle" else cert.read_bytes()
    bundle.write_bytes(beside.read_bytes() + own)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    local = client(
        stage, backend(stage, ssl=context).url("https"), "--ca-file", str(bundle), *packed
    )
    with local.connect() as conn:
        assert opens(conn) == trusted


@pytest.mark.parametrize("packed", [[], ["--enable-compression"]])
def test_a_backend_that_asks_for_a_certificate(stage: Stage, packed: list[str]) -> None:
    context, cert = tls(stage.folder, LOOPBACK)
    ours, key = self_signed(stage.folder, "client", "client.test")
    context.load_verify_locations(ours)
    context.verify_mode = ssl.CERT_REQUIRED
    peer = backend(stage, ssl=context)
    trust = ["--ca-file", str(cert), *packed]
    local = client(stage, peer.url("https"), *trust, "--cert", str(ours), "--key", str(key))
    with local.connect() as conn:
        round_trip(conn, b"known")
    both = stage.folder / "both.pem"
    both.write_bytes(key.read_bytes() + ours.read_bytes())
    local = client(stage, peer.url("https"), *trust, "--cert", str(both))
    with local.connect() as conn:
        round_trip(conn, b"known")
    unknown = client(stage, peer.url("https"), *trust)
    with unknown.connect() as conn:
        assert not opens(conn)
    other, other_key = self_signed(stage.folder, "other", "other.test")
    wrongs: list[list[str | Path]] = [
        ["--cert", ours],
        ["--cert", ours, "--key", other_key],
        ["--cert", key],
    ]
    for wrong in wrongs:
        done = run("wsgate-client", "--map", local.map_file, *wrong)
        assert done.returncode == 1
        assert "no certificate with its private key" in done.stderr.decode()
    assert run("wsgate-client", "--map", local.map_file, "--key", key).returncode == 2
    assert other.exists()


def test_a_backend_without_tls_is_an_error(stage: Stage) -> None:
    local = client(stage, backend(stage).url("https"))
    with local.connect() as conn:
        assert not opens(conn)
    local.wait_for("TLS with 127.0.0.1: ")


@pytest.mark.parametrize("way", ["backend", "compressed", "proxy"])
def test_who_greets_speaks_no_http(stage: Stage, way: str) -> None:
    def greet(conn: socket.socket) -> None:
        conn.sendall(b"220 mail.example.com ESMTP\r\n")
        with contextlib.suppress(ConnectionError):
            read_all(conn)

    url = f"http://{LOOPBACK}:{stage.peer(greet).port}/proxy/a"
    env = {"http_proxy": url if way == "proxy" else "", "no_proxy": ""}
    packed = ["--enable-compression"] if way == "compressed" else []
    local = client(stage, "http://gate.invalid/a" if env["http_proxy"] else url, *packed, env=env)
    with local.connect() as conn:
        assert not opens(conn)
    local.wait_for("answered something other than HTTP")


# -- proxies ----------------------------------------------------------------------------------


class ForwardProxy:
    """An HTTP proxy that does CONNECT and wants a password."""

    def __init__(self, stage: Stage, *, password: str | None = None) -> None:
        self.asked: list[str] = []
        wanted = base64.b64encode(f"user:{password}".encode()).decode()

        def handle(conn: socket.socket) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = conn.recv(4096)
                if not piece:
                    return
                head += piece
            text = head.decode()
            self.asked.append(text.split("\r\n")[0])
            if password is not None and f"Proxy-Authorization: Basic {wanted}\r\n" not in text:
                conn.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            _, _, port = text.split(" ")[1].rpartition(":")
            with socket.create_connection((LOOPBACK, int(port)), timeout=20) as there:
                conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                thread = threading.Thread(target=copy, args=(conn, there), daemon=True)
                thread.start()
                copy(there, conn)
                thread.join(20)

        def copy(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        self.peer = stage.peer(handle)
        self.address = f"{LOOPBACK}:{self.peer.port}"


NO_PROXIES = dict.fromkeys(
    ["http_proxy", "https_proxy", "no_proxy", "all_proxy",
     "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"], ""
)  # fmt: skip


@pytest.mark.parametrize("packed", [[], ["--enable-compression"]])
def test_proxies_of_the_environment(stage: Stage, packed: list[str]) -> None:
    context, cert = tls(stage.folder, "gate.test")
    secure, plain = backend(stage, ssl=context), backend(stage)
    proxy = ForwardProxy(stage, password="hidden-secret")
    through = f"http://user:hidden-secret@{proxy.address}"
    trust = ["--ca-file", str(cert), *packed]
    local = client(
        stage,
        [secure.url("https", "gate.test"), plain.url("http", "plain.test")],
        *trust,
        env={**NO_PROXIES, "https_proxy": through, "HTTP_PROXY": through},
    )
    for line in (0, 1):
        with local.connect(line) as conn:
            round_trip(conn, b"through the proxy")
    assert proxy.asked == [
        f"CONNECT gate.test:{secure.port} HTTP/1.1",
        f"CONNECT plain.test:{plain.port} HTTP/1.1",
    ]
    bypass = client(
        stage, plain.url(), env={**NO_PROXIES, "http_proxy": through, "no_proxy": "x,127.0.0.0/8"}
    )
    with bypass.connect() as conn:
        round_trip(conn, b"past the proxy")
    assert len(proxy.asked) == 2
    wrong = client(
        stage,
        plain.url("http", "plain.test"),
        env={**NO_PROXIES, "http_proxy": f"http://user:hidden-secret-2@{proxy.address}"},
    )
    with wrong.connect() as conn:
        assert not opens(conn)
    wrong.wait_for("answered 407 Proxy Authentication Required to CONNECT")
    assert "hidden-secret" not in local.text() + bypass.text() + wrong.text()


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "expected"),
    [
        ("", "a.example", 80, False),
        ("*", "a.example", 80, True),
        ("example", "a.example", 80, True),
        (".example", "a.example", 80, True),
        ("*.example", "a.example", 80, True),
        ("A.Example.", "a.example.", 80, True),
        ("ample", "a.example", 80, False),
        ("b, a.example", "a.example", 80, True),
        ("a.example:81", "a.example", 80, False),
        ("a.example:80", "a.example", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("::1", "::1", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("[::1]:81", "::1", 80, False),
        ("1", "127.0.0.1", 80, False),
        (",,", "a.example", 80, False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, expected: bool) -> None:
    from kojuto.tools.wsgate_client.proxies import bypasses

    assert bypasses(no_proxy, host, port) is expected
