"""The relay engine under what networks do: half-close, resets, stalls, time-outs, the end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.conftest import script, wait_until
from tests.peers.relay import ends, idle_descriptors, settled
from tests.peers.servers import (
    accepts,
    echo,
    free_port,
    read_all,
    read_exactly,
    reset,
)

if TYPE_CHECKING:
    from tests.peers.servers import Stage


def test_the_reply_after_a_half_close_arrives_whole(stage: Stage) -> None:
    def answer_at_the_end(conn: socket.socket) -> None:
        digest = hashlib.sha256(read_all(conn)).hexdigest().encode()
        conn.sendall(digest * 20_000)

    ppdp = stage.ppdp(stage.peer(answer_at_the_end).port)
    body = bytes(range(256)) * 40_000
    with ppdp.connect() as conn:
        conn.sendall(body)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == hashlib.sha256(body).hexdigest().encode() * 20_000
    line = ppdp.wait_for_line(status="Suceeded")
    assert (line["read"], line["write"]) == (len(body), 64 * 20_000)
    assert line["upstream"].startswith("127.0.0.1:")
    assert line["listener"] == f"127.0.0.1:{ppdp.port}"
    assert line["remote-addr"].startswith("127.0.0.1:")
    assert 0 < line["duration"] < 20
    assert len(ppdp.wait_for_lines(1, status="Connected")) == 1


def test_the_upstreams_half_close_leaves_the_other_direction_open(stage: Stage) -> None:
    got: list[bytes] = []

    def greet_and_end(conn: socket.socket) -> None:
        conn.sendall(b"done talking")
        conn.shutdown(socket.SHUT_WR)
        got.append(read_all(conn))

    ppdp = stage.ppdp(stage.peer(greet_and_end).port)
    with ppdp.connect() as conn:
        assert read_all(conn) == b"done talking"
        conn.sendall(b"still here" * 100_000)
    wait_until(lambda: got)
    assert got == [b"still here" * 100_000]
    wait_until(lambda: ppdp.lines(status="Suceeded"))


@pytest.mark.parametrize("before", [3, 4 << 20], ids=["copied", "spliced"])
def test_urgent_bytes_stay_in_their_place_and_hold_up_nothing(stage: Stage, before: int) -> None:
    body = bytes(range(256)) * 100

    def answer_all(conn: socket.socket) -> None:
        for size in (before, 2 * len(body) + 3):
            got = read_exactly(conn, size)
            conn.sendall(hashlib.sha256(got).digest())

    ppdp = stage.ppdp(stage.peer(answer_all).port)
    with ppdp.connect() as conn:
        conn.sendall(b"x" * before)
        read_exactly(conn, 32)
        ppdp.kill(signal.SIGSTOP)  # it finds all of it there
        conn.sendall(body)
        conn.send(b"ab!", socket.MSG_OOB)
        conn.sendall(body)
        ppdp.kill(signal.SIGCONT)
        assert read_exactly(conn, 32) == hashlib.sha256(body + b"ab!" + body).digest()


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_a_reset_is_passed_on_as_a_reset(stage: Stage, who: str) -> None:
    seen: list[str] = []
    ready = threading.Event()

    def peer(conn: socket.socket) -> None:
        conn.sendall(b"x")
        conn.recv(1)
        ready.set()
        if who == "upstream":
            reset(conn)
            return
        try:
            conn.recv(1)
        except ConnectionResetError:
            seen.append("reset")

    ppdp = stage.ppdp(stage.peer(peer).port)
    conn = ppdp.connect()
    conn.recv(1)
    conn.sendall(b"y")
    assert ready.wait(10)
    if who == "client":
        reset(conn)
        wait_until(lambda: seen == ["reset"])
    else:
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
        conn.close()
    line = ppdp.wait_for_line(status="Failed")
    assert line["error"] == f"{who}: Connection reset by peer"
    assert (line["read"], line["write"]) == (1, 1)


@pytest.mark.parametrize("more", [0, 8 << 20])
def test_a_client_that_ended_and_closed_has_not_failed(stage: Stage, more: int) -> None:
    """PostgreSQL says a last word when a TLS session has ended; its client hears it no more."""
    seen: list[str] = []

    def peer(conn: socket.socket) -> None:
        conn.sendall(b"hello")
        read_all(conn)
        try:
            conn.sendall(b"last word")
            if more:  # of nothing, sendall asks the kernel too, and the relay may be gone by then
                conn.sendall(bytes(more))
        except OSError:
            seen.append("cut")

    ppdp = stage.ppdp(stage.peer(peer).port)
    with ppdp.connect() as conn:
        assert conn.recv(5) == b"hello"
        conn.sendall(b"bye")
    line = ppdp.wait_for_line(status="Suceeded")
    assert (line["level"], line["read"]) == ("info", 3)
    assert "error" not in line
    assert more or "dropped" not in line
    wait_until(lambda: seen == (["cut"] if more else []))
    assert ppdp.lines(status="Failed") == []


def test_an_upstream_that_resets_a_client_which_waits_has_failed(stage: Stage) -> None:
    def peer(conn: socket.socket) -> None:
        read_all(conn)
        reset(conn)

    ppdp = stage.ppdp(stage.peer(peer).port)
    with ppdp.connect() as conn:
        conn.sendall(b"question")
        conn.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
    line = ppdp.wait_for_line(status="Failed")
    assert line["error"] == "upstream: Connection reset by peer"


def test_a_reset_behind_a_stalled_reader_is_noticed(stage: Stage) -> None:
    """The relay cannot read any more, so only the socket's error tells that the client left."""
    release = threading.Event()
    stage.later(release.set)
    ppdp = stage.ppdp(stage.peer(lambda _: (release.wait(30), None)[1]).port)
    before = ppdp.descriptors()
    conn = ppdp.connect()
    conn.settimeout(0.5)
    with pytest.raises(TimeoutError):  # noqa: PT012
        while True:
            conn.send(bytes(1 << 20))
    reset(conn)
    wait_until(lambda: ppdp.lines(status="Failed"))
    settled(ppdp, before)


