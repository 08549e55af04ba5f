"""ppdp: its command line, balancing, failure marking, DNS refresh, metrics."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import time
import urllib.request
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, script, wait_until
from tests.peers.hosts import Hosts
from tests.peers.servers import echo, free_port, read_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.servers import Ppdp, Stage


def named(host: str) -> Callable[[socket.socket], None]:
    """A handler that tells which of the upstreams answers."""

    def handle(conn: socket.socket) -> None:
        conn.sendall(host.encode())
        conn.shutdown(socket.SHUT_WR)
        read_all(conn)

    return handle


def asked(ppdp: Ppdp, source: str = "127.0.0.1", port: int = 0) -> str:
    """Connect from an address and return the upstream's name."""
    with socket.create_connection(("127.0.0.1", ppdp.port), 10, (source, port)) as conn:
        return read_all(conn).decode()


def several(stage: Stage, count: int) -> int:
    """Peers on 127.0.0.1 … that share a port and tell their address; the port."""
    for _ in range(20):
        port = free_port()
        try:
            for i in range(1, count + 1):
                stage.peer(named(f"127.0.0.{i}"), host=f"127.0.0.{i}", port=port)
        except OSError:
            continue
        return port
    pytest.fail("no port is free on all addresses")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--upstream is required"),
        (["--upstream", "localhost"], "--upstream localhost: no port"),
        (["--upstream", "::1:80"], "--upstream ::1:80: an IPv6 address needs brackets"),
        (["--upstream", "a:1", "--balancing", "best"], "--balancing best: not one of"),
        (["--upstream", "a:1", "--max-fails", "-1"], "--max-fails -1: below the minimum of 0"),
        (["--upstream", "a:1", "--proxy-protocol=maybe"], "--proxy-protocol maybe: not one of"),
        (["--upstream", "a:1", "--trusted-proxies", "x"], "--trusted-proxies x: "),
        (["--upstream", "a:1", "--trusted-proxies", "::/0"], "no meaning without"),
        (
            ["--upstream", "localhost:1", "-l", "127.0.0.1:0", "--proxy-protocol=off@81"],
            "--proxy-protocol off@81: nothing listens there",
        ),
    ],
)
def test_a_wrong_call_names_the_value(options: list[str], message: str) -> None:
    done = run("ppdp", *options)
    assert done.returncode == 2
    assert message in done.stderr.decode().splitlines()[0]


def test_an_unknown_upstream_ends_the_start_with_1() -> None:
    done = run("ppdp", "-l", f"127.0.0.1:{free_port()}", "--upstream", "no-such-host.invalid:1")
    assert done.returncode == 1
    error, hint = done.stderr.decode().splitlines()[-2:]
    assert error.startswith("ppdp: error: --upstream no-such-host.invalid: ")
    assert hint.startswith("hint: ")


def test_a_busy_port_is_named(stage: Stage) -> None:
    port = stage.peer(echo).port
    done = run("ppdp", "-l", f"127.0.0.1:{port}", "--upstream", "127.0.0.1:1")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr.decode()


def test_ipv6_both_ways(stage: Stage) -> None:
    upstream = stage.peer(echo, host="::1")
    port = free_port(socket.AF_INET6)
    command = [script("ppdp"), "--listen", f"[::1]:{port}", "--upstream", f"[::1]:{upstream.port}"]
    ppdp = stage.program(command)
    ppdp.wait_for("Start listen")
    with socket.create_connection(("::1", port), timeout=10) as conn:
        conn.sendall(b"six")
        assert conn.recv(3) == b"six"
    line = ppdp.wait_for_line(status="Suceeded")
    assert line["remote-addr"].startswith("[::1]:")
    assert line["upstream"] == f"[::1]:{upstream.port}"


def test_leastconn_goes_where_the_fewest_are(stage: Stage) -> None:
    hosts = Hosts(stage.folder)
    addresses = [f"127.0.0.{i}" for i in (1, 2, 3)]
    hosts.set(*addresses)

    def stay(name: str) -> Callable[[socket.socket], None]:
        def handle(conn: socket.socket) -> None:
            conn.sendall(name.encode())
            conn.recv(1)

        return handle

    port = free_port()
    for address in addresses:
        stage.peer(stay(address), host=address, port=port)
    ppdp = stage.ppdp(f"db.test:{port}", prefix=hosts.prefix)
    conns = [ppdp.connect() for _ in range(30)]
    names = [conn.recv(20).decode() for conn in conns]
    assert Counter(names) == dict.fromkeys(addresses, 10)
    for conn, name in zip(conns, names, strict=True):
        if name == "127.0.0.2":
            conn.close()
    wait_until(lambda: len(ppdp.lines(status="Suceeded")) == 10)
    more = [ppdp.connect() for _ in range(10)]
    assert {conn.recv(20) for conn in more} == {b"127.0.0.2"}
    for conn in [*conns, *more]:
        conn.close()


