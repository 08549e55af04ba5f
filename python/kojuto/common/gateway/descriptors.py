"""Descriptors for what is accepted: a client whose tunnel would find none is left waiting."""

from __future__ import annotations

import os

NEEDED = 3
"""What a connection takes while it becomes a tunnel, beside itself: the other side, and copies of
both for the engine."""
RESERVE = 16
"""For all else: names being resolved, files read again, pipes of long streams."""


class Descriptors:
    """So many more connections may be accepted; counts descriptors as rarely as it can."""

    def __init__(self) -> None:
        self._left = 0

    def take(self, opening: int) -> bool:
        """Whether there are descriptors for one more, which is accepted then.

        Args:
            opening: connections that were accepted and are no tunnels yet.
        """
        if self._left < 1:
            room = (free() - RESERVE - opening * NEEDED) // (NEEDED + 1)
            self._left = (room + 1) // 2  # tunnels with pipes have more
        self._left -= 1
        return self._left >= 0


def free() -> int:
    """How many descriptors this process may still open; many where that is not to be known."""
    from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

    limit = getrlimit(RLIMIT_NOFILE)[0]
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError as error:
        import errno

        return 0 if error.errno in (errno.EMFILE, errno.ENFILE) else 1 << 20
    return 1 << 30 if limit == RLIM_INFINITY else limit - used
