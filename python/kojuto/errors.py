"""The exit statuses, the few exceptions that become one, and the words of a system error."""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130


class KojutoError(Exception):
    """The command ran and failed (exit status 1).

    Args:
        message: what failed and on which file or host, in one line.
        hint: what the user can do about it, in one line.
    """

    exit_status = FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(KojutoError):
    """The command was called wrongly (exit status 2)."""

    exit_status = USAGE


def describe(error: OSError) -> str:
    """An `OSError` in one line: the file or address, then the system's words."""
    text = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return text
    name = error.filename
    return f"{name.decode(errors='replace') if isinstance(name, bytes) else name}: {text}"
