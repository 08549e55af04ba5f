"""ppdp --proxy-protocol=lazy: the upstream is connected to before a header comes, if one does."""

from __future__ import annotations

import json
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
    from tests.peers.servers import Ppdp, Stage

__all__ = ["mariadb"]

HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n"
HEADER_TIMEOUT_S = 5


def greet(conn: socket.socket) -> None:
    """A server that speaks first."""
    conn.sendall(b"welcome")
    echo(conn)


def lazy(stage: Stage, *options: str) -> Ppdp:
    return stage.ppdp(stage.peer(greet).port, "--proxy-protocol=lazy", *options)


def test_a_mysql_client_without_a_header_waits_for_nothing(stage: Stage, mariadb: MariaDb) -> None:
    ppdp = stage.ppdp(mariadb.port, "--proxy-protocol=lazy")
    begun = time.monotonic()
    assert mariadb.ask(ppdp.port, "SELECT 42").strip() == "42"
    assert time.monotonic() - begun < HEADER_TIMEOUT_S
    assert ppdp.wait_for_line(status="Suceeded")["remote-addr"].startswith(f"{LOOPBACK}:")


@pytest.mark.parametrize("cut", [0, 1, 8, len(HEADER)])
def test_a_header_is_taken_whenever_it_comes(stage: Stage, cut: int) -> None:
    """After the server's first word, in pieces, with payload behind it; no server sees it."""
    metrics = free_port()
    ppdp = lazy(stage, "--dump-tcp", "1", "--metrics-listen", f"{LOOPBACK}:{metrics}")
    with ppdp.connect() as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert read_exactly(conn, 7) == b"welcome"
        conn.sendall(HEADER[:cut])
        conn.sendall(HEADER[cut:] + b"hello")
        assert read_exactly(conn, 5) == b"hello"
        with urllib.request.urlopen(f"http://{LOOPBACK}:{metrics}/connections", timeout=20) as got:
            (row,) = json.loads(got.read())["connections"]
        assert row["client"] == "192.0.2.7:50000"
        assert row["read_bytes"] == 5
        wait_until(lambda: ppdp.lines(msg="dump"))
        dumped = ppdp.lines(msg="dump")[0]
        assert (dumped["ascii"], dumped["remote-addr"]) == ("hello", "192.0.2.7:50000")
    line = ppdp.wait_for_line(status="Suceeded")
    assert (line["remote-addr"], line["read"], line["write"]) == ("192.0.2.7:50000", 5, 12)


def test_a_header_that_is_there_at_once_is_in_the_first_line(stage: Stage) -> None:
    upstream = stage.peer(greet)
    ppdp = stage.ppdp(upstream.port, "--proxy-protocol=lazy")
    ends = set()
    for _ in range(20):
        with ppdp.connect() as conn:
            conn.sendall(HEADER + b"hello")
            assert read_exactly(conn, 12) == b"welcomehello"
            conn.shutdown(socket.SHUT_WR)
            assert read_all(conn) == b""
    for line in ppdp.wait_for_lines(20, status="Suceeded"):
        ends.add((line["remote-addr"], line["read"]))
    assert ends == {("192.0.2.7:50000", 5)}


@pytest.mark.parametrize("said", [b"P", b"\r\n\r\n", b"PROXY"])
def test_what_may_be_a_header_and_silence_is_relayed_as_it_came(stage: Stage, said: bytes) -> None:
    ppdp = lazy(stage)
    with ppdp.connect() as conn:
        assert read_exactly(conn, 7) == b"welcome"
        conn.sendall(said)
        begun = time.monotonic()
        assert read_exactly(conn, len(said)) == said
        assert time.monotonic() - begun > HEADER_TIMEOUT_S - 1, "it was held first"
        conn.sendall(HEADER)
        assert read_exactly(conn, len(HEADER)) == HEADER, "no beginning any more"
    ppdp.wait_for_line(status="Suceeded")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"PROXY TCP4 nonsense\r\n", "PROXY header: "),
        (HEADER[:10], "PROXY header: 10 bytes and no end of it within 5 s"),
    ],
)
def test_a_header_that_is_wrong_or_half_ends_the_connection(
    stage: Stage, said: bytes, error: str
) -> None:
    ppdp = lazy(stage)
    with ppdp.connect() as conn:
        assert read_exactly(conn, 7) == b"welcome"
        conn.sendall(said)
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
    line = ppdp.wait_for_line(status="Failed")
    assert line["error"].startswith(error)
    assert line["remote-addr"].startswith(f"{LOOPBACK}:")


def test_who_is_not_trusted_is_not_believed(stage: Stage) -> None:
    ppdp = lazy(stage, "--trusted-proxies", "192.0.2.0/24")
    with ppdp.connect() as conn:
        assert read_exactly(conn, 7) == b"welcome"
        conn.sendall(b"hello")
        assert read_exactly(conn, 5) == b"hello"
    with ppdp.connect() as conn:
        conn.sendall(HEADER)
        with pytest.raises(ConnectionResetError):
            read_all(conn)
    line = ppdp.wait_for_line(status="Failed")
    assert line["error"] == "PROXY header: the peer is not in --trusted-proxies"


def test_long_streams_behind_a_header_arrive_whole(stage: Stage) -> None:
    ppdp = lazy(stage)
    body = bytes(range(256)) * 40_000
    with ppdp.connect(60) as conn:
        assert read_exactly(conn, 7) == b"welcome"
        sender = threading.Thread(target=conn.sendall, args=(HEADER + body,))
        sender.start()
        assert read_exactly(conn, len(body)) == body
        sender.join()
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    assert ppdp.wait_for_line(status="Suceeded")["read"] == len(body)


@pytest.mark.parametrize(
    "options",
    [
        ["--send-proxy", "v2"], ["--allow", "10.0.0.0/8"], ["--deny", "10.0.0.0/8"],
        ["--balancing", "iphash"], ["--balancing", "remotehash"],
    ],
)  # fmt: skip
def test_what_needs_the_address_at_connect_is_refused_at_the_start(options: list[str]) -> None:
    mode = f"--proxy-protocol=lazy@{free_port()}"
    done = run("ppdp", "--upstream", "localhost:1", mode, *options)
    assert done.returncode == 2
    error, hint = done.stderr.decode().splitlines()
    given = " ".join(options) if options[0] == "--balancing" else options[0]
    assert error == f"ppdp: error: --proxy-protocol=lazy cannot go with {given}"
    assert "--proxy-protocol=require" in hint


def test_a_server_that_ends_its_half_first_still_gets_the_rest(stage: Stage) -> None:
    got: list[bytes] = []

    def end_first(conn: socket.socket) -> None:
        conn.sendall(b"welcome")
        conn.shutdown(socket.SHUT_WR)
        got.append(read_all(conn))

    ppdp = stage.ppdp(stage.peer(end_first).port, "--proxy-protocol=lazy")
    with ppdp.connect() as conn:
        assert read_all(conn) == b"welcome"
        conn.sendall(b"the rest")
    wait_until(lambda: got == [b"the rest"])
