"""ppdp and the addresses of its clients: --allow and --deny."""

from __future__ import annotations

import contextlib
import socket
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, script, wait_until
from tests.peers.servers import LOOPBACK, echo, free_port, read_all

if TYPE_CHECKING:
    from tests.peers.servers import Program, Stage


def ask(port: int, source: str = LOOPBACK, *, say: bytes = b"hi", host: str = LOOPBACK) -> bytes:
    """What an echo behind the relay answers; ``refused`` for a reset or an end without a word."""
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection((host, port), 20, (source, 0)) as conn,
    ):
        conn.sendall(say)
        with contextlib.suppress(OSError):  # ENOTCONN: it was reset already
            conn.shutdown(socket.SHUT_WR)
        return read_all(conn) or b"refused"
    return b"refused"


def refused(metrics: int) -> int:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{metrics}/metrics", timeout=20) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("kojuto_relay_clients_refused_total "):
                return int(line.split()[1])
    raise AssertionError("no such metric")


def header(client: str) -> bytes:
    return f"PROXY TCP4 {client} 198.51.100.1 50000 443\r\n".encode()


def test_who_is_denied_or_not_allowed_reaches_no_upstream(stage: Stage) -> None:
    upstream, metrics = stage.peer(echo), free_port()
    ppdp = stage.ppdp(
        upstream.port, "--metrics-listen", f"{LOOPBACK}:{metrics}",
        "--allow", "2001:db8::/32,127.0.1.0/24", "--deny", "127.0.1.5", "--deny", "10.0.0.0/8",
    )  # fmt: skip
    assert ask(ppdp.port, "127.0.1.1") == b"hi"
    assert ask(ppdp.port, "127.0.1.5") == b"refused"
    assert ask(ppdp.port, "127.0.2.1") == b"refused"
    assert ask(ppdp.port, "127.0.1.6") == b"hi"
    assert upstream.accepted == 2
    wait_until(lambda: refused(metrics) == 2)
    denied, other = ppdp.wait_for_lines(2, status="Failed")
    assert denied["remote-addr"].startswith("127.0.1.5:")
    assert denied["error"] == "the client's address is in --deny"
    assert other["remote-addr"].startswith("127.0.2.1:")
    assert other["error"] == "the client's address is not in --allow"
    assert "upstream" not in denied
    connected = {line["remote-addr"].partition(":")[0] for line in ppdp.lines(status="Connected")}
    assert connected == {"127.0.1.1", "127.0.1.6"}


def test_a_flood_of_refused_clients_fills_no_log(stage: Stage) -> None:
    upstream, metrics = stage.peer(echo), free_port()
    ppdp = stage.ppdp(
        upstream.port, "--metrics-listen", f"{LOOPBACK}:{metrics}", "--deny", LOOPBACK
    )

    def told() -> int:
        lines = ppdp.lines(status="Failed")
        return len(lines) + sum(int(line.get("unlogged", 0)) for line in lines)

    begun = time.monotonic()
    for _ in range(300):
        assert ask(ppdp.port) == b"refused"
    wait_until(lambda: refused(metrics) == 300)
    seconds = time.monotonic() - begun
    assert len(ppdp.lines(status="Failed")) <= 10 * (seconds + 1)

    def all_told() -> bool:  # with the first line of a second that follows
        assert ask(ppdp.port) == b"refused"
        return told() >= 300

    wait_until(all_told)
    assert upstream.accepted == 0


def test_the_address_of_a_header_counts_where_it_is_believed(stage: Stage) -> None:
    upstream = stage.peer(echo)
    allow = ["--allow", "192.0.2.0/24"]
    ppdp = stage.ppdp(upstream.port, "--proxy-protocol=require", *allow)
    assert ask(ppdp.port, say=header("192.0.2.7") + b"hi") == b"hi"
    assert ask(ppdp.port, say=header("198.51.100.7") + b"hi") == b"refused"
    line = ppdp.wait_for_line(status="Failed")
    assert line["remote-addr"] == "198.51.100.7:50000"
    assert ask(ppdp.port, say=b"PROXY UNKNOWN\r\nhi") == b"refused", "the peer's own address"
    assert upstream.accepted == 1

    trusted = ["--trusted-proxies", "127.0.0.9"]
    ppdp = stage.ppdp(upstream.port, "--proxy-protocol", *trusted, "--allow", "192.0.2.7,127.0.0.1")
    assert ask(ppdp.port, "127.0.0.9", say=header("192.0.2.7") + b"hi") == b"hi"
    assert ask(ppdp.port, "127.0.0.9", say=header("192.0.2.8") + b"hi") == b"refused"
    assert ask(ppdp.port, "127.0.0.9") == b"refused"
    assert ask(ppdp.port) == b"hi"
    assert upstream.accepted == 3


def test_clients_of_both_families_on_one_socket(stage: Stage) -> None:
    upstream, port = stage.peer(echo), free_port()

    def started(*options: str) -> Program:
        to = ["--upstream", f"{LOOPBACK}:{upstream.port}"]
        program = stage.program([script("ppdp"), "-l", f"[::]:{port}", *to, *options])
        program.wait_for("Start listen")
        return program

    program = started("--allow", "127.0.0.0/8")
    assert (ask(port), ask(port, "::1", host="::1")) == (b"hi", b"refused")
    program.end()
    started("--deny", "127.0.0.0/8")
    assert (ask(port), ask(port, "::1", host="::1")) == (b"refused", b"hi")


@pytest.mark.parametrize("option", ["--allow", "--deny"])
@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ("10.0.0.0/8,office", "'office' does not appear to be an IPv4 or IPv6 network"),
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("10.0.0.0/33", "'10.0.0.0/33' does not appear to be an IPv4 or IPv6 network"),
        (",", "not an address range"),
    ],
)
def test_a_wrong_range_is_named_with_the_way_out(option: str, ranges: str, message: str) -> None:
    done = run("ppdp", "--upstream", "localhost:1", option, ranges)
    assert done.returncode == 2
    error = done.stderr.decode().splitlines()[0]
    assert error.startswith(f"ppdp: error: {option} {ranges}: {message}")
    assert "(write 192.0.2.0/24" in error
