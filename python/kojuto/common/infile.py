"""The files of a command line that are read: their names for messages, each file once."""

from __future__ import annotations

import os

from kojuto.common import cli

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def title(name: str) -> str:
    """The name for messages; a file name need not be text."""
    return "standard input" if name == "-" else os.fsencode(name).decode(errors="replace")


def tell_twice(prog: str, again: str, first: str) -> None:
    """Tell of a file that has two names, each as messages have it."""
    same = "" if first == again else f", as {first},"
    cli.complain(prog, f"{again} is named twice{same} and read once")


def each_once(prog: str, names: Sequence[str]) -> list[str]:
    """The files, each by its first name; another name of one, as a link to it, is told.

    Args:
        prog: the command, for the message.
        names: files; ``-`` is standard input. One that cannot be looked at is left for the reading
            to tell of.
    """
    found: dict[object, str] = {}
    for name in names:
        key: object = name
        try:
            about = os.fstat(0) if name == "-" else os.stat(name)
            key = about.st_dev, about.st_ino
        except OSError:
            pass
        if key in found:
            tell_twice(prog, title(name), title(found[key]))
        found.setdefault(key, name)
    return list(found.values())
