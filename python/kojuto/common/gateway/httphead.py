"""The head of an HTTP message: request or status line and headers, up to the empty line."""

from __future__ import annotations

import re

MAX_BYTES = 32_768
"""Of a whole head; twice what most servers allow for one line."""

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Behind a WebSocket's key, it makes the answer's Sec-WebSocket-Accept (RFC 6455, 1.3)."""

FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
"""Name and value of a header line, blanks behind it included (RFC 9112, 5)."""

SWITCHING = re.compile(rb"HTTP/1\.1 101 [\t\x20-\x7e\x80-\xff]*")
"""The status line of an answer that agrees to an upgrade (RFC 9112, 4)."""

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

    Args:
        of_answer: the heads of interim answers before it are passed over (RFC 9110, 15.2).
    """

    def __init__(self, *, of_answer: bool = False) -> None:
        self.data = bytearray()
        self.rest = b""
        self.complete = False
        self._of_answer = of_answer

    def feed(self, piece: bytes) -> bool:
        """Take what was read; answers whether the head is complete.

        Raises:
            HeadTooLargeError: it is not, and will not be.
        """
        begin = max(len(self.data) - 3, 0)
        self.data += piece
        self._end_typed_lines()
        while (end := self.data.find(b"\r\n\r\n", begin)) >= 0 and end + 4 <= MAX_BYTES:
            if self._of_answer and self._is_interim():
                del self.data[: end + 4]
                begin = 0
                continue
            self.rest = bytes(self.data[end + 4 :])
            del self.data[end + 4 :]
            self.complete = True
            return True
        if end >= 0 or len(self.data) > MAX_BYTES:
            raise HeadTooLargeError
        return False

    def _end_typed_lines(self) -> None:
        """Take LF for CRLF in a head without any CR, as somebody types it into nc (RFC 9112, 2.2).

        In a head that has both, LF alone ends no line: whoever passed it on may have read it as a
        part of one.
        """
        end = self.data.find(b"\n\n")
        if end >= 0 and b"\r" not in self.data[:end]:
            self.data[: end + 2] = self.data[: end + 2].replace(b"\n", b"\r\n")

    def is_http(self) -> bool:
        """Whether what has come begins as an answer does: a mail server greets, and waits."""
        return b"HTTP/".startswith(self.data[:5])

    def _is_interim(self) -> bool:
        status = self.data[8:12]
        return (
            self.data.startswith(b"HTTP/1.")
            and status[:2] == b" 1"
            and status[2:].isdigit()
            and status != b" 101"
        )
