"""``myps top``: a live view of the threads.

`View` is what is on the screen and what each key does to it; it knows neither terminal nor server.
`top` reads keys, asks the server and draws.
"""

from __future__ import annotations

import codecs
import os
import select
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pymysql
from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kojuto.common import cli
from kojuto.errors import KojutoError
from kojuto.tools.myps.connect import Target, server_words
from kojuto.tools.myps.kill_same import Outcome, kill_same
from kojuto.tools.myps.processes import Server
from kojuto.tools.myps.show import escape
from kojuto.tools.myps.terminal import Ended, Screen, keys_at_once, left_as_found

if TYPE_CHECKING:
    from typing import IO

    from kojuto.common.cli import Values
    from kojuto.tools.myps.processes import Process

COLUMNS = {"t": "time", "u": "user", "d": "db", "c": "command", "s": "state", "n": "id"}
KEYS = {
    "\x1b[A": "up", "\x1bOA": "up", "k": "up", "\x1b[B": "down", "\x1bOB": "down", "j": "down",
    "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b[H": "home", "g": "home",
    "\x1b[F": "end", "G": "end",
}  # fmt: skip
HELP = "t u d c s n sort  r reverse  / filter  a all  ↑↓ choose  K statement  X connection  q quit"
SLOW_S, VERY_SLOW_S = 10, 60
FRAME_LINES = 4  # the two lines above the table, its head, and the line below


@dataclass
class Kill:
    """A kill that waits for its confirmation."""

    process: Process
    query_only: bool

    @property
    def question(self) -> str:
        """What is asked."""
        what = "the statement" if self.query_only else "the connection"
        process = self.process
        return f"Kill {what} of {process.id} ({process.user}: {escape(process.info)[:50]})? [y/N]"


