"""PROXY protocol beside real HAProxy and nginx, and the rules of ppdp itself."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import need_program, wait_until
from tests.peers.servers import Program, echo, free_port, read_all, read_exactly
from tests.tools.test_ppdp_access import ask

if TYPE_CHECKING:
    from tests.peers.servers import Ppdp, Stage

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2_INET = bytes([192, 0, 2, 9, 198, 51, 100, 1]) + struct.pack("!HH", 4000, 443)


def v2(block: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(block)) + block


def exchange(ppdp: Ppdp, *pieces: bytes) -> bytes:
    with ppdp.connect() as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            conn.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.001)
        conn.shutdown(socket.SHUT_WR)
        return read_all(conn)


def remotes(ppdp: Ppdp, count: int = 1, status: str = "Suceeded") -> list[str]:
    return [line["remote-addr"] for line in ppdp.wait_for_lines(count, status=status)]


@pytest.mark.parametrize(
    ("header", "remote"),
    [
        (V1, "192.0.2.7:50000"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "[2001:db8::1]:1"),
        (v2(V2_INET), "192.0.2.9:4000"),
        (v2(V2_INET + b"\x02\0\x03abc\x04\0\0"), "192.0.2.9:4000"),
        (v2(b"/run/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0"), family=0x31), "unix:/run/a"),
    ],
)
def test_the_header_names_the_client_and_the_payload_is_whole(
    stage: Stage, header: bytes, remote: str
) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--proxy-protocol=require")
    assert exchange(ppdp, header + b"hello") == b"hello"
    whole = header + b"again"
    assert exchange(ppdp, *(whole[i : i + 1] for i in range(len(whole)))) == b"again"
    assert remotes(ppdp, 2) == [remote, remote]
    assert remotes(ppdp, 2, "Connected") == [remote, remote]


def test_unknown_keeps_the_sockets_address_and_local_is_not_logged(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--proxy-protocol")
    assert exchange(ppdp, v2(b"junk!", command=0x20) + b"probe") == b"probe"
    assert exchange(ppdp, b"PROXY UNKNOWN whatever\r\nx") == b"x"
    assert remotes(ppdp)[0].startswith("127.0.0.1:")
    assert len(ppdp.wait_for_lines(1, status="Suceeded")) == 1
    assert len(ppdp.wait_for_lines(1, status="Connected")) == 1


@pytest.mark.parametrize(
    ("bytes_", "why"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "there is none"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 080 443\r\n", "is not a port"),
        (v2(V2_INET + b"\x03\0\x04abcd"), "the CRC32c does not match"),
        (SIGNATURE + b"\x21\x11\xff\xff", "header of 65551 bytes, at most 8192 allowed"),
        (b"PROXY TCP4", "the stream ended after 10 bytes of it"),
    ],
)
def test_require_refuses_what_is_no_header(stage: Stage, bytes_: bytes, why: str) -> None:
    upstream = stage.peer(echo)
    ppdp = stage.ppdp(upstream.port, "--proxy-protocol=require")
    with pytest.raises(OSError):  # noqa: PT011
        exchange(ppdp, bytes_)
    line = ppdp.wait_for_line(status="Failed")
    assert line["error"].startswith("PROXY header: ")
    assert why in line["error"]
    assert upstream.accepted == 0


@pytest.mark.parametrize("over", [0, 1])
def test_a_header_has_8192_bytes_at_most(stage: Stage, over: int) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--proxy-protocol=require")
    size = 8192 - 16 - 12 - 3 + over  # beside the fixed part, the addresses, a TLV's head
    header = v2(V2_INET + b"\x04" + size.to_bytes(2, "big") + bytes(size))
    assert len(header) == 8192 + over
    if over:
        with pytest.raises(OSError):  # noqa: PT011
            exchange(ppdp, header + b"hello")
        wait_until(lambda: ppdp.lines(status="Failed"))
        assert "header of 8193 bytes, at most 8192 allowed" in ppdp.lines()[-1]["error"]
    else:
        assert exchange(ppdp, header + b"hello") == b"hello"


def test_optional_relays_a_connection_without_header_as_it_is(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--proxy-protocol")
    assert exchange(ppdp, b"GET / HTTP/1.0\r\n\r\n") == b"GET / HTTP/1.0\r\n\r\n"
    assert exchange(ppdp, b"PRO", b"XIMITY") == b"PROXIMITY"
    assert exchange(ppdp, b"PROXY") == b"PROXY"
    assert exchange(ppdp, V1 + b"x") == b"x"
    assert remotes(ppdp, 4)[3] == "192.0.2.7:50000"


def test_slow_headers_end_after_5_s_and_hold_nothing(stage: Stage) -> None:
    """Slowloris: 200 connections that dribble; an honest one is served meanwhile. A client that
    says nothing is relayed in the optional mode, since the server may have to speak first."""

    def greet(conn: socket.socket) -> None:
        conn.sendall(b"welcome")
        read_all(conn)

    upstream = stage.peer(greet)
    ppdp = stage.ppdp(upstream.port, "--proxy-protocol=require")
    lazy = stage.ppdp(upstream.port, "--proxy-protocol")
    before = ppdp.descriptors()
    silent = lazy.connect()
    slow = [ppdp.connect() for _ in range(200)]
    start = time.monotonic()
    for at in range(10):
        for conn in slow:
            conn.sendall(V1[at : at + 1])
        time.sleep(0.2)
    with ppdp.connect() as conn:
        conn.sendall(V1)
        assert read_exactly(conn, 7) == b"welcome"
    for conn in slow:
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
        conn.close()
    assert 4.5 < time.monotonic() - start < 20
    assert read_exactly(silent, 7) == b"welcome"
    silent.close()
    error = "PROXY header: 10 bytes and no end of it within 5 s"
    wait_until(lambda: len(ppdp.lines(status="Failed", error=error)) == 200)
    wait_until(lambda: ppdp.descriptors() <= before)


def test_only_trusted_proxies_are_believed(stage: Stage) -> None:
    ppdp = stage.ppdp(
        stage.peer(echo).port, "--proxy-protocol", "--trusted-proxies", "127.0.0.2/32,2001:db8::/32"
    )

    def send(source: str, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", ppdp.port), 10, (source, 0)) as conn:
            conn.sendall(data)
            conn.shutdown(socket.SHUT_WR)
            return read_all(conn)

    assert send("127.0.0.2", V1 + b"x") == b"x"
    assert send("127.0.0.3", b"plain") == b"plain"
    with pytest.raises(OSError):  # noqa: PT011
        send("127.0.0.3", V1 + b"x")
    wait_until(lambda: ppdp.lines(error="PROXY header: the peer is not in --trusted-proxies"))


def test_the_headers_address_decides_the_balancing(stage: Stage) -> None:
    from tests.peers.hosts import Hosts
    from tests.tools.test_ppdp import several

    hosts = Hosts(stage.folder)
    hosts.set("127.0.0.1", "127.0.0.2", "127.0.0.3")
    ppdp = stage.ppdp(
        f"db.test:{several(stage, 3)}", "--balancing", "iphash", "--proxy-protocol=require",
        prefix=hosts.prefix,
    )  # fmt: skip

    def ask(client: int) -> bytes:
        return exchange(ppdp, f"PROXY TCP4 192.0.2.{client} 192.0.2.1 {client} 1\r\n".encode())

    first = [ask(i) for i in range(30)]
    assert len(set(first)) == 3
    assert [ask(i) for i in range(30)] == first


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_send_proxy_names_the_client_that_the_header_named(stage: Stage, version: str) -> None:
    got: list[bytes] = []
    upstream = stage.peer(lambda conn: got.append(read_all(conn)))
    ppdp = stage.ppdp(upstream.port, "--proxy-protocol", "--send-proxy", version)
    exchange(ppdp, V1 + b"payload")
    with ppdp.connect() as conn:
        client = conn.getsockname()[1]
        conn.sendall(b"direct")
    wait_until(lambda: len(got) == 2)
    if version == "v1":
        direct = f"PROXY TCP4 127.0.0.1 127.0.0.1 {client} {ppdp.port}\r\n".encode()
        assert got == [V1 + b"payload", direct + b"direct"]
    else:
        there = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 50000, 443)
        here = bytes([127, 0, 0, 1] * 2) + struct.pack("!HH", client, ppdp.port)
        assert got == [v2(there) + b"payload", v2(here) + b"direct"]
    reads = [line["read"] for line in ppdp.wait_for_lines(2, status="Suceeded")]
    assert reads == [7, 6], "the header is not counted"


# -- the real proxies -----------------------------------------------------------------------------


def haproxy(stage: Stage, text: str, port: int) -> Program:
    program = need_program("haproxy")
    config = stage.folder / f"haproxy-{port}.cfg"
    config.write_text(
        "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n"
        f"  timeout client 30s\n  timeout server 30s\nlisten it\n{text}\n"
    )
    started = stage.program([program, "-db", "-f", config])
    started.wait_for_port(port)
    return started


def nginx(stage: Stage, text: str, port: int) -> Program:
    program = need_program("nginx")
    folder = stage.folder / f"nginx-{port}"
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
        f"daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;\n"
        f"events {{ }}\nstream {{ proxy_half_close on; server {{ {text} }} }}\n"
    )
    started = stage.program([program, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"])
    started.wait_for_port(port)
    return started


def speak(port: int, source: str = "127.0.0.5") -> tuple[str, bytes]:
    """Send through a proxy; the client's own address and what came back."""
    with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as conn:
        name = "{}:{}".format(*conn.getsockname())
        conn.sendall(b"through it all")
        conn.shutdown(socket.SHUT_WR)
        return name, read_all(conn)


