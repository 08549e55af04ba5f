"""wsgate-server: limits, slow clients, compression, dump, metrics."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
import websockets.exceptions

from tests.conftest import wait_until
from tests.peers.gates import (
    UPGRADE,
    ask,
    metrics,
    raw,
    server,
)
from tests.peers.servers import LOOPBACK, Most, echo, free_port, read_all

if TYPE_CHECKING:
    from tests.peers.servers import Stage


# -- limits -----------------------------------------------------------------------------------


def test_limits_of_a_request(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port}, "--handshake-timeout", "500ms")
    assert ask(gate.port, "/live", X="x" * 8000)[0] == 200
    assert ask(gate.port, "/live", X="x" * 32_000)[0] == 200
    assert ask(gate.port, "/live", X="x" * 33_000)[0] == 431
    assert raw(gate.port, b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)[0] == 431
    many = "".join(f"X{i}: y\r\n" for i in range(200))
    assert raw(gate.port, f"GET / HTTP/1.1\r\n{many}\r\n".encode())[0] == 431
    assert ask(gate.port, "/" + "x" * 9000)[0] == 414
    for count, status in ((128, 200), (129, 431)):
        many = "".join(f"X{i}: y\r\n" for i in range(count))
        assert raw(gate.port, f"GET /live HTTP/1.1\r\n{many}\r\n".encode())[0] == status
    cookies = {"Cookie": "c" * 9000, "X-Forwarded-For": "192.0.2.9, " * 900 + "192.0.2.1"}
    assert gate.status("/proxy/a", **UPGRADE, **cookies) == 101
    logged = gate.wait_for_line(status="Connected")
    assert logged["x-forwarded-for"] == cookies["X-Forwarded-For"]
    for broken in (
        b"X" * 9000,
        b": " + b"x" * 9000,
        b"X Y: " + b"x" * 9000,
        b"X: \0" + b"x" * 9000,
        b"Content-Length: " + b"0" * 9000,
    ):
        assert raw(gate.port, b"GET /live HTTP/1.1\r\n" + broken + b"\r\n\r\n")[0] == 400
    for length, status in ((8190, 200), (8191, 414)):
        line = b"GET /live?" + b"x" * (length - 19) + b" HTTP/1.1"
        assert raw(gate.port, line + b"\r\n\r\n")[0] == status
    assert ask(gate.port, "/live", Content_Length="5")[0] == 400
    assert ask(gate.port, "/live", Transfer_Encoding="chunked")[0] == 400
    for nonsense in (b"\r\n\r\n", b"\0" * 50 + b"\r\n\r\n", b"GET /\r\n\r\n", b"a b c\r\n\r\n",
                     b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/2\r\n\r\n",
                     b"\x16\x03\x01\x02\x00\x01\r\n\r\n"):  # fmt: skip
        assert raw(gate.port, nonsense)[0] == 400
    began = time.monotonic()
    assert raw(gate.port, b"GET / HTTP/1.1\r\nHost: x\r\n")[0] == 408
    assert raw(gate.port, b"")[0] == 408
    assert time.monotonic() - began < 10
    assert gate.status("/live") == 200
    assert not gate.lines(level="error")


def test_tls_to_a_port_without_is_refused_at_once(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port}, "--handshake-timeout", "60s")
    began = time.monotonic()
    with (
        socket.create_connection((LOOPBACK, gate.port), timeout=20) as conn,
        pytest.raises(ssl.SSLError),
    ):
        ssl._create_unverified_context().wrap_socket(conn)
    with socket.create_connection((LOOPBACK, gate.port), timeout=20) as conn:
        conn.sendall(b"G")  # what begins as a request does is waited for
        time.sleep(0.1)
        conn.sendall(b"ET /live HTTP/1.1\r\n\r\n")
        assert read_all(conn).startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - began < 10


def test_clients_that_say_nothing_delay_nobody(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port})
    idle = [socket.create_connection((LOOPBACK, gate.port), timeout=20) for _ in range(300)]
    for conn in idle[::2]:
        conn.sendall(b"GET / HTTP/1.1\r\nX: ")
    try:
        began = time.monotonic()
        for _ in range(10):
            with gate.connect("a") as tunnel:
                tunnel.send(b"hello")
                assert tunnel.recv(timeout=20) == b"hello"
        assert time.monotonic() - began < 8, "as long as --handshake-timeout"
    finally:
        for conn in idle:
            conn.close()


@pytest.mark.parametrize(("within", "gives_up"), [("300ms", True), ("60s", False)])
def test_a_client_that_does_not_take_its_answer(stage: Stage, within: str, gives_up: bool) -> None:
    listener = socket.socket()
    stage.later(listener.close)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least there is
    listener.bind((LOOPBACK, 0))
    listener.listen()
    address = f"{LOOPBACK}:{listener.getsockname()[1]}"
    env = {**os.environ, "SERVER_STARTER_PORT": f"{address}={listener.fileno()}"}
    port = free_port()
    options = ("--write-timeout", within, "--metrics-listen", f"{LOOPBACK}:{port}")
    gate = server(stage, {}, *options, env=env, pass_fds=[listener.fileno()])
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.connect(listener.getsockname())
        name = "a" * 7900  # the answer repeats it
        client.sendall(f"GET /proxy/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: metrics(port).get('kojuto_wsgate_answers_total{status="404"}') == "1")
        if gives_up:
            wait_until(lambda: metrics(port)["kojuto_wsgate_handshakes_open"] == "0")
        else:
            time.sleep(1)
            assert metrics(port)["kojuto_wsgate_handshakes_open"] == "1"
            assert name.encode() in read_all(client)
    assert not gate.lines(level="error")


def test_an_upstream_that_does_not_answer_delays_nobody(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port, "hole": "192.0.2.1:1"})
    conns = []
    head = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    for _ in range(100):
        conn = socket.create_connection((LOOPBACK, gate.port), timeout=20)
        conn.sendall(f"GET /proxy/hole HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        conns.append(conn)
    try:
        began = time.monotonic()
        with gate.connect("a") as tunnel:
            tunnel.send(b"hello")
            assert tunnel.recv(timeout=20) == b"hello"
        assert time.monotonic() - began < 8
    finally:
        for conn in conns:
            conn.close()


def test_the_most_connections(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port}, "--max-connections", "2")
    with (
        gate.connect("a") as first,
        gate.connect("a"),
        socket.create_connection((LOOPBACK, gate.port), timeout=20) as waiting,
    ):
        waiting.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        waiting.settimeout(0.4)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        first.close()
        waiting.settimeout(20)
        assert read_all(waiting).startswith(b"HTTP/1.1 200")


def test_the_most_connections_are_never_more(stage: Stage) -> None:
    """A crowd comes in one batch, and each is counted before the next is accepted."""
    gate = server(stage, {"a": stage.peer(echo).port}, "--max-connections", "2")
    sockets = re.compile(r"^ *\d+: \S+:([0-9A-F]{4}) \S+ 01 .*", re.MULTILINE)

    def held() -> int:
        """Its descriptors of connections that are established."""
        inodes = set()
        with open("/proc/net/tcp", encoding="ascii") as table:
            for match in sockets.finditer(table.read()):
                if int(match[1], 16) == gate.port:
                    inodes.add(f"socket:[{match[0].split()[9]}]")
        links = []
        for fd in os.listdir(f"/proc/{gate.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/{gate.pid}/fd/{fd}"))
        return len(inodes.intersection(links))

    live = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
    with Most(held) as most:
        for _ in range(20):
            gate.kill(signal.SIGSTOP)  # so that all of them wait when it looks
            conns = [socket.create_connection((LOOPBACK, gate.port)) for _ in range(6)]
            gate.kill(signal.SIGCONT)
            wait_until(lambda: held() >= 2)
            for conn in conns:
                with conn:
                    conn.settimeout(30)
                    conn.sendall(live)
                    assert read_all(conn).startswith(b"HTTP/1.1 200")
    assert most.seen == 2


def test_running_out_of_descriptors_pauses_and_goes_on(stage: Stage) -> None:
    import resource

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    gate = server(stage, {"a": stage.peer(echo).port}, "--handshake-timeout", "60s", preexec=few)
    idle = [socket.create_connection((LOOPBACK, gate.port), timeout=20) for _ in range(100)]
    gate.wait_for("Accepting pauses")
    for conn in idle:
        conn.close()
    wait_until(lambda: gate.status("/live") == 200)
    assert len(gate.wait_for_lines(1, msg="Accepting pauses")) == 1
    with gate.connect("a") as tunnel:
        tunnel.send(b"hello")
        assert tunnel.recv(timeout=20) == b"hello"


def test_too_many_silent_clients_make_room_for_others(stage: Stage) -> None:
    """The oldest of 4,096 that have not sent their request gives way, long before its time-out."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 10_000:
        pytest.skip("too few descriptors")
    gate = server(stage, {"a": stage.peer(echo).port}, "--handshake-timeout", "1h")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle: list[socket.socket] = []
    try:
        for _ in range(4100):
            idle.append(socket.create_connection((LOOPBACK, gate.port), timeout=30))  # noqa: PERF401
        assert gate.status("/live") == 200
        assert idle[0].recv(1) == b""
        idle[-1].sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_all(idle[-1]).startswith(b"HTTP/1.1 200")
    finally:
        for conn in idle:
            conn.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- compression, dump, metrics ---------------------------------------------------------------