def test_iphash_and_fixed_are_steady_and_remotehash_spreads(stage: Stage) -> None:
    hosts = Hosts(stage.folder)
    hosts.set("127.0.0.1", "127.0.0.2", "127.0.0.3")
    port = several(stage, 3)
    by = {
        rule: stage.ppdp(f"db.test:{port}", "--balancing", rule, prefix=hosts.prefix)
        for rule in ("iphash", "fixed", "remotehash")
    }
    sources = [f"127.0.1.{i}" for i in range(1, 41)]
    first = {source: asked(by["iphash"], source) for source in sources}
    assert {source: asked(by["iphash"], source) for source in sources} == first
    assert len(set(first.values())) == 3
    assert len({asked(by["fixed"], source) for source in sources}) == 1
    assert len({asked(by["remotehash"]) for _ in range(40)}) == 3
    # One address less moves only those who were there.
    hosts.set("127.0.0.1", "127.0.0.3")
    by["iphash"].kill(signal.SIGHUP)
    wait_until(lambda: len(by["iphash"].lines(msg="Upstreams")) == 2)
    for source, before in first.items():
        after = asked(by["iphash"], source)
        assert after == before if before != "127.0.0.2" else after != "127.0.0.2"


def test_each_listener_has_its_own_proxy_mode(stage: Stage) -> None:
    ports = [free_port() for _ in range(3)]
    addresses = [f"127.0.0.1:{port}" for port in ports]
    upstream = stage.peer(echo)
    ppdp = stage.program(
        [script("ppdp"), *(part for a in addresses for part in ("-l", a)),
         "--upstream", f"127.0.0.1:{upstream.port}", "--proxy-protocol=require",
         f"--proxy-protocol=off@{ports[1]}", f"--proxy-protocol=optional@{addresses[2]}"],
    )  # fmt: skip
    wait_until(lambda: len(ppdp.lines(msg="Start listen")) == 3)
    header = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n"

    def ask(port: int, question: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as conn:
            with contextlib.suppress(OSError):
                conn.sendall(question)
                conn.shutdown(socket.SHUT_WR)
                return read_all(conn)
            return b"reset"

    assert [ask(port, header + b"hi") for port in ports] == [b"hi", header + b"hi", b"hi"]
    assert [ask(port, b"hello") for port in ports] == [b"reset", b"hello", b"hello"]


def test_a_refused_address_rests_however_often_its_name_is_resolved(stage: Stage) -> None:
    hosts = Hosts(stage.folder)
    hosts.set("127.0.0.1", "127.0.0.9")  # nobody listens on .9
    port = several(stage, 1)
    options = ["--refresh-interval", "10ms", "--fail-timeout", "1s"]
    ppdp = stage.ppdp(f"db.test:{port}", *options, prefix=hosts.prefix)
    dead = f"127.0.0.9:{port}"

    def told(text: str) -> int:
        return len(ppdp.lines(msg=text, upstream=dead))

    begun = time.monotonic()
    while time.monotonic() < begun + 5 and not told("Upstream left out"):
        assert asked(ppdp) == "127.0.0.1"
    rest = time.monotonic()
    for _ in range(100):
        assert asked(ppdp) == "127.0.0.1"
        ppdp.kill(signal.SIGHUP)
    if time.monotonic() < rest + 0.5:  # else its rest may be over
        assert told("Failed to connect backend") == 1
    assert ppdp.wait_for_lines(1, msg="Upstream left out")[0]["seconds"] == 1
    assert ppdp.lines(msg="Failed to connect backend")[0]["error"] == "Connection refused"

    def tried_again() -> bool:
        asked(ppdp)
        return told("Failed to connect backend") == 2

    wait_until(tried_again)
    assert ppdp.wait_for_lines(2, msg="Upstream left out")[1]["seconds"] == 2
    stage.peer(named("127.0.0.9"), host="127.0.0.9", port=port)

    def is_back() -> bool:
        asked(ppdp)
        return told("Upstream answers again") == 1

    wait_until(is_back)
    wait_until(lambda: {asked(ppdp) for _ in range(20)} == {"127.0.0.1", "127.0.0.9"})
    assert not ppdp.lines(status="Failed")


def first_of(name: str, hosts: list[str], port: int) -> str:
    """Whom ``fixed`` sends everybody to: of 20 points each on a ring the next above the name's."""
    points = {
        zlib.crc32(f"{number}{host}:{port}".encode()): host
        for host in sorted(hosts, reverse=True)
        for number in range(20)
    }
    return points[min(points, key=lambda point: (point - zlib.crc32(name.encode()) - 1) % 2**32)]


@pytest.mark.parametrize(("rule", "patience_s"), [("leastconn", 1), ("fixed", 3)])
def test_a_silent_upstream_holds_up_one_client_and_only_for_a_while(
    stage: Stage, rule: str, patience_s: int
) -> None:
    """A full backlog drops handshakes, as a machine that is gone does."""
    silent, port = stage.full_backlog()
    good = "127.0.0.77"
    stage.peer(named(good), host=good, port=port)
    names = (f"db{number}.test" for number in range(1000))
    name = next(n for n in names if first_of(n, [silent, good], port) == silent)
    hosts = Hosts(stage.folder, name)
    hosts.set(silent, good)
    options = ["--balancing", rule, "--refresh-interval", "100ms"]
    ppdp = stage.ppdp(f"{name}:{port}", *options, prefix=hosts.prefix)
    took = []
    for _ in range(25):
        begun = time.monotonic()
        assert asked(ppdp) == good
        took.append(time.monotonic() - begun)
    slow = [seconds for seconds in took if seconds > patience_s / 2]
    assert len(slow) == 1, took
    assert patience_s <= slow[0] < 20
    line = ppdp.wait_for_line(msg="Failed to connect backend")
    assert line["upstream"] == f"{silent}:{port}"
    assert "another upstream answered" in line["error"]
    assert not ppdp.lines(status="Failed")


def test_dns_is_refreshed_and_a_failed_refresh_keeps_the_list(stage: Stage) -> None:
    hosts = Hosts(stage.folder)
    hosts.set("127.0.0.1")
    port = several(stage, 2)
    ppdp = stage.ppdp(f"db.test:{port}", "--refresh-interval", "100ms", prefix=hosts.prefix)
    assert asked(ppdp) == "127.0.0.1"
    hosts.set("127.0.0.2")
    wait_until(lambda: asked(ppdp) == "127.0.0.2")
    hosts.set()
    ppdp.wait_for("Failed to refresh upstreams")
    time.sleep(0.3)
    assert asked(ppdp) == "127.0.0.2"
    assert (
        len(ppdp.wait_for_lines(1, msg="Failed to refresh upstreams, the last ones are kept")) == 1
    )
    hosts.set("127.0.0.1", "::1")
    ppdp.wait_for("Refreshing upstreams works again")
    both = {f"127.0.0.1:{port}", f"[::1]:{port}"}
    wait_until(lambda: set(ppdp.lines(msg="Upstreams")[-1]["addresses"]) == both)
    wait_until(lambda: asked(ppdp) == "127.0.0.1")


def test_metrics_and_live(stage: Stage) -> None:
    metrics = free_port()
    upstream = stage.peer(echo)
    ppdp = stage.ppdp(upstream.port, "--metrics-listen", f"127.0.0.1:{metrics}")
    with ppdp.connect() as conn:
        conn.sendall(b"12345")
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b"12345"
    wait_until(lambda: ppdp.lines(status="Suceeded"))
    upstream.close()
    with pytest.raises(ConnectionResetError), ppdp.connect() as conn:
        conn.recv(1)

    def get(path: str) -> tuple[str, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}{path}", timeout=10) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    assert get("/live")[1] == "OK\n"
    kind, text = get("/metrics")
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values["kojuto_relay_connections_accepted_total"] == "2"
    assert values["kojuto_relay_connections_open"] == "0"
    assert values['kojuto_relay_connections_ended_total{result="succeeded"}'] == "1"
    assert values['kojuto_relay_connections_ended_total{result="failed"}'] == "1"
    assert values['kojuto_relay_bytes_total{direction="to_upstream"}'] == "5"
    assert values['kojuto_relay_bytes_total{direction="to_client"}'] == "5"
    assert values["kojuto_relay_connect_failures_total"] == "1"
    assert values['kojuto_relay_connect_seconds_bucket{le="+Inf"}'] == "1"
    assert values["kojuto_relay_connect_seconds_count"] == "1"
    name = f'pool="0",upstream="127.0.0.1:{upstream.port}"'
    assert values[f"kojuto_relay_upstream_connections_total{{{name}}}"] == "1"
    assert f"kojuto_relay_upstream_up{{{name}}}" in values
    for family in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE):
        assert text.count(f"# TYPE {family} ") == 1
        assert f"# HELP {family} " in text
    # A client that says nothing does not keep others from an answer.
    with socket.create_connection(("127.0.0.1", metrics)):
        assert get("/live")[1] == "OK\n"
