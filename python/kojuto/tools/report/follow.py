"""``kojuto report --follow``: reads keys, has the logs read, and draws."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

from rich.console import ConsoleDimensions, Group
from rich.live import Live as Drawn
from rich.text import Text

from kojuto.common import cli, screen
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.report import reading, scanning
from kojuto.tools.report.live import Live
from kojuto.tools.report.options import PROG

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rich.console import Console

    from kojuto._native import ReportLive
    from kojuto.common.cli import Values
    from kojuto.common.screen import Suspension

WHOLE = ("since", "until", "jobs", "output", "slowest", "plot", "save", "html", "merge", "compare",
         "fail_above")  # fmt: skip
"""Options of a report that is whole."""
EVERY_S = 1.0
"""How often the logs are looked at, and the picture is drawn anew at most."""
MIN_WIDTH, MIN_HEIGHT = 20, 4
KEYS_BYTES = 256
HINT = f"{PROG} --since -5m prints a table anywhere"


def check(values: Values) -> None:
    """Refuse what cannot be followed.

    Raises:
        UsageError: an option is for a whole report.
    """
    for name in WHOLE:
        if name in values.given:
            title = "--" + name.replace("_", "-")
            raise UsageError(
                f"{title} cannot go with --follow",
                "--follow shows the table of the last --window TIME, and nothing else",
            )


def _refuse_packed(paths: list[str]) -> None:
    """Refuse logs that do not grow.

    Raises:
        UsageError: a log is compressed.
        OSError: it cannot be read.
    """
    from kojuto._native import packed_by

    for path in paths:
        if path == "-" or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            program = packed_by(file.read(10))[0]
        if program is not None:
            raise UsageError(
                f"{reading.title(path)}: it is packed by {program} and gets no more lines",
                f"{PROG} without --follow reads it",
            )


class Follow:
    """Logs, keys and picture together.

    Args:
        logs: what is followed.
        live: what is on the screen.
        keys: the descriptor that keys come from.
    """

    def __init__(self, logs: ReportLive, live: Live, keys: int) -> None:
        self._logs = logs
        self._live = live
        self._keys = keys
        self._states = logs.states()
        self._has_new = self._is_drawn = False
        self._size = (0, 0)

    def _has_ended(self) -> bool:
        return all(has_ended for *_, has_ended in self._states)

    def _read(self) -> None:
        """Take in what has come; when nothing more can come, the last picture stays."""
        if not self._has_ended():
            self._has_new |= self._logs.read(time.time())

    def _renew(self) -> None:
        """Have the new lines be in the picture, unless that stands still."""
        states = self._logs.states()
        if not self._has_new and states == self._states:
            return
        self._states, self._is_drawn = states, False
        self._live.show(self._logs.data(), states)
        self._has_new = False

    def _draw(self, drawn: Drawn) -> None:
        # By the terminal itself: COLUMNS and LINES in the environment do not follow it.
        width, height = os.get_terminal_size(1)
        if self._is_drawn and self._size == (width, height):
            return
        self._size, self._is_drawn = (width, height), True
        width, height = max(width, MIN_WIDTH), max(height, MIN_HEIGHT)
        drawn.console.size = ConsoleDimensions(width, height)
        lines = [Text.from_ansi(line) for line in self._live.draw(width, height)]
        for line in lines:
            line.no_wrap, line.overflow = True, "crop"
        drawn.update(Group(*lines), refresh=True)

    def run(self, console: Console, suspension: Suspension) -> None:
        """Until q."""
        with Drawn(console=console, screen=True, auto_refresh=False) as drawn:
            self._draw(drawn)
            due_s = 0.0
            while not self._live.done:
                if suspension.handle_signals():
                    self._is_drawn = False
                self._read()
                if time.monotonic() >= due_s:
                    self._renew()
                    due_s = time.monotonic() + EVERY_S
                self._draw(drawn)
                wait_s = max(due_s - time.monotonic(), 0)
                listened = [self._keys, suspension.descriptor, *self._logs.descriptors()]
                ready, _, _ = select.select(listened, [], [], wait_s)
                if self._keys in ready and not self._pressed():
                    return

    def _pressed(self) -> bool:
        """Do what was typed; False when the terminal is gone."""
        typed = os.read(self._keys, KEYS_BYTES)
        for key in screen.split_keys(typed.decode(errors="replace")):
            self._live.key(key)
        self._is_drawn = False
        return bool(typed)


def _keyboard(paths: list[str]) -> int:
    """The descriptor that keys come from: the terminal, though standard input may be a log.

    Raises:
        KojutoError: there is none.
    """
    if "-" not in paths and os.isatty(0):
        return 0
    try:
        return os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        raise KojutoError("--follow needs a terminal", HINT) from None


def work(values: Values, names: list[str], options: Mapping[str, Any]) -> int:
    """Show the live table.

    Args:
        values: the options.
        names: the logs, as they were named.
        options: those of lines.

    Raises:
        KojutoError: there is no terminal to draw on.
        UsageError: an option cannot be so.
    """
    check(values)
    paths = reading.paths(PROG, names, may_be_missing=True)
    _refuse_packed(paths)
    if values.limit is None:
        setattr(values, "limit", 0)  # noqa: B010
    logs = scanning.live(paths, options, values.window)
    live = Live(values, logs.data())
    terminal, console = screen.opened("--follow", HINT)
    follow = Follow(logs, live, keys := _keyboard(paths))
    try:
        with screen.drawn_on(terminal, keys) as suspension:
            follow.run(console, suspension)
    except screen.Ended:
        pass
    return cli.DONE
