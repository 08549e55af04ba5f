"""The listening side of ``wsgate-client``: the map's addresses and what is opened for each."""

from __future__ import annotations

import itertools
import socket
from functools import partial
from struct import pack

from kojuto.common.gateway import deflate, mapfile, metrics
from kojuto.common.gateway.acceptor import Acceptor
from kojuto.common.prometheus import Family
from kojuto.common.server import listen
from kojuto.errors import KojutoError, UsageError, words
from kojuto.tools.wsgate_client.backend import Address, Opener
from kojuto.tools.wsgate_client.errors import OpenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kojuto._native import Relay
    from kojuto.common.cli import Values
    from kojuto.common.server.logs import Logger
    from kojuto.tools.wsgate_client.backend import Headers, Trust

    Place = tuple[str, int]

MAX_OPENING = 256
"""Tunnels of one map line that are opened at a time; more wait for their turn."""
MAX_WAITING = 4096
IDLE_S = 5.0
"""How long a thread waits for another tunnel to open: starting one takes as long as opening."""


def read_map(path: str) -> dict[Place, Address]:
    """The backends of a map file by the addresses to listen on.

    Raises:
        KojutoError: naming the line.
    """
    return mapfile.read(path, listen.address, Address, "host:port,https://HOST/proxy/NAME")


def read_forwards(texts: Sequence[str], found: dict[Place, Address]) -> dict[Place, Address]:
    """The backends of ``-L HOST:PORT=URL``, beside those of the map.

    Raises:
        UsageError: one has another form, or its address is there already.
    """
    for text in texts:
        where, equals, url = text.partition("=")
        if not equals:
            raise UsageError(f"-L {where}: not of the form HOST:PORT=URL")
        try:
            place, address = listen.address(where.strip()), Address(url.strip())
        except ValueError as error:  # the URL may hold a password
            hint = "write -L 127.0.0.1:3306=https://HOST/proxy/NAME"
            raise UsageError(f"-L {where}: {error}", hint) from None
        if place in found:
            raise UsageError(f"-L {where}: this address is already given")
        found = {**found, place: address}
    return found


def match(places: Sequence[Place], sockets: Sequence[socket.socket]) -> dict[Place, socket.socket]:
    """Which of a supervisor's sockets is for which line: the one that is bound to its address.

    Where one socket and one line of a port are left, they belong together, too: a supervisor that
    is given a port alone binds all addresses, and a line may name its host.
    """
    found: dict[Place, socket.socket] = {}
    names = {listen.one_name(listen.name_of(sock)): sock for sock in sockets}
    for place in places:
        if sock := names.pop(listen.one_name(listen.address_text(*place)), None):
            found[place] = sock
    for place in places:
        rivals = [other for other in places if other[1] == place[1] and other not in found]
        left = [sock for sock in names.values() if _port_of(sock) == place[1]]
        if rivals == [place] and len(left) == 1:
            found[place] = left[0]
    return found


def _port_of(sock: socket.socket) -> int | None:
    name = sock.getsockname()
    return name[1] if isinstance(name, tuple) else None


class Line:
    """A line of the map: a listening socket, its backend, and the tunnels being opened."""

    def __init__(self, sock: socket.socket, opener: Opener) -> None:
        from collections import deque
        from threading import Condition

        self.sock = sock
        self.name = listen.name_of(sock)
        self.opener = opener
        self._waiting: deque[tuple[socket.socket, str]] = deque()
        self._workers = self._idle = 0
        self._work = Condition()

    def submit(
        self, conn: socket.socket, remote: str, work: Callable[[Line, socket.socket, str], None]
    ) -> bool:
        """Have a thread open a tunnel; False when too many wait already."""
        from threading import Thread

        with self._work:
            if len(self._waiting) >= MAX_WAITING:
                return False
            self._waiting.append((conn, remote))
            if len(self._waiting) <= self._idle:
                self._work.notify()
                return True
            if self._workers >= MAX_OPENING:
                return True
            self._workers += 1

        def run() -> None:
            while (item := self._next()) is not None:
                work(self, *item)

        try:
            Thread(target=run, name="open", daemon=True).start()
        except RuntimeError:  # the system gives no thread
            with self._work:
                self._workers -= 1
                if self._workers == 0:
                    self._waiting.remove((conn, remote))
                    return False
        return True

    def _next(self) -> tuple[socket.socket, str] | None:
        """What a thread does next; None: nothing for a while, it is to end."""
        with self._work:
            if not self._waiting:
                self._idle += 1
                self._work.wait(IDLE_S)
                self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._workers -= 1
            return None


