"""wsgate-server: its command line, requests, tokens, logs, reload and end."""

from __future__ import annotations

import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import websockets.exceptions

from tests.conftest import run, wait_until
from tests.keys import b64, private_key, public_pem, token
from tests.peers.gates import UPGRADE, Server, ask, raw, server
from tests.peers.servers import LOOPBACK, echo, free_port, read_exactly

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage


# -- the command line and the map -------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([], 2, "--map is required"),
        (["--map", "m", "--dump-tcp", "256"], 2, "--dump-tcp 256: above the maximum of 255"),
        (["--map", "m", "--iap-keys", "k"], 2, "no meaning without --iap-audience"),
        (["--map", "m", "-jwt-freshness", "x"], 2, "--jwt-freshness x: not a duration"),
        (["--map", "/no/map"], 1, "--map /no/map: No such file"),
    ],
)
def test_a_wrong_call_names_the_value(options: list[str], status: int, message: str) -> None:
    done = run("wsgate-server", *options)
    assert done.returncode == status
    assert message in done.stderr.decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,127.0.0.1:1\nb\n", "line 2: not of the form name,host:port"),
        ("# c\n\na,127.0.0.1:1\n \na,127.0.0.1:2\n", "line 5: a is already in line 3"),
        ("a,127.0.0.1\n", "line 1: no port"),
        ("a,127.0.0.1:0\n", "line 1: not an upstream"),
        ("a,:22\n", "line 1: not an upstream"),
        ("a,::1:22\n", "line 1: an IPv6 address needs brackets"),
        (",127.0.0.1:1\n", "line 1: '' is not a name"),
        ("a/b,127.0.0.1:1\n", "line 1: 'a/b' is not a name"),
        ("a,127.0.0.1:1\r\nb,x:y\r\n", "line 2: the port is no"),
        ("a,a..b:1\n", "line 1: not a host name"),
        ("a,b:1\x00\n", "line 1: not of the form name,host:port"),
    ],
)
def test_a_wrong_map_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map"
    path.write_bytes(text.encode())
    done = run("wsgate-server", "--listen", "127.0.0.1:0", "--map", path)
    assert done.returncode == 1
    assert f"wsgate-server: error: --map {path}, {message}" in done.stderr.decode()


def test_a_map_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(b"a,127.0.0.1:1\n\xff\xfe,x:1\n")
    done = run("wsgate-server", "--map", path)
    assert done.returncode == 1
    assert "line 2: not valid UTF-8" in done.stderr.decode()


@pytest.mark.parametrize("dash", ["-", "--"])
@pytest.mark.parametrize("join", ["_", "-"])
def test_every_spelling_of_the_options(stage: Stage, dash: str, join: str) -> None:
    (stage.folder / "keys.pem").write_bytes(public_pem(private_key("ec")))
    names = {
        "handshake timeout": "9s",
        "dial timeout": "9s",
        "write timeout": "9s",
        "shutdown timeout": "24h0m0s",
        "jwt freshness": "60m",
        "dump tcp": "0",
        "public key": str(stage.folder / "keys.pem"),
    }
    options = [dash + "enable compression".replace(" ", join)]
    for name, value in names.items():
        options += [dash + name.replace(" ", join), value]
    gate = server(stage, {"a": 1}, *options)
    assert gate.status("/proxy/a") == 401


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no PEM block in it"),
        (b"nonsense", "there is no PEM block in it"),
        (None, "No such file"),
    ],
)
def test_a_bad_key_file_ends_the_start(tmp_path: Path, content: bytes | None, message: str) -> None:
    (tmp_path / "map").write_text("a,127.0.0.1:1\n")
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    done = run("wsgate-server", "--map", tmp_path / "map", "--public-key", tmp_path / "keys")
    assert done.returncode == 1
    assert message in done.stderr.decode()


def test_a_taken_address_ends_the_start(stage: Stage) -> None:
    port = stage.peer(echo).port
    (stage.folder / "map").write_text("a,127.0.0.1:1\n")
    done = run("wsgate-server", "-listen", f"127.0.0.1:{port}", "-map", stage.folder / "map")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr.decode()


# -- requests ---------------------------------------------------------------------------------


