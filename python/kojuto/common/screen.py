"""A terminal that is drawn on: keys at once, a screen that ^S may stop, all left as found."""

from __future__ import annotations

import os
import signal
import termios
import time
import tty
from contextlib import contextmanager, suppress
from io import TextIOBase
from typing import TYPE_CHECKING, Any

from kojuto.common.output import Output
from kojuto.common.streams import WRITE_TIMEOUT_S
from kojuto.errors import KojutoError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from rich.console import Console

LEAVE_ALTERNATE_SCREEN = "\x1b[?1049l\x1b[?25h"
ENTER_ALTERNATE_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[H"

KEYS = {
    "\x1b[A": "up", "\x1bOA": "up", "k": "up", "\x1b[B": "down", "\x1bOB": "down", "j": "down",
    "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b[H": "home", "\x1bOH": "home",
    "\x1b[1~": "home", "g": "home", "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end", "G": "end",
}  # fmt: skip
"""Those that move, as a terminal sends them."""


class Ended(Exception):  # noqa: N818
    """SIGTERM or SIGHUP has come."""


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


@contextmanager
def keys_at_once(descriptor: int) -> Iterator[list[Any]]:
    """The terminal hands over each key as it is typed; all is as before at the end.

    Yields:
        How it was before, as termios has it.
    """
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield before
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
        Ended: by SIGTERM or SIGHUP.
    """

    def ended(number: int, _: object) -> NoReturn:
        screen.set_deadline(WRITE_TIMEOUT_S)
        raise KeyboardInterrupt if number == signal.SIGINT else Ended

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, ended)
    try:
        yield
    except BaseException:
        screen.set_deadline(WRITE_TIMEOUT_S)
        with suppress(OSError):
            screen.write(LEAVE_ALTERNATE_SCREEN)
            screen.flush()
        raise


class Suspension:
    """^Z, and the way back: the terminal is the shell's meanwhile. And a size that has changed.

    Args:
        screen: what is drawn on.
        before: how the shell wants the terminal, as termios has it.
        keys: the descriptor that keys come from.

    Attributes:
        descriptor: is readable when `handle_signals` has something to do.
    """

    def __init__(self, screen: Screen, before: list[Any], keys: int = 0) -> None:
        self._screen = screen
        self._before = before
        self._keys = keys
        self.descriptor, self._bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = False

    def __enter__(self) -> Suspension:  # noqa: PYI034
        self._catch()
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH):
            signal.signal(number, signal.SIG_DFL)

    def _catch(self) -> None:
        def came(number: int, _: object) -> None:
            self._stopping = self._stopping or number == signal.SIGTSTP
            with suppress(OSError):
                os.write(self._bell, b"!")

        for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH):
            signal.signal(number, came)

    def handle_signals(self) -> bool:
        """Stop if ^Z was typed; where the process was stopped, have the screen back.

        A terminal of another size is entered anew too: what it has made of the old picture goes.

        Returns:
            Whether all is to be drawn anew.

        Raises:
            OSError: the terminal is gone.
        """
        try:
            os.read(self.descriptor, 64)
        except BlockingIOError:
            return False
        if self._stopping:
            self._stopping = False
            self._screen.write(LEAVE_ALTERNATE_SCREEN)
            self._screen.flush()
            termios.tcsetattr(self._keys, termios.TCSANOW, self._before)
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)  # and here it stands until SIGCONT
            self._catch()
        tty.setcbreak(self._keys, termios.TCSANOW)
        self._screen.write(ENTER_ALTERNATE_SCREEN)
        self._screen.flush()
        return True


def opened(what: str, hint: str) -> tuple[Screen, Console]:
    """A screen, and what draws on it.

    Args:
        what: for messages: ``top``.
        hint: what to do without a terminal.

    Raises:
        KojutoError: there is no terminal, or none that can be drawn on.
    """
    from rich.console import Console

    if not os.isatty(1):
        raise KojutoError(f"{what} needs a terminal", hint)
    screen = Screen()
    console = Console(file=screen)  # type: ignore[arg-type]
    if console.is_dumb_terminal:
        raise KojutoError(f"{what} cannot draw on a terminal of TERM={os.environ['TERM']}", hint)
    return screen, console


@contextmanager
def drawn_on(screen: Screen, keys: int = 0) -> Iterator[Suspension]:
    """The terminal is ours, whatever happens until the end.

    Args:
        screen: what is drawn on.
        keys: the descriptor that keys come from.

    Raises:
        Ended: by SIGTERM or SIGHUP.
    """
    with (
        keys_at_once(keys) as before,
        left_as_found(screen),
        Suspension(screen, before, keys) as suspension,
    ):
        yield suspension
