"""myps top: what each key does, and the whole of it in a real terminal (tmux) on a real server."""

from __future__ import annotations

import os
import pty
import signal
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, script, wait_until
from tests.peers.mariadb import Server, mariadb
from tests.peers.myps import frozen, stand_still, threads
from tests.peers.tmux import Terminal
from tests.streams import full_ends, processes_end, start, wait_for_handler

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["processes_end"]


def test_without_a_terminal_it_says_so() -> None:
    done = run("myps", "top", "--mysql-socket", "/no/such")
    assert done.returncode == 1
    assert b"top needs a terminal" in done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with mariadb() as started:
        started.execute("CREATE DATABASE shop")
        for user in ("app1", "app2", "report"):
            started.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'pw'")
            started.execute(f"GRANT ALL ON *.* TO {user}@'%'")
        yield started


@pytest.fixture
def terminal(server: Server, tmp_path: Path) -> Iterator[Terminal]:
    options = ["--mysql-socket", server.socket, "--mysql-user", "root", "--refresh", "0.3"]
    started = Terminal(tmp_path / "t", [script("myps"), "top", *options])
    yield started
    started.close()


def test_a_statement_is_found_filtered_and_killed(terminal: Terminal, server: Server) -> None:
    wanted = ("SELECT SLEEP(600), 'slow one'", {"user": "app1"})
    other = ("SELECT SLEEP(600), 'another'", {"user": "app2"})
    asleep = (None, {"user": "report"})
    with threads(server, wanted, other, asleep) as (slow, another, idle):
        for text in ("slow one", "another", "TIME ▼", "3 threads, 1 asleep, 2 shown", "q quit"):
            shown = terminal.shows(text)
        assert "report" not in shown  # asleep
        assert "MariaDB" in terminal.shows("myps top  ").splitlines()[0]
        wait_until(lambda: "\x1b[32m" in terminal.shown(colours=True))  # young: green
        terminal.press("a")
        terminal.shows("report")
        terminal.press("a", "/")
        terminal.press("-l", "SLOW")
        terminal.shows("1 shown  filter: SLOW")
        wait_until(lambda: "another" not in terminal.shown())
        terminal.press("Enter")
        terminal.press("K")
        terminal.shows(f"Kill the statement of {slow.id} (app1: SELECT SLEEP(600), 'slow one')?")
        terminal.press("n")
        terminal.shows("nothing was killed")
        assert slow.is_alive()
        terminal.press("K")
        terminal.shows("[y/N]")
        terminal.press("y")
        terminal.shows(f"KILLED {slow.id}")
        slow.join(10)
        assert slow.alive()  # the connection
        terminal.press("Escape")
        terminal.shows("another")
        # Until the next look at the server the killed statement is still the chosen row.
        wait_until(lambda: "slow one" not in terminal.shown())
        terminal.press("X")
        terminal.shows(f"Kill the connection of {another.id}")
        terminal.press("y")
        terminal.shows(f"KILLED {another.id}")
        another.join(10)
        assert not another.alive()
        assert idle.alive()
    terminal.press("q")
    terminal.shows("status=0")
    terminal.shows(" icanon ")
    terminal.shows(" echo ")


def test_a_statement_that_ended_while_we_were_asked_is_passed_over(
    terminal: Terminal, server: Server
) -> None:
    with threads(server, ("SELECT SLEEP(600), 'moves on'", {"user": "app1"})) as (thread,):
        terminal.shows("moves on")
        terminal.press("X")
        terminal.shows("[y/N]")
        server.execute(f"KILL QUERY {thread.id}")
        thread.join(10)
        with thread.connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        terminal.press("y")
        terminal.shows("on to another statement: passed over")
        assert thread.alive()


