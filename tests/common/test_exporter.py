"""The port for monitoring: what it answers, how many at a time, and who is held up by whom."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import subprocess
import sys
from queue import Queue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.common.server import exporter, listen
from tests.conftest import wait_until
from tests.peers.servers import read_all

if TYPE_CHECKING:
    from collections.abc import Iterator

MONITORED = """
import os, socket, sys, threading
from kojuto.common.prometheus import Family
from kojuto.common.server import exporter
from kojuto.common.server.logs import Logger
sock, gate, log = socket.create_server(("127.0.0.1", 0), backlog=512), threading.Event(), Logger()
print(sock.getsockname()[1], flush=True)
if sys.argv[1] != "held":
    gate.set()
def collect():
    os.write(1, b"asked\\n")
    gate.wait()
    if sys.argv[1] == "broken":
        raise RuntimeError("no figures")
    return [Family("x", "gauge", "X.").add(1)]
server = exporter.serve(sock, collect, log)
sys.stdin.readline()
gate.set()
sys.stdin.readline()
server.stop()
ended = server.wait(20)
log.close()
sys.exit(0 if ended else 3)
"""


class Monitored:
    """A process with a port for monitoring whose figures come when they are let."""

    def __init__(self, how: str) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", MONITORED, how]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.port = int(self.asked())

    def asked(self) -> str:
        """The next line that it prints: its port, then one for each time it is asked."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self) -> None:
        """Let the figures come; the second time end."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def connect(self, sent: bytes = b"GET /metrics HTTP/1.0\r\n\r\n") -> socket.socket:
        conn = socket.create_connection(("127.0.0.1", self.port), 20)
        conn.sendall(sent)
        return conn

    def get(self, path: str, method: str = "GET", version: str = "1.1") -> tuple[int, bytes, bytes]:
        """Status, head and body; the server ends the connection."""
        sent = f"{method} {path} HTTP/{version}\r\nHost: x\r\n\r\n"
        with self.connect(sent.encode()) as conn:
            head, _, body = read_all(conn).partition(b"\r\n\r\n")
        return int(head.split()[1]), head.lower(), body

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))


@contextlib.contextmanager
def monitored(how: str = "ready") -> Iterator[Monitored]:
    made = Monitored(how)
    with made.process, contextlib.ExitStack() as stack:
        stack.callback(made.process.kill)
        yield made


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_get_and_head_are_answered_and_the_connection_ends(version: str) -> None:
    with monitored() as server:
        status, head, body = server.get("/metrics?x=1", version=version)
        assert (status, body) == (200, b"# HELP x X.\n# TYPE x gauge\nx 1\n")
        assert b"content-type: text/plain; version=0.0.4; charset=utf-8" in head
        assert version == "1.0" or b"connection: close" in head
        length = f"content-length: {len(body)}".encode()
        assert length in head
        status, head, body = server.get("/metrics", "HEAD", version)
        assert (status, body) == (200, b"")
        assert length in head
        assert server.get("/live", version=version)[::2] == (200, b"OK\n")


def test_other_paths_and_methods_are_refused() -> None:
    with monitored() as server:
        assert server.get("/")[::2] == (404, b"there is /metrics and /live\n")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            for path in ("/metrics", "/live"):
                status, head, _ = server.get(path, method)
                assert status == 405
                assert b"allow: get, head" in head
        with server.connect(b"GET /live HTTP/1.1\r\nX: " + b"a" * 20_000) as conn:
            assert conn.recv(100).startswith(b"HTTP/1.1 431 ")


def test_a_scrape_costs_no_thread_and_only_so_many_wait() -> None:
    """One is being answered, `MAX_WAITING` wait, and one more is told so at once."""
    with monitored("held") as server, contextlib.ExitStack() as stack:
        first = stack.enter_context(server.connect())
        assert server.asked() == "asked\n"
        before = server.threads()
        waiting = [stack.enter_context(server.connect()) for _ in range(exporter.MAX_WAITING)]
        # Which of them comes last is the system's to say: one more than can wait is refused.
        more = stack.enter_context(server.connect())
        refused, _, _ = select.select([*waiting, more], [], [], 20)
        assert len(refused) == 1
        assert b" 503 " in read_all(refused[0])
        assert server.threads() == before
        server.tell()
        rest = [conn for conn in (first, *waiting, more) if conn is not refused[0]]
        assert all(b" 200 " in read_all(conn) for conn in rest)
        assert server.get("/live")[0] == 200


def test_slow_clients_hold_nobody_up_and_are_cut() -> None:
    with monitored() as server, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(server.connect(b"")) for _ in range(128)]
        slow = [stack.enter_context(server.connect(b"GET /met")) for _ in range(100)]
        assert server.get("/metrics")[0] == 200
        assert select.select(silent + slow, [], [], 0)[0] == []  # all of them were there meanwhile
        left = {*silent, *slow}

        def cut() -> bool:
            for conn in select.select(list(left), [], [], 0)[0]:
                with contextlib.suppress(ConnectionResetError):
                    assert conn.recv(1) == b""
                left.discard(conn)
            return not left

        wait_until(cut)


def test_clients_over_the_limit_are_answered_once_there_is_room() -> None:
    with monitored() as server, contextlib.ExitStack() as stack:
        for _ in range(exporter.MAX_CONNECTIONS + 20):
            stack.enter_context(server.connect(b""))
        assert server.get("/metrics")[0] == 200


def test_figures_that_fail_are_500_and_a_line() -> None:
    with monitored("broken") as server:
        assert server.get("/metrics")[0] == 500
        assert server.get("/live")[0] == 200
        server.tell()
        server.tell()
        assert server.process.stderr is not None
        line = json.loads(server.process.stderr.read())
        assert line["level"] in ("error", "warn")
        assert "no figures" in line["error"]
        assert server.process.wait(20) == 0


def test_a_port_that_comes_free_when_no_thread_is_to_be_had_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything else is served already: it goes on without figures, and says so."""
    sockets = iter([None, socket.create_server(("127.0.0.1", 0))])
    said = Queue[tuple[str, dict[str, str]]]()

    def bind(*_: object) -> socket.socket:
        sock = next(sockets)
        if sock is None:
            raise listen.TakenError("127.0.0.1:1", OSError(errno.EADDRINUSE, "taken"))
        return sock

    def serve(sock: socket.socket, *_: object) -> None:
        sock.close()
        raise OSError("starting the server: no thread")

    monkeypatch.setattr(listen, "bind", bind)
    monkeypatch.setattr(exporter, "serve", serve)
    monkeypatch.setenv("SERVER_STARTER_PORT", "1=3")

    def note(message: str, **fields: str) -> None:
        said.put((message, fields))

    log: Any = SimpleNamespace(warn=note, error=note, info=note)
    port = exporter.Port(("127.0.0.1", 1))
    port.serve(list, log)
    assert said.get(timeout=20)[0].startswith("The metrics port is in use")
    assert said.get(timeout=20) == (
        "Failed to serve metrics",
        {"error": "starting the server: no thread"},
    )
    port.close()
