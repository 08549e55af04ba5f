"""The standard streams of a process: open before anything else is, flushed at its end.

A closed one is replaced before anything else is opened, else its number goes to the next file or
connection. What stands in its place takes no bytes and gives none (as gnulib's ``stdopen`` has
it), so that a result that is written to a closed standard output fails where it is written, and a
server that never writes there serves.

Standard output takes all that is written to it, or fails. Python's own gives up where the pipe is
one that does not wait (O_NONBLOCK, which a neighbour may have set: they share it), and without its
buffer (PYTHONUNBUFFERED, as in most images of containers) it forgets what a full disk or such a
pipe did not take, without a word.
"""

from __future__ import annotations

import os
import sys
from io import BufferedReader, BufferedWriter, FileIO, RawIOBase, TextIOWrapper

from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WRITE_TIMEOUT_S = 3.0
"""How long a process waits, in all of its writes, for a reader of stderr that does not read."""
PIECE_CHARS = 1024
"""So much, of at most four bytes each, fits into a pipe that is ready (PIPE_BUF, pipe(7))."""

closed: set[int] = set()
"""The descriptors among 0 to 2 that were closed when the process began."""

_waited_s = 0.0


class _Waiting(FileIO):
    """A file that is waited for, also if it does not wait by itself."""

    def readinto(self, buffer: Any) -> int:
        data = take(self.fileno(), len(buffer))
        buffer[: len(data)] = data
        return len(data)

    read = RawIOBase.read  # type: ignore[assignment]
    readall = RawIOBase.readall

    def write(self, data: Any) -> int:
        while True:
            written = super().write(data)
            if written is not None:
                return written
            from select import POLLOUT

            _wait_for(self.fileno(), POLLOUT)


class _AtOnce(BufferedWriter):
    """A buffer that keeps nothing, for one who asked for none."""

    def write(self, data: Any) -> int:
        written = super().write(data)
        self.flush()
        return written


def prepare() -> None:
    """Put something on closed descriptors 0 to 2, and let the streams take everything."""
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        if not _is_open(number):
            # The lowest free number is taken, and those below are open by now.
            os.set_inheritable(os.open(os.devnull, mode), True)
            closed.add(number)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    _have_output_wait()
    _have_input_wait()
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) not in (None, "backslashreplace"):
            # No locale may keep a command from saying what it has to say.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _have_output_wait() -> None:
    old = sys.stdout
    if old is not sys.__stdout__ or type(old) is not TextIOWrapper:
        return  # it is done, or somebody else's
    old.flush()
    is_buffered = type(old.buffer) is BufferedWriter
    kind = BufferedWriter if is_buffered else _AtOnce
    sys.stdout = TextIOWrapper(
        kind(_Waiting(old.fileno(), "w", closefd=False)),
        old.encoding,
        old.errors,
        line_buffering=old.line_buffering,
        write_through=not is_buffered,
    )


def _have_input_wait() -> None:
    old = sys.stdin
    if old is sys.__stdin__ and type(old) is TextIOWrapper and not os.get_blocking(old.fileno()):
        raw = _Waiting(old.fileno(), closefd=False)
        sys.stdin = TextIOWrapper(BufferedReader(raw), old.encoding, old.errors)


def opened(name: str) -> BufferedReader:
    """A file to be read, for `-` standard input.

    Raises:
        OSError: it cannot be opened.
    """
    if name == "-":
        return BufferedReader(_Waiting(0, closefd=False))
    return BufferedReader(_Waiting(os.open(name, os.O_RDONLY | os.O_CLOEXEC)))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def say(text: str) -> None:
    """Write to standard error; what a reader does not take within `WRITE_TIMEOUT_S` is dropped."""
    try:
        for start in range(0, len(text), PIECE_CHARS):
            if not _is_ready():
                return
            sys.stderr.write(text[start : start + PIECE_CHARS])
            sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody is left to tell


def progress(line: str) -> None:
    """Show how far it is in the last line of the terminal on standard error, cut to its width.

    The line must be printable; what was shown before it is gone. An empty one leaves nothing.
    """
    try:
        columns = os.get_terminal_size(2).columns or 80  # a serial console may not know
    except OSError:
        columns = 80
    say(f"\r{_cut(line, max(columns - 1, 1))}\x1b[K")


