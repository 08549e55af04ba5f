"""Standard output whose reader may stop reading."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections import deque
from contextlib import suppress

STOP = signal.SIGTERM
LOOK_AGAIN_S = 0.1


class Output:
    """Standard output for what must hold up neither a kill nor the end.

    What nobody takes yet waits here. A pipe or a socket that is ready takes `select.PIPE_BUF`
    bytes at once (pipe(7)); a terminal may take less, and is opened once more, not to wait.

    Attributes:
        waiting: the lines that are not written whole, the first one what is left of it.
        waiting_bytes: their size.
        encoding: what text is written in.
    """

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.encoding = sys.stdout.encoding
        self._errors = sys.stdout.errors or "strict"
        self._descriptor: int | None = None

    def put(self, text: str) -> None:
        """Add a line, or any text."""
        encoded = text.encode(self.encoding, self._errors)
        self.waiting.append(encoded)
        self.waiting_bytes += len(encoded)

    def flush(self, within_s: float | None = 0) -> None:
        """Write what is taken within a time.

        Args:
            within_s: the time; None for however long it takes. A SIGTERM that is held back ends it.

        Raises:
            OSError: standard output failed; the line it failed with is gone, the others wait.
        """
        end = None if within_s is None else time.monotonic() + within_s
        while self.waiting:
            left = LOOK_AGAIN_S if end is None else max(end - time.monotonic(), 0)
            if STOP in signal.sigpending():
                left = 0
            if not self._take(min(left, LOOK_AGAIN_S)) and not left:
                return

    def _take(self, within_s: float) -> bool:
        """Write one piece, if it is taken within a time."""
        descriptor = self._opened()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if not poll.poll(within_s * 1000):
            return False
        first = self.waiting.popleft()
        self.waiting_bytes -= len(first)
        written = 0
        try:
            written = os.write(descriptor, first[: select.PIPE_BUF])
        except BlockingIOError:  # a terminal with room for half of a line's end
            time.sleep(within_s)
        if written < len(first):
            self.waiting.appendleft(first[written:])
            self.waiting_bytes += len(first) - written
        return written > 0

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = 1
            with suppress(OSError):  # it is no terminal, or somebody else's
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._descriptor = os.open(os.ttyname(1), flags)
        return self._descriptor
