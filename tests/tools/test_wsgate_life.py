"""Tunnels whose peer is gone, and those whose peer is only silent or slow."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from websockets.frames import Opcode

from tests.conftest import need_program, script, wait_until
from tests.peers.gates import client, metrics, round_trip, server
from tests.peers.network import Namespace, wired
from tests.peers.servers import (
    LOOPBACK,
    Program,
    each_is_answered,
    echo,
    free_port,
    read_all,
    read_exactly,
)
from tests.peers.tunnels import answer_upgrade, frame, pair, read_frame, tunnel, upgraded
from tests.streams import pattern

if TYPE_CHECKING:
    from tests.peers.servers import Stage

PING_S = 0.2
"""Of tests in which many intervals have to pass."""
LONG_S = 8 * PING_S


@pytest.mark.parametrize("short", ["server", "client"])
def test_who_comes_while_descriptors_are_short_waits_and_is_served(
    stage: Stage, short: str
) -> None:
    few = {"preexec": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))}
    gate = server(stage, {"a": stage.peer(echo).port}, **(few if short == "server" else {}))
    local = client(stage, gate.url("a"), **(few if short == "client" else {}))
    waiting = {local.connect() for _ in range(60)}
    for conn in waiting:
        conn.sendall(b"hello")
    (gate if short == "server" else local).wait_for("Accepting pauses")
    each_is_answered(waiting, b"hello")
    assert "Failed to connect" not in gate.text() + local.text()
    assert len(gate.lines(msg="Accepting pauses") + local.lines(msg="Accepting pauses")) == 1


def test_a_peer_that_answers_no_ping_is_gone(stage: Stage) -> None:
    pings: list[float] = []

    def serve(conn: socket.socket) -> None:
        answer_upgrade(conn)
        with contextlib.suppress(ConnectionError):
            while (first := read_frame(conn)[0]) == 0x89:
                pings.append(time.monotonic())
            assert first == 0x88

    end = tunnel(stage, "client", stage.peer(serve).port, ping_s=1)
    with end.connect() as conn, pytest.raises(ConnectionResetError):
        conn.recv(1)
    line = end.end_of("Failed")
    assert "and no answer to a ping" in line["error"]
    assert len(pings) == 2
    assert line["duration"] > 2.7


def test_any_byte_of_a_peer_is_an_answer(stage: Stage) -> None:
    done = threading.Event()
    stage.later(done.set)

    def serve(conn: socket.socket) -> None:
        answer_upgrade(conn)
        while not done.wait(PING_S):
            conn.sendall(frame(Opcode.PONG, b"unasked", mask=False))
        read_all(conn)

    end = tunnel(stage, "client", stage.peer(serve).port, ping_s=PING_S)
    with end.connect() as conn:
        conn.settimeout(LONG_S)
        with pytest.raises(TimeoutError):
            conn.recv(1)
        assert not end.lines(status="Failed")


def test_a_peer_that_reads_nothing_for_long_is_there(stage: Stage) -> None:
    """The ping waits behind what it was given, and its window is shut."""
    body = pattern(30_000_000)

    def flood(conn: socket.socket) -> None:
        conn.sendall(body)

    end = tunnel(stage, "server", stage.peer(flood).port, ping_s=PING_S)
    with upgraded(end) as conn:
        time.sleep(LONG_S)  # any number of intervals
        assert not end.lines(status="Failed")
        got = bytearray()
        while (found := read_frame(conn))[0] != 0x88:
            if found[0] == 0x82:
                got += found[1]
        assert got == body


def test_a_peer_that_we_do_not_read_from_is_there(stage: Stage) -> None:
    """Its answers lie behind what our own side has yet to take."""
    body = pattern(30_000_000)

    def serve(conn: socket.socket) -> None:
        answer_upgrade(conn)
        for at in range(0, len(body), 1 << 16):
            conn.sendall(frame(Opcode.BINARY, body[at : at + (1 << 16)], mask=False))
        conn.sendall(frame(Opcode.CLOSE, b"\x03\xe8", mask=False))
        read_all(conn)

    # Until all that fits is sent the peer has to say something: a busy machine takes its time.
    ping_s = 3 * PING_S
    end = tunnel(stage, "client", stage.peer(serve).port, ping_s=ping_s)
    with end.connect() as conn:
        time.sleep(8 * ping_s)
        assert not end.lines(status="Failed")
        assert read_exactly(conn, len(body)) == body


def test_a_half_closed_tunnel_stays_open_and_is_pinged(stage: Stage) -> None:
    """Whoever has ended its stream answers no ping, and need not."""

    def late(conn: socket.socket) -> None:
        assert read_all(conn) == b"question"
        time.sleep(LONG_S)
        conn.sendall(b"answer")

    near, far = pair(stage, stage.peer(late).port, ping_s=PING_S)
    with near.connect() as conn:
        conn.sendall(b"question")
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b"answer"
    assert near.end_of("Suceeded")["read"] == far.end_of("Suceeded")["read"] == 8


def test_pings_go_on_when_the_peer_has_ended_its_half(stage: Stage) -> None:
    release = threading.Event()
    stage.later(release.set)

    def late(conn: socket.socket) -> None:
        read_all(conn)
        release.wait(20)

    end = tunnel(stage, "server", stage.peer(late).port, ping_s=PING_S)
    with upgraded(end) as conn:
        conn.sendall(frame(Opcode.CLOSE, b"\x03\xe8"))
        assert [read_frame(conn)[0] for _ in range(4)] == [0x89] * 4
        release.set()
        assert read_frame(conn)[0] == 0x88


def test_the_log_has_the_round_trip(stage: Stage) -> None:
    near, far = pair(stage, stage.peer(lambda conn: conn.sendall(read_all(conn))).port, ping_s=0.1)
    with near.connect() as conn:
        time.sleep(0.5)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    rtts = [end.end_of("Suceeded").get("ping_rtt") for end in (near, far)]
    found = [rtt for rtt in rtts if rtt is not None]
    assert found
    assert all(0 <= rtt < 0.5 for rtt in found)


def test_a_late_pong_does_not_count_for_the_last_ping(stage: Stage) -> None:
    def serve(conn: socket.socket) -> None:
        answer_upgrade(conn)
        pings = [read_frame(conn) for _ in range(2)]
        assert pings[0] != pings[1]
        assert {first for first, _ in pings} == {0x89}
        conn.sendall(frame(Opcode.PONG, pings[0][1], mask=False))
        conn.sendall(frame(Opcode.CLOSE, b"\x03\xe8", mask=False))
        read_all(conn)

    end = tunnel(stage, "client", stage.peer(serve).port, ping_s=1)
    with end.connect() as conn:
        assert read_all(conn) == b""
    assert "ping_rtt" not in end.end_of("Suceeded")


def test_a_tunnel_that_never_rests_has_a_round_trip_too(stage: Stage) -> None:
    """In its log line and in the metrics, of both gateways."""
    ports = [free_port(), free_port()]
    options = [["--metrics-listen", f"{LOOPBACK}:{port}", "--ping-interval", "300ms"]
               for port in ports]  # fmt: skip
    gate = server(stage, {"a": stage.peer(echo).port}, *options[0])
    local = client(stage, gate.url("a"), *options[1])
    name = "kojuto_wsgate_round_trip_seconds"

    def counted(port: int) -> int:
        return int(metrics(port)[f"{name}_count"])

    assert [counted(port) for port in ports] == [0, 0]
    with local.connect() as conn:
        conn.settimeout(20)

        def talk() -> bool:
            round_trip(conn, b"x")
            return min(counted(port) for port in ports) > 0

        wait_until(talk)
    for program in (gate, local):
        assert 0 < program.wait_for_line(status="Suceeded")["ping_rtt"] < 20
    for port in ports:
        found = metrics(port)
        assert float(found[f"{name}_sum"]) > 0
        assert found[f'{name}_bucket{{le="+Inf"}}'] == found[f"{name}_count"]
        assert f'{name}_bucket{{le="0.0005"}}' in found


# -- behind a proxy that cuts what is idle -------------------------------------------------------


@pytest.mark.parametrize("talks", [False, True], ids=["silent", "one way"])
def test_a_proxy_with_an_idle_limit_cuts_no_tunnel(stage: Stage, talks: bool) -> None:
    """nginx cuts where it has heard nothing from the server for so long, however much goes there;
    here it is as much more than the interval between two pings as 30 s are than 20.
    """

    def sink(conn: socket.socket) -> None:
        count = len(read_all(conn))
        conn.sendall(f"{count}".encode())

    gate = server(stage, {"a": stage.peer(sink).port}, "--ping-interval", "1s")
    program, port = need_program("nginx"), free_port()
    folder = stage.folder / "nginx"
    folder.mkdir()
    (folder / "nginx.conf").write_text(f"""
        daemon off; worker_processes 1; pid nginx.pid; error_log stderr notice;
        events {{ worker_connections 64; }}
        http {{
            access_log off; proxy_temp_path p; client_body_temp_path b; fastcgi_temp_path f;
            uwsgi_temp_path u; scgi_temp_path s;
            server {{
                listen {LOOPBACK}:{port};
                location / {{
                    proxy_pass http://{LOOPBACK}:{gate.port}; proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
                    proxy_read_timeout 1500ms; proxy_send_timeout 1500ms;
                }}
            }}
        }}
    """)
    proxy = stage.program([program, "-c", folder / "nginx.conf", "-p", folder, "-e", "stderr"])
    proxy.wait_for_port(port)
    local = client(stage, f"http://{LOOPBACK}:{port}/proxy/a", "--ping-interval", "1s")
    with local.connect() as conn:
        end, sent = time.monotonic() + 6, 0
        while time.monotonic() < end:
            if talks:
                conn.sendall(b"x" * 100)
                sent += 100
            time.sleep(0.1)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == f"{sent}".encode()


# -- two machines -------------------------------------------------------------------------------

HOLD = """
import json, socket, sys, threading
listener = socket.create_server(("127.0.0.1", 5000))
print(json.dumps({"msg": "ready"}), flush=True)
kept = []
while True:
    kept.append(listener.accept()[0])
