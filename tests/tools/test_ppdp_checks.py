"""ppdp and those who only look whether it is there: health checks, scanners, and clients from whom
no PROXY header is believed.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.peers.servers import LOOPBACK, echo, free_port, read_all, read_exactly, reset
from tests.tools.test_proxy_protocol_peers import SIGNATURE, V1, haproxy, speak, v2

if TYPE_CHECKING:
    from tests.peers.servers import Ppdp, Stage

LOCAL = v2(b"", command=0x20)


def greet(conn: socket.socket) -> None:
    conn.sendall(b"welcome")
    echo(conn)


def unlike(ppdp: Ppdp) -> list[str]:
    """The lines of the log that are no news of a good connection."""
    return [str(line) for line in ppdp.lines() if line["level"] != "info"]


@pytest.mark.parametrize("probe", [False, True])
def test_a_check_of_haproxy_costs_the_upstream_nothing(stage: Stage, probe: bool) -> None:
    """HAProxy ends its checks by a reset."""
    upstream = stage.peer(echo)
    metrics, port = free_port(), free_port()
    options = ["--probe-upstream"] if probe else []
    ppdp = stage.ppdp(
        upstream.port,
        "--proxy-protocol=require",
        "--metrics-listen",
        f"{LOOPBACK}:{metrics}",
        *options,
    )
    haproxy(
        stage,
        f"  bind {LOOPBACK}:{port}\n"
        f"  server s {LOOPBACK}:{ppdp.port} check inter 20ms send-proxy-v2 check-send-proxy",
        port,
    )

    def counted(name: str) -> int:
        with socket.create_connection((LOOPBACK, metrics), 10) as conn:
            conn.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = read_all(conn).decode()
        (line,) = [line for line in text.splitlines() if line.startswith(name + " ")]
        return int(line.split()[1])

    wait_until(lambda: counted("kojuto_relay_probes_total") >= 10)
    if probe:
        wait_until(lambda: upstream.accepted >= 10)
    else:
        assert upstream.accepted <= 3  # those of wait_for_port, through HAProxy
    assert counted("kojuto_relay_header_failures_total") == 0
    assert counted('kojuto_relay_connections_ended_total{result="failed"}') == 0
    assert unlike(ppdp) == []
    assert speak(port)[1] == b"through it all"


def test_a_check_that_says_more_is_connected(stage: Stage) -> None:
    upstream = stage.peer(echo)
    ppdp = stage.ppdp(upstream.port, "--proxy-protocol")
    for pieces in ([LOCAL + b"hello"], [LOCAL, b"hello"]):
        with ppdp.connect() as conn:
            for piece in pieces:
                conn.sendall(piece)
                time.sleep(0.05)
            assert read_exactly(conn, 5) == b"hello"
    assert upstream.accepted == 2


def test_a_check_that_waits_is_let_go_of(stage: Stage) -> None:
    upstream = stage.peer(greet)
    ppdp = stage.ppdp(upstream.port, "--proxy-protocol")
    with ppdp.connect() as conn:
        begun = time.monotonic()
        conn.sendall(LOCAL)
        assert conn.recv(1) == b""
        assert 4.5 < time.monotonic() - begun < 20
    assert upstream.accepted == 0
    assert unlike(ppdp) == []


@pytest.mark.parametrize("mode", ["off", "optional", "require"])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_connection_without_a_byte_is_no_failure(stage: Stage, mode: str, end: str) -> None:
    upstream = stage.peer(echo)
    ppdp = stage.ppdp(upstream.port, f"--proxy-protocol={mode}")
    for _ in range(20):
        conn = ppdp.connect()
        reset(conn) if end == "reset" else conn.close()
    with ppdp.connect() as conn:
        conn.sendall((b"" if mode == "off" else V1) + b"hello")
        assert read_exactly(conn, 5) == b"hello"
    ppdp.wait_for_lines(1, status="Suceeded", read=5)
    assert ppdp.end() == 0
    assert unlike(ppdp) == []


def test_one_that_said_something_and_is_reset_is_a_failure(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    conn = ppdp.connect()
    conn.sendall(b"hello")
    read_exactly(conn, 5)
    reset(conn)
    assert ppdp.wait_for_line(status="Failed")["error"] == "client: Connection reset by peer"


@pytest.mark.parametrize("said", [b"P", b"PROXY", b"\r\n\r\n", SIGNATURE[:11]])
def test_the_beginning_of_a_header_and_silence_is_relayed_as_it_came(
    stage: Stage, said: bytes
) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--proxy-protocol")
    with ppdp.connect() as conn:
        conn.sendall(said)
        assert read_exactly(conn, len(said)) == said


def test_who_would_not_be_believed_is_not_waited_for(stage: Stage) -> None:
    ppdp = stage.ppdp(
        stage.peer(greet).port, "--proxy-protocol", "--trusted-proxies", "192.0.2.0/24"
    )
    begun = time.monotonic()
    with ppdp.connect() as conn:
        assert read_exactly(conn, 7) == b"welcome"
        assert time.monotonic() - begun < 4
        conn.sendall(b"P")
        assert read_exactly(conn, 1) == b"P"
        conn.sendall(V1[1:])
        with pytest.raises(ConnectionResetError):
            read_all(conn)
    line = ppdp.wait_for_line(status="Failed")
    assert line["error"] == "PROXY header: the peer is not in --trusted-proxies"


def test_who_would_not_be_believed_is_relayed_to_the_end(stage: Stage) -> None:
    body = bytes(range(256)) * 20_000
    came: list[bytes] = []

    def tell(conn: socket.socket) -> None:
        conn.sendall(body)
        conn.shutdown(socket.SHUT_WR)
        came.append(read_all(conn))

    ppdp = stage.ppdp(
        stage.peer(tell).port, "--proxy-protocol", "--trusted-proxies", "192.0.2.0/24"
    )
    with ppdp.connect() as conn:
        assert read_all(conn) == body
        conn.sendall(body)
    line = ppdp.wait_for_line(status="Suceeded")
    assert (line["read"], line["write"]) == (len(body), len(body))
    wait_until(lambda: came)
    assert came == [body]


def test_who_must_have_a_header_and_would_not_be_believed_is_refused_at_once(
    stage: Stage,
) -> None:
    upstream = stage.peer(greet)
    ppdp = stage.ppdp(
        upstream.port, "--proxy-protocol=require", "--trusted-proxies", "192.0.2.0/24"
    )
    begun = time.monotonic()
    with pytest.raises(ConnectionResetError), ppdp.connect() as conn:  # in whichever call
        conn.recv(1)
    assert time.monotonic() - begun < 4
    assert upstream.accepted == 0