def test_requests_that_open_no_tunnel(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    for path in ("/", "/live", "/live?x=1", f"http://{LOOPBACK}/live"):
        status, text = ask(gate.port, path)
        assert (status, text.rpartition("\r\n\r\n")[2]) == (200, "OK\n")
    assert raw(gate.port, b"GET /live HTTP/1.0\r\n\r\n")[0] == 200
    assert raw(gate.port, b"GET /live HTTP/1.0\n\n")[0] == 200, "typed into nc"
    status, text = ask(gate.port, "/live", "HEAD")
    assert (status, text.rpartition("\r\n\r\n")[2]) == (200, "")
    assert "Content-Length: 3" in text
    assert ask(gate.port, "/live", "POST")[0] == 405
    assert gate.status("/nothing") == 404
    assert gate.status("/proxy/") == 404
    assert gate.status("/proxy/a/b", **UPGRADE) == 404
    assert gate.status("/proxy/..%2Fa", **UPGRADE) == 404
    status, text = ask(gate.port, "/proxy/unknown", **UPGRADE)
    assert (status, text.rpartition("\r\n\r\n")[2]) == (404, "Not found: unknown\n")
    status, text = ask(gate.port, "/proxy/a")
    assert status == 426
    assert "Upgrade: websocket" in text
    assert "Sec-WebSocket-Version: 13\r\n" in text
    for version in ("8", "13, 8", "x"):
        status, text = ask(gate.port, "/proxy/a", **{**UPGRADE, "Sec-WebSocket-Version": version})
        assert status == 426
        assert "Sec-WebSocket-Version: 13\r\n" in text
    for offer, status in (("h2c, websocket", 101), ("WebSocket,foo/1", 101), ("h2c", 426)):
        assert gate.status("/proxy/a", **{**UPGRADE, "Upgrade": offer}) == status
    assert gate.status("/proxy/a", **{**UPGRADE, "Sec-WebSocket-Key": "x"}) == 400
    status, text = ask(gate.port, "/proxy/%61", **UPGRADE)
    assert status == 101
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in text  # RFC 6455, 1.3
    assert not gate.lines(level="error")


def test_an_upstream_that_cannot_be_reached_is_502(stage: Stage) -> None:
    gate = server(
        stage,
        {"down": free_port(), "name": "no-such-host.invalid:1", "hole": "192.0.2.1:1"},
        "--dial-timeout",
        "300ms",
    )
    status, text = ask(gate.port, "/proxy/down", **UPGRADE)
    assert status == 502
    assert "Could not connect upstream: Connection refused" in text
    assert gate.status("/proxy/name", **UPGRADE) == 502
    began = time.monotonic()
    assert gate.status("/proxy/hole", **UPGRADE) == 502
    assert time.monotonic() - began < 10
    wait_until(lambda: len(gate.lines(msg="Failed to connect upstream")) == 3)
    line = gate.wait_for_lines(1, msg="Failed to connect upstream")[0]
    assert line["destination"] == "down"
    assert line["upstream"].startswith(LOOPBACK)
    assert line["error"] == "Connection refused"


def test_a_tunnel_and_its_log_lines(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Goog-Authenticated-User-Email": "accounts:bob"}
    with gate.connect("a", additional_headers=headers) as tunnel:
        assert tunnel.response is not None
        assert tunnel.response.headers["X-Wsgate-End"] == "close-frame"
        for size in (0, 1, 125, 126, 65535, 65536, 300_000):
            tunnel.send(bytes(size))
            got = b""
            while len(got) < size:
                piece = tunnel.recv(timeout=20)
                assert isinstance(piece, bytes)
                assert len(piece) <= 256 * 1024
                got += piece
            assert got == bytes(size)
    wait_until(lambda: gate.lines(status="Suceeded"))
    connected = gate.wait_for_line(msg="log", status="Connected")
    ended = gate.wait_for_line(msg="log", status="Suceeded")
    for line in (connected, ended):
        assert line["seq"] == 1
        assert line["x-forwarded-for"] == "192.0.2.7"
        assert line["destination"] == "a"
        assert line["user-email"] == "accounts:bob"
        assert line["remote-addr"].startswith("127.0.0.1:")
        assert line["upstream"].startswith("127.0.0.1:")
        assert line["listener"] == f"127.0.0.1:{gate.port}"
    assert ended["read"] == ended["write"] == 1 + 125 + 126 + 65535 + 65536 + 300_000
    assert ended["disconnect_at"]


def test_a_text_frame_closes_with_1003(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    with gate.connect("a") as tunnel:
        tunnel.send("text")
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            tunnel.recv(timeout=20)
        assert tunnel.close_code == 1003


def test_bytes_right_behind_the_request_are_not_lost(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    head = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    request = f"GET /proxy/a HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode()
    frame = bytes([0x82, 0x80 | 5]) + bytes(4) + b"early"
    with socket.create_connection((LOOPBACK, gate.port), timeout=20) as conn:
        conn.sendall(request + frame)
        answer = b""
        while b"early" not in answer:
            piece = conn.recv(65536)
            assert piece
            answer += piece
        assert answer.endswith(b"\r\n\r\n\x82\x05early")


# -- tokens -----------------------------------------------------------------------------------


def with_keys(stage: Stage, *keys: Any, options: tuple[str, ...] = ()) -> tuple[Server, Any]:
    upstream = stage.peer(echo)
    (stage.folder / "keys.pem").write_bytes(b"".join(map(public_pem, keys)))
    path = str(stage.folder / "keys.pem")
    return server(stage, {"a": upstream.port}, "--public-key", path, *options), upstream


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519"])
def test_a_token_opens_a_tunnel_and_its_subject_is_logged(stage: Stage, kind: str) -> None:
    gate, _ = with_keys(stage, private_key("ec", 7), private_key(kind))
    headers = {
        "Authorization": f"Bearer {token(private_key(kind))}",
        "X-Goog-Authenticated-User-Email": "forged@example.com",
    }
    with gate.connect("a", additional_headers=headers) as tunnel:
        tunnel.send(b"hello")
        assert tunnel.recv(timeout=20) == b"hello"
    wait_until(lambda: gate.lines(status="Suceeded"))
    assert gate.wait_for_lines(1, status="Connected")[0]["user-email"] == "alice@example.com"
    assert "forged" not in gate.text()


def test_attacks_on_a_running_server(stage: Stage) -> None:
    """Each is refused with 401 beside good tokens; the upstream and other addresses see nothing."""
    key, other = private_key("rsa"), private_key("rsa", 1)
    gate, upstream = with_keys(stage, key)
    trap = stage.peer(echo)
    good = token(key)
    header, payload, signature = good.split(".")
    now = int(time.time())
    claims = {"iat": now, "exp": now + 300}

    def signed_header(**members: Any) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        data = f"{b64({'alg': 'RS256', 'typ': 'JWT', **members})}.{payload}"
        return f"{data}.{b64(key.sign(data.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def hmac_token(secret: bytes) -> str:
        import hashlib
        import hmac

        data = f"{b64({'alg': 'HS256', 'typ': 'JWT'})}.{payload}"
        return f"{data}.{b64(hmac.new(secret, data.encode(), hashlib.sha256).digest())}"

    url = f"http://127.0.0.1:{trap.port}/keys.json"
    attacks = {
        "none": f"{b64({'alg': 'none'})}.{payload}.",
        "none with a signature": f"{b64({'alg': 'none'})}.{payload}.{signature}",
        "hmac with the public key": hmac_token(public_pem(key)),
        "another key": token(other),
        "another key type": token(private_key("ec")),
        "no signature": f"{header}.{payload}.",
        "zero signature": f"{header}.{payload}.{b64(bytes(256))}",
        "cut": good[:-2],
        "payload of another": f"{header}.{b64({**claims, 'sub': 'root'})}.{signature}",
        "jku": signed_header(jku=url),
        "x5u": signed_header(x5u=url),
        "jwk": signed_header(jwk={"kty": "RSA"}),
        "crit": signed_header(crit=["exp"]),
        "at+jwt": signed_header(typ="at+jwt"),
        "expired": token(key, exp=now - 1),
        "no exp": token(key, exp=None),
        "exp as text": token(key, exp=str(now + 99)),
        "exp true": token(key, exp=True),
        "no iat": token(key, iat=None),
        "stale": token(key, iat=now - 3700, exp=now + 99),
        "from the future": token(key, iat=now + 120),
        "not yet": token(key, nbf=now + 120),
        "two segments": f"{header}.{payload}",
        "four segments": good + ".x",
        "blank inside": good[:9] + " " + good[9:],
        "padding": good + "=",
        "": "",
    }
    for name, text in attacks.items():
        assert gate.status("/proxy/a", **UPGRADE, Authorization=f"Bearer {text}") == 401, name
        assert gate.status("/proxy/none", **UPGRADE, Authorization=f"Bearer {text}") == 401, name
        upgrade = "".join(f"{key}: {value}\r\n" for key, value in UPGRADE.items())
        bearer = f"Authorization: Bearer {text}\r\n"
        asked = f"GET /proxy/a HTTP/1.1\r\nHost: x\r\n{upgrade}{bearer}\r\n"
        said = raw(gate.port, asked.encode())[1]
        assert said.endswith("\r\n\r\nUnauthorized\n"), "which check failed is for the log alone"
    for value in ("", "Bearer", good, f"Basic {good}", f"Bearer  {good}", f"Bearer {good}, x"):
        assert gate.status("/proxy/a", **UPGRADE, Authorization=value) == 401, value
    assert gate.status("/proxy/a", **UPGRADE) == 401
    assert gate.status(f"/proxy/a?access_token={good}", **UPGRADE) == 401
    assert gate.status("/proxy/a", **UPGRADE, Cookie=f"token={good}") == 401
    assert gate.status("/proxy/a", **UPGRADE, Sec_WebSocket_Protocol=good) == 401
    assert gate.status("/proxy/a", **UPGRADE, X_Forwarded_Authorization=f"Bearer {good}") == 401
    twice = f"Authorization: Bearer {good}\r\n" * 2
    head = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    request = f"GET /proxy/a HTTP/1.1\r\nHost: x\r\n{head}{twice}\r\n"
    assert raw(gate.port, request.encode())[0] == 401
    assert (upstream.accepted, trap.accepted) == (0, 0)
    for scheme in ("Bearer", "bearer"):
        assert gate.status("/proxy/a", **UPGRADE, Authorization=f"{scheme} {good}") == 101
    assert gate.status("/proxy/none", **UPGRADE, Authorization=f"Bearer {good}") == 404
    # No token and no part of one is in the log.
    wait_until(lambda: gate.lines(msg="Failed to authorize", error="the token has expired"))
    for text in [*attacks.values(), good]:
        for part in text.split("."):
            assert len(part) < 12 or part not in gate.text()


def test_only_a_request_without_a_token_gets_a_challenge_without_an_error(stage: Stage) -> None:
    """RFC 6750, 3.1. A token without a signature, and one that no key fits, are tokens."""
    gate, _ = with_keys(stage, private_key("ec"))
    good = token(private_key("ec"))

    def challenge(**headers: str) -> str:
        answer = ask(gate.port, "/proxy/a", **UPGRADE, **headers)[1]
        return next(line for line in answer.splitlines() if line.startswith("WWW-Authenticate"))

    bare, invalid = "WWW-Authenticate: Bearer", 'WWW-Authenticate: Bearer error="invalid_token"'
    assert challenge() == bare
    for value in ("Basic dTpw", good):
        assert challenge(Authorization=value) == bare, value
    unsigned = good[: good.rindex(".") + 1]
    for text in (unsigned, token(private_key("ed25519")), good[:-2], ""):
        assert challenge(Authorization=f"Bearer {text}") == invalid, text


def test_the_freshness_is_an_option(stage: Stage) -> None:
    key = private_key("ec")
    gate, _ = with_keys(stage, key, options=("--jwt-freshness", "10s"))
    now = int(time.time())
    old = token(key, iat=now - 15)
    assert gate.status("/proxy/a", **UPGRADE, Authorization=f"Bearer {old}") == 401
    young = token(key, iat=now - 3)
    assert gate.status("/proxy/a", **UPGRADE, Authorization=f"Bearer {young}") == 101


def test_keys_are_rotated_by_a_hangup(stage: Stage) -> None:
    old, new = private_key("ec"), private_key("ed25519")
    gate, _ = with_keys(stage, old)

    def opens(key: Any) -> bool:
        bearer = f"Bearer {token(key)}"
        return gate.status("/proxy/a", **UPGRADE, Authorization=bearer) == 101

    assert opens(old)
    assert not opens(new)
    (stage.folder / "keys.pem").write_bytes(public_pem(new))
    gate.kill(signal.SIGHUP)
    gate.wait_for("Reloaded")
    assert opens(new)
    assert not opens(old)
    (stage.folder / "keys.pem").write_bytes(b"")
    gate.kill(signal.SIGHUP)
    gate.wait_for("the last ones are kept")
    assert opens(new)


# -- reload and end ---------------------------------------------------------------------------


def test_the_map_is_read_again_under_load(stage: Stage) -> None:
    """A hangup fails no request and cuts no tunnel, and a bad map is kept out."""
    upstream = stage.peer(echo)
    gate = server(stage, {"a": upstream.port})
    failures: list[str] = []
    opened = 0
    stop = threading.Event()

    def load() -> None:
        nonlocal opened
        while not stop.is_set():
            try:
                with gate.connect("a") as tunnel:
                    tunnel.send(b"hello")
                    assert tunnel.recv(timeout=20) == b"hello"
                opened += 1
            except Exception as error:  # noqa: PERF203
                failures.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(2)]
    with gate.connect("a") as long:
        for thread in threads:
            thread.start()
        try:
            for i in range(6):
                if i % 2:
                    gate.map_file.write_text(f"a,127.0.0.1:{upstream.port}\nbroken\n")
                else:
                    gate.write_map({"a": upstream.port, f"new{i}": upstream.port})
                before, lines = (
                    opened,
                    len(gate.lines(level="error")) + len(gate.lines(msg="Reloaded")),
                )
                gate.kill(signal.SIGHUP)
                wait_until(
                    lambda lines=lines: (
                        len(gate.lines(level="error"))  # type: ignore[misc]
                        + len(gate.lines(msg="Reloaded"))
                        > lines
                    )
                )
                wait_until(lambda before=before: opened > before + 3)  # type: ignore[misc]
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        long.send(b"still here")
        assert long.recv(timeout=20) == b"still here"
    assert failures == []
    assert len(gate.wait_for_lines(3, msg="Reloaded")) == 3
    (error, *_) = gate.wait_for_lines(
        1, msg="Failed to reload the map and keys, the last ones are kept"
    )
    assert "line 2: not of the form name,host:port" in error["error"]
    assert gate.status("/proxy/new4", **UPGRADE) == 101, "the last good one stays"
    gate.write_map({"b": upstream.port})
    gate.kill(signal.SIGHUP)
    wait_until(lambda: len(gate.lines(msg="Reloaded")) == 4)
    assert gate.status("/proxy/a", **UPGRADE) == 404


def test_a_graceful_stop_waits_for_tunnels_and_handshakes(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    head = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    request = f"GET /proxy/a HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode()
    with gate.connect("a") as tunnel, socket.create_connection((LOOPBACK, gate.port)) as late:
        late.settimeout(20)
        late.sendall(request[:40])
        wait_until(lambda: gate.descriptors() > 0)
        gate.kill(signal.SIGTERM)
        gate.wait_for("Go shutdown")
        wait_until(lambda: not accepts_http(gate.port))
        late.sendall(request[40:])
        assert late.recv(12) == b"HTTP/1.1 101"
        tunnel.send(b"going on")
        assert tunnel.recv(timeout=20) == b"going on"
        assert gate.process.poll() is None
    assert gate.process.wait(20) == 0
    assert gate.wait_for_lines(1, msg="Complete shutdown")


def accepts_http(port: int) -> bool:
    try:
        return ask(port, "/live")[0] == 200
    except OSError:
        return False


def test_open_connections_are_cut_after_the_shutdown_timeout(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port}, "-shutdown_timeout", "300ms")
    with socket.create_connection((LOOPBACK, gate.port), timeout=20) as conn:
        head = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
        conn.sendall(f"GET /proxy/a HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        assert read_exactly(conn, 12) == b"HTTP/1.1 101"
        gate.kill(signal.SIGTERM)
        assert gate.process.wait(20) == 0
    assert gate.wait_for_lines(1, msg="Open connections are cut")
    again = server(stage, {"a": 1})
    assert again.end(signal.SIGINT) == 130