def test_a_stalled_reader_holds_one_pipe_at_most_and_then_gets_all(stage: Stage) -> None:
    go = threading.Event()
    stage.later(go.set)
    got: list[str] = []

    def stall(conn: socket.socket) -> None:
        # Else its buffer may grow to tcp_rmem's maximum, 32 MiB on newer kernels.
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        conn.recv(1)
        go.wait(30)
        got.append(hashlib.sha256(read_all(conn)).hexdigest())

    ppdp = stage.ppdp(stage.peer(stall).port)
    before = ppdp.resident_bytes()
    block = bytes(range(256)) * 4096
    blocks = 64  # more than the buffers of all four sockets can grow to
    conn = ppdp.connect()

    def send() -> None:
        conn.sendall(b"!")
        for _ in range(blocks):
            conn.sendall(block)

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.5)
    assert sender.is_alive(), "64 MiB went into a peer that reads nothing"
    assert ppdp.resident_bytes() - before < 4 << 20
    go.set()
    sender.join(30)
    conn.shutdown(socket.SHUT_WR)
    wait_until(lambda: got, within_s=30)
    assert got == [hashlib.sha256(block * blocks).hexdigest()]
    conn.close()


def test_one_byte_at_a_time(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    text = bytes(range(256)) * 4
    with ppdp.connect() as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(text)):
            conn.sendall(text[i : i + 1])
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == text


