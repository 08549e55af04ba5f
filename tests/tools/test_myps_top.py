"""myps top: what each key does, and the whole of it in a real terminal (tmux) on a real server."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from kojuto.tools.myps.processes import Process
from kojuto.tools.myps.top import View, age_style, split_keys
from tests.conftest import need_program, run, script, wait_until
from tests.peers.mariadb import Server, mariadb
from tests.peers.myps import frozen, stand_still, threads
from tests.streams import full_ends, processes_end, start, wait_for_handler

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["processes_end"]


def process(number: int, **fields: object) -> Process:
    known = {
        "user": "app", "host": "10.0.0.7:1", "db": "shop", "command": "Query", "time": number,
        "state": "", "info": f"SELECT {number}", "statement": 100 + number,
    }  # fmt: skip
    return Process(number, **{**known, **fields})  # type: ignore[arg-type]


def view() -> View:
    return View(
        processes=[
            process(1, user="zoe"),
            process(70, user="bob", info="UPDATE x"),
            process(12, user="amy"),
            process(5, command="Sleep", info=""),
            process(99, user="system user", command="Slave_SQL"),
        ]
    )


def press(on: View, keys: str) -> object:
    result = None
    for key in split_keys(keys):
        result = on.key(key)
    return result


def asks(screen: View) -> bool:
    return screen.asked is not None


def ids(of: View) -> list[int]:
    return [each.id for each in of.rows()]


def test_sorting_by_each_column_and_back() -> None:
    screen = view()
    assert ids(screen) == [99, 70, 12, 1]
    press(screen, "u")
    assert [each.user for each in screen.rows()] == ["amy", "bob", "system user", "zoe"]
    press(screen, "r")
    assert [each.user for each in screen.rows()] == ["zoe", "system user", "bob", "amy"]
    press(screen, "rn")
    assert ids(screen) == [1, 12, 70, 99]
    press(screen, "ta")
    assert ids(screen) == [99, 70, 12, 5, 1]


def test_the_filter_is_typed_corrected_and_cleared() -> None:
    screen = view()
    press(screen, "/upq\x7fd")
    assert screen.pattern == "upd"
    assert ids(screen) == [70]
    press(screen, "\r")
    assert not screen.typing
    press(screen, "\x1b")
    assert ids(screen) == [99, 70, 12, 1]
    press(screen, "/zoe\x1b")
    assert not screen.pattern


def test_the_mark_stays_with_its_thread() -> None:
    screen = view()
    press(screen, "\x1b[B\x1b[B")
    assert screen.chosen == 12
    screen.processes = [process(500), *reversed(screen.processes)]
    found = screen.marked()
    assert found is not None
    assert found.id == 12
    press(screen, "r")
    press(screen, "G")
    assert screen.chosen == ids(screen)[-1]
    press(screen, "g\x1b[A")
    assert screen.chosen == ids(screen)[0]
    screen.processes = []
    press(screen, "j")
    assert screen.marked() is None


@pytest.mark.parametrize(("key", "query_only"), [("K", True), ("X", False)])
def test_a_kill_wants_y_and_keeps_to_what_was_asked_about(key: str, query_only: bool) -> None:
    screen = view()
    press(screen, "j" + key)
    assert screen.asked is not None
    assert "70 (bob: UPDATE x)? [y/N]" in screen.asked.question
    listed = screen.asked.process
    screen.processes = [process(70, info="SELECT innocent", statement=7777)]
    kill = press(screen, "y")
    assert kill is not None
    assert kill.process is listed  # type: ignore[attr-defined]
    assert kill.query_only == query_only  # type: ignore[attr-defined]
    for other in ("n", "\r", " ", "K", "\x1b"):
        assert press(screen, key + other) is None
        assert not asks(screen)
        assert screen.told == "nothing was killed"


def test_the_system_and_the_sleeping_cannot_be_killed_by_mistake() -> None:
    screen = view()
    assert press(screen, "gK") is None
    assert not asks(screen)
    assert "a thread of the system" in screen.told
    press(screen, "a/sleep\rK")
    assert not asks(screen)
    assert "runs no statement" in screen.told
    press(screen, "X")
    assert asks(screen)


def test_age_has_its_colour() -> None:
    styles = [age_style(process(1, time=seconds)) for seconds in (0, 9, 10, 59, 60)]
    assert styles == ["green", "green", "yellow", "yellow", "bold red"]
    assert age_style(process(1, command="Sleep", time=600)) == "dim"
    assert age_style(process(1, command="Binlog Dump", time=600)) == "cyan"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 6), (20, 3)])
def test_it_fits_any_terminal_and_shows_the_marked_row(width: int, height: int) -> None:
    screen = View(processes=[process(n, info="SELECT '\x1b[31m\n" + "x" * 300) for n in range(90)])
    screen.chosen = 45
    with open(os.devnull, "w") as sink:
        console = Console(width=width, height=height, force_terminal=True, record=True, file=sink)
        console.print(screen.draw("title", width, height))
        text = console.export_text()
    lines = text.rstrip("\n").split("\n")
    assert len(lines) <= max(height, 5)
    assert all(len(line) <= width for line in lines)
    assert "45" in text
    assert "\x1b[31m" not in text


def test_keys_are_cut_whatever_comes() -> None:
    assert split_keys("a\x1b[Bb\x1b[5~\x1bOA\x1b") == [
        "a",
        "\x1b[B",
        "b",
        "\x1b[5~",
        "\x1bOA",
        "\x1b",
    ]
    assert split_keys("\x1b[") == ["\x1b["]
    screen = view()
    press(screen, "\x1b[99;99Rü\x00\x07")
    assert "sort" in screen.told


def test_without_a_terminal_it_says_so() -> None:
    done = run("myps", "top", "--mysql-socket", "/no/such")
    assert done.returncode == 1
    assert b"top needs a terminal" in done.stderr


# -- in a real terminal -----------------------------------------------------------------------


class Terminal:
    """A tmux of its own."""

    def __init__(self, socket: Path, command: list[str]) -> None:
        self.program = need_program("tmux")
        self.socket = str(socket)
        line = (
            "env -u NO_COLOR TERM=screen-256color "
            + shlex.join(command)
            + "; echo status=$?; stty -a; sleep 60"
        )
        line = f"LINES=7 COLUMNS=33 {line}"  # what a shell may export; the terminal knows better
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "20", line)

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            [self.program, "-S", self.socket, *words], capture_output=True, text=True, check=True
        )
        return done.stdout

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def shown(self, *, colours: bool = False) -> str:
        return self.tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def shows(self, text: str, within_s: float = 15) -> str:
        deadline = time.monotonic() + within_s
        while text not in (shown := self.shown()):
            assert time.monotonic() < deadline, f"{text} is not in:\n{shown}"
            time.sleep(0.05)
        return shown

    def close(self) -> None:
        subprocess.run([self.program, "-S", self.socket, "kill-server"], check=False)


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


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_terminal_that_stands_still_holds_up_no_end(
    number: signal.Signals, status: int, server: Server, tmp_path: Path
) -> None:
    reader, terminal = full_ends("tty", tmp_path / "none")
    before = termios.tcgetattr(terminal)
    options = ["--mysql-socket", server.socket, "--mysql-user", "root", "--refresh", "100ms"]
    running = start("myps", "top", *options, stdin=terminal, stdout=terminal)
    wait_for_handler(running.pid, signal.SIGTERM)
    running.send_signal(number)
    assert running.wait(10) == status
    assert termios.tcgetattr(terminal) == before
    os.close(reader)
    os.close(terminal)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_server_that_is_frozen_holds_up_no_end(
    number: signal.Signals, status: int, server: Server
) -> None:
    reader, terminal = pty.openpty()
    options = ["--mysql-socket", server.socket, "--mysql-user", "root", "--refresh", "100ms"]
    running = start("myps", "top", *options, stdin=terminal, stdout=terminal)
    wait_for_handler(running.pid, signal.SIGTERM)
    with frozen(server):
        stand_still(running)
        running.send_signal(number)
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
