"""Connecting to TCP addresses from an event loop that waits for nobody."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from kojuto.common.server import pacing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Address = tuple[str, int]

NEVER_S = 365 * 86400.0


class Dialer:
    """Connects; all its coroutines run in one loop.

    Names are resolved by threads, one for all who ask for a name at the same time, so that a
    resolver that does not answer delays only those who want this name.

    Args:
        loop: of the callers.
        timeout_s: for resolving and connecting together; 0 for what the kernel allows.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop = loop
        self._timeout_s = timeout_s or NEVER_S
        self._lookups: dict[Address, asyncio.Future[list[Any]]] = {}

    async def dial(self, target: Address) -> socket.socket:
        """A socket connected to the first address that answers.

        Raises:
            OSError: none does, or not in time.
        """
        end = self._loop.time() + self._timeout_s
        try:
            found = _numeric(target)
            if not found:
                found = await asyncio.wait_for(self._resolve(target), self._timeout_s)
        except asyncio.TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "the name was not resolved in time") from None
        problem: OSError = OSError(0, "no address")
        for index, (family, kind, number, _, address) in enumerate(found):
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, number)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pacing.unpace(sock, address[0])
                left = max(end - self._loop.time(), 0) / (len(found) - index)
                await self._connect(sock, address, left)
            except asyncio.TimeoutError:
                sock.close()
                problem = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            except OSError as error:
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise problem

    async def _connect(self, sock: socket.socket, address: Any, within_s: float) -> None:
        """Connect; on this machine it has happened before there is anything to wait for."""
        number = sock.connect_ex(address)
        if number == errno.EINPROGRESS:
            done = self._loop.create_future()
            self._loop.add_writer(sock, _settle, done)
            try:
                await asyncio.wait_for(done, within_s)
            finally:
                self._loop.remove_writer(sock)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    async def _resolve(self, target: Address) -> list[Any]:
        """All addresses of a target; those who ask at the same time share one look-up."""
        pending = self._lookups.get(target)
        if pending is None:
            from threading import Thread

            pending = self._lookups[target] = self._loop.create_future()
            future = pending

            def answer(found: Sequence[Any] | OSError) -> None:
                del self._lookups[target]
                if isinstance(found, OSError):
                    future.set_exception(found)
                    future.exception()  # whoever asked may be gone
                else:
                    future.set_result(list(found))

            def look_up() -> None:
                found: Sequence[Any] | OSError
                try:
                    found = socket.getaddrinfo(*target, type=socket.SOCK_STREAM)
                except OSError as error:
                    found = error
                self._loop.call_soon_threadsafe(answer, found)

            try:
                Thread(target=look_up, name="resolve", daemon=True).start()
            except RuntimeError:
                answer(OSError(errno.EAGAIN, "no thread to resolve the name"))
        return await asyncio.shield(pending)


def _numeric(target: Address) -> list[Any]:
    """The address itself where it is no name, which needs no resolver; else nothing."""
    try:
        found = socket.getaddrinfo(
            *target, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
    except OSError:
        return []
    return list(found)


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
