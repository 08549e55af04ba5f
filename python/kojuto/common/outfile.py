"""A result that is written to a file of the user's choice."""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Name the file where a write to it fails, which the system's error does not.

    Raises:
        OSError: what was raised, with `path` where it had no name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, path) from None


def must_be(option: str, path: str, what: str, begins: Sequence[bytes]) -> None:
    """Refuse to replace what holds anything else, as the first log in ``--save *.log``.

    To be asked before the work, so that a folder that is not there costs none.

    Args:
        option: the option that names the file, for the message.
        path: the file; ``-``, one that is not there, an empty one and what is no regular file pass.
        what: what may be replaced.
        begins: how that begins, in small letters.

    Raises:
        UsageError: it holds something else.
        OSError: it cannot be read, or its folder is missing.
    """
    from stat import S_ISREG

    from kojuto.errors import UsageError

    try:
        if path == "-" or not S_ISREG(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        os.stat(os.path.dirname(os.path.realpath(path)))
        return
    with open(path, "rb", buffering=0) as file:
        head = file.read(max(map(len, begins))).lower()
    if head and not head.startswith(tuple(begins)):
        raise UsageError(
            f"{option} {path}: it is there and no {what}, so it is not replaced",
            f"{option} takes the file to write, before the files to read; name another, or "
            "remove that one",
        )


def write(path: str, content: bytes) -> None:
    """Replace a regular file as a whole, with its mode; a device or a named pipe is written to.

    So is a file that may be written but not replaced: one that is mounted into a container, or in a
    folder of somebody else's.

    Raises:
        OSError: it cannot be written.
    """
    from errno import EACCES, EBUSY, EPERM
    from stat import S_ISREG

    from kojuto._native import write_state

    try:
        is_file = S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        is_file = True
    if is_file:
        # A link stays one: its target is replaced.
        path = os.path.realpath(path) if os.path.islink(path) else path
        mode = _mode(path)
        try:
            write_state(path, content)
        except OSError as error:
            if error.errno not in (EACCES, EBUSY, EPERM) or not os.access(path, os.W_OK):
                raise
        else:
            os.chmod(path, mode)
            return
    with naming(path), open(path, "wb", buffering=0) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]


def _mode(path: str) -> int:
    """The mode of the file that is replaced; of a new one what the umask leaves."""
    from stat import S_IMODE

    try:
        return S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        umask = os.umask(0o077)
        os.umask(umask)
        return 0o666 & ~umask
