"""ppdp and upstreams that are UNIX sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, wait_until
from tests.peers.servers import LOOPBACK, echo, free_port, read_all, read_exactly
from tests.tools.test_ppdp_dump import MariaDb, mariadb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.peers.servers import Ppdp, Stage

__all__ = ["mariadb"]


def listening(stage: Stage, path: Path, backlog: int = 1024) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    stage.later(sock.close)
    sock.bind(str(path))
    sock.listen(backlog)
    return sock


def serve(stage: Stage, path: Path, handle: Callable[[socket.socket], None] = echo) -> None:
    """A server on a UNIX socket whose every connection is handled in a thread."""
    sock = listening(stage, path)
    stage.later(lambda: sock.shutdown(socket.SHUT_RDWR))

    def work(conn: socket.socket) -> None:
        with contextlib.suppress(OSError), conn:
            conn.settimeout(60)
            handle(conn)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = sock.accept()
                threading.Thread(target=work, args=(conn,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def asked(ppdp: Ppdp, word: bytes = b"hi") -> bytes:
    with ppdp.connect(60) as conn:
        conn.sendall(word)
        conn.shutdown(socket.SHUT_WR)
        return read_all(conn)


def test_a_mysql_server_on_its_socket(stage: Stage, mariadb: MariaDb) -> None:
    ppdp = stage.ppdp(f"unix:{mariadb.socket}", "--dump-mysql")
    assert mariadb.ask(ppdp.port, "SELECT 42", user="root", password="").strip() == "42"
    line = ppdp.wait_for_line(status="Suceeded")
    assert line["upstream"] == f"unix:{mariadb.socket}"
    wait_until(lambda: ppdp.lines(msg="mysql", sql="SELECT 42"))
    assert ppdp.lines(msg="mysql", sql="SELECT 42")[0]["upstream"] == f"unix:{mariadb.socket}"
    assert ppdp.lines(msg="Start listen")[0]["upstream"] == f"unix:{mariadb.socket}"


def test_long_streams_and_half_closed_ones_arrive_whole(stage: Stage) -> None:
    path, metrics = stage.folder / "s", free_port()
    serve(stage, path)
    ppdp = stage.ppdp(f"unix:{path}", "--metrics-listen", f"{LOOPBACK}:{metrics}")
    body = bytes(range(256)) * 80_000
    with ppdp.connect(60) as conn:
        sender = threading.Thread(target=conn.sendall, args=(body,))
        sender.start()
        assert read_exactly(conn, len(body)) == body
        sender.join()
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    line = ppdp.wait_for_line(status="Suceeded")
    assert (line["read"], line["write"]) == (len(body), len(body))
    with urllib.request.urlopen(f"http://{LOOPBACK}:{metrics}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    labels = f'pool="0",upstream="unix:{path}"'
    assert f"kojuto_relay_upstream_connections_total{{{labels}}} 1\n" in text
    assert f"kojuto_relay_upstream_up{{{labels}}} 1\n" in text


def test_the_server_is_told_who_the_client_is(stage: Stage) -> None:
    path = stage.folder / "s"
    serve(stage, path)
    ppdp = stage.ppdp(f"unix:{path}", "--send-proxy", "v1")
    with ppdp.connect() as conn:
        conn.sendall(b"hi")
        conn.shutdown(socket.SHUT_WR)
        own = conn.getsockname()[1]
        said = read_all(conn)
    assert said == f"PROXY TCP4 {LOOPBACK} {LOOPBACK} {own} {ppdp.port}\r\nhi".encode()


@pytest.mark.parametrize("rule", ["leastconn", "iphash"])
def test_one_that_fails_rests_and_the_others_serve(stage: Stage, rule: str) -> None:
    """Whatever it is: gone, closed, or no socket that one can connect to."""
    good, gone, closed = (stage.folder / name for name in ("good", "gone", "closed"))
    serve(stage, good)
    listening(stage, closed).close()
    tcp = stage.peer(echo).port
    dead = free_port()
    more = [f"unix:{gone}", f"unix:{closed}", f"{LOOPBACK}:{dead}", f"{LOOPBACK}:{tcp}"]
    options = [part for one in more for part in ("--upstream", one)]
    ppdp = stage.ppdp(
        f"unix:{good}", *options, "--balancing", rule, "--max-connect-retry", "0",
        "--fail-timeout", "1h", "--refresh-interval", "10ms",
    )  # fmt: skip
    for at in range(40):
        with socket.create_connection((LOOPBACK, ppdp.port), 30, (f"127.0.1.{at + 1}", 0)) as conn:
            conn.sendall(b"hi")
            conn.shutdown(socket.SHUT_WR)
            assert read_all(conn) == b"hi"
    errors = {
        line["upstream"]: line["error"] for line in ppdp.lines(msg="Failed to connect backend")
    }
    expected = {
        f"unix:{gone}": "No such file or directory",
        f"unix:{closed}": "Connection refused",
        f"{LOOPBACK}:{dead}": "Connection refused",
    }
    assert errors.items() <= expected.items()
    left_out = ppdp.wait_for_lines(len(errors), msg="Upstream left out")
    assert sorted(line["upstream"] for line in left_out) == sorted(errors)
    if rule == "iphash":
        assert errors == expected, "each client has its own order of five"
    ends = ppdp.wait_for_lines(40, status="Suceeded")
    assert {line["upstream"] for line in ends} <= {f"unix:{good}", f"{LOOPBACK}:{tcp}"}
    assert not ppdp.lines(status="Failed")


def test_a_full_backlog_is_waited_for_where_there_is_no_other(stage: Stage) -> None:
    path = stage.folder / "s"
    sock = listening(stage, path, backlog=0)
    ppdp = stage.ppdp(f"unix:{path}")
    conns = [ppdp.connect(60) for _ in range(5)]
    for conn in conns:
        conn.sendall(b"hi")
    time.sleep(0.3)  # nothing is to come of that, which nobody tells
    assert not ppdp.lines(level="warn")

    def answer(upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the test is over before the stream is
            echo(upstream)

    def accept() -> None:
        for _ in conns:
            upstream, _ = sock.accept()
            stage.later(upstream.close)
            threading.Thread(target=answer, args=(upstream,), daemon=True).start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    for conn in conns:
        assert read_exactly(conn, 2) == b"hi"
        conn.close()
    acceptor.join()
    assert not ppdp.lines(level="warn")


def test_a_full_backlog_is_left_for_another_upstream(stage: Stage) -> None:
    full = stage.folder / "full"
    listening(stage, full, backlog=0)
    fillers = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for filler in fillers:
        stage.later(filler.close)
        filler.setblocking(False)
        filler.connect_ex(str(full))
    tcp = stage.peer(echo).port
    options = ["--upstream", f"{LOOPBACK}:{tcp}", "--fail-timeout", "1h"]
    ppdp = stage.ppdp(f"unix:{full}", *options)
    for _ in range(20):
        assert asked(ppdp) == b"hi"
    line = ppdp.wait_for_line(msg="Failed to connect backend")
    assert (line["upstream"], line["error"]) == (
        f"unix:{full}", "the backlog of its socket is full",
    )  # fmt: skip
    assert not ppdp.lines(status="Failed")


@pytest.mark.parametrize(
    ("upstream", "message"),
    [
        ("unix:run/s", "not an absolute path (write unix:/run/"),
        ("unix:", "not an absolute path (write unix:/run/"),
        ("unix:/" + "x" * 107, "the path has 108 bytes, and that of a UNIX socket 107 at most"),
    ],
)
def test_what_is_no_path_of_a_socket_is_named(upstream: str, message: str) -> None:
    done = run("ppdp", "--upstream", upstream)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"ppdp: error: --upstream {upstream}: {message}")


def test_a_path_of_107_bytes_is_reached(stage: Stage) -> None:
    folder = stage.folder
    path = folder / ("x" * (107 - len(str(folder)) - 1))
    assert len(str(path)) == 107
    serve(stage, path)
    assert asked(stage.ppdp(f"unix:{path}")) == b"hi"