"""
TALK = """
import json, os, socket, threading, time
def say(msg, name):
    os.write(1, json.dumps({"msg": msg, "name": name}).encode() + b"\\n")  # a line at a time
def hold(name, talks):
    conn = socket.create_connection(("127.0.0.1", 6000))
    say("open", name)
    def talk():
        try:
            while True:
                conn.sendall(b"x" * talks)
                time.sleep(0.1)
        except OSError:
            pass
    if talks:
        threading.Thread(target=talk, daemon=True).start()
    try:
        conn.recv(1)
    except OSError:
        pass
    say("ended", name)
both = [threading.Thread(target=hold, args=each) for each in (("silent", 0), ("talks", 10))]
for thread in both:
    thread.start()
for thread in both:
    thread.join()
"""


def test_a_peer_behind_a_link_that_is_down_is_gone_for_both_sides(stage: Stage) -> None:
    """Within 60 s at the default of 20 s between two pings, and so within 12 s at 4."""
    interval_s = 4
    options = ["--ping-interval", f"{interval_s}s"]
    maps = [stage.folder / "server.map", stage.folder / "client.map"]
    maps[0].write_text("a,127.0.0.1:5000\n")
    maps[1].write_text("127.0.0.1:6000,http://10.9.1.1:8086/proxy/a\n")
    with wired("10.9.1.1") as (near, far), contextlib.ExitStack() as stack:

        def start(space: Namespace, line: str, *command: str) -> Program:
            program = Program(space.command(*command), stage.folder)
            stack.callback(program.close)
            program.wait_for(line)
            return program

        start(far, "ready", sys.executable, "-c", HOLD)
        listen = ["--listen", "10.9.1.1:8086"]
        gate = start(
            far, "Start listen", script("wsgate-server"), *listen, "--map", str(maps[0]), *options
        )
        local = start(
            near, "Start listen", script("wsgate-client"), "--map", str(maps[1]), *options
        )
        talk = start(near, "open", sys.executable, "-c", TALK)
        gate.wait_for_lines(2, status="Connected")
        local.wait_for_lines(2, status="Connected")
        far.sh("ip link set far down")
        began = time.monotonic()
        gate.wait_for_lines(2, status="Failed")
        local.wait_for_lines(2, status="Failed")
        took = time.monotonic() - began
        talk.wait_for_lines(2, msg="ended")
        assert took < 60 / 20 * interval_s
