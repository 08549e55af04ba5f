"""Connecting to TCP addresses from an event loop that waits for nobody."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from kojuto.common.server import connecting

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
        if len(found) == 1:  # as nearly always
            return await self._reach(found[0], end)
        return await self._first(found, end)

    async def _first(self, found: Sequence[Any], end: float) -> socket.socket:
        """Of several the first that is connected; one that says nothing has a head start."""
        waiting = list(found)
        under_way: set[asyncio.Task[socket.socket]] = set()
        problem: BaseException = OSError(0, "no address")
        try:
            while waiting or under_way:
                if waiting:
                    under_way.add(self._loop.create_task(self._reach(waiting.pop(0), end)))
                done, under_way = await asyncio.wait(
                    under_way,
                    timeout=connecting.HEAD_START_S if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    if (why := task.exception()) is None:
                        under_way |= done - {task}
                        return task.result()
                    problem = why
            raise problem
        finally:
            for task in under_way:
                task.cancel()
                task.add_done_callback(_forget)

    async def _reach(self, found: tuple[Any, ...], end: float) -> socket.socket:
        """Connect; on this machine it has happened before there is anything to wait for."""
        sock, connected = connecting.begin(found)
        try:
            if not connected:
                done = self._loop.create_future()
                self._loop.add_writer(sock, _settle, done)
                try:
                    await asyncio.wait_for(done, max(end - self._loop.time(), 0))
                finally:
                    self._loop.remove_writer(sock)
                if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(code, os.strerror(code))
        except asyncio.TimeoutError:
            sock.close()
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
        except BaseException:
            sock.close()
            raise
        return sock

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


def _forget(task: asyncio.Task[socket.socket]) -> None:
    """Let go of what another one has overtaken."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
