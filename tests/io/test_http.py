"""The HTTP front on real sockets: limits, time-outs, keep-alive, graceful stop."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from kojuto._native import HttpRequest, HttpServer, LogWriter, TokenGate
from tests.conftest import wait_until
from tests.peers.servers import LOOPBACK, Most, hammer, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Answer = tuple[int, "Sequence[tuple[str, str]]", "str | bytes"]


held = threading.Event()
"""Answers to /held wait for it."""
TOKEN = "eyJhbGciOiJcdWQ4MDAifQ.e30.c2ln"
"""One that is left to Python: half a character is the alg of its header."""
WRONG: dict[str, tuple[Answer, str]] = {
    "/status": ((99, [], ""), "not the status"),
    "/name": ((200, [("a b", "c")], ""), "is not the name of a header"),
    "/value": ((200, [("a", "b\nc: d")], ""), "a: not a header value"),
}
"""Targets with what `echo` answers to them, which is no answer, and what is wrong with it."""


def echo(request: HttpRequest) -> Answer:
    """Says what it was asked."""
    if request.target == "/fail":
        raise RuntimeError("as it was told")
    if request.target in WRONG:
        return WRONG[request.target][0]
    if request.target.startswith("/held"):
        assert held.wait(20)
    if request.target.startswith("/slow"):
        time.sleep(0.3)
    if request.target == "/large":
        return 200, [], b"x" * (32 << 20)
    said = f"{request.method} {request.target} {request.remote} {request.header('X-A')}"
    return 200, [("X-Kind", "echo")], said.encode() + request.body


class Front:
    """A server in this process; with a token gate at hand, if its endpoint is given."""

    def __init__(
        self,
        answer: Callable[[HttpRequest], Answer] = echo,
        *,
        gate: str = "",
        **options: Any,
    ) -> None:
        socks = [socket.create_server((LOOPBACK, 0), backlog=1024) for _ in range(2)]
        self.ports = [int(sock.getsockname()[1]) for sock in socks]
        self.port = self.ports[0]
        self.log = LogWriter()
        if gate:
            service = {"id": "service", "rules": [("/", [])], "renewed": False}
            none: dict[str, Any] = dict.fromkeys(("keys", "kinds", "require", "shown"), ())
            none |= dict.fromkeys(("freshness_s", "late_s", "early_s"), 0.0)
            self.gate = TokenGate(self.log, gate, [service | none])
            options["at_hand"] = self.gate
        self.server = HttpServer(self.log, [sock.fileno() for sock in socks], answer, **options)
        for sock in socks:
            sock.close()

    def connect(self, timeout_s: float = 20) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.port), timeout=timeout_s)

    def ask(self, data: bytes) -> bytes:
        """Everything that is answered to these bytes on a connection of their own."""
        with self.connect() as conn:
            conn.sendall(data)
            return read_all(conn)

    def close(self) -> None:
        self.server.abort()
        assert self.server.wait(10)
        self.log.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Front]]:
    held.clear()
    with contextlib.ExitStack() as stack:
        stack.callback(held.set)

        def make(*arguments: Any, **options: Any) -> Front:
            front = Front(*arguments, **options)
            stack.callback(front.close)
            return front

        yield make


def get(target: str, *headers: str, close: bool = True, method: str = "GET") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: h", *headers]
    lines += ["Connection: close"] if close else []
    return "\r\n".join([*lines, "", ""]).encode()


def ask_gate(target: str, **options: Any) -> bytes:
    """A request that the gate leaves to Python until it knows the token."""
    return get(target, f"Authorization: Bearer {TOKEN}", "X-Original-URI: /", **options)


def one_answer(conn: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer of a connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = conn.recv(65536)
        assert piece, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += conn.recv(65536)
    return int(head.split()[1]), body


def test_python_is_asked_and_its_answer_sent(start: Callable[..., Front]) -> None:
    front = start(max_body_bytes=10)
    said = front.ask(get("/a?b=%2F", "X-A: 1", "x-a: 2"))
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"x-kind: echo\r\n" in said
    assert said.endswith(b"GET /a?b=%2F 127.0.0.1 ['1', '2']")
    posted = front.ask(get("/p", "Content-Length: 3", method="POST") + b"abc")
    assert posted.endswith(b"POST /p 127.0.0.1 []abc")
    head = front.ask(get("/h", method="HEAD"))
    assert head.endswith(b"\r\n\r\n")
    assert front.server.stats()["2xx"] == 3


def test_an_answer_that_fails_is_500_and_the_connection_lives(
    start: Callable[..., Front], capfd: pytest.CaptureFixture[str]
) -> None:
    front = start()
    with front.connect() as conn:
        for target in ("/fail", *WRONG):
            conn.sendall(get(target, close=False))
            assert one_answer(conn) == (500, b"internal error\n")
        conn.sendall(get("/fine", close=False))
        assert one_answer(conn)[0] == 200
    assert front.server.stats()["5xx"] == 1 + len(WRONG)
    said = ""

    def all_told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return all(why in said for why in ("as it was told", *(why for _, why in WRONG.values())))

    wait_until(all_told, what=lambda: f"the reasons in {said}")


def test_answers_at_hand_need_no_python_and_change_at_once(start: Callable[..., Front]) -> None:
    front = start(gate="/auth")
    admit = front.gate.admit
    with front.connect() as conn:
        conn.sendall(get("/live", close=False))
        assert one_answer(conn) == (200, b"OK\n")
        conn.sendall(get("/nowhere", close=False))
        assert one_answer(conn)[0] == 404
        conn.sendall(ask_gate("/auth", close=False))
        assert one_answer(conn)[1].startswith(b"GET /auth ")
        now_s = time.time()
        admit(TOKEN, 0, (now_s - 60, now_s + 60), now_s, [])
        conn.sendall(ask_gate("/auth", close=False))
        assert one_answer(conn) == (200, b"OK\n")
        conn.sendall(ask_gate("/auth", close=False, method="POST"))
        assert one_answer(conn) == (200, b"OK\n")
        admit(TOKEN, 0, (now_s - 60, now_s + 0.001), now_s, [])
        wait_until(lambda: time.time() > now_s + 0.001)
        conn.sendall(ask_gate("/auth", close=False))
        assert one_answer(conn)[1].startswith(b"GET /auth ")
        assert front.server.stats()["quick"] == 4
        front.server.set_at_hand(None)
        conn.sendall(get("/live", close=False))
        assert one_answer(conn)[1].startswith(b"GET /live ")
    assert front.server.stats()["quick"] == 4


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 5000 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n" + b"a" * 11, 413),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n"
            + b"a" * 11
            + b"\r\n0\r\n\r\n",
            413,
        ),
    ],
    ids=["line", "header", "nul", "length", "size", "count", "body", "chunked"],
)
def test_what_is_wrong_or_too_large_is_refused(
    start: Callable[..., Front], request_: bytes, status: int
) -> None:
    front = start(max_body_bytes=10)
    with front.connect() as conn:
        conn.sendall(request_)
        assert conn.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())
        assert read_all(conn) in (b"", b"the body is too large\n")
    assert front.ask(get("/still")).startswith(b"HTTP/1.1 200 ")


def test_slow_clients_are_cut(start: Callable[..., Front]) -> None:
    front = start(header_timeout_s=0.5, idle_timeout_s=0.9, write_timeout_s=0.5, max_body_bytes=100)

    def seconds(*pieces: bytes) -> float:
        """How long the server bears a client that sends a byte of each piece now and then."""
        with front.connect() as conn:
            began = time.monotonic()
            for piece in pieces[:-1]:
                conn.sendall(piece)
            with contextlib.suppress(OSError):
                for byte in pieces[-1]:
                    conn.sendall(bytes([byte]))
                    conn.settimeout(0.1)
                    with contextlib.suppress(TimeoutError):
                        while conn.recv(65536):
                            pass
                        break
            conn.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                read_all(conn)
            return time.monotonic() - began

    assert 0.4 < seconds(b"") < 2  # nothing at all
    assert 0.4 < seconds(b"GET / HTTP/1.1\r\nX: a" + b"a" * 30) < 2  # a head byte by byte
    post = b"POST / HTTP/1.1\r\nContent-Length: 50\r\n\r\n"
    assert 0.4 < seconds(post, b"a" * 40) < 2  # a body byte by byte
    assert 0.8 < seconds(get("/", close=False), b"") < 3  # silence after an answer
    assert front.server.stats()["timeouts"] == 4
    with front.connect() as conn:  # does not take its answer
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        conn.sendall(get("/large"))
        wait_until(lambda: front.server.stats()["timeouts"] == 5, what="cut")
    wait_until(lambda: front.server.stats()["open"] == 0)


def test_a_slow_answer_is_no_time_out(start: Callable[..., Front]) -> None:
    front = start(header_timeout_s=0.1, idle_timeout_s=0.1)
    assert front.ask(get("/slow")).startswith(b"HTTP/1.1 200 ")


def test_a_flood_of_questions_is_bounded(start: Callable[..., Front]) -> None:
    """One thread, one place in the queue: the third of three is refused, the others answered."""
    front = start(threads=1, queue=1, gate="/held")
    conns = [front.connect() for _ in range(8)]
    for at, conn in enumerate(conns):
        conn.sendall(ask_gate(f"/held?{at}"))
    assert front.ask(get("/live")).endswith(b"OK\n")
    # One is at work and one waits; until the thread has taken the first, it waits itself.
    wait_until(lambda: front.server.stats()["refused"] >= 6, what="six are refused")
    held.set()
    said = [read_all(conn) for conn in conns]
    for conn in conns:
        conn.close()
    refused = sum(answer.startswith(b"HTTP/1.1 503 ") for answer in said)
    assert refused == front.server.stats()["refused"]
    assert refused + sum(answer.startswith(b"HTTP/1.1 200 ") for answer in said) == 8


def test_a_stop_finishes_what_was_asked_and_closes_what_is_idle(
    start: Callable[..., Front],
) -> None:
    front = start(workers=2)
    idle, busy, fresh = front.connect(), front.connect(), front.connect()
    idle.sendall(get("/", close=False))
    assert one_answer(idle)[0] == 200
    busy.sendall(get("/held", close=False))
    wait_until(lambda: front.server.stats()["open"] == 3)
    front.server.stop()
    assert idle.recv(1) == b""
    held.set()
    fresh.sendall(get("/late", close=False))  # had been accepted: its first request counts
    assert b"connection: close" in read_all(fresh)
    last = read_all(busy)
    assert last.startswith(b"HTTP/1.1 200 ")
    assert front.server.wait(5)
    with pytest.raises(ConnectionRefusedError):
        front.connect()
    for conn in (idle, busy, fresh):
        conn.close()


def test_requests_that_wait_unread_when_it_stops_are_answered(
    start: Callable[..., Front],
) -> None:
    front = start(workers=1)
    conns = [front.connect() for _ in range(50)]
    for conn in conns:
        conn.sendall(get("/a", close=False))
        assert one_answer(conn)[0] == 200
    for conn in conns:
        conn.sendall(get("/b", close=False))
    front.server.stop()
    assert all(b" 200 OK" in read_all(conn) for conn in conns)
    assert front.server.wait(5)
    for conn in conns:
        conn.close()


def test_an_abort_ends_everything(start: Callable[..., Front]) -> None:
    front = start()
    with front.connect() as conn:
        conn.sendall(get("/slow"))
        wait_until(lambda: front.server.stats()["open"] == 1)
        front.server.abort()
        assert front.server.wait(5)
        with contextlib.suppress(ConnectionResetError):
            assert conn.recv(1) == b""


def test_no_more_connections_than_allowed(start: Callable[..., Front]) -> None:
    front = start(max_connections=2)
    first, second = front.connect(), front.connect()
    wait_until(lambda: front.server.stats()["open"] == 2)
    third = front.connect()
    third.sendall(get("/third"))
    wait_until(lambda: front.server.stats()["pauses"] == 1)
    assert front.server.stats()["accepted"] == 2
    first.close()
    assert read_all(third).startswith(b"HTTP/1.1 200 ")
    second.close()
    third.close()


def test_never_more_connections_than_allowed_at_two_ports(start: Callable[..., Front]) -> None:
    """What waits at one port must not take the place that was seen from the other."""
    front = start(max_connections=2)
    with Most(lambda: int(front.server.stats()["open"])) as most:
        assert hammer(front.ports, get("/"), rounds=100) == 600
    assert most.seen <= 2


def test_a_stop_serves_the_queue_and_closes(start: Callable[..., Front]) -> None:
    """However fast new connections come: what waited at the stop is served, and no more than that
    holds the server.
    """
    front = start(max_connections=1)
    first = front.connect()
    wait_until(lambda: front.server.stats()["open"] == 1)
    waiting = [front.connect() for _ in range(20)]
    for conn in waiting:
        conn.sendall(get("/queued"))
    front.server.stop()
    first.close()
    for conn in waiting:
        assert read_all(conn).startswith(b"HTTP/1.1 200 ")
        conn.close()
    assert front.server.wait(20)
    assert front.server.stats()["accepted"] == 21
    with pytest.raises(ConnectionRefusedError):
        front.connect()


def test_a_stop_under_load_has_an_end(start: Callable[..., Front]) -> None:
    front = start()
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), front.connect() as conn:
                conn.sendall(get("/"))
                read_all(conn)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: front.server.stats()["accepted"] > 200)
    front.server.stop()
    try:
        assert front.server.wait(60)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_it_survives_running_out_of_descriptors(start: Callable[..., Front]) -> None:
    front = start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = front.connect()
    client.sendall(get("/", close=False))
    assert one_answer(client)[0] == 200
    waiting = socket.socket()
    waiting.settimeout(20)
    try:
        used = max(map(int, os.listdir("/proc/self/fd"))) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        fill = []
        with contextlib.suppress(OSError):
            while True:
                fill.append(os.open("/dev/null", os.O_RDONLY))
        waiting.connect((LOOPBACK, front.port))
        wait_until(lambda: front.server.stats()["pauses"] >= 1)
        client.sendall(get("/", close=False))
        assert one_answer(client)[0] == 200
        for fd in fill:
            os.close(fd)
        waiting.sendall(get("/"))
        assert read_all(waiting).startswith(b"HTTP/1.1 200 ")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        waiting.close()
        client.close()


def test_the_access_log_gets_whole_lines_that_nobody_can_forge(
    start: Callable[..., Front],
) -> None:
    batches: list[bytes] = []
    front = start(access_log=batches.append)
    front.ask(get("/a?b", "User-Agent: x\ty\\", "X-Forwarded-For: 10.0.0.9", "Referer: \x80"))
    front.ask(get("/fail"))
    front.server.stop()
    assert front.server.wait(5)
    lines = b"".join(batches).decode().splitlines()
    assert len(lines) == 2
    fields = dict(part.split(":", 1) for part in lines[0].split("\t"))
    assert (
        abs(time.mktime(time.strptime(fields["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.time()) < 60
    )
    assert float(fields.pop("reqtime")) < 5
    del fields["time"]
    assert fields == {
        "host": LOOPBACK, "method": "GET", "uri": "/a", "protocol": "HTTP/1.1", "status": "200",
        "size": str(len("GET /a?b 127.0.0.1 []")), "forwardedfor": "10.0.0.9", "vhost": "h",
        "referer": "\x80", "ua": r"x\x09y\x5c",
    }  # fmt: skip
    assert "status:500" in lines[1]


def test_an_access_log_that_stands_still_holds_nobody_up(start: Callable[..., Front]) -> None:
    go_on = threading.Event()
    front = start(access_log=lambda _: go_on.wait(20), gate="/slow")
    try:
        for _ in range(50):
            assert front.ask(get("/live")).startswith(b"HTTP/1.1 200 ")
    finally:
        go_on.set()


def test_a_unix_socket_serves_too(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    log = LogWriter()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        server = HttpServer(log, [listener.fileno()], echo)
    with socket.socket(socket.AF_UNIX) as conn:
        conn.connect(path)
        conn.sendall(get("/u"))
        assert read_all(conn).endswith(b"GET /u unix: []")
    server.stop()
    assert server.wait(5)
    log.close()


def test_pipelined_requests_and_a_half_closed_client_are_answered(
    start: Callable[..., Front],
) -> None:
    front = start(gate="/slow")
    with front.connect() as conn:
        conn.sendall(get("/live", close=False) * 3 + ask_gate("/slow", close=False))
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn).count(b"HTTP/1.1 200 OK") == 4


def test_many_connections_at_once(start: Callable[..., Front]) -> None:
    front = start(gate="/slow", workers=2)
    conns = [front.connect() for _ in range(300)]
    for conn in conns:
        conn.sendall(get("/live", close=False))
    for conn in conns:
        assert one_answer(conn) == (200, b"OK\n")
    assert front.server.stats()["open"] == 300
    for conn in conns:
        conn.close()
    wait_until(lambda: front.server.stats()["open"] == 0)