def test_it_lives_through_a_restart_and_ends_tidily_on_a_signal(tmp_path: Path) -> None:
    with mariadb() as own:
        options = ["--mysql-socket", own.socket, "--mysql-user", "root", "--refresh", "0.3"]
        terminal = Terminal(tmp_path / "t", [script("myps"), "top", "--all", *options])
        try:
            terminal.shows("threads")
            own.stop()
            terminal.shows("trying again")
            own.start()
            with threads(own, ("SELECT SLEEP(600), 'after'", {})):
                terminal.shows("after")
            [pid] = [
                int(entry.name)
                for entry in Path("/proc").iterdir()
                if entry.name.isdigit() and own.socket.encode() in cmdline(entry)
                and b"top" in cmdline(entry).split(b"\0")
            ]  # fmt: skip
            os.kill(pid, signal.SIGTERM)
            terminal.shows("status=0")
            terminal.shows(" icanon ")
        finally:
            terminal.close()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)]
)
def test_a_terminal_that_stands_still_holds_up_no_end(
    number: signal.Signals, status: int, server: Server, tmp_path: Path
) -> None:
    reader, terminal = full_ends("tty", tmp_path / "none")
    before = termios.tcgetattr(terminal)
    options = ["--mysql-socket", server.socket, "--mysql-user", "root", "--refresh", "200ms"]
    running = start("myps", "top", *options, stdin=terminal, stdout=terminal)
    wait_for_handler(running.pid, signal.SIGTERM)
    running.send_signal(number)
    assert running.wait(10) == status
    assert termios.tcgetattr(terminal) == before
    os.close(reader)
    os.close(terminal)


@pytest.mark.parametrize(("end", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (b"q", 0)])
def test_a_server_that_is_frozen_holds_up_no_end(
    end: signal.Signals | bytes, status: int, server: Server
) -> None:
    reader, terminal = pty.openpty()
    options = ["--mysql-socket", server.socket, "--mysql-user", "root", "--refresh", "200ms"]
    running = start("myps", "top", *options, stdin=terminal, stdout=terminal)
    wait_for_handler(running.pid, signal.SIGTERM)
    with frozen(server):
        stand_still(running)
        if isinstance(end, bytes):
            os.write(reader, end)
        else:
            running.send_signal(end)
        assert running.wait(10) == status
    os.close(reader)
    os.close(terminal)


def cmdline(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_resized_terminal_is_filled_anew(terminal: Terminal, server: Server) -> None:
    with threads(server, ("SELECT SLEEP(600), 'resized'", {"user": "app1"})):
        terminal.shows("resized")
        for width, height in ((60, 10), (160, 30)):
            terminal.tmux("resize-window", "-x", str(width), "-y", str(height))
            deadline = time.monotonic() + 10
            while True:
                lines = terminal.shown().rstrip("\n").split("\n")
                if len(lines) == height and lines[-1].startswith("t u d c s n sort"):
                    break
                assert time.monotonic() < deadline, lines
                time.sleep(0.05)
            terminal.shows("USER")


def test_a_terminal_without_kanji_shows_the_statement_all_the_same(
    server: Server, tmp_path: Path
) -> None:
    """A Latin-1 locale took the first emoji for an error, and the alternate screen stayed."""
    options = ["--mysql-socket", server.socket, "--mysql-user", "root", "--refresh", "0.3"]
    command = ["env", "PYTHONIOENCODING=latin-1:strict", script("myps"), "top", *options]
    terminal = Terminal(tmp_path / "t", command)
    try:
        with threads(server, ("SELECT SLEEP(600), '日本 🙂'", {"user": "app1"})):
            terminal.shows("SLEEP(600)")
            terminal.shows("\\u65e5")
        terminal.press("q")
        terminal.shows("status=0")
        assert terminal.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"
    finally:
        terminal.close()


def test_whatever_happens_the_terminal_is_as_before(tmp_path: Path) -> None:
    """The screen that cannot even be left by those who entered it."""
    program = tmp_path / "top.py"
    program.write_text(
        """
import sys
import termios
from kojuto.common import cli
from kojuto.tools.myps import top

class Broken:
    def __init__(self, values): pass
    def close(self): pass
    def run(self, console):
        sys.stdout.write("\\x1b[?1049h\\x1b[?25l")
        sys.stdout.flush()
        raise RuntimeError("broken")

top._Screen = Broken
command = cli.Command("myps top", "x", [])
sys.exit(cli.run(command, lambda values, _: top.top(values), []))
"""
    )
    terminal = Terminal(tmp_path / "t", [sys.executable, str(program)])
    try:
        terminal.shows("status=1")
        assert terminal.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"
    finally:
        terminal.close()