@dataclass
class View:
    """The state of the screen.

    Attributes:
        processes: as the server last told.
        sort, reverse: the column's name, and whether upside down.
        pattern: what a row must contain, whatever its case; empty for all.
        everything: sleeping connections too.
        chosen: the id of the row that is marked; it stays with its thread.
        typing: whether keys go into `pattern`.
        asked: a kill that waits for y.
        told: one line of news.
    """

    processes: list[Process] = field(default_factory=list)
    sort: str = "time"
    reverse: bool = False
    pattern: str = ""
    everything: bool = False
    chosen: int | None = None
    typing: bool = False
    paused: bool = False
    asked: Kill | None = None
    told: str = ""
    done: bool = False
    page: int = 10

    def rows(self) -> list[Process]:
        """What is shown, in order: the oldest first unless told otherwise."""
        wanted = self.pattern.casefold()
        shown = [
            process
            for process in self.processes
            if (self.everything or process.command != "Sleep")
            and wanted in "\t".join(
                (str(process.id), process.user, process.host, process.db, process.command,
                 process.state, process.info)
            ).casefold()
        ]  # fmt: skip
        if self.sort == "time":
            shown.sort(key=lambda process: (-process.time, process.id))
        else:
            name = self.sort
            shown.sort(key=lambda process: (getattr(process, name), -process.time, process.id))
        if self.reverse:
            shown.reverse()
        return shown

    def marked(self) -> Process | None:
        """The row that is marked; the first one when its thread is gone."""
        shown = self.rows()
        found = next((process for process in shown if process.id == self.chosen), None)
        return found or (shown[0] if shown else None)

    def key(self, key: str) -> Kill | None:
        """Do what a key says; answers a kill that was confirmed."""
        if self.asked is not None:
            asked, self.asked = self.asked, None
            if key in ("y", "Y"):
                return asked
            self.told = "nothing was killed"
        elif self.typing:
            self._type(key)
        else:
            self.told = ""
            self._command(key)
        return None

    def _type(self, key: str) -> None:
        if key in ("\r", "\n"):
            self.typing = False
        elif key == "\x1b":
            self.typing, self.pattern = False, ""
        elif key in ("\x7f", "\b"):
            self.pattern = self.pattern[:-1]
        elif key == "\x15":  # ^U
            self.pattern = ""
        elif key.isprintable() and len(key) == 1 and len(self.pattern) < 200:
            self.pattern += key

    def _command(self, key: str) -> None:
        if key in COLUMNS:
            self.sort = COLUMNS[key]
        elif key == "r":
            self.reverse = not self.reverse
        elif key == "a":
            self.everything = not self.everything
        elif key == "/":
            self.typing = True
        elif key == "\x1b":
            self.pattern = ""
        elif key == " ":
            self.paused = not self.paused
        elif key in ("q", "Q", "\x04"):
            self.done = True
        elif key in ("K", "X"):
            self._ask(query_only=key == "K")
        elif key in KEYS:
            self._move(KEYS[key])
        else:
            self.told = HELP

    def _ask(self, *, query_only: bool) -> None:
        process = self.marked()
        if process is None:
            self.told = "no thread is marked"
        elif process.system:
            self.told = (
                f"{process.id} is a thread of the system: myps kill --include-system kills those"
            )
        elif query_only and process.command == "Sleep":
            self.told = f"{process.id} runs no statement (X ends the connection)"
        else:
            self.asked = Kill(process, query_only)

    def _move(self, where: str) -> None:
        ids = [process.id for process in self.rows()]
        if not ids:
            return
        at = ids.index(self.chosen) if self.chosen in ids else 0
        steps = {"up": -1, "down": 1, "page up": -self.page, "page down": self.page}
        at = {"home": 0, "end": len(ids) - 1}.get(where, at + steps.get(where, 0))
        self.chosen = ids[max(0, min(at, len(ids) - 1))]

    # -- drawing ----------------------------------------------------------------------------------

    def draw(self, title: str, width: int, height: int) -> Group:
        """The whole screen."""
        shown = self.rows()
        self.page = max(1, height - FRAME_LINES)
        mark = self.marked()
        at = next((n for n, process in enumerate(shown) if process is mark), 0)
        first = max(0, min(at - self.page // 2, len(shown) - self.page))
        table = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), width=width)
        for name, most in (("ID", 10), ("USER", 14), ("HOST", 22), ("DB", 14), ("COMMAND", 12)):
            table.add_column(self._head(name), max_width=most, no_wrap=True, overflow="ellipsis")
        table.add_column(self._head("TIME"), justify="right", no_wrap=True)
        table.add_column(self._head("STATE"), max_width=24, no_wrap=True, overflow="ellipsis")
        table.add_column(self._head("INFO"), ratio=1, no_wrap=True, overflow="ellipsis")
        for process in shown[first : first + self.page]:
            fields = (
                str(process.id), process.user, process.host, process.db, process.command,
                str(process.time), process.state, process.info[:500],
            )  # fmt: skip
            cells = [Text(escape(text)) for text in fields]
            style = age_style(process) + (" reverse" if process is mark else "")
            table.add_row(*cells, style=style.strip())
        blank = self.page - min(self.page, len(shown) - first)
        return Group(
            Text(title, style="bold", no_wrap=True, overflow="ellipsis"),
            Text(self._summary(len(shown)), no_wrap=True, overflow="ellipsis"),
            table,
            *[Text("")] * blank,
            self._bottom(),
        )

    def _head(self, name: str) -> Text:
        arrow = (" ▲" if self.reverse else " ▼") if name.lower() == self.sort else ""
        return Text(name + arrow, style="bold underline")

    def _summary(self, shown: int) -> str:
        asleep = sum(1 for process in self.processes if process.command == "Sleep")
        text = f"{len(self.processes)} threads, {asleep} asleep, {shown} shown"
        if self.pattern or self.typing:
            text += f"  filter: {self.pattern}" + ("▏" if self.typing else "")
        return text + ("  PAUSED" if self.paused else "")

    def _bottom(self) -> Text:
        if self.asked is not None:
            return Text(self.asked.question, style="bold white on red", no_wrap=True)
        style = "yellow" if self.told and self.told != HELP else "dim"
        return Text(self.told or HELP, style=style, no_wrap=True, overflow="ellipsis")