class Gateways:
    """All lines of the map.

    Args:
        engine: moves the bytes of tunnels.
        log: of everything.
        values: the command line.
        inherited: listening sockets of a supervisor, for the lines of their addresses, see `match`.
        headers: added to each request.
        token: makes the Bearer token of a request, or None.
        trust: how certificates are checked.
    """

    def __init__(
        self,
        engine: Relay,
        log: Logger,
        values: Values,
        inherited: list[socket.socket],
        *,
        headers: Headers,
        token: Callable[[float], str] | None,
        trust: Trust,
    ) -> None:
        from threading import Lock

        self._engine = engine
        self._log = log
        self._values = values
        self._inherited: dict[socket.socket, Line | None] = dict.fromkeys(inherited)
        """Each with the line that has it; whoever handed them down listens on for ever."""
        self._accepted: set[socket.socket] = set()
        self._turned_away: set[socket.socket] = set()
        self.headers = headers
        self.token = token
        self._trust = trust
        self._lines: dict[Place, Line] = {}
        self._pending: set[socket.socket] = set()
        self._lock = Lock()
        self._failed = itertools.count(1)
        self._failures = 0
        self._deflate = deflate.Loop("deflate")
        self._acceptor = Acceptor(log, self._has_room, lambda: len(self._pending))

    def update(self, wanted: dict[Place, Address]) -> None:
        """Listen where the map says, and no longer elsewhere; open tunnels go on.

        Raises:
            KojutoError: an address cannot be bound; nothing has changed then.
        """
        stay = [line.sock for place, line in self._lines.items() if place in wanted]
        free = [sock for sock in self._inherited if sock not in stay]
        places = [place for place in wanted if place not in self._lines]
        matched = match(places, free)
        fresh: dict[Place, socket.socket] = {}
        try:
            for place in places:
                fresh[place] = matched.get(place) or listen.bind(*place)
        except KojutoError:
            for place, sock in fresh.items():
                if place not in matched:
                    sock.close()
            raise
        for place in [place for place in self._lines if place not in wanted]:
            self._close(self._lines.pop(place))
        for place, address in wanted.items():
            opener = Opener(
                address, self.headers, self.token, self._trust, self._values.connect_timeout
            )
            if place in self._lines:
                self._lines[place].opener = opener
                continue
            line = self._lines[place] = Line(fresh[place], opener)
            if line.sock in self._inherited:
                self._inherited[line.sock] = line
            else:
                self._acceptor.add(line.sock, partial(self._begin, line))
            self._log.info("Start listen", listener=line.name, upstream=address.text)
        self._serve_inherited()

    def _close(self, line: Line) -> None:
        """Listen no longer for a line."""
        self._log.info("Stop listen", listener=line.name)
        if line.sock in self._inherited:
            self._inherited[line.sock] = None
        else:
            self._acceptor.remove(line.sock)

    def _serve_inherited(self) -> None:
        """Accept on all inherited sockets.

        The system does so for whoever handed them down: clients for whom there is no line would
        wait for ever.
        """
        for sock, line in self._inherited.items():
            if sock not in self._accepted:
                self._accepted.add(sock)
                self._acceptor.add(sock, partial(self._arrive, sock))
            if line is not None:
                self._turned_away.discard(sock)
            elif sock not in self._turned_away:
                self._turned_away.add(sock)
                self._log.warn(
                    "No line is for an inherited socket, its clients are turned away",
                    listener=listen.name_of(sock),
                )

    def _arrive(self, sock: socket.socket, conn: socket.socket, remote: str) -> None:
        line = self._inherited[sock]
        if line is None:
            # Closed so, it ends by a reset, as where nobody listens.
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
            conn.close()
        else:
            self._begin(line, conn, remote)

    # -- life ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop accepting; end with the last tunnel."""
        self._acceptor.stop()

    def abort(self) -> None:
        """End everything now."""
        self._acceptor.stop()
        with self._lock:
            for conn in self._pending:
                conn.close()
            self._pending.clear()
        self._engine.abort()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended, at the latest after the time-out; after `stop` or `abort`."""
        if not self._pending:
            self._engine.stop()  # only now: what is being opened may still become a tunnel
            return self._engine.wait(timeout_s)
        if timeout_s:
            from time import sleep

            sleep(min(timeout_s, 0.05))
        return False

    def families(self) -> list[Family]:
        """The metrics beside the engine's."""
        pending = Family("kojuto_wsgate_handshakes_open", "gauge", "Tunnels being opened.")
        failed = Family("kojuto_wsgate_open_failures_total", "counter", "Tunnels not opened.")
        trips = metrics.round_trips(self._engine)
        return [pending.add(len(self._pending)), failed.add(self._failures), trips]

    def _has_room(self) -> bool:
        most = self._values.max_connections
        return not most or len(self._pending) + self._engine.stats()["open"] < most

    # -- one connection -----------------------------------------------------------------------

    def _begin(self, line: Line, conn: socket.socket, remote: str) -> None:
        with self._lock:
            self._pending.add(conn)
        if not line.submit(conn, remote, self._open):
            self._fail(line, remote, "too many connections wait for the backend")
            self._end(conn)

    def _open(self, line: Line, conn: socket.socket, remote: str) -> None:
        try:
            self.tunnel(line.opener, conn, line.name, remote)
        except (OpenError, KojutoError) as error:
            self._fail(line, remote, str(error))
        except OSError as error:
            self._fail(line, remote, words(error))
        except Exception as error:
            self._fail(line, remote, f"unexpected {type(error).__name__}")
        finally:
            self._end(conn)

    def tunnel(self, opener: Opener, conn: socket.socket, name: str, remote: str) -> None:
        """Open a tunnel for a connection and hand both to the engine, which has its own copies.

        Raises:
            OpenError: the backend cannot be reached.
            OSError: the engine does not take it.
        """
        if self._values.enable_compression:
            from kojuto.tools.wsgate_client.compressed import open_compressed

            limit = self._values.connect_timeout or 365 * 86400.0
            stream, rest, closes = open_compressed(self._deflate, opener, limit), b"", True
        else:
            stream, rest, closes = opener.open()  # type: ignore[assignment]
        try:
            self._engine.adopt(
                conn.fileno(),
                stream.fileno() if isinstance(stream, socket.socket) else stream,
                websocket="upstream",
                masked=True,
                remote=remote,
                listener=name,
                upstream_name=opener.address.text,
                upstream_data=rest,
                ping_interval_s=self._values.ping_interval,
                lenient=not closes,
            )
        finally:
            if isinstance(stream, socket.socket):
                stream.close()

    def _end(self, conn: socket.socket) -> None:
        with self._lock:
            self._pending.discard(conn)
        conn.close()

    def _fail(self, line: Line, remote: str, why: str) -> None:
        self._failures = next(self._failed)
        self._log.warn(
            "Failed to connect backend",
            listener=line.name,
            remote_addr=remote,
            upstream=line.opener.address.text,
            error=why,
        )
