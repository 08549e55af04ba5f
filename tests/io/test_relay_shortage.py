"""The relay engine short of descriptors and pipes, and under more connections than it may have."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import resource
import selectors
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, wait_until
from tests.peers.relay import ends, idle_descriptors, open_connections, settled
from tests.peers.servers import (
    Most,
    allow_descriptors,
    each_is_answered,
    echo,
    free_port,
    read_exactly,
)

if TYPE_CHECKING:
    from tests.peers.servers import Ppdp, Stage


def test_descriptors_run_out_and_come_back(stage: Stage) -> None:
    """Every connection is served in the end; the shortage is logged once, and its end."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    ppdp = stage.ppdp(stage.peer(echo).port, preexec=limit)
    before = idle_descriptors(ppdp)
    conns = [ppdp.connect(30) for _ in range(60)]
    for conn in conns:
        conn.sendall(b"hello")
    ppdp.wait_for("accepting is paused")
    assert len(ppdp.wait_for_lines(1, msg="accepting is paused")) == 1
    # Who is served first is not said: a thread that is held up between accept(2) and connect(2)
    # finds that the other one has used the last descriptor, for those who came later.
    each_is_answered(conns, b"hello")
    ppdp.wait_for("accepting again")
    wait_until(lambda: ends(ppdp) == 61, within_s=20)
    assert not ppdp.lines(status="Failed")
    settled(ppdp, before)
    with ppdp.connect() as conn:
        conn.sendall(b"after")
        assert read_exactly(conn, 5) == b"after"