def test_many_sizes_both_ways_at_once_arrive_unchanged(stage: Stage) -> None:
    """Large and small writes in turn make the engine change between copying and splicing."""
    ppdp = stage.ppdp(stage.peer(echo).port)
    before = idle_descriptors(ppdp)

    def one(seed: int) -> None:
        sizes = [1, 70_000, 64, 1 << 20, 200_000, 7, 3 << 20, 100, 65_536, 131_072, 13] * 2
        body = [bytes([(seed + i) % 256]) * size for i, size in enumerate(sizes)]
        conn = ppdp.connect(60)

        def send() -> None:
            for piece in body:
                conn.sendall(piece)
            conn.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert read_all(conn) == b"".join(body)
        sender.join()
        conn.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(16)))
    wait_until(lambda: ends(ppdp) == 17)
    assert not ppdp.lines(status="Failed")
    # Idle pipes stay pooled, by each thread on its own: 2 descriptors each, 2 a connection.
    threads = min(os.cpu_count() or 1, 4)
    settled(ppdp, before + threads * 2 * 2 * 8)


def test_upstream_killed_in_mid_transfer(stage: Stage) -> None:
    server = stage.program(
        ["python3", "-c",
         "import socket\n"
         "s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True)\n"
         "c,_=s.accept(); b=bytes(1<<20)\n"
         "while True: c.sendall(b)"]
    )  # fmt: skip
    wait_until(lambda: server.text().strip())
    ppdp = stage.ppdp(int(server.text()))
    before = ppdp.descriptors()
    with ppdp.connect() as conn:
        read_exactly(conn, 3 << 20)
        server.process.kill()
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            while conn.recv(1 << 16):
                pass
            # A killed process's kernel may end the stream properly when nothing was unread.
            raise ConnectionResetError
    wait_until(lambda: ends(ppdp) == 1)
    settled(ppdp, before + 4)


def test_a_reset_upstream_ends_a_connection_whose_client_does_not_read(stage: Stage) -> None:
    """Nothing of the upstream is read while the client takes nothing: no read meets the reset."""
    full = threading.Event()

    def flood(conn: socket.socket) -> None:
        conn.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while True:
                conn.sendall(bytes(1 << 20))
        full.set()
        reset(conn)

    ppdp = stage.ppdp(stage.peer(flood).port)
    with ppdp.connect() as conn:
        assert full.wait(60)
        line = ppdp.wait_for_line(status="Failed")
        assert line["error"] == "upstream: Connection reset by peer"
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            while conn.recv(1 << 20):
                pass
            raise AssertionError("its end looks whole")


def test_a_silent_connection_ends_after_the_idle_time_out(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--idle-timeout", "600ms")
    with ppdp.connect() as quiet, ppdp.connect() as busy:
        start = time.monotonic()
        while time.monotonic() - start < 1.2:
            busy.sendall(b"x")
            assert busy.recv(1) == b"x"
            time.sleep(0.05)
        with pytest.raises(ConnectionResetError):
            quiet.recv(1)
    line = ppdp.wait_for_line(status="Failed")
    assert line["error"] == "idle for 0.6 s"
    assert 0.55 < line["duration"] < 5


def test_a_half_open_peer_ends_after_the_half_close_time_out(stage: Stage) -> None:
    hold = threading.Event()
    stage.later(hold.set)
    ppdp = stage.ppdp(
        stage.peer(lambda _: (hold.wait(30), None)[1]).port, "--half-close-timeout", "300ms"
    )
    with ppdp.connect() as conn, ppdp.connect() as other:
        conn.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):  # the other one never ended its half
            other.recv(1)
    wait_until(lambda: ppdp.lines(error="idle for 0.3 s after one side had ended"))


@pytest.mark.parametrize(("idle", "half"), [("300ms", "1h"), ("1h", "300ms"), ("300ms", "0")])
def test_the_shorter_of_both_limits_ends_a_silent_half_closed_connection(
    stage: Stage, idle: str, half: str
) -> None:
    hold = threading.Event()
    stage.later(hold.set)
    ppdp = stage.ppdp(
        stage.peer(lambda _: (hold.wait(30), None)[1]).port,
        "--idle-timeout", idle, "--half-close-timeout", half,
    )  # fmt: skip
    with ppdp.connect() as conn:
        conn.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
    wait_until(lambda: ppdp.lines(error="idle for 0.3 s after one side had ended"))


