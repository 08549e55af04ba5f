"""The exit statuses, the few exceptions that become one, and the words of any error."""

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


class AccuracyError(ValueError):
    """A sketch has another accuracy than those that it was to be merged with."""


class GroupsError(ValueError):
    """A sketch is of other groups than those that it was to be merged with."""


class ThreadError(OSError):
    """The system gives no thread (EAGAIN of pthread_create(3))."""


def words(error: BaseException) -> str:
    """Why it failed, without where: the system's words, else its own, else its kind."""
    system = getattr(error, "strerror", None)
    if isinstance(error, TimeoutError) and not system:
        return "timed out"
    return system or str(error) or type(error).__name__


def describe(error: OSError) -> str:
    """An `OSError` in one line: the file or address, then its words."""
    text = words(error)
    if error.filename is None:
        return text
    name = error.filename
    return f"{name.decode(errors='replace') if isinstance(name, bytes) else name}: {text}"
