"""Files for node_exporter's textfile collector: replaced as a whole, readable by its user."""

from __future__ import annotations

import os
from contextlib import suppress


def replace(path: str, content: bytes) -> None:
    """Replace a file: a temporary file beside it, fsync, rename(2).

    Its mode is that of the old file; all may read a new one, whatever the umask. The temporary
    file's name does not end in ``.prom``, so that nobody reads it.

    Args:
        path: the file; a link stays one, its target is replaced.
        content: all of it.

    Raises:
        OSError: naming the file, which is then what it was.
    """
    target = os.path.realpath(path)
    temporary = f"{target}.tmp{os.getpid()}"
    try:
        try:
            mode = os.stat(target).st_mode & 0o7777
        except FileNotFoundError:
            mode = 0o644
        try:
            _write(temporary, content, mode)
            os.rename(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    with suppress(OSError):
        _sync_directory(target)


def _write(path: str, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    # One that is there already is of a run of the same pid that was killed.
    with suppress(OSError):
        os.unlink(path)
    fd = os.open(path, flags, 0o600)
    try:
        os.fchmod(fd, mode)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_directory(path: str) -> None:
    """Make the rename itself durable, where the file system can."""
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
