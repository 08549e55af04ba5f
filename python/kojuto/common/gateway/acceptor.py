"""Accepting connections for servers whose handshakes Python does, in a thread of its own."""

from __future__ import annotations

import errno
import os
import socket

from kojuto.common.gateway.descriptors import Descriptors
from kojuto.common.server import forever, listen
from kojuto.errors import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kojuto.common.server.logs import Logger

    Handler = Callable[[socket.socket, str], None]
    """Takes a connection and the peer's address as logs show it; must not wait."""

SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
PAUSE_S = 0.05
TOLD_S = 10.0
"""A shortage that comes back within this time is not logged again."""
BATCH = 64


class Acceptor:
    """Accepts on any number of sockets.

    Out of descriptors, or at the most connections, it pauses and goes on when it can; what waits
    in the kernel's queues is not lost. `stop` takes what is queued before it closes a socket.

    Args:
        log: told of pauses in which somebody waits.
        has_room: asked before each connection; those that were handed over are counted in it.
        opening: how many of these will still need descriptors.
    """

    def __init__(
        self, log: Logger, has_room: Callable[[], bool], opening: Callable[[], int]
    ) -> None:
        from selectors import EVENT_READ, DefaultSelector
        from threading import Lock

        self._log = log
        self._has_room = has_room
        self._opening = opening
        self._descriptors = Descriptors()
        self._lock = Lock()
        self._added: list[tuple[socket.socket, Handler]] = []
        self._removed: list[socket.socket] = []
        self._stopping = False
        self._short = False
        self._told_at = float("-inf")
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._selector = DefaultSelector()
        self._pause = DefaultSelector()
        for selector in (self._selector, self._pause):
            selector.register(self._woken, EVENT_READ)
        self._thread = forever.begin("accept", self._run, log)

    def add(self, sock: socket.socket, handle: Handler) -> None:
        """Accept on a listening socket, which is closed when it is removed."""
        sock.setblocking(False)
        with self._lock:
            self._added.append((sock, handle))
        self._wake.send(b"a")

    def remove(self, sock: socket.socket) -> None:
        """Take what is queued on a socket and close it."""
        with self._lock:
            self._removed.append(sock)
        self._wake.send(b"r")

    def stop(self) -> None:
        """Take what is queued and close all sockets; returns when that is done."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        self._wake.send(b"s")
        self._thread.join()
        for used in (self._selector, self._pause, self._woken, self._wake):
            used.close()

    def _run(self) -> None:
        from contextlib import suppress
        from selectors import EVENT_READ

        while True:
            if self._short or not self._has_room():
                if not self._short and self._is_awaited():
                    self._tell("the connection limit is reached")
                self._short = False
                ready = []
                self._pause.select(PAUSE_S)
            else:
                ready = self._selector.select(0 if self._stopping else None)
            with suppress(BlockingIOError):
                self._woken.recv(4096)
            with self._lock:
                added, self._added = self._added, []
                removed, self._removed = self._removed, []
                stopping = self._stopping
            for sock, handle in added:
                self._selector.register(sock, EVENT_READ, handle)
            for sock in removed:
                self._end(sock)
            for key, _ in ready:
                if key.data is not None and key.fileobj not in removed:
                    self._accept(key.fileobj, key.data, BATCH)  # type: ignore[arg-type]
            if stopping:
                for key in list(self._selector.get_map().values()):
                    if key.data is not None:
                        self._end(key.fileobj)  # type: ignore[arg-type]
                return

    def _end(self, sock: socket.socket) -> None:
        handle = self._selector.unregister(sock).data
        self._accept(sock, handle, listen.BACKLOG)
        sock.close()

    def _accept(self, sock: socket.socket, handle: Handler, limit: int) -> None:
        for _ in range(limit):
            if not self._has_room():  # of those that this thread has accepted all are counted
                return
            if not self._descriptors.take(self._opening()):
                self._short = True
                if self._is_awaited():
                    self._tell(os.strerror(errno.EMFILE))
                return
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in SHORTAGE:
                    self._short = True
                    self._tell(words(error))
                    return
                continue  # that connection was gone before it was accepted
            try:
                handle(connection, listen.peer_text(address))
            except Exception as error:  # this thread must not end: nobody would accept any more
                self._log.error("A connection is refused", error=f"{type(error).__name__}: {error}")
                connection.close()

    def _is_awaited(self) -> bool:
        """Whether somebody waits to be accepted."""
        return any(key.data is not None for key, _ in self._selector.select(0))

    def _tell(self, why: str) -> None:
        """Tell the log of a pause, unless it is one more of those that it was told of."""
        from time import monotonic

        if monotonic() - self._told_at > TOLD_S:
            self._log.warn("Accepting pauses", error=why)
        self._told_at = monotonic()