def test_the_connect_time_out_and_the_next_upstream(stage: Stage) -> None:
    """A full backlog drops the handshake, so only the time-out ends the attempt."""
    host, port = stage.full_backlog()
    ppdp = stage.ppdp(f"{host}:{port}", "--proxy-connect-timeout", "300ms")
    with ppdp.connect() as conn:
        start = time.monotonic()
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
        assert 0.25 < time.monotonic() - start < 5
    ppdp.wait_for("Giveup to connect backends")
    assert ppdp.wait_for_lines(1, msg="Failed to connect backend", error="timed out")


def test_keep_alive_is_on_at_both_sides(stage: Stage) -> None:
    """At the upstream's side once the connection is a second old: short ones go without."""
    upstream = stage.peer(echo)
    ppdp = stage.ppdp(upstream.port)

    def timers(condition: str) -> str:
        command = ["ss", "-tnoH", "state", "established", f"( {condition} )"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with ppdp.connect() as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        assert "timer:(keepalive," in timers(f"sport = :{ppdp.port}")
        wait_until(lambda: "timer:(keepalive," in timers(f"dport = :{upstream.port}"), within_s=5)


def test_sigterm_lets_open_connections_finish(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    with ppdp.connect() as conn:
        conn.sendall(b"a")
        assert conn.recv(1) == b"a"
        ppdp.kill()
        ppdp.wait_for("Go shutdown")
        wait_until(lambda: not accepts(ppdp.port))
        conn.sendall(b"b" * 100_000)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b"b" * 100_000
    assert ppdp.process.wait(10) == 0
    assert "Complete shutdown" in ppdp.text()


@pytest.mark.parametrize("how", ["deadline", "second signal"])
def test_open_connections_are_cut_after_the_shutdown_timeout(stage: Stage, how: str) -> None:
    limit = "400ms" if how == "deadline" else "1h"
    ppdp = stage.ppdp(stage.peer(echo).port, "--shutdown-timeout", limit)
    with ppdp.connect() as conn:
        conn.sendall(b"a")
        assert conn.recv(1) == b"a"
        ppdp.kill()
        ppdp.wait_for("Go shutdown")
        if how != "deadline":
            assert ppdp.process.poll() is None
            ppdp.kill()
        assert ppdp.process.wait(10) == 0
        with pytest.raises(ConnectionResetError):
            conn.recv(1)
    assert ppdp.wait_for_lines(1, status="Failed", error="stopped before it ended")


def test_interrupt_ends_at_once_with_130(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    with ppdp.connect() as conn:
        conn.sendall(b"a")
        assert conn.recv(1) == b"a"
        assert ppdp.end(signal.SIGINT) == 130


def test_a_log_that_nobody_reads_stops_no_connection(stage: Stage) -> None:
    """Standard error is a full pipe; connections go on, and lines are dropped beyond 8 MiB."""
    port = free_port()
    read_end, write_end = os.pipe()
    upstream = stage.peer(lambda conn: conn.close())
    process = subprocess.Popen(
        [script("ppdp"), "-l", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{upstream.port}"],
        stderr=write_end,
    )
    stage.later(process.wait)
    stage.later(process.kill)
    os.close(write_end)
    wait_until(lambda: accepts(port))
    for _ in range(600):  # 2 lines of some 170 bytes each: three times a pipe
        with socket.create_connection(("127.0.0.1", port), timeout=10) as conn:
            assert conn.recv(1) == b""
    assert process.poll() is None
    got = b""
    while b"Suceeded" not in got or got.count(b"Suceeded") < 600:
        got += os.read(read_end, 1 << 16)
    os.close(read_end)
