"""A client's connection before the engine has it.

A request has mostly come with its connection, and an answer fits into the socket: what need not be
waited for costs no task and no timer of the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress

from kojuto.common.gateway.httphead import Head, HeadTooLargeError
from kojuto.tools.wsgate_server.request import NOT_UNDERSTOOD, Refused

LINGER_S = 1.0
"""How long a client may take to read an answer that ends its connection."""
PIECE = 1 << 16


class Wire:
    """Reads and writes in the event loop that calls it.

    Args:
        loop: of the caller.
        conn: the client's connection, which stays the caller's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, conn: socket.socket) -> None:
        self._loop = loop
        self._conn = conn
        conn.setblocking(False)

    async def read(self, head: Head, within_s: float) -> None:
        """Read a whole head, or to the end of the stream; 0 for no limit of time.

        Raises:
            Refused: it did not come in time, is too large, or begins as no request does.
            OSError: the client is gone.
        """
        with suppress(BlockingIOError):
            piece = self._conn.recv(PIECE)
            if not piece or _feed(head, piece):
                return
        try:
            await asyncio.wait_for(self._read_on(head), within_s or None)
        except asyncio.TimeoutError:
            raise Refused(408, "the request did not come in time") from None

    async def _read_on(self, head: Head) -> None:
        while (piece := await self._loop.sock_recv(self._conn, PIECE)) and not _feed(head, piece):
            pass

    async def send(self, data: bytes, within_s: float) -> None:
        """Send all; 0 for no limit of time.

        Raises:
            OSError: the client is gone, or did not take it in time.
        """
        sent = 0
        with suppress(BlockingIOError):
            sent = self._conn.send(data)
        if sent == len(data):
            return
        try:
            await asyncio.wait_for(
                self._loop.sock_sendall(self._conn, data[sent:]), within_s or None
            )
        except asyncio.TimeoutError:
            raise TimeoutError(
                errno.ETIMEDOUT, "the client did not take the answer in time"
            ) from None

    async def end(self) -> None:
        """End our half, and let the client read: a close with bytes unread would be a reset."""
        self._conn.shutdown(socket.SHUT_WR)

        async def rest() -> None:
            left = 1 << 20
            while left > 0 and (piece := await self._loop.sock_recv(self._conn, PIECE)):
                left -= len(piece)

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(rest(), LINGER_S)


def _feed(head: Head, piece: bytes) -> bool:
    try:
        complete = head.feed(piece)
    except HeadTooLargeError:
        raise Refused(431, "the request's head is too large") from None
    # TLS, say, which waits for an answer: no empty line will ever come.
    if not complete and not head.data[:1].isupper():
        raise Refused(400, NOT_UNDERSTOOD)
    return complete
