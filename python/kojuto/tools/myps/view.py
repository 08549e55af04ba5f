"""What is on the screen of ``myps top``, and what each key does to it.

It knows neither terminal nor server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from kojuto.common.screen import KEYS
from kojuto.tools.myps.columns import NAMES, fields, fold, widths
from kojuto.tools.myps.show import escape

if TYPE_CHECKING:
    from kojuto.tools.myps.processes import Process

COLUMNS = {"t": "time", "u": "user", "d": "db", "c": "command", "s": "state", "n": "id"}
HELP = "t u d c s n sort  r reverse  / filter  a all  ⏎ whole  K X kill  q quit"
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
        trouble: why the list is old, while it is.
        load: how busy the server is.
        whole: a thread whose statement fills the screen.
        scrolled: the first line of it that is shown.
        question_drawn: whether the question was on the screen as it was drawn last.
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
    trouble: str = ""
    load: str = ""
    whole: Process | None = None
    scrolled: int = 0
    question_drawn: bool = False
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
        elif self.whole is not None:
            self._scroll(key)
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
        elif key in ("\r", "\n"):
            self.whole, self.scrolled = self.marked(), 0
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
        if self.whole is not None:
            return self._draw_statement(self.whole, width, height)
        shown = self.rows()
        bottom = self._bottom(width)
        self.page = max(1, height - FRAME_LINES - len(bottom) + 1)
        self.question_drawn = self.asked is not None and len(bottom) + FRAME_LINES <= height
        mark = self.marked()
        at = next((n for n, process in enumerate(shown) if process is mark), 0)
        first = max(0, min(at - self.page // 2, len(shown) - self.page))
        blank = self.page - min(self.page, len(shown) - first)
        return Group(
            Text(title, style="bold", no_wrap=True, overflow="ellipsis"),
            Text(self._summary(len(shown)), no_wrap=True, overflow="ellipsis"),
            self._table(shown[first : first + self.page], mark, width),
            *[Text("")] * blank,
            *bottom,
        )

    def _table(self, shown: list[Process], mark: Process | None, width: int) -> Table:
        heads = {name: self._head(name) for name in NAMES}
        columns, port = widths(shown, heads, width)
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), width=width)
        for name, most in columns.items():
            table.add_column(
                Text(heads[name], style="bold underline"), width=most, no_wrap=True,
                overflow="ellipsis", justify="right" if name == "TIME" else "left",
            )  # fmt: skip
        for process in shown:
            texts = fields(process, port=port)
            style = age_style(process) + (" reverse" if process is mark else "")
            table.add_row(*[Text(texts[name]) for name in columns], style=style.strip())
        return table

    def _head(self, name: str) -> str:
        return name + ((" ▲" if self.reverse else " ▼") if name.lower() == self.sort else "")

    def _summary(self, shown: int) -> str:
        asleep = sum(1 for process in self.processes if process.command == "Sleep")
        text = f"{len(self.processes)} threads, {asleep} asleep, {shown} shown"
        if self.pattern or self.typing:
            text += f"  filter: {self.pattern}" + ("▏" if self.typing else "")
        text += "  PAUSED" if self.paused else ""
        return f"{text}  {self.load}"

    def _bottom(self, width: int) -> list[Text]:
        """The question on lines of its own, or one line of news or help."""
        if self.asked is not None:
            lines = fold(self.asked.question, width)
            return [Text(line, style="bold white on red", no_wrap=True) for line in lines]
        told = self.told or self.trouble
        style = "yellow" if told and told != HELP else "dim"
        return [Text(told or HELP, style=style, no_wrap=True, overflow="ellipsis")]

    # -- one statement ----------------------------------------------------------------------------

    def _draw_statement(self, process: Process, width: int, height: int) -> Group:
        lines = [
            line
            for row in process.info.replace("\t", "    ").split("\n")
            for line in fold(escape(row).replace("\\\\", "\\"), width)
        ]
        self.page = max(1, height - 2)
        self.scrolled = max(0, min(self.scrolled, len(lines) - self.page))
        part = lines[self.scrolled : self.scrolled + self.page]
        cut = ", cut by the server" if process.cut else ""
        title = f"{process.id} {process.user} {process.host} {process.db} {process.time} s{cut}"
        last = self.scrolled + len(part)
        foot = f"lines {self.scrolled + 1} to {last} of {len(lines)}  ↑↓ scroll  Enter goes back"
        return Group(
            Text(escape(title), style="bold", no_wrap=True, overflow="ellipsis"),
            *[Text(line, no_wrap=True) for line in part],
            *[Text("")] * (self.page - len(part)),
            Text(foot, style="dim", no_wrap=True, overflow="ellipsis"),
        )

    def _scroll(self, key: str) -> None:
        where = KEYS.get(key, "")
        steps = {"up": -1, "down": 1, "page up": -self.page, "page down": self.page}
        if key in ("\r", "\n", "\x1b", "q", "Q", "\x04"):
            self.whole = None
        elif where == "home":
            self.scrolled = 0
        elif where == "end":
            self.scrolled = 1 << 30  # drawing brings it back
        else:
            self.scrolled = max(0, self.scrolled + steps.get(where, 0))


def age_style(process: Process) -> str:
    """How a row looks: by how long its statement has been running."""
    if process.system:
        return "cyan"
    if process.command == "Sleep":
        return "dim"
    if process.time >= VERY_SLOW_S:
        return "bold red"
    return "yellow" if process.time >= SLOW_S else "green"
