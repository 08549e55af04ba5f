"""Running a command: exit statuses, one-line errors, and the end of the process.

What a command is written with has one door here: `Command`, `Option` and `Values` are
`kojuto.common.command`, the messages are `kojuto.common.streams`.
"""

from __future__ import annotations

import os
import sys

from kojuto.common import parser, streams
from kojuto.common.command import (
    TEXTFILE,
    Command,
    Option,
    Values,
    check_textfile,
    envelope,
    log_format,
    max_groups,
)
from kojuto.common.streams import complain, must_be_open, one_line
from kojuto.errors import DONE, FAILED, INTERRUPTED, USAGE, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

__all__ = [
    "DONE", "FAILED", "INTERRUPTED", "TEXTFILE", "USAGE", "Command", "Option", "Values",
    "check_textfile", "complain",
    "describe", "end", "envelope", "log_format", "max_groups", "memory_words", "must_be_open",
    "one_line", "run",
]  # fmt: skip

memory_words: str | None = None
"""What the native module says before it ends a command whose memory is out; None in a library."""


def run(
    command: Command,
    work: Callable[[Values, list[str]], int],
    argv: Sequence[str] | None,
    *,
    memory_hint: str | None = None,
) -> int:
    """Parse `argv` and do the work; turn every way it can end into an exit status.

    Args:
        command: the command line.
        work: the command itself; returns its exit status.
        argv: the arguments, ``sys.argv[1:]`` when None.
        memory_hint: what to do when the memory does not suffice.

    Returns:
        0 done, 1 failed, 2 called wrongly, 130 interrupted. A reader of standard output who is
        gone is a quiet end, but for a plugin: its figures are lost. With ``KOJUTO_DEBUG=1`` an
        error's traceback is shown too.
    """
    global memory_words  # noqa: PLW0603 (there is one command in a process)
    if (start := sys.modules.get("kojuto.start")) is not None:
        start.release(command.prog)
    streams.prepare()
    hint = memory_hint or "it needs more memory than it may have (ulimit -v, MemoryMax=)"
    memory_words = f"{command.prog}: error: out of memory\nhint: {hint}\n"
    has_figures = False
    try:
        try:
            values, positional = parser.parse(command, sys.argv[1:] if argv is None else argv)
            has_figures = command.prog.startswith("mackerel-plugin-")
            status = work(values, positional)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else FAILED
        return streams.finish(status)
    except BrokenPipeError as error:
        if has_figures or not streams.reader_is_gone():
            return _report(command.prog, error)
        return _end(DONE)
    except KeyboardInterrupt:
        return _end(INTERRUPTED)
    except Exception as error:
        return _report(command.prog, error, memory_hint)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a panic of the Rust core, by PyO3
            raise
        return _report(command.prog, error)


def stay(*modules: str) -> None:
    """Import what the end of a command needs, for one that stays for long.

    Its package may be replaced meanwhile (``pip install -U``): then a module of it is not found
    any more, or one of another version is.

    Args:
        modules: what it needs beside the words of its failures.
    """
    for module in ("kojuto.common.failures", *modules):  # the first is for `_report`
        __import__(module)


def end(status: int) -> NoReturn:
    """Leave the process with `status` at once: what is written is flushed, nothing is taken down.

    For the launchers of the plugins, after `run`. The interpreter's own end costs a tenth of a
    start. It is taken all the same where somebody may wait for it: a thread, or a function given
    to `atexit` (as coverage and other tools do), which need `threading` or `atexit` first.
    """
    if "atexit" in sys.modules or "threading" in sys.modules:
        sys.exit(status)
    try:
        streams.finish(status)
    except OSError as error:
        complain(os.path.basename(sys.argv[0]), f"error: standard output: {describe(error)}")
        status = status or FAILED
    os._exit(status)


def _report(prog: str, error: BaseException, memory_hint: str | None = None) -> int:
    from kojuto.common import failures

    if os.environ.get("KOJUTO_DEBUG", "") not in ("", "0"):
        import traceback

        streams.say("".join(traceback.format_exception(error)))
    status, message, hint = failures.explain(error, memory_hint)
    complain(prog, f"error: {message}", hint)
    return _end(status)


def _end(status: int) -> int:
    """End the process; what could not be written is discarded."""
    streams.give_up(1)
    try:
        return streams.finish(status)
    except (OSError, ValueError):
        return status