@pytest.mark.parametrize(
    "options",
    ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,authority,unique-id"],
)
def test_headers_of_haproxy(stage: Stage, options: str) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--proxy-protocol=require")
    port = free_port()
    extra = "  unique-id-format %[uuid()]\n" if "unique-id" in options else ""
    haproxy(
        stage, f"  bind 127.0.0.1:{port}\n{extra}  server s 127.0.0.1:{ppdp.port} {options}", port
    )
    name, answer = speak(port)
    assert answer == b"through it all"
    wait_until(lambda: name in [line["remote-addr"] for line in ppdp.lines(status="Suceeded")])
    assert not ppdp.lines(error="PROXY header: version 2: the CRC32c does not match")


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
def test_who_is_allowed_is_the_client_of_haproxy_in_both_families(
    stage: Stage, option: str
) -> None:
    """HAProxy listens on one socket for both, and names an IPv4 client as one."""
    port = free_port()
    ranges = ["--allow", "::1,127.0.0.0/24", "--deny", "127.0.0.9"]
    ppdp = stage.ppdp(stage.peer(echo).port, "--proxy-protocol=require", *ranges)
    bind = f"  bind [::]:{port} v4v6\n  server s 127.0.0.1:{ppdp.port} {option}"
    haproxy(stage, bind, port)

    assert ask(port, "::1", host="::1") == b"hi"
    assert ask(port, "127.0.0.5") == b"hi"
    assert ask(port, "127.0.0.9") == b"refused"
    assert ask(port, "127.0.1.1") == b"refused"

    def refusals() -> list[dict[str, Any]]:
        """Not that of HAProxy when who looked for its port has left before the header."""
        return [line for line in ppdp.lines(status="Failed") if "client's address" in line["error"]]

    wait_until(lambda: len(refusals()) == 2)
    denied, other = refusals()
    served = {line["remote-addr"].rpartition(":")[0] for line in ppdp.lines(status="Connected")}
    assert served - {"127.0.0.1"} == {"[::1]", "127.0.0.5"}, "127.0.0.1 looked for the port"
    assert denied["remote-addr"].startswith("127.0.0.9:")
    assert denied["error"] == "the client's address is in --deny"
    assert other["remote-addr"].startswith("127.0.1.1:")
    assert other["error"] == "the client's address is not in --allow"


