"""The Rust core. Every call that waits or works long lets go of the GIL."""

from typing import final

CORE_VERSION: str
"""Version of the Rust core."""

# -- state files --------------------------------------------------------------------------------

def read_state(path: str) -> tuple[bytes | None, str | None]:
    """Read a state file of at most 1 MiB.

    Returns:
        The content and None; (None, None) when there is no file; (None, why) when the file is
        not to be believed: a symbolic link, another user's, too large, unreadable.
    """

def write_state(path: str, content: bytes) -> None:
    """Replace a state file atomically (temporary file 0600, fsync, rename).

    Raises:
        OSError: naming the file; the old content is then untouched.
    """

@final
class StateLock:
    """The exclusive lock beside a state file (``PATH.lock``, flock(2)), taken without waiting.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the lock file cannot be opened.
    """

    def __new__(cls, path: str) -> StateLock: ...
    def release(self) -> None:
        """Let go of the lock; the end of the process does so too."""
