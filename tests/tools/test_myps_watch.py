"""myps kill --interval: a watch that kills what comes, and lives through what its server does."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from kojuto.common.parser import parse
from kojuto.tools.myps import kill
from kojuto.tools.myps.kill import KILL_AGAIN_S, Killer
from kojuto.tools.myps.kill_same import Outcome
from kojuto.tools.myps.options import KILL
from tests.conftest import script, wait_until
from tests.peers.mariadb import Server, mariadb
from tests.peers.myps import frozen, ids, myps, no_settings_of_ours, shop, stand_still, threads
from tests.streams import KINDS, full_ends, wait_for_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kojuto.tools.myps.processes import Process
    from tests.peers.servers import Stage


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shop() as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)


@contextlib.contextmanager
def watching(
    server: Server, *arguments: str, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    where = ["--mysql-socket", server.socket, "--mysql-user", "root"]
    process = subprocess.Popen(
        [script("myps"), "kill", *where, "--yes", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_watch_kills_what_comes_and_logs_it(server: Server, tmp_path: Path) -> None:
    log = tmp_path / "kills.ltsv"
    line = ["--info", "%watched%", "--interval", "100ms", "--run-time", "1m", "--log", str(log)]
    with watching(server, *line) as process:
        for number in range(3):
            sql = f"SELECT SLEEP(600), 'watched {number}'"
            with threads(server, (sql, {"user": "app1"})) as (thread,):
                thread.join(20)
                assert thread.error in (1317, 2013)
        wait_until(lambda: log.read_text().count("\n") == 3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert len(ids(out, "KILLED")) == 3
    entries = [
        dict(f.split(":", 1) for f in row.split("\t")) for row in log.read_text().splitlines()
    ]
    assert [entry["INFO"][-10:-1] for entry in entries] == ["watched 0", "watched 1", "watched 2"]
    assert all(entry["kind"] == "CONNECTION" and entry["USER"] == "app1" for entry in entries)
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", e["time"]) for e in entries)
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_does_not_end_a_watch(server: Server) -> None:
    line = ["--info", "%watched%", "--interval", "100ms", "--log", "/dev/full"]
    wanted = ("SELECT SLEEP(600), 'watched'", {"user": "app1"})
    with watching(server, *line) as process:
        for _ in range(2):
            with threads(server, wanted) as (thread,):
                thread.join(20)
                assert not thread.is_alive()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert err.count(b"warning: /dev/full: No space left on device; killing goes on") == 1
    assert b"No space left on device: 2 of 2 kills could not be reported" in err
    assert b"trying again" not in err


def test_a_watch_ends_with_its_run_time(server: Server) -> None:
    start = time.monotonic()
    done = myps(server, "kill", "-y", "-u", "nobody", "--interval", "0.2", "--run-time", "1s")
    assert done.returncode == 0
    assert 1 <= time.monotonic() - start < 5


def test_a_watch_lives_through_a_restart_of_the_server(tmp_path: Path) -> None:
    log = tmp_path / "kills.ltsv"
    with mariadb() as own:
        line = ["--info", "%watched%", "--interval", "100ms", "--query-only", "--log", str(log)]
        with watching(own, *line) as process:
            for count, how in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
                with threads(own, ("SELECT SLEEP(600), 'watched'", {})) as (thread,):
                    thread.join(20)
                    assert thread.error == 1317 or thread.rows is not None
                # The watch is told later than the one that was killed.
                wait_until(lambda count=count: log.read_text().count("\n") == count)  # type: ignore[misc]
                own.stop(how)
                time.sleep(0.3)
                assert process.poll() is None
                own.start()
            with threads(own, ("SELECT SLEEP(600), 'watched'", {})) as (thread,):
                thread.join(20)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert out.count(b"KILLED:") == 3
    assert err.count(b"trying again every interval") == 2
    assert err.count(b": back") == 2


def test_a_watch_goes_on_where_the_server_has_no_room_for_temporary_tables() -> None:
    with mariadb() as own:
        line = ["--info", "%watched%", "--interval", "100ms"]
        with watching(own, *line) as process:
            with threads(own, ("SELECT SLEEP(600), 'watched'", {})) as (thread,):
                thread.join(20)
            (own.folder / "tmp").rename(own.folder / "gone")
            assert process.stderr is not None
            first = next(line for line in process.stderr if not moved_on(line.rstrip()))
            assert b"Can't create/write to file" in first
            assert process.stderr.readline() == b"myps: warning: trying again every interval\n"
            (own.folder / "gone").rename(own.folder / "tmp")
            assert process.stderr.readline().endswith(b": back\n")
            with threads(own, ("SELECT SLEEP(600), 'watched'", {})) as (thread,):
                thread.join(20)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert out.count(b"KILLED:") == 2


WATCHED = ("SELECT SLEEP(600), 'watched'", {"user": "app1"})
WATCH = ("--info", "%watched%", "--interval", "100ms")
NOBODY_READS = b"standard output: nobody reads it: "


@contextlib.contextmanager
def stuck(kind: str, folder: Path) -> Iterator[tuple[int, int]]:
    """The reader's and the writer's end of a stream that takes nothing more."""
    ends = full_ends(kind, folder / "fifo")
    try:
        yield ends
    finally:
        for descriptor in ends:
            os.close(descriptor)


def end(process: subprocess.Popen[bytes], within_s: float = 10) -> tuple[int, bytes]:
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=within_s)
    return process.returncode, told


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_who_stands_still_holds_up_neither_a_kill_nor_the_end(
    kind: str, server: Server, tmp_path: Path
) -> None:
    with (
        stuck(kind, tmp_path) as (_, writer),
        watching(server, *WATCH, stdout=writer) as process,
    ):
        for _ in range(3):
            with threads(server, WATCHED) as (thread,):
                thread.join(20)
                assert thread.error in (1317, 2013)
        status, told = end(process)
    assert status == 1
    assert NOBODY_READS + b"3 of 3 kills could not be reported" in told


def read_lines(reader: int, count: int) -> bytes:
    """What comes after what `full_ends` left, up to so many ends of lines."""
    came = b""
    os.set_blocking(reader, False)

    def more() -> bool:
        nonlocal came
        with contextlib.suppress(BlockingIOError):
            came += os.read(reader, 1 << 16)
        return came.count(b"\n") == count

    wait_until(more)
    return came.lstrip(b"x")


def test_a_reader_who_goes_on_gets_every_kill(server: Server, tmp_path: Path) -> None:
    with (
        stuck("pipe", tmp_path) as (reader, writer),
        watching(server, *WATCH, stdout=writer) as process,
    ):
        for _ in range(3):
            with threads(server, WATCHED) as (thread,):
                thread.join(20)
        assert len(ids(read_lines(reader, 3), "KILLED")) == 3
        status, told = end(process)
    assert status == 0
    assert all(moved_on(line) for line in told.splitlines()), told


def test_all_are_killed_before_a_reader_who_stands_still_has_the_list(
    server: Server, tmp_path: Path
) -> None:
    with (
        stuck("pipe", tmp_path) as (reader, writer),
        threads(server, WATCHED, WATCHED) as found,
        watching(server, "--info", "%watched%", stdout=writer) as process,
    ):
        wait_until(lambda: not any(thread.is_alive() for thread in found))
        assert process.poll() is None
        assert len(ids(read_lines(reader, 2), "KILLED")) == 2
        assert process.communicate(timeout=10)[1] == b""
        assert process.returncode == 0


def test_a_dry_run_that_nobody_reads_ends_too(server: Server, tmp_path: Path) -> None:
    with (
        stuck("pipe", tmp_path) as (_, writer),
        threads(server, WATCHED),
        watching(server, *WATCH, "--dry-run", stdout=writer) as process,
    ):
        wait_for_handler(process.pid, signal.SIGTERM)
        status, told = end(process)
    assert status == 1
    assert b" threads could not be listed" in told


def test_a_watch_keeps_no_more_than_it_may_for_a_reader(server: Server, tmp_path: Path) -> None:
    # The server's list shows all of it, nearly 64 KiB; sixteen are kept, and one more.
    long = (f"SELECT SLEEP(600), 'watched', '{'x' * 65_400}'", {"user": "app1"})
    with (
        stuck("pipe", tmp_path) as (_, writer),
        watching(server, *WATCH, "--full", stdout=writer) as process,
    ):
        with threads(server, *[long] * 20) as found:
            for thread in found:
                thread.join(20)
        status, told = end(process)
    assert status == 1
    warned, last, _ = (line for line in told.splitlines() if not moved_on(line))
    assert warned == b"myps: warning: standard output: nobody reads it; killing goes on"
    assert NOBODY_READS + b"20 of 20 kills could not be reported" in last


def moved_on(line: bytes) -> bool:
    """Whether it says that a thread did not stand still while it was killed, on a busy machine."""
    return bool(
        re.fullmatch(
            rb"myps: (passed over \d+: gone, .*|\d+: only its statement was killed, .*)", line
        )
    )


GONE_YET = "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s AND INFO LIKE '%%watched%%'"


@pytest.mark.parametrize("how", [(), ("--query-only",)])
def test_a_thread_that_takes_long_to_end_is_killed_once(
    how: tuple[str, ...], server: Server
) -> None:
    server.execute("CREATE OR REPLACE TABLE shop.long (id INT) ENGINE=InnoDB")
    # What goes into an empty table is not undone row by row, and its end would be sudden.
    server.execute("INSERT INTO shop.long VALUES (0)")
    insert = "INSERT INTO shop.long SELECT /* watched */ seq FROM shop.seq_1_to_9000000"
    with watching(server, *WATCH, "--time", "1", *how) as process:
        with threads(server, (insert, {"user": "app1"})) as (thread,):
            thread.join(60)
            assert thread.error in (1317, 2013)
            # Where the connection was killed, its client is told before it has rolled back.
            wait_until(lambda: not server.execute(GONE_YET, thread.id))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert out.count(b"KILLED:") == 1
    assert err == b""


def test_after_a_restart_the_same_numbers_are_another_thread(server: Server) -> None:
    """Both numbers begin again, and one that was never killed was left alone for good."""
    where = ["--no-defaults", "--mysql-socket", server.socket, "--mysql-user", "root"]
    values, _ = parse(KILL, [*where, *WATCH, "--yes"])
    killer = Killer(values)
    with threads(server, WATCHED) as (thread,):
        [listed] = killer.victims()
        assert killer.kill(listed)
        thread.join(10)
    assert killer._without_killed([listed]) == []
    assert killer._without_killed([listed]) == []
    killer.close()
    assert killer._without_killed([listed]) == [listed]


def test_a_kill_that_had_no_effect_is_made_again_and_reported_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ["--no-defaults", "--mysql-socket", server.socket, "--mysql-user", "root"]
    values, _ = parse(KILL, [*where, *WATCH, "--yes", "--query-only"])
    killer = Killer(values)
    kills = iter([Outcome.PASSED_OVER, Outcome.KILLED, Outcome.KILLED])
    now = 1000.0
    reported: list[Process] = []
    monkeypatch.setattr(killer.reports, "killed_one", reported.append)
    monkeypatch.setattr(kill, "kill_same", lambda *_, **__: next(kills))
    monkeypatch.setattr(kill, "monotonic", lambda: now)
    with threads(server, WATCHED) as (thread,):
        [listed] = killer.victims()
        assert not killer.kill(listed)
        [listed] = killer.victims()  # it is there, whatever the server said
        assert killer.kill(listed)
        now += KILL_AGAIN_S - 0.001
        assert killer.victims() == []
        now += 0.001
        [listed] = killer.victims()
        assert killer.kill(listed)
        server.execute(f"KILL {listed.id}")
        thread.join(10)
    assert next(kills, None) is None
    assert [process.id for process in reported] == [listed.id]
    killer.close()


def test_a_fifo_as_log_whose_reader_stands_still(server: Server, tmp_path: Path) -> None:
    log = tmp_path / "fifo"
    with (
        stuck("fifo", tmp_path),
        watching(server, *WATCH, "--log", str(log)) as process,
    ):
        for _ in range(2):
            with threads(server, WATCHED) as (thread,):
                thread.join(20)
                assert not thread.is_alive()
        status, told = end(process)
    assert status == 1
    assert b"fifo: Resource temporarily unavailable: 2 of 2 kills could not be reported" in told


OTHERS = (
    "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID != CONNECTION_ID() AND USER = 'root'"
)


@pytest.mark.parametrize("by", ["socket", "port"])
@pytest.mark.parametrize("since", ["before", "meanwhile"])
def test_a_server_that_is_frozen_does_not_hold_up_the_end_of_a_watch(
    by: str, since: str, server: Server
) -> None:
    where = (
        () if by == "socket" else ("--mysql-host", "127.0.0.1", "--mysql-port", str(server.port))
    )
    with contextlib.ExitStack() as stack:
        if since == "before":
            stack.enter_context(frozen(server))
        process = stack.enter_context(watching(server, *WATCH, *where, "--mysql-timeout", "2m"))
        wait_for_handler(process.pid, signal.SIGTERM)
        if since == "meanwhile":
            wait_until(lambda: server.execute(OTHERS), what="a connection")
            stack.enter_context(frozen(server))
        stand_still(process)
        assert end(process) == (0, b"")


def test_a_server_that_is_frozen_does_not_hold_up_the_end_of_the_run_time(server: Server) -> None:
    with frozen(server):
        slow = ("--mysql-timeout", "2m", "--run-time", "1s")
        with watching(server, *WATCH, *slow) as process:
            began = time.monotonic()
            out, err = process.communicate(timeout=30)
            took_s = time.monotonic() - began
    assert (process.returncode, out, err) == (0, b"", b"")
    assert 3 < took_s < 15


def through(server: Server, stage: Stage, meet_the_kill: Callable[[], None]) -> tuple[str, ...]:
    """The way to the server by a relay that meets a KILL before the server does."""

    def serve(conn: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(server.socket)
            down = threading.Thread(target=pass_on, args=(upstream, conn))
            down.start()
            pass_on(conn, upstream)
            down.join()

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                if b"KILL QUERY ID" in piece:
                    meet_the_kill()
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    return ("--mysql-host", "127.0.0.1", "--mysql-port", str(stage.peer(serve).port))


UNSEEN = """
import signal, socket, sys, threading
from kojuto.tools.myps.stop import NoAnswer, Stop

