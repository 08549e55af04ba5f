"""ppdp: which addresses are its upstreams, and which may not be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from kojuto._native import LogWriter, Relay
from tests.conftest import run, wait_until
from tests.peers.hosts import Hosts
from tests.peers.network import wired
from tests.peers.servers import free_port
from tests.tools.test_ppdp import asked, named, several

if TYPE_CHECKING:
    from tests.peers.servers import Stage


def test_all_upstreams_are_taken(stage: Stage) -> None:
    names = ["first", "second", "third"]
    peers = [stage.peer(named(name)) for name in names]
    more = [word for peer in peers[1:] for word in ("--upstream", f"127.0.0.1:{peer.port}")]
    ppdp = stage.ppdp(peers[0].port, *more)
    assert {asked(ppdp) for _ in range(60)} == set(names)
    (started,) = ppdp.lines(msg="Start listen")
    assert started["upstream"] == ",".join(f"127.0.0.1:{peer.port}" for peer in peers)
    peers[0].close()
    wait_until(lambda: "second" in asked(ppdp))
    assert {asked(ppdp) for _ in range(60)} == set(names[1:])


def test_fixed_goes_by_the_first_name(stage: Stage) -> None:
    hosts = Hosts(stage.folder)
    hosts.set("127.0.0.1", "127.0.0.2", "127.0.0.3")
    port = several(stage, 4)
    rule = ("--balancing", "fixed")
    alone = asked(stage.ppdp(f"db.test:{port}", *rule, prefix=hosts.prefix))
    for other in range(1, 4):
        more = ("--upstream", f"127.0.0.{other}:{port}")
        ppdp = stage.ppdp(f"db.test:{port}", *rule, *more, prefix=hosts.prefix)
        assert asked(ppdp) == alone


def test_a_name_that_fails_keeps_its_addresses_and_the_others_are_refreshed(stage: Stage) -> None:
    hosts = Hosts(stage.folder)
    hosts.set("127.0.0.1")
    port = several(stage, 3)
    more = ("--upstream", f"127.0.0.3:{port}", "--refresh-interval", "100ms")
    ppdp = stage.ppdp(f"db.test:{port}", *more, prefix=hosts.prefix)
    assert {asked(ppdp) for _ in range(40)} == {"127.0.0.1", "127.0.0.3"}
    hosts.set("127.0.0.2")
    wait_until(lambda: asked(ppdp) == "127.0.0.2")
    hosts.set()
    ppdp.wait_for("Failed to refresh upstreams")
    assert {asked(ppdp) for _ in range(40)} == {"127.0.0.2", "127.0.0.3"}


@pytest.mark.parametrize(
    ("listener", "upstream"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
        ("127.0.0.1", "0.0.0.0"),
        ("[::1]", "[::1]"),
        ("[::1]", "[::]"),
        ("", "127.0.0.1"),
        ("", "127.1.2.3"),
        ("", "[::1]"),
    ],
)
def test_a_relay_to_itself_is_refused(listener: str, upstream: str) -> None:
    port = free_port()
    done = run("ppdp", "-l", f"{listener}:{port}", "--upstream", f"{upstream}:{port}")
    assert done.returncode == 2
    assert b"is this ppdp's own listener" in done.stderr


def test_the_same_port_of_another_address_is_no_relay_to_itself(stage: Stage) -> None:
    for _ in range(20):
        port = free_port()
        try:
            stage.peer(named("other"), host="127.0.0.2", port=port)
        except OSError:
            continue
        break
    program = stage.ppdp(f"127.0.0.2:{port}", "-l", f"127.0.0.3:{port}")
    assert asked(program) == "other"


def test_the_link_of_an_address_is_kept(stage: Stage) -> None:
    serve = (
        "import socket\n"
        "s = socket.create_server(('::', 9000), family=socket.AF_INET6)\n"
        "print('ready', flush=True)\n"
        "while True: s.accept()[0].sendall(b'linked')\n"
    )
    with wired() as (space, far):
        space.sh("ip addr add fe80::76/64 dev near nodad")
        far.sh("ip addr add fe80::77/64 dev far nodad")
        server = stage.program(far.command(sys.executable, "-c", serve))
        server.wait_for("ready")
        ppdp = stage.ppdp("[fe80::77%near]:9000", prefix=space.command())
        number = space.python("import socket; print(socket.if_nametoindex('near'))").strip()
        assert ppdp.lines(msg="Upstreams")[0]["addresses"] == [f"[fe80::77%{number}]:9000"]
        ask = (
            "import socket\n"
            f"with socket.create_connection(('127.0.0.1', {ppdp.port}), 20) as conn:\n"
            "    print(conn.recv(6))\n"
        )
        assert space.python(ask) == "b'linked'\n"
        assert ppdp.end() == 0
        assert server.end() != 0


@pytest.mark.parametrize("ip", ["fe80::1%near", "fe80::1%", "127.0.0.1%1", "db.test", ""])
def test_the_engine_takes_addresses_only(ip: str) -> None:
    writer = LogWriter()
    relay = Relay(writer)
    try:
        pool = relay.add_pool("leastconn")
        with pytest.raises(ValueError, match="is not an IP address"):
            relay.set_upstreams(pool, [(ip, 80)])
    finally:
        relay.abort()
        assert relay.wait(20)
        writer.close()