def _cut(line: str, columns: int) -> str:
    """The beginning of `line` that fits; kanji and their like take two columns."""
    if line.isascii():
        return line[:columns]
    from unicodedata import combining, east_asian_width

    for at, character in enumerate(line):
        if not combining(character):
            columns -= 2 if east_asian_width(character) in "WF" else 1
        if columns < 0:
            return line[:at]
    return line


def _is_ready() -> bool:
    global _waited_s  # noqa: PLW0603 (one time-out for all that a process writes)
    from select import POLLOUT, poll
    from time import monotonic

    try:
        number = sys.stderr.fileno()
    except (OSError, ValueError):
        return True  # no descriptor is behind it, as in a test
    waiting = poll()
    waiting.register(number, POLLOUT)
    began = monotonic()
    ready = bool(waiting.poll(max(WRITE_TIMEOUT_S - _waited_s, 0) * 1000))
    _waited_s += monotonic() - began
    return ready


def reader_is_gone() -> bool:
    """Whether standard output is a pipe or a socket that nobody reads any more."""
    from select import POLLERR, POLLHUP, poll

    waiting = poll()
    waiting.register(1, 0)
    return any(events & (POLLERR | POLLHUP) for _, events in waiting.poll(0))


def print_whole(text: str) -> None:
    """Print a result that is of use whole or not at all, such as a token.

    Raises:
        KojutoError: nobody is there to read it. For what is read until the reader has enough, that
            is a quiet end; here whoever asked has nothing and must not believe that all is well.
        OSError: standard output does not take it.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError as error:
        give_up(1)
        raise KojutoError(
            f"standard output: {words(error)}", "what reads it must run until it has read all"
        ) from None


def output_fails() -> bool:
    """Whether standard output still holds what cannot be written."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return True
    return False


def give_up(number: int) -> None:
    """Discard what standard output (1) or error (2) holds and cannot write.

    The interpreter flushes once more at its end, which would be its own traceback and status 120.
    """
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, number)
        os.close(devnull)
        (sys.stdout if number == 1 else sys.stderr).flush()
    except (OSError, ValueError):
        pass


def finish(status: int) -> int:
    """Flush both streams, the last thing a command does.

    Args:
        status: the exit status so far.

    Returns:
        The status to end with.

    Raises:
        OSError: standard output does not take what was written to it.
    """
    if not _flushed_error():
        give_up(2)
    sys.stdout.flush()
    return status


def _flushed_error() -> bool:
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True


def take(descriptor: int, most: int) -> bytes:
    """What comes next, 1 to `most` bytes, or nothing at the end.

    Whoever started us may have made it one that does not wait (O_NONBLOCK): it is waited for all
    the same.

    Raises:
        OSError: it cannot be read.
    """
    while True:
        try:
            return os.read(descriptor, most)
        except BlockingIOError:  # noqa: PERF203
            from select import POLLIN

            _wait_for(descriptor, POLLIN)


def give(descriptor: int, data: bytes) -> None:
    """Write all, however long that takes, also to one that does not wait.

    Raises:
        OSError: it cannot be written.
    """
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # noqa: PERF203
            from select import POLLOUT

            _wait_for(descriptor, POLLOUT)


def _wait_for(descriptor: int, event: int) -> None:
    from select import poll

    waiting = poll()
    waiting.register(descriptor, event)
    waiting.poll()


def complain(prog: str, message: str, hint: str | None = None) -> None:
    """Write ``PROG: MESSAGE`` and a hint to standard error, each in one line."""
    lines = f"{prog}: {one_line(message)}\n"
    if hint:
        lines += f"hint: {one_line(hint)}\n"
    say(lines)


def must_be_open(descriptor: int, name: str) -> None:
    """Refuse a standard stream that was closed when the process began.

    Raises:
        KojutoError: it was.
    """
    if descriptor in closed:
        from errno import EBADF

        raise KojutoError(f"{name}: {os.strerror(EBADF)}", "it must be open")


def one_line(text: str) -> str:
    """`text` with control characters escaped, so that it stays one harmless line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