def test_a_shortage_that_lasts_is_told_once_and_its_end_once(stage: Stage) -> None:
    """Not for each connection, of which there is room for one as often as one ends."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))

    ppdp = stage.ppdp(stage.peer(echo).port, preexec=limit)
    answers(ppdp, 200)
    ppdp.wait_for("accepting again")
    wait_until(lambda: ends(ppdp) == 200, within_s=20)
    assert len(ppdp.lines(msg="accepting is paused")) <= 3  # a machine may stand still
    assert len(ppdp.lines(msg="accepting again")) <= 3


def pipes_of(ppdp: Ppdp) -> int:
    """Descriptors of pipes, those of its standard streams left out."""
    count = 0
    for fd in os.listdir(f"/proc/{ppdp.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += int(fd) > 2 and os.readlink(f"/proc/{ppdp.pid}/fd/{fd}").startswith("pipe:")
    return count


def stream(conn: socket.socket) -> None:
    """So much there and back that the relay takes pipes for it."""
    block = bytes(range(256)) * 4096

    def send() -> None:
        for _ in range(16):
            conn.sendall(block)

    sender = threading.Thread(target=send)
    sender.start()
    digest = hashlib.sha256()
    for _ in range(16):
        digest.update(read_exactly(conn, len(block)))
    sender.join()
    assert digest.digest() == hashlib.sha256(block * 16).digest()


def test_idle_pipes_give_way_to_a_client(stage: Stage) -> None:
    """Whichever thread keeps them: they are let go when a descriptor is missing for a client."""
    ppdp = stage.ppdp(stage.peer(echo).port)
    limits = resource.prlimit(ppdp.pid, resource.RLIMIT_NOFILE)
    none = pipes_of(ppdp)
    with ppdp.connect(60) as first:
        for _ in range(20):
            stream(first)
            assert pipes_of(ppdp) > none
            room = len(os.listdir(f"/proc/{ppdp.pid}/fd")) + 1
            resource.prlimit(ppdp.pid, resource.RLIMIT_NOFILE, (room, limits[1]))
            with ppdp.connect(10) as conn:
                conn.sendall(b"hello")
                assert read_exactly(conn, 5) == b"hello"
            resource.prlimit(ppdp.pid, resource.RLIMIT_NOFILE, limits)


def test_without_a_descriptor_for_a_pipe_bytes_are_copied(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    before = pipes_of(ppdp)

    with ppdp.connect(60) as conn:
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
        full = len(os.listdir(f"/proc/{ppdp.pid}/fd"))
        limits = resource.prlimit(ppdp.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(ppdp.pid, resource.RLIMIT_NOFILE, (full, limits[1]))
        stream(conn)
        assert pipes_of(ppdp) == before
        resource.prlimit(ppdp.pid, resource.RLIMIT_NOFILE, limits)
        stream(conn)
        assert pipes_of(ppdp) > before, "with descriptors it would have spliced"
    assert ppdp.process.poll() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user whose pipes can be used up")
def test_with_small_pipes_only_bytes_arrive_all_the_same(stage: Stage) -> None:
    """Past fs.pipe-user-pages-soft a user's pipes have two pages and cannot grow (pipe(7))."""
    with open("/proc/sys/fs/pipe-user-pages-soft", encoding="ascii") as file:
        pages = int(file.read())
    user = 40_000 + os.getpid() % 10_000
    hold = (
        "import fcntl,os,sys\n"
        "for _ in range(PAGES // 256 + 1):\n"
        "    ends = os.pipe()\n"
        "    try: fcntl.fcntl(ends[1], 1031, 1 << 20)\n"  # F_SETPIPE_SZ
        "    except PermissionError: break\n"
        "print('full', fcntl.fcntl(os.pipe()[1], 1032), flush=True)\n"  # F_GETPIPE_SZ
        "os.read(0, 1)\n"
    ).replace("PAGES", str(pages))
    holder = subprocess.Popen(
        ["python3", "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=user
    )
    stage.later(holder.communicate)
    stage.later(holder.kill)
    assert holder.stdout is not None
    assert int(holder.stdout.readline().split()[1]) <= 8192, "the limit is reached"

    read_anything = "+dac_override,+dac_read_search"  # the project may lie where only root reads
    become = [
        need_program("setpriv"), f"--reuid={user}", "--clear-groups",
        f"--inh-caps={read_anything}", f"--ambient-caps={read_anything}",
    ]  # fmt: skip
    ppdp = stage.ppdp(stage.peer(echo).port, prefix=become)
    body = bytes(range(256)) * 20_000
    with ppdp.connect(60) as conn:
        for _ in range(4):
            sender = threading.Thread(target=conn.sendall, args=(body,))
            sender.start()
            assert read_exactly(conn, len(body)) == body
            sender.join()
    wait_until(lambda: ppdp.lines(status="Suceeded"))


def test_max_connections_lets_the_rest_wait(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--max-connections", "2")
    first, second, third = (ppdp.connect() for _ in range(3))
    for conn in (first, second):
        conn.sendall(b"x")
        assert conn.recv(1) == b"x"
    third.sendall(b"x")
    third.settimeout(0.3)
    with pytest.raises(TimeoutError):
        third.recv(1)
    first.close()
    third.settimeout(10)
    assert third.recv(1) == b"x"
    second.close()
    third.close()
    assert len(ppdp.wait_for_lines(1, msg="accepting is paused")) >= 1


def answers(ppdp: Ppdp, count: int) -> list[float]:
    """Opens so many connections at once, each of which says a word and ends with the answer; when
    each of them was answered.
    """
    with selectors.DefaultSelector() as waiting:
        for _ in range(count):
            conn = ppdp.connect(60)
            conn.sendall(b"x")
            waiting.register(conn, selectors.EVENT_READ)
        at: list[float] = []
        while waiting.get_map():
            ready = waiting.select(60)
            assert ready, f"{len(at)} of {count} were answered"
            for key, _ in ready:
                answered = key.fileobj
                assert isinstance(answered, socket.socket)
                assert answered.recv(1) == b"x"
                at.append(time.monotonic())
                waiting.unregister(answered)
                answered.close()
    return at


def test_at_the_limit_a_place_that_is_free_is_filled_at_once(stage: Stage) -> None:
    """Not after the next nap of 20 ms, by one thread for one processor; the log is told when the
    limit is reached and when there is room again, not for each connection.
    """
    metrics = free_port()
    options = ["--max-connections", "1", "--metrics-listen", f"127.0.0.1:{metrics}"]
    processors = {min(os.sched_getaffinity(0))}
    ppdp = stage.ppdp(
        stage.peer(echo).port, *options, preexec=lambda: os.sched_setaffinity(0, processors)
    )

    def told(text: str) -> int:
        return len(ppdp.lines(msg=text))

    for round_ in (1, 2):
        with Most(lambda: open_connections(metrics)) as most:
            at = answers(ppdp, 300)
        assert most.seen <= 1
        gaps = sorted(later - earlier for earlier, later in itertools.pairwise(at))
        assert gaps[9] < 0.015, gaps
        wait_until(lambda: ends(ppdp) == 300 * round_)  # noqa: B023
        ppdp.wait_for_lines(round_, msg="accepting again")
        assert (told("accepting is paused"), told("accepting again")) == (round_, round_)
    assert {line["error"] for line in ppdp.lines(msg="accepting is paused")} == {
        "the limit of 1 connections is reached"
    }


def test_at_the_limit_no_listener_is_forgotten(stage: Stage) -> None:
    """Two listeners share one place, and each of them has clients that wait all the time."""
    other = free_port()
    options = ["--max-connections", "1", "-l", f"127.0.0.1:{other}"]
    ppdp = stage.ppdp(stage.peer(echo).port, *options)
    wait_until(lambda: len(ppdp.lines(msg="Start listen")) == 2)
    answered = threading.Event()

    def ask_on() -> None:
        while not answered.is_set():
            with ppdp.connect(60) as conn:
                conn.sendall(b"x")
                assert conn.recv(1) == b"x"

    with ThreadPoolExecutor(4) as pool:
        crowd = [pool.submit(ask_on) for _ in range(4)]
        try:
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", other), timeout=60) as conn:
                    conn.sendall(b"y")
                    assert conn.recv(1) == b"y"
        finally:
            answered.set()
        for one in crowd:
            one.result()


def test_thousand_short_connections_leave_nothing_behind(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    before = idle_descriptors(ppdp)

    def one(_: int) -> None:
        with ppdp.connect() as conn:
            conn.sendall(b"x")
            assert conn.recv(1) == b"x"

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(200)))
        wait_until(lambda: ends(ppdp) == 201)
        memory = ppdp.resident_bytes()
        list(pool.map(one, range(1000)))
    wait_until(lambda: ends(ppdp) == 1201)
    settled(ppdp, before)
    assert ppdp.resident_bytes() - memory < 2 << 20
    assert len(os.listdir(f"/proc/{ppdp.pid}/task")) < 12


def test_ten_thousand_idle_connections_in_100_mib(stage: Stage) -> None:
    """Or as many as the hard limit allows, where it may not be raised (CAP_SYS_RESOURCE): each
    costs two descriptors, here and there.
    """
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = len(os.listdir("/proc/self/fd"))
    count = min(10_000, (allow_descriptors(20_200 + in_use) - in_use - 50) // 2)
    assert count > 400, "the limit of descriptors is too low for this test"
    held: list[socket.socket] = []
    mine: list[socket.socket] = []
    upstream = socket.create_server(("127.0.0.1", 0), backlog=4096)
    ended = threading.Event()

    def hold() -> None:
        while not ended.is_set():
            try:
                held.append(upstream.accept()[0])
            except OSError:  # noqa: PERF203
                return

    threading.Thread(target=hold, daemon=True).start()
    try:
        ppdp = stage.ppdp(upstream.getsockname()[1])
        before = ppdp.descriptors()
        mine += [ppdp.connect() for _ in range(count)]
        wait_until(lambda: len(held) == count, within_s=60)
        assert ppdp.resident_bytes() < count / 10_000 * (100 << 20)
        assert ppdp.descriptors() - before == 2 * count, "an idle connection holds no pipe"
        mine[0].sendall(b"x")
        mine[-1].sendall(b"x")
        for conn in [*mine, *held]:
            conn.close()
        wait_until(lambda: ends(ppdp) == count, within_s=60)
        settled(ppdp, before)
    finally:
        ended.set()
        for conn in [*mine, *held]:
            conn.close()
        upstream.shutdown(socket.SHUT_RDWR)
        upstream.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
