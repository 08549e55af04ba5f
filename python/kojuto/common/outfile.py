"""A result that is written to a file of the user's choice."""

from __future__ import annotations

import os


def write(path: str, content: bytes) -> None:
    """Replace a regular file as a whole, with its mode; a device or a named pipe is written to.

    Raises:
        OSError: it cannot be written.
    """
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
        write_state(path, content)
        os.chmod(path, mode)
        return
    with open(path, "wb", buffering=0) as file:
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None


def _mode(path: str) -> int:
    """The mode of the file that is replaced; of a new one what the umask leaves."""
    from stat import S_IMODE

    try:
        return S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        umask = os.umask(0o077)
        os.umask(umask)
        return 0o666 & ~umask
