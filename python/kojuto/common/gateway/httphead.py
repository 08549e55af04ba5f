"""The head of an HTTP message: request or status line and headers, up to the empty line."""

from __future__ import annotations

MAX_BYTES = 32_768
"""Of a whole head; twice what most servers allow for one line."""

END_HEADER, END_BY_CLOSE = "X-Wsgate-End", "close-frame"
"""In the request for an upgrade and in the answer: this gateway ends its stream by a Close frame,
so that one without is broken. The Go gateways end theirs by closing the connection.
"""


class HeadTooLargeError(Exception):
    """A head that has not ended within `MAX_BYTES`."""


class Head:
    """Collects a head and keeps what came behind it apart.

    `complete` tells that it is there: then `data` holds it with its empty line, and `rest` what
    followed.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.rest = b""
        self.complete = False

    def feed(self, piece: bytes) -> bool:
        """Take what was read; answers whether the head is complete.

        Raises:
            HeadTooLargeError: it is not, and will not be.
        """
        begin = max(len(self.data) - 3, 0)
        self.data += piece
        end = self.data.find(b"\r\n\r\n", begin)
        if end >= 0 and end + 4 <= MAX_BYTES:
            self.rest = bytes(self.data[end + 4 :])
            del self.data[end + 4 :]
            self.complete = True
        elif end >= 0 or len(self.data) > MAX_BYTES:
            raise HeadTooLargeError
        return self.complete
