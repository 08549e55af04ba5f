"""wsgate-client: its command line, requests, answers, standard input, reload, end."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import run, script, wait_until
from tests.keys import private_key, public_pem
from tests.peers.gates import account, backend, client, metrics, opens, round_trip, server, tls
from tests.peers.servers import LOOPBACK, accepts, echo, free_port, read_all, read_exactly

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.peers.servers import Stage


# -- the command line and the map -------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "either --map, -L or 'stdio URL' is required"),
        (["--map", "m", "stdio", "http://x/"], "either --map, -L or"),
        (["-L", "127.0.0.1:1=http://x/", "stdio", "http://x/"], "either --map, -L or"),
        (["-L", "127.0.0.1:1"], "-L 127.0.0.1:1: not of the form HOST:PORT=URL"),
        (["-L", "127.0.0.1=http://x/"], "-L 127.0.0.1: "),
        (["-L", "127.0.0.1:1=ftp://x/"], "-L 127.0.0.1:1: not an address"),
        (["-L", "127.0.0.1:1=https://u:hidden-secret@x/"], "a password in an address"),
        (["-L", ":1=http://x/", "-L", ":1=http://y/"], "-L :1: this address is already given"),
        (["stdio"], "stdio: not 'stdio URL'"),
        (["--map", "m", "--private-key", "a", "--iap-credential", "b", "--iap-client-id", "c"],
         "--private-key and --iap-credential cannot be used together"),
        (["--map", "m", "--iap-credential", "b"], "--iap-credential needs --iap-client-id"),
        (["--map", "m", "--iap-client-id", "b"], "--iap-client-id needs --iap-credential"),
        (["--map", "m", "-H", "Authorization: x", "--private-key", "b"], "cannot be used together"),
        (["--map", "m", "-H", "hidden-secret"], "--headers: the value is not a header"),
        (["--map", "m", "-H", "X: a\r\nY: hidden-secret"], "--headers: X is not a header"),
        (["--map", "m", "-H", "X Y: hidden-secret"], "--headers: X Y is not a header"),
        (["--map", "m", "-H", "Sec-WebSocket-Key: x"], "is set by the WebSocket handshake"),
        (["--map", "m", "-H", "Upgrade: x"], "is set by the WebSocket handshake"),
        (["--map", "m", "--insecure", "--sni", "x"], "--insecure has no meaning beside"),
    ],
)  # fmt: skip
def test_a_wrong_call_names_the_value(options: list[str], message: str) -> None:
    done = run("wsgate-client", *options)
    assert done.returncode == 2
    assert message in done.stderr.decode().splitlines()[0]
    assert "hidden-secret" not in done.stderr.decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("127.0.0.1:0\n", "line 1: not of the form host:port,https://HOST/proxy/NAME"),
        ("# c\nx,http://a/\n", "line 2: no port"),
        ("127.0.0.1:1,ftp://a/b\n", "line 1: not an address"),
        ("127.0.0.1:1,https:///b\n", "line 1: not an address"),
        ("127.0.0.1:1,https://u:hidden-secret@a/b\n", "line 1: a password in an address"),
        ("127.0.0.1:1,https://a/b#c\n", "line 1: an address must not have a fragment (#)"),
        ("127.0.0.1:1,https://a:x/b\n", "line 1: "),
        ("127.0.0.1:1,https://a..b/c\n", "line 1: not a host name"),
        ("127.0.0.1:9,http://a/\n\n127.0.0.1:9,http://b/\n", "is already in line 1"),
        ("# nothing\n", "no mappings in it"),
    ],
)
def test_a_wrong_map_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map"
    path.write_text(text)
    done = run("wsgate-client", "--map", path)
    assert done.returncode == 1
    assert message in done.stderr.decode()
    assert "hidden-secret" not in done.stderr.decode()


def test_a_taken_address_ends_the_start(stage: Stage) -> None:
    port = stage.peer(echo).port
    (stage.folder / "map").write_text(
        f"127.0.0.1:{free_port()},http://a/\n127.0.0.1:{port},http://a/\n"
    )
    done = run("wsgate-client", "--map", stage.folder / "map")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr.decode()


def test_bad_key_files_end_the_start(tmp_path: Path) -> None:
    (tmp_path / "map").write_text(f"127.0.0.1:{free_port()},http://a/\n")
    (tmp_path / "public").write_bytes(public_pem(private_key("rsa")))
    (tmp_path / "json").write_text('{"type":"service_account","private_key":"hidden-secret"}')
    (tmp_path / "http").write_text(json.dumps(account("http://token.example.com/")))
    (tmp_path / "key").write_text(
        json.dumps({**account("https://token.example.com/"), "private_key": "hidden-secret"})
    )
    for options, message in [
        (["--private-key", tmp_path / "public"], "PUBLIC KEY is not a private key"),
        (["--private-key", tmp_path / "none"], "No such file"),
        (["--iap-credential", tmp_path / "public", "--iap-client-id", "x"], "no JSON"),
        (["--iap-credential", tmp_path / "json", "--iap-client-id", "x"], "not a service account"),
        (["--iap-credential", tmp_path / "http", "--iap-client-id", "x"], "not an https address"),
        (["--iap-credential", tmp_path / "key", "--iap-client-id", "x"], "cannot be read"),
        (["--ca-file", tmp_path / "public"], "no certificate in it"),
    ]:
        done = run("wsgate-client", "--map", tmp_path / "map", *options)  # type: ignore[arg-type]
        assert done.returncode == 1, options
        assert message in done.stderr.decode()
        assert "hidden-secret" not in done.stderr.decode()


# -- tunnels ----------------------------------------------------------------------------------


def test_the_request_is_that_of_the_original(stage: Stage) -> None:
    peer = backend(stage)
    headers = ["-H", "X-One: 1", "--headers", "X-Two:two words", "-headers=X-One: again"]
    (stage.folder / "headers").write_text("# more\nX-Three: 3\n\n")
    local = client(stage, peer.url() + "?q=1", *headers, "-H", f"@{stage.folder}/headers")
    with local.connect() as conn:
        round_trip(conn, b"hello")
    (request,) = peer.requests
    assert request.path == "/proxy/a?q=1"
    assert request.headers["Host"] == f"{LOOPBACK}:{peer.port}"
    assert request.headers["Origin"] == f"http://{LOOPBACK}:{peer.port}"
    assert request.headers["X-Wsgate-End"] == "close-frame"
    assert request.headers.get_all("X-One") == ["1", "again"]
    assert request.headers["X-Two"] == "two words"
    assert request.headers["X-Three"] == "3"
    assert "Authorization" not in request.headers
    assert "Sec-WebSocket-Extensions" not in request.headers
    ended = local.wait_for_line(status="Suceeded")
    assert (ended["read"], ended["write"]) == (5, 5)
    assert ended["upstream"] == peer.url()
    assert ended["listener"] == f"{LOOPBACK}:{local.port}"


def test_a_backend_that_is_down_costs_only_that_connection(stage: Stage) -> None:
    port, peer = free_port(), backend(stage)
    local = client(stage, [f"http://{LOOPBACK}:{port}/proxy/a", peer.url()])
    began = time.monotonic()
    with local.connect() as conn, contextlib.suppress(ConnectionError):
        assert conn.recv(1) == b""
    assert time.monotonic() - began < 10
    local.wait_for("Failed to connect backend")
    line = local.wait_for_line(msg="Failed to connect backend")
    assert line["error"] == f"{LOOPBACK}:{port}: Connection refused"
    assert line["upstream"] == f"http://{LOOPBACK}:{port}/proxy/a"
    with local.connect(1) as conn:
        round_trip(conn, b"alive")
    assert local.process.poll() is None


def test_a_backend_that_comes_up_while_it_is_tried(stage: Stage) -> None:
    port = free_port()
    local = client(stage, f"http://{LOOPBACK}:{port}/proxy/a")
    for _ in range(5):  # on a busy machine it may come too late
        with local.connect():
            time.sleep(0.15)
            with socket.create_server((LOOPBACK, port)) as listener:
                listener.settimeout(2)
                try:
                    upgrade, _ = listener.accept()
                except TimeoutError:
                    continue
                with upgrade:
                    assert upgrade.recv(4096).startswith(b"GET /proxy/a HTTP/1.1\r\n")
                return
    pytest.fail("no second attempt came")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 401 hidden-secret\r\n\r\n", "answered 401 Unauthorized"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered 404 Not Found: no such name there"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "answered 302 Found"),
        (b"HTTP/1.1 200 OK\r\n\r\nhidden-secret", "answered 200 OK"),
        (b"SSH-2.0-hidden-secret\r\n\r\n", "answered something other than HTTP"),
        (b"HTTP/1.1 101 Protocols\r\n\r\n", "no valid WebSocket handshake (InvalidUpgrade)"),
        (b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
         b"Sec-WebSocket-Accept: hidden-secret\r\n\r\n", "no valid WebSocket handshake"),
        (b"HTTP/1.1 101 S\r\n" + b"X: y\r\n" * 10_000, "too large a head"),
        (b"", "closed the connection without an answer"),
    ],
)  # fmt: skip
def test_answers_that_are_no_upgrade(stage: Stage, answer: bytes, error: str) -> None:
    def handle(conn: socket.socket) -> None:
        conn.recv(65536)
        conn.sendall(answer)

    local = client(stage, f"http://{LOOPBACK}:{stage.peer(handle).port}/x")
    with local.connect() as conn:
        assert not opens(conn)
    assert error in local.wait_for_lines(1, msg="Failed to connect backend")[0]["error"]
    assert "hidden-secret" not in local.text()


def test_a_backend_that_says_nothing_delays_nobody_and_ends_in_time(stage: Stage) -> None:
    silent = stage.peer(swallow)
    peer = backend(stage)
    urls = [f"http://{LOOPBACK}:{silent.port}/x", peer.url()]
    local = client(stage, urls, "--connect-timeout", "3s")
    stuck = [local.connect() for _ in range(300)]
    try:
        with local.connect(1) as conn:
            round_trip(conn, b"quick")
        assert not local.lines(msg="Failed to connect backend"), "the others still wait"
        assert not opens(stuck[0])
        wait_until(lambda: len(local.lines(msg="Failed to connect backend")) >= 256)
        assert "timed out" in local.wait_for_lines(1, msg="Failed to connect backend")[0]["error"]
    finally:
        for conn in stuck:
            conn.close()


def test_bytes_that_came_before_the_tunnel_was_open(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    local = client(stage, gate.url("a"))
    with local.connect() as conn:
        conn.sendall(b"early")
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b"early"


def test_half_close_travels_through_both_ends(stage: Stage) -> None:
    def count(conn: socket.socket) -> None:
        data = read_all(conn)  # to the end of the stream
        conn.sendall(f"{len(data)} bytes".encode() + bytes(1_000_000))

    for packed in ([], ["--enable-compression"]):
        gate = server(stage, {"a": stage.peer(count).port}, *packed)
        local = client(stage, gate.url("a"), *packed)
        with local.connect() as conn:
            conn.sendall(bytes(300_000))
            conn.shutdown(socket.SHUT_WR)
            assert read_all(conn) == b"300000 bytes" + bytes(1_000_000)
        wait_until(lambda gate=gate: gate.lines(status="Suceeded"))  # type: ignore[misc]
        wait_until(lambda local=local: local.lines(status="Suceeded"))  # type: ignore[misc]
        assert not gate.lines(status="Failed")


@pytest.mark.parametrize("secure", [False, True])
def test_compression_is_offered_and_used(stage: Stage, secure: bool) -> None:
    options: dict[str, Any] = {"compression": "deflate"}
    trust: list[str] = []
    if secure:
        options["ssl"], cert = tls(stage.folder, LOOPBACK)
        trust = ["--ca-file", str(cert)]
    peer = backend(stage, **options)
    local = client(stage, peer.url("https" if secure else "http"), "--enable-compression", *trust)
    with local.connect() as conn:
        round_trip(conn, os.urandom(1000) * 500)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    (request,) = peer.requests
    assert "permessage-deflate" in request.headers["Sec-WebSocket-Extensions"]
    wait_until(lambda: local.lines(status="Suceeded"))
    with local.connect() as conn:
        round_trip(conn, b"again")


def test_the_map_is_read_again(stage: Stage) -> None:
    first, second = stage.peer(named(b"1")), stage.peer(named(b"2"))
    gate = server(stage, {"one": first.port, "two": second.port})
    local = client(stage, [gate.url("one"), gate.url("two")])

    def answer(line: int) -> bytes:
        with local.connect(line) as conn:
            return conn.recv(1)

    assert [answer(0), answer(1)] == [b"1", b"2"]
    with local.connect(1) as kept:
        assert kept.recv(1) == b"2"
        local.map_file.write_text(f"{LOOPBACK}:{local.ports[0]},{gate.url('two')}\n")
        local.kill(signal.SIGHUP)
        local.wait_for("Reloaded")
        assert answer(0) == b"2"
        with pytest.raises(ConnectionRefusedError):
            local.connect(1).close()
        kept.sendall(b"still")
        assert read_exactly(kept, 5) == b"still"
    local.map_file.write_text("broken\n")
    local.kill(signal.SIGHUP)
    local.wait_for("the last one is kept")
    assert answer(0) == b"2"
    taken = stage.peer(echo).port
    local.map_file.write_text(f"{LOOPBACK}:{taken},{gate.url('one')}\n")
    local.kill(signal.SIGHUP)
    wait_until(lambda: local.text().count("the last one is kept") == 2)
    assert answer(0) == b"2"


def swallow(conn: socket.socket) -> None:
    read_all(conn)


def named(name: bytes) -> Callable[[socket.socket], None]:
    def handle(conn: socket.socket) -> None:
        conn.sendall(name)
        echo(conn)

    return handle


def test_a_graceful_stop(stage: Stage) -> None:
    local = client(stage, backend(stage).url())
    with local.connect() as conn:
        round_trip(conn, b"hello")
        local.kill(signal.SIGTERM)
        local.wait_for("Go shutdown")
        wait_until(lambda: not accepts(local.port), within_s=20)
        round_trip(conn, b"going on")
    assert local.process.wait(20) == 0
    silent = stage.peer(swallow)
    stuck = client(stage, f"http://{LOOPBACK}:{silent.port}/x", "--shutdown-timeout", "200ms")
    with stuck.connect():
        wait_until(lambda: silent.accepted == 1)
        assert stuck.end() == 0
    assert stuck.wait_for_lines(1, msg="Open connections are cut")


# -- secrets ----------------------------------------------------------------------------------


def test_a_secret_header_is_neither_in_ps_nor_in_the_log(stage: Stage) -> None:
    peer = backend(stage)
    secret = "Bearer hidden-secret-value"
    local = client(stage, peer.url(), "-H", f"Authorization: {secret}")
    shown = subprocess.run(
        ["ps", "-o", "args=", "-ww", "-p", str(local.pid)], capture_output=True, check=True
    ).stdout
    assert b"wsgate-client" in shown
    assert b"hidden-secret" not in shown
    with local.connect() as conn:
        round_trip(conn, b"hello")
    assert peer.requests[0].headers["Authorization"] == secret
    refusing = client(stage, backend(stage, refuse=403).url(), "-H", f"Authorization: {secret}")
    with refusing.connect() as conn:
        assert not opens(conn)
    refusing.wait_for("answered 403 Forbidden")
    assert "hidden-secret" not in local.text() + refusing.text()


# -- standard input and output ----------------------------------------------------------------


def test_standard_input_and_output(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    data = os.urandom(1_000_000)
    done = run("wsgate-client", "stdio", gate.url("a"), stdin=data)
    assert done.returncode == 0
    assert done.stdout == data
    for line in done.stderr.decode().splitlines():
        assert json.loads(line)["msg"] == "log"
    failed = run("wsgate-client", "stdio", gate.url("none"))
    assert failed.returncode == 1
    assert "answered 404 Not Found" in failed.stderr.decode()
    secret = run("wsgate-client", "stdio", "https://user:hidden@gate.test/a?token=hidden")
    assert secret.returncode == 2
    assert b"stdio https://***@gate.test/a: a password in an address" in secret.stderr
    assert b"hidden" not in secret.stderr
    wrong = run("wsgate-client", "stdio", "gate.test")
    assert wrong.returncode == 2
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [script("wsgate-client"), "stdio", gate.url("a")],
            input=b"data", stdout=full, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"error: standard output: No space left on device" in done.stderr
    # The far end closes: an open standard input does not keep it.
    bye = server(stage, {"a": stage.peer(lambda conn: conn.sendall(b"bye")).port})
    with subprocess.Popen(
        [script("wsgate-client"), "stdio", bye.url("a")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.read() == b"bye"
        assert process.wait(20) == 0


def test_metrics(stage: Stage) -> None:
    port = free_port()
    urls = [backend(stage).url(), f"http://{LOOPBACK}:{free_port()}/x"]
    local = client(stage, urls, "--metrics-listen", f"127.0.0.1:{port}")
    with local.connect() as conn:
        round_trip(conn, b"12345")
    with local.connect(1) as conn:
        assert not opens(conn)
    wait_until(lambda: local.lines(status="Suceeded"))
    values = metrics(port)
    assert values["kojuto_wsgate_open_failures_total"] == "1"
    assert values["kojuto_wsgate_handshakes_open"] == "0"
    assert values['kojuto_relay_bytes_total{direction="to_upstream"}'] == "5"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
@pytest.mark.parametrize("announced", [False, True], ids=["go", "ours"])
def test_a_gateway_that_leaves_without_a_close_frame(
    stage: Stage, announced: bool, torn: bool, packed: bool
) -> None:
    """The Go gateway ends a stream so; one that announces Close frames has lost it."""
    options = ["--enable-compression"] if packed else []
    with socket.create_server((LOOPBACK, 0)) as listener:
        tunnel = client(stage, f"http://{LOOPBACK}:{listener.getsockname()[1]}/proxy/x", *options)
        with tunnel.connect() as conn:
            gateway, _ = listener.accept()
            with gateway:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += gateway.recv(4096)
                [key] = [
                    line.split(b": ")[1]
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"sec-websocket-key: ")
                ]
                digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
                answer = [
                    b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket",
                    b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + base64.b64encode(digest),
                    *([b"X-Wsgate-End: close-frame"] if announced else []),
                    *([b"Sec-WebSocket-Extensions: permessage-deflate"] if packed else []),
                    b"", b"",
                ]  # fmt: skip
                gateway.sendall(b"\r\n".join(answer) + b"\x82\x05whole")
                assert read_exactly(conn, 5) == b"whole"
                if torn:
                    gateway.sendall(b"\x82\x05wh")
            if torn and not packed:
                assert read_exactly(conn, 2) == b"wh"
            if announced or torn:
                with pytest.raises(ConnectionResetError):
                    conn.recv(1)
            else:
                assert conn.recv(1) == b""
    last = "Failed" if announced or torn else "Suceeded"
    wait_until(lambda: tunnel.lines(status=last), what="the last line of the log")
