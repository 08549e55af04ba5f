"""``myps top``: a live view of the threads. It reads keys, has the server asked and draws."""

from __future__ import annotations

import codecs
import os
import select
import sys
import termios
import time
from typing import TYPE_CHECKING

from rich.console import ConsoleDimensions
from rich.live import Live

from kojuto.common import cli, screen
from kojuto.common.screen import Ended, Suspension, split_keys
from kojuto.errors import KojutoError
from kojuto.tools.myps.connect import Target
from kojuto.tools.myps.poller import Poller
from kojuto.tools.myps.processes import Server
from kojuto.tools.myps.view import FRAME_LINES, View

if TYPE_CHECKING:
    from rich.console import Console

    from kojuto.common.cli import Values

MIN_WIDTH = 20
TOO_SMALL = "the terminal is too small for the question"
STOPPED_S = 1
"""Drawing takes so long on a terminal that is stopped (^S)."""
OLD_S = 2
"""A list that is so old beyond its time is told to be old."""


class _Screen:
    """Keys, server and view together."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.target = Target(values)
        self.view = View(everything=values.all)
        self.poller = Poller(values, self.target, Server(self.target.connect(), values.debug))
        self.version = ""
        self.clock = ""
        self.answered = time.monotonic()
        self.following = 0.0
        self.suspension: Suspension

    def close(self) -> None:
        """Close the connection, unless the server stands still."""
        self.poller.close()

    def _take_answers(self) -> None:
        view = self.view
        for answer in self.poller.answers():
            view.told = answer.told or view.told
            view.trouble = answer.trouble
            if answer.processes is not None:
                view.processes, view.load = answer.processes, answer.load
                self.version, self.answered = answer.version, answer.at
                self.clock = time.strftime("%H:%M:%S")

    def _title(self) -> str:
        title = f"myps top  {self.clock}"
        age = time.monotonic() - self.answered
        if age >= self.values.refresh + OLD_S:
            title += f"  {age:.0f} s OLD"
        return f"{title}  {self.target.address}  {self.version}"

    def _draw(self, live: Live) -> bool:
        """Draw all; answers whether a question that waits can be read."""
        # By the terminal itself: COLUMNS and LINES in the environment do not follow it.
        width, height = os.get_terminal_size(0)
        console = live.console
        console.size = ConsoleDimensions(max(width, MIN_WIDTH), max(height, FRAME_LINES + 1))
        live.update(self.view.draw(self._title(), *console.size), refresh=True)
        return self.view.question_drawn and console.size == (width, height)

    def _pressed(self, live: Live, typed: str) -> None:
        """Do what was typed; a question is put on the screen before anything can answer it."""
        for key in split_keys(typed):
            asked = self.view.asked
            kill = self.view.key(key)
            if kill is not None:
                self.view.told = f"killing {kill.process.id}"
                self.poller.ask(kill)
                self.following = 0.0
            elif self.view.asked is not asked and self.view.asked is not None:
                self._show_question(live)
                return

    def _show_question(self, live: Live) -> None:
        """Draw it; what was typed before it could be read is no answer to it."""
        begun = time.monotonic()
        termios.tcflush(0, termios.TCIFLUSH)
        if not self._draw(live):
            self.view.asked = None
            self.view.told = TOO_SMALL
        if time.monotonic() - begun >= STOPPED_S:
            termios.tcflush(0, termios.TCIFLUSH)

    def run(self, console: Console) -> None:
        """Until q."""
        view, poller, suspension = self.view, self.poller, self.suspension
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        poller.start()
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while not view.done:
                suspension.handle_signals()
                self._take_answers()
                if time.monotonic() >= self.following and not poller.waiting:
                    if not view.paused:
                        poller.ask()
                    self.following = time.monotonic() + self.values.refresh
                if not self._draw(live) and view.asked is not None:  # it was made smaller
                    view.asked = None
                    view.told = TOO_SMALL
                    continue
                # An answer that is due wakes us; the age of the list goes on by the second.
                following = 1.0 if poller.waiting else max(self.following - time.monotonic(), 0)
                wait = min(following, 1.0)
                listened = [0, poller.descriptor, suspension.descriptor]
                ready, _, _ = select.select(listened, [], [], wait)
                if 0 not in ready:
                    continue
                typed = os.read(0, 256)
                if not typed:
                    return
                self._pressed(live, decoder.decode(typed))


def top(values: Values) -> int:
    """Show the live view.

    Raises:
        KojutoError: there is no terminal to draw on, or no server at the start.
    """
    hint = "myps grep prints a list anywhere"
    if not sys.stdin.isatty():
        raise KojutoError("top needs a terminal", hint)
    terminal, console = screen.opened("top", hint)
    running = _Screen(values)
    try:
        with screen.drawn_on(terminal) as running.suspension:
            running.run(console)
    except Ended:
        return cli.DONE
    finally:
        running.close()
    return cli.DONE