def test_health_checks_of_haproxy_are_served_and_not_logged(stage: Stage) -> None:
    upstream = stage.peer(echo)
    ppdp = stage.ppdp(upstream.port, "--proxy-protocol=require")
    port = free_port()
    haproxy(
        stage,
        f"  bind 127.0.0.1:{port}\n  option tcp-check\n  tcp-check connect send-proxy\n"
        "  tcp-check send hello\n  tcp-check expect string hello\n"
        f"  server s 127.0.0.1:{ppdp.port} check inter 100ms send-proxy-v2",
        port,
    )
    wait_until(lambda: upstream.accepted >= 4)
    assert speak(port)[1] == b"through it all"
    wait_until(lambda: ppdp.lines(status="Suceeded"))
    assert len(ppdp.lines(status="Connected")) <= 3  # ours, and those of wait_for_port


def test_headers_of_nginx(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--proxy-protocol=require")
    port = free_port()
    nginx(
        stage,
        f"listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{ppdp.port}; proxy_protocol on;",
        port,
    )
    name, answer = speak(port)
    assert answer == b"through it all"
    wait_until(lambda: name in [line["remote-addr"] for line in ppdp.lines(status="Suceeded")])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_and_nginx_read_ours(stage: Stage, version: str) -> None:
    """Both sit between ppdp and a last hop to which they tell the client they were told of."""
    got: list[bytes] = []

    def keep(conn: socket.socket) -> None:
        data = read_all(conn)
        if data:
            got.append(data)
        conn.sendall(b"answer")

    last = stage.peer(keep)
    behind_haproxy, behind_nginx = free_port(), free_port()
    haproxy(
        stage,
        f"  bind 127.0.0.1:{behind_haproxy} accept-proxy\n"
        f"  server s 127.0.0.1:{last.port} send-proxy",
        behind_haproxy,
    )
    nginx(
        stage,
        f"listen 127.0.0.1:{behind_nginx} proxy_protocol; proxy_pass 127.0.0.1:{last.port}; "
        "proxy_protocol on; set_real_ip_from 127.0.0.0/8;",
        behind_nginx,
    )
    for port in (behind_haproxy, behind_nginx):
        ppdp = stage.ppdp(port, "--send-proxy", version)
        got.clear()
        name, answer = speak(ppdp.port)
        assert answer == b"answer"
        host, _, source_port = name.partition(":")
        assert len(got) == 1
        header, _, payload = got[0].partition(b"\r\n")
        assert payload == b"through it all"
        fields = header.decode().split(" ")
        assert fields[:3] == ["PROXY", "TCP4", host]
        assert fields[4] == source_port
