"""The terminal of ``myps top``: keys at once, a screen that ^S may stop, all left as found."""

from __future__ import annotations

import os
import signal
import termios
import time
import tty
from contextlib import contextmanager, suppress
from io import TextIOBase
from typing import TYPE_CHECKING

from kojuto.common.streams import WRITE_TIMEOUT_S
from kojuto.tools.myps.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

LEAVE_ALTERNATE_SCREEN = "\x1b[?1049l\x1b[?25h"


class Ended(Exception):  # noqa: N818
    """SIGTERM has come."""


@contextmanager
def keys_at_once(descriptor: int) -> Iterator[None]:
    """The terminal hands over each key as it is typed; all is as before at the end."""
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)  # nobody may be reading


class Screen(TextIOBase):
    """Standard output for who draws on a terminal; `set_deadline` bounds its writes."""

    def __init__(self) -> None:
        self._output = Output()
        self._end: float | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What the terminal is written in."""
        return self._output.encoding

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(1)

    def write(self, text: str) -> int:
        """Put it in the line; `flush` writes it."""
        self._output.put(text)
        return len(text)

    def flush(self) -> None:
        """Write what was put there, while there is time.

        Raises:
            OSError: the terminal is gone.
        """
        self._output.flush(None if self._end is None else max(self._end - time.monotonic(), 0))

    def set_deadline(self, within_s: float) -> None:
        """From now on all writes together wait so long for a terminal that is stopped."""
        if self._end is None:
            self._end = time.monotonic() + within_s


@contextmanager
def left_as_found(screen: Screen) -> Iterator[None]:
    """Leave the alternate screen, with the cursor on, even where the one who drew could not.

    A terminal may be stopped (^S): a signal ends what waits for it, and the end is bounded.

    Raises:
        Ended: by SIGTERM.
    """

    def ended(number: int, _: object) -> NoReturn:
        screen.set_deadline(WRITE_TIMEOUT_S)
        raise KeyboardInterrupt if number == signal.SIGINT else Ended

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ended)
    try:
        yield
    except BaseException:
        screen.set_deadline(WRITE_TIMEOUT_S)
        with suppress(OSError):
            screen.write(LEAVE_ALTERNATE_SCREEN)
            screen.flush()
        raise