def test_compression_is_agreed_only_where_it_is_enabled(stage: Stage) -> None:
    upstream = stage.peer(echo)
    plain = server(stage, {"a": upstream.port})
    with plain.connect("a", compression="deflate") as tunnel:
        assert not tunnel.protocol.extensions
        tunnel.send(b"x" * 10_000)
    packed = server(stage, {"a": upstream.port}, "-enable_compression")
    with packed.connect("a", compression="deflate") as tunnel:
        assert tunnel.protocol.extensions
        text = os.urandom(1000) * 700
        tunnel.send([text[i : i + 50_000] for i in range(0, len(text), 50_000)])
        got = b""
        while len(got) < len(text):
            got += tunnel.recv(timeout=20)  # type: ignore[operator]
        assert got == text
        assert tunnel.ping().wait(10), "control frames pass"
    assert packed.wait_for_lines(1, status="Suceeded")[0]["read"] == 700_000
    with packed.connect("a", compression="deflate") as tunnel:
        tunnel.send("text")
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            tunnel.recv(timeout=20)
        assert tunnel.close_code == 1003
    with packed.connect("a") as tunnel:
        tunnel.send(b"uncompressed")
        assert tunnel.recv(timeout=20) == b"uncompressed"


def test_the_dump_holds_the_payload_and_no_more(stage: Stage) -> None:
    gate = server(stage, {"a": stage.peer(echo).port}, "-dump-tcp", "1")
    with gate.connect("a") as tunnel:
        tunnel.send(b"exactly this")
        assert tunnel.recv(timeout=20) == b"exactly this"
    wait_until(lambda: gate.lines(status="Suceeded"))
    text = b"exactly this".hex(" ")
    wait_until(lambda: text[:23] in gate.text())
    assert gate.text().count(text[:23]) == 1


def test_metrics(stage: Stage) -> None:
    port, peer = free_port(), stage.peer(echo).port
    upstream = f"{LOOPBACK}:{peer}"
    gate = server(stage, {"a": peer}, "--metrics-listen", f"127.0.0.1:{port}")
    with gate.connect("a") as tunnel:
        tunnel.send(b"12345")
        tunnel.recv(timeout=20)
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/connections", timeout=20) as got:
            (row,) = json.loads(got.read())["connections"]
        assert (row["state"], row["upstream"], row["read_bytes"]) == ("open", upstream, 5)
    gate.status("/nothing")
    wait_until(lambda: gate.lines(status="Suceeded"))
    wait_until(lambda: metrics(port)["kojuto_wsgate_handshakes_open"] == "0")
    values = metrics(port)
    assert values['kojuto_wsgate_answers_total{status="101"}'] == "1"
    assert values['kojuto_wsgate_answers_total{status="404"}'] == "1"
    assert values['kojuto_relay_bytes_total{direction="to_upstream"}'] == "5"