mine, server = socket.socketpair()

def take_it():
    server.recv(1)
    # A signal that another thread takes does not wake the first one's system call, as one that
    # comes just before the call does not.
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=take_it).start()
stop = Stop()

def ask():
    mine.sendall(b"?")
    return mine.recv(1)

try:
    stop.wait_for(ask)
except NoAnswer:
    sys.exit(0 if stop.asked else 3)
"""


def test_a_signal_that_comes_just_before_the_wait_for_an_answer_is_seen() -> None:
    done = subprocess.run([sys.executable, "-c", UNSEEN], timeout=30, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("by", ["SIGTERM", "run time"])
@pytest.mark.parametrize("answers", [True, False])
def test_a_kill_that_the_end_meets_is_reported_or_said_to_be_unanswered(
    answers: bool, by: str, server: Server, stage: Stage
) -> None:
    met, told = threading.Event(), threading.Event()
    stage.later(told.set)
    with threads(server, WATCHED) as (thread,), contextlib.ExitStack() as stack:

        def meet() -> None:
            if not answers:
                stack.enter_context(frozen(server))
            met.set()
            told.wait(60)

        watch = ["--info", "%watched%", "--interval", "1h"]
        watch += ["--run-time", "2s"] if by == "run time" else []
        process = stack.enter_context(watching(server, *watch, *through(server, stage, meet)))
        assert met.wait(20)
        if by == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            time.sleep(2)
        told.set()
        out, err = process.communicate(timeout=20)
    if answers:
        assert (process.returncode, ids(out, "KILLED")) == (0, {thread.id}), err
        assert all(moved_on(line) for line in err.splitlines()), err
    else:
        assert (process.returncode, out) == (1, b"")
        end_of_it = "SIGTERM came" if by == "SIGTERM" else "the run time is over"
        words = f"{thread.id}: {end_of_it}, and the server has not answered the kill"
        assert words.encode() in err