def age_style(process: Process) -> str:
    """How a row looks: by how long its statement has been running."""
    if process.system:
        return "cyan"
    if process.command == "Sleep":
        return "dim"
    if process.time >= VERY_SLOW_S:
        return "bold red"
    return "yellow" if process.time >= SLOW_S else "green"


def split_keys(text: str) -> list[str]:
    """Typed text cut into keys; an escape sequence is one."""
    keys = []
    while text:
        size = 1
        if text[0] == "\x1b" and text[1:2] in ("[", "O"):
            size = 2
            while size < len(text) and not text[size].isalpha() and text[size] != "~":
                size += 1
            size += 1
        keys.append(text[:size])
        text = text[size:]
    return keys


class _Screen:
    """Keys, server and view together."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.target = Target(values)
        self.view = View(everything=values.all)
        self.server: Server | None = Server(self.target.connect(), values.debug)
        self.title = ""

    def look(self) -> None:
        """Ask the server; one that is away is told of and tried again next time."""
        try:
            if self.server is None:
                self.server = Server(self.target.connect(), self.values.debug)
            self.view.processes = self.server.match(self.values)
            now = time.strftime("%H:%M:%S")
            self.title = f"myps top  {self.target.address}  {self.server.version}  {now}"
        except (KojutoError, pymysql.err.MySQLError, OSError) as error:
            self.lost(error)

    def lost(self, error: Exception) -> None:
        """Let go of a connection that failed."""
        self.close()
        self.view.told = f"{server_words(error)}; trying again"

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        if self.server is not None:
            with suppress(pymysql.err.MySQLError, OSError):
                self.server.connection.close()
            self.server = None

    def kill(self, kill: Kill) -> None:
        """Kill what was confirmed, if it still is what was asked about."""
        if self.server is None:
            self.view.told = "not connected, nothing was killed"
            return
        number = kill.process.id
        try:
            outcome = kill_same(self.server, kill.process, query_only=kill.query_only)
        except (pymysql.err.MySQLError, OSError) as error:
            self.view.told = f"{number}: {server_words(error)}"
            return
        self.view.told = f"KILLED {number}"
        if outcome is Outcome.PASSED_OVER:
            self.view.told = f"{number} is gone or on to another statement: passed over"
        elif outcome is Outcome.STATEMENT_ONLY:
            self.view.told = f"{number}: only its statement was killed, the connection had moved on"

    def run(self, console: Console) -> None:
        """Until q."""
        view = self.view
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        following = 0.0
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while not view.done:
                if time.monotonic() >= following:
                    if not view.paused:
                        self.look()
                    following = time.monotonic() + self.values.refresh
                # By the terminal itself: COLUMNS and LINES in the environment do not follow it.
                width, height = os.get_terminal_size(0)
                console.size = ConsoleDimensions(max(width, 20), max(height, FRAME_LINES + 1))
                live.update(view.draw(self.title, *console.size), refresh=True)
                wait = min(max(following - time.monotonic(), 0), 0.5)
                ready, _, _ = select.select([0], [], [], wait)
                if not ready:
                    continue
                typed = os.read(0, 256)
                if not typed:
                    return
                for key in split_keys(decoder.decode(typed)):
                    kill = view.key(key)
                    if kill is not None:
                        self.kill(kill)
                        following = 0.0


def top(values: Values) -> int:
    """Show the live view.

    Raises:
        KojutoError: there is no terminal, or no server at the start.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise KojutoError("top needs a terminal", "myps grep prints a list anywhere")
    screen = _Screen(values)
    terminal = Screen()
    try:
        with keys_at_once(0), left_as_found(terminal):
            screen.run(Console(file=cast("IO[str]", terminal)))
    except Ended:
        return cli.DONE
    finally:
        screen.close()
    return cli.DONE
