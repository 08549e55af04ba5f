"""A token as an argument of a command."""

from __future__ import annotations

import sys

from kojuto.common.jwt.verifying import MAX_TOKEN_CHARS


def from_argument(text: str) -> str:
    """The token of an argument: itself, its whole header, or ``-`` for standard input.

    A command line is seen by everybody who lists the processes; standard input is not.
    """
    if text == "-":
        text = sys.stdin.read(2 * MAX_TOKEN_CHARS).strip()
    for prefix in ("authorization:", "bearer "):
        if text.lower().startswith(prefix):
            text = text[len(prefix) :].strip()
    return text
