"""Connecting to a name of several addresses, one of which may be dead ("happy eyeballs", RFC 8305).

Go's programs, and browsers, do not wait for a broken IPv6 either.
"""

from __future__ import annotations

import os
import select
import socket
import time
from errno import EINPROGRESS

from kojuto.common.server import pacing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD_START_S = 1.0
"""How long an address may say nothing before the next is tried beside it: a SYN that was lost is
sent again by then."""
MOST_MS = 60_000.0
"""The longest that one look at the sockets takes; poll(2) knows no more than 24 days."""


def begin(found: tuple[Any, ...]) -> tuple[socket.socket, bool]:
    """A socket on its way to one of the addresses that `socket.getaddrinfo` answers.

    Returns:
        It does not block; and whether it is connected already.

    Raises:
        OSError: it was refused at once.
    """
    family, kind, number, _, address = found
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, number)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pacing.unpace(sock, address[0])
        code = sock.connect_ex(address)
        if code not in (0, EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock, code == 0


def connect(host: str, port: int, deadline: float) -> socket.socket:
    """A socket to the first address that answers.

    Args:
        host: a name or an address.
        port: its number.
        deadline: by the monotonic clock. The look-up of a name has none.

    Raises:
        OSError: none does, or not in time.
    """
    waiting = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    under_way: dict[int, socket.socket] = {}
    poll = select.poll()
    problem = OSError(0, "the name has no address")
    next_at = 0.0
    try:
        while waiting or under_way:
            if waiting and (not under_way or time.monotonic() >= next_at):
                next_at = time.monotonic() + HEAD_START_S
                try:
                    sock, _ = begin(waiting.pop(0))
                except OSError as error:
                    problem = error
                    continue
                under_way[sock.fileno()] = sock
                poll.register(sock, select.POLLOUT)
            until = min(deadline, next_at) if waiting else deadline
            for fd, _ in poll.poll(min(max(until - time.monotonic(), 0.0) * 1e3, MOST_MS)):
                poll.unregister(fd)
                sock = under_way.pop(fd)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    sock.settimeout(max(deadline - time.monotonic(), 0.001))
                    return sock
                sock.close()
                problem = OSError(code, os.strerror(code))
            if time.monotonic() >= deadline:
                raise TimeoutError
        raise problem
    finally:
        for sock in under_way.values():
            sock.close()
