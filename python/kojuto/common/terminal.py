"""What standard output shows: whether it is a terminal, how wide, with colours, blocks or kanji."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO


def shows_colour(stream: TextIO | None = None) -> bool:
    """Whether to colour what is written to a stream, standard output when left out.

    It is a terminal, not a dumb one, and NO_COLOR is not set.
    """
    stream = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def shows_unicode() -> bool:
    """Whether standard output takes block characters and the like."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON for standard output, as text.

    Where that is not UTF-8 everything but ASCII is escaped: JSON has no other encoding (RFC 8259,
    section 8.1), nor the escapes by which the stream replaces what a locale has no bytes for.
    """
    from json import dumps

    return dumps(value, ensure_ascii=not shows_unicode(), indent=indent)


def width() -> int | None:
    """Columns of the terminal on standard output (COLUMNS wins); None where it is none."""
    if not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size

    return get_terminal_size().columns
