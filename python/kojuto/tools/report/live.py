"""What is on the screen of ``kojuto report --follow``, and what each key does to it.

It knows neither terminal nor logs.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from kojuto.common import terminal
from kojuto.common.screen import KEYS
from kojuto.common.streams import one_line
from kojuto.errors import UsageError
from kojuto.tools.report import columns, figures, printing, telling
from kojuto.tools.report.summary import summary
from kojuto.tools.report.text import table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from kojuto._native import ReportData
    from kojuto.common.cli import Values
    from kojuto.tools.report.printing import View

    State = tuple[str, str | None, str | None, bool]

HELP = "q quit  s sort  r reverse  p pause  arrows scroll  ? help"
KEYS_TOLD = (
    ("q", "quit"),
    ("s S", "sort by the next column, by the one before"),
    ("r", "the smallest first"),
    ("p", "stop and go on; lines are read meanwhile"),
    ("Up Down PgUp PgDn Home End", "scroll"),
    ("?", "this, and any key goes back"),
)
LEAST_ROWS = 5
"""So many rows are shown before there is a summary of more than one line."""
BOLD, DIM, YELLOW, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[33m", "\x1b[0m"


class Live:
    """The state of the screen.

    Args:
        values: the options.
        data: the report to begin with.

    Attributes:
        paused: what comes is not shown.
        done: it is to end.

    Raises:
        UsageError: a column is none.
    """

    def __init__(self, values: Values, data: ReportData) -> None:
        self.values = values
        self.paused = self.done = False
        self._helps = False
        self._first = 0
        self._page = 1
        self._states: Sequence[State] = ()
        self._read: set[str] = set()
        self._data = self._newest = data
        self._view: View | None = printing.View(data, values)

    def show(self, data: ReportData, states: Sequence[State]) -> None:
        """What is shown from now on; while it is paused, of the logs alone."""
        self._newest, self._states = data, states
        self._catch_up()

    def _catch_up(self) -> None:
        if not self.paused:
            self._data, self._view = self._newest, None

    @property
    def view(self) -> View:
        """The rows, in their order."""
        if self._view is None:
            self._view = printing.View(self._data, self.values)
        return self._view

    # -- keys -------------------------------------------------------------------------------------

    def key(self, key: str) -> None:
        """Do what a key says."""
        self._read.update(self._notes())
        if key in ("q", "Q", "\x04"):
            self.done = True
        elif self._helps:
            self._helps = False
        elif key in ("s", "S"):
            self._sort(1 if key == "s" else -1)
        elif key == "r":
            setattr(self.values, "reverse", not self.values.reverse)  # noqa: B010
            self._view = None
        elif key in ("p", " "):
            self.paused = not self.paused
            self._catch_up()
        elif key == "?":
            self._helps = True
        elif key in KEYS:
            page, last = self._page, 1 << 30  # drawing brings it back
            steps = {"up": -1, "down": 1, "page up": -page, "page down": page, "end": last}
            self._first = max(self._first + steps.get(KEYS[key], -last), 0)

    def _sort(self, step: int) -> None:
        names = [name for name in self.view.columns if not columns.is_text(name)]
        if names:
            at = names.index(self.view.key) + step if self.view.key in names else 0
            setattr(self.values, "sort", names[at % len(names)])  # noqa: B010
            self._view, self._first = None, 0

    # -- drawing ----------------------------------------------------------------------------------

    def draw(self, width: int, height: int) -> list[str]:
        """The lines of the whole screen."""
        self._colour, self._unicode = terminal.shows_colour(), terminal.shows_unicode()
        facts = self._data.facts()
        lines = [self._styled(BOLD, figures.cut(self._title(), width))]
        lines += self._help(facts, width) if self._helps else self._report(facts, width, height - 2)
        lines = [*lines, *[""] * height][: height - 1]
        return [*lines, self._bottom(width)]

    def _styled(self, style: str, text: str) -> str:
        return f"{style}{text}{PLAIN}" if self._colour else text

    def _title(self) -> str:
        order = f"by {self.view.key}{', reversed' if self.values.reverse else ''}"
        last = figures.duration(self.values.window).removesuffix("00s")
        return f"the last {last}, {order}{'  PAUSED' if self.paused else ''}"

    def _report(self, facts: dict[str, Any], width: int, height: int) -> list[str]:
        view = self.view
        if not view.total["count"]:
            return ["", *wrap(one_line(self._nothing(facts)), width)]
        above = summary(view.data, view.total, view.zone, unicode=self._unicode, room=width)
        above = above[: max(height - LEAST_ROWS - 2, int(height > 3))]
        other = columns.left_over(view.total, view.rows, view.hidden)
        rows = len(view.rows) + (other is not None)
        gap = [""] if height > len(above) + LEAST_ROWS + 1 else []
        self._page = max(height - len(above) - len(gap) - 1, 1)
        self._first = max(min(self._first, rows - self._page), 0)
        last = self._first + self._page
        shown = table(
            view.rows[self._first : last], other if last >= rows else None, view.columns,
            room=width, fixed=self.values.columns is not None, colour=self._colour,
        )  # fmt: skip
        return [*above, *gap, *shown]

    def _help(self, facts: dict[str, Any], width: int) -> list[str]:
        room = max(len(keys) for keys, _ in KEYS_TOLD)
        lines = ["", *(f"  {keys:<{room}}  {what}" for keys, what in KEYS_TOLD), ""]
        if facts["format"] is not None:
            lines += wrap(f"read as {one_line(telling.found_in(facts))}", width)
        return lines

    def _bottom(self, width: int) -> str:
        notes = [note for note in self._notes() if note not in self._read]
        if not notes:
            return self._styled(DIM, figures.cut(self._place() + HELP, width))
        more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
        return self._styled(YELLOW, figures.cut(one_line(notes[0]) + more, width))

    def _place(self) -> str:
        rows = len(self.view.rows)
        if rows <= self._page or self._helps:
            return ""
        return f"{self._first + 1} to {min(self._first + self._page, rows)} of {rows:,}  "

    def _notes(self) -> list[str]:
        """What is to be told of the logs; a key takes it away."""
        notes = []
        for name, trouble, note, has_ended in self._states:
            notes += [text for text in (trouble, note) if text is not None]
            if has_ended:
                notes.append(f"{name} has ended")
        return notes

    def _nothing(self, facts: dict[str, Any]) -> str:
        """Why there are no rows."""
        names = [columns.text_of(name) for name in facts["files"]]
        if facts["bad"]:
            try:
                telling.refuse_nothing(names, self.values.format, facts, 0)
            except UsageError as error:
                return f"{error}; {error.hint}"
        of = names[0] if len(names) == 1 else f"{len(names):,} logs"
        return f"no line of {of} in this time"
