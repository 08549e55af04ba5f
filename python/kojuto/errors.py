"""The few exceptions that a command turns into an exit status."""

from __future__ import annotations


class KojutoError(Exception):
    """The command ran and failed (exit status 1).

    Args:
        message: what failed and on which file or host, in one line.
        hint: what the user can do about it, in one line.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(KojutoError):
    """The command was called wrongly (exit status 2)."""

    exit_status = 2
