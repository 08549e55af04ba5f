"""A thread as a line of LTSV."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from kojuto.common.cli import complain
from kojuto.common.terminal import json_text
from kojuto.tools.myps.statements import SHOWN_BYTES

if TYPE_CHECKING:
    from typing import TextIO

    from kojuto.tools.myps.processes import Process

INFO_CHARACTERS = 110
GREEN, RED, MAGENTA = "\033[0;32m", "\033[0;31m", "\033[0;35m"
RESET = "\033[0m"
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b",
            "\f": "\\f", "\v": "\\v"}  # fmt: skip


def escape(text: str) -> str:
    """Control characters and backslashes escaped, so that a field stays one field."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        _ESCAPES.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode())
        for c in text
    )


def colour(stream: TextIO) -> bool:
    """Whether to colour: a terminal, unless NO_COLOR or a dumb one."""
    if os.environ.get("NO_COLOR"):
        return False
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def line(process: Process, label: str, *, full: bool, coloured: bool) -> str:
    """``ID:…<TAB>USER:…`` and so on, without a newline.

    Args:
        process: the thread.
        label: ``ID`` or ``KILLED``.
        full: the whole statement, not 110 characters.
        coloured: with colours for a terminal.
    """
    info = process.info if full else process.info[:INFO_CHARACTERS]
    fields = [
        (label, str(process.id)),
        ("USER", process.user),
        ("HOST", process.host),
        ("DB", process.db),
        ("COMMAND", process.command),
        ("TIME", str(process.time)),
        ("STATE", process.state),
        ("INFO", info),
    ]
    if not coloured:
        return "\t".join(f"{name}:{escape(value)}" for name, value in fields)
    parts = []
    for name, value in fields:
        shade = RED if name == "KILLED" else GREEN
        parts.append(f"{shade}{name}{RESET}:{MAGENTA}{escape(value)}{RESET}")
    return "\t".join(parts)


def say_if_cut(process: Process) -> None:
    """Say that a whole statement was asked for and the server has a part of it."""
    if process.cut:
        complain(
            "myps", f"{process.id}: statement cut at {SHOWN_BYTES:,} bytes, as the server has it"
        )


def as_json(process: Process, label: str, *, full: bool) -> str:
    """An object with the names of the line in small letters, numbers as such."""
    info = process.info if full else process.info[:INFO_CHARACTERS]
    fields = {
        label.lower(): process.id, "user": process.user, "host": process.host, "db": process.db,
        "command": process.command, "time": process.time, "state": process.state, "info": info,
    }  # fmt: skip
    return json_text(fields)


def show(process: Process, label: str, *, full: bool, output: str = "ltsv") -> None:
    """Print the line at once."""
    if full:
        say_if_cut(process)
    if output == "json":
        text = as_json(process, label, full=full)
    else:
        text = line(process, label, full=full, coloured=colour(sys.stdout))
    print(text, flush=True)
