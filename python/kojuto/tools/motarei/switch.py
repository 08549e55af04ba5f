"""Keeps the relay's listeners and lists of upstreams as the containers are."""

from __future__ import annotations

from time import monotonic

from kojuto.common.server import listen
from kojuto.errors import KojutoError
from kojuto.tools.motarei import state
from kojuto.tools.motarei.ports import View
from kojuto.tools.motarei.refusals import RefusalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from kojuto._native import Relay
    from kojuto.common.cli import Values
    from kojuto.common.server.logs import Logger
    from kojuto.tools.motarei.ports import Port

TICK_S = 1.0
"""A full list at least so often, whatever the events say."""
SETTLE_S = 0.2
"""docker-proxy accepts and only then tries the container: while a newer container starts, and the
present one may be told to stop any moment, a connection must have stayed open for so long before
it is given its first byte."""
SETTLE_STOPPING_S = 0.3
"""The same when there is none but one that was told to stop, within its stop time-out. Between the
container's end and docker-proxy's, which its event tells, docker-proxy tries in vain and keeps
silent."""
NEXT_CONTAINER_TIMEOUT_S = 5.0
"""How long new clients wait for another container after the last one has gone."""


class Switch:
    """Keeps the engine's listeners and lists of upstreams as the containers are.

    Args:
        engine: moves the bytes.
        log: told of each change.
        values: of the command line.
        look: how the ports are now; raises `KojutoError` when Docker does not answer.
        inherited: listening sockets of a supervisor, used for the ports they are bound to.
    """

    def __init__(
        self,
        engine: Relay,
        log: Logger,
        values: Values,
        look: Callable[[], View],
        inherited: list[socket.socket],
    ) -> None:
        from threading import Event

        self._engine = engine
        self._log = log
        self._labels: list[str] = values.label
        self._view: View | None = None
        self._docker_error = ""
        self._listeners: dict[int, list[str]] = {}
        self._closed: set[int] = set()
        """The private ports whose own sockets are closed, for nobody has served them for long."""
        self._kept: set[int] = set()
        """Those on inherited sockets: whoever handed them down listens on."""
        self._bind: str = values.bind
        self._publish = dict(values.publish)
        self._look = look
        self._inherited = list(inherited)
        self._unserved: dict[int | None, int] = {}
        """The pools without upstreams of inherited sockets, by the sockets' port."""
        self.failed: dict[int, listen.BindError] = {}
        """The private ports that are served and cannot be opened, and why."""
        self._pools: dict[int, int] = {}
        self._shown: dict[int, list[tuple[str, str, str]]] = {}
        self._settling: dict[int, tuple[float, bool]] = {}
        self._served_at: dict[int, float] = {}
        self._awaited: set[tuple[int, str, str]] = set()
        self._drain_timeout_s: float = values.drain_timeout
        self._newest: dict[int, tuple[str, int]] = {}
        self._draining: dict[tuple[int, tuple[str, int]], float] = {}
        self.changed = Event()

    @property
    def listening(self) -> bool:
        """Whether a port is open."""
        return bool(self._pools)

    def update(self, view: View) -> None:
        """Tell the engine which containers take connections.

        A port that cannot be opened is told of once, and is tried again by the next call; it keeps
        no other from switching.
        """
        self._view = view
        self._tell_awaited(view)
        wanted = {private for private, port in view.ports.items() if port.ready}
        self.failed = {port: error for port, error in self.failed.items() if port in wanted}
        for private in sorted(wanted | set(self._pools)):
            self._steer(view.port(private))
        if view.served and not view.expected:
            coming = {private for private, port in view.ports.items() if port.pending}
            self._turn_away({self._publish.get(private, private) for private in coming})

    def _turn_away(self, coming: set[int]) -> None:
        """Turn clients away from inherited sockets for which no container has a port.

        Whoever handed them down goes on listening: the system would accept the clients, and they
        would wait for ever. A container that offers the port later gets the socket after all.

        Args:
            coming: the ports that a container is about to serve.
        """
        for sock in [sock for sock in self._inherited if _port_of(sock) not in coming]:
            port, name = _port_of(sock), listen.name_of(sock)
            if port not in self._unserved:
                self._unserved[port] = self._engine.add_pool("first", max_fails=0)
            self._engine.listen(sock.fileno(), name, self._unserved[port])
            self._inherited.remove(sock)
            sock.close()
            self._log.warn(
                "No container has a port for an inherited socket, its clients are turned away",
                listener=name,
            )

    def _steer(self, port: Port) -> None:
        """Give a port its upstreams, and open it only then: no client may come before them."""
        private = port.private
        pool = self._pools.get(private)
        if pool is None:
            pool = self._unserved.pop(self._publish.get(private, private), None)
            if pool is not None:
                self._kept.add(private)
        opened: list[socket.socket] = []
        if pool is None or (private in self._closed and port.ready):
            opened = self._sockets(private)
            if not opened:
                return
            self._closed.discard(private)
            if pool is None:
                pool = self._engine.add_pool("first", max_fails=0)
        self._pools[private] = pool
        waits = self._settle(pool, port)
        where = [(one, one.ports[private]) for one in port.ready]
        if where:
            self._note_newest(pool, where[0][1])
        shown = [(one.short_id, one.name, listen.address_text(*address)) for one, address in where]
        if shown != self._shown.get(private):
            names = [name for _, name, _ in shown]
            self._engine.set_upstreams(pool, [address for _, address in where], names)
            self._shown[private] = shown
            self._log.info(
                "Upstreams",
                port=private,
                containers=[short_id for short_id, _, _ in shown],
                names=names,
                addresses=[text for _, _, text in shown],
            )
        for sock in opened:
            self._listen(sock, private, pool)
        if not where and not waits and pool in self._served_at:
            self._close(private, pool)

    def _close(self, private: int, pool: int) -> None:
        """Have clients of a port that nobody serves any more refused, until somebody does."""
        if private in self._closed or private in self._kept:
            return
        self._engine.unlisten(pool)
        self._closed.add(private)
        for name in self._listeners.pop(private, ()):
            self._log.info("Stop listen", listener=name, port=private)

    def _tell_awaited(self, view: View) -> None:
        """Log once which container a port waits for, and why."""
        awaited = set()
        for private, port in sorted(view.ports.items()):
            for one, why in port.awaited:
                awaited.add((private, one.id, why))
                if (private, one.id, why) not in self._awaited:
                    self._log.info(
                        "Waiting for a port",
                        port=private,
                        container=one.short_id,
                        name=one.name,
                        reason=why,
                    )
        self._awaited = awaited

    def _settle(self, pool: int, port: Port) -> bool:
        """Hold connections back while a deploy is under way that could break them.

        Returns:
            Whether clients wait for a container.
        """
        settle_s, wait = (SETTLE_S if port.pending else 0.0), port.pending
        if port.ready:
            self._served_at[pool] = monotonic()
        if port.ready and port.ready[0].ending:
            settle_s, wait = SETTLE_STOPPING_S, True
        elif not port.ready and pool in self._served_at:
            wait |= monotonic() - self._served_at[pool] < NEXT_CONTAINER_TIMEOUT_S
        if self._settling.get(pool, (0.0, False)) != (settle_s, wait):
            self._settling[pool] = (settle_s, wait)
            self._engine.set_settling(pool, settle_s=settle_s, wait_for_upstream=wait)
        return wait

    def _note_newest(self, pool: int, address: tuple[str, int]) -> None:
        """Start the clock for the connections of the one that was the newest until now."""
        before = self._newest.get(pool)
        self._newest[pool] = address
        if before is not None and before != address and self._drain_timeout_s > 0:
            self._draining[pool, before] = monotonic() + self._drain_timeout_s
        self._draining.pop((pool, address), None)

    def _cut_drained(self) -> float:
        """Cut the connections whose time is over; seconds until the next ones' is."""
        now = monotonic()
        for (pool, address), until in list(self._draining.items()):
            if until <= now:
                self._engine.cut(pool, address)
                del self._draining[pool, address]
        return min(self._draining.values(), default=now + TICK_S) - now

    def _sockets(self, private: int) -> list[socket.socket]:
        """What a private port is to be accepted on; empty when nothing can be had now."""
        port = self._publish.get(private, private)
        found = [sock for sock in self._inherited if _port_of(sock) == port]
        if found:
            self._kept.add(private)
        self._inherited = [sock for sock in self._inherited if sock not in found]
        try:
            found = found or [listen.bind(self._bind, port)]
        except listen.BindError as error:
            before = self.failed.get(private)
            if before is None or (before.address, before.number) != (error.address, error.number):
                self._log.error(
                    "A port cannot be opened, trying again", port=private, error=str(error)
                )
            self.failed[private] = error
            return []
        self.failed.pop(private, None)
        return found

    def _listen(self, sock: socket.socket, private: int, pool: int) -> None:
        name = listen.name_of(sock)
        self._engine.listen(sock.fileno(), name, pool)
        sock.close()
        self._listeners.setdefault(private, []).append(name)
        host = name.rpartition(":")[0]
        self._log.info("Start listen", listener=name, host=host, port=private)

    def state(self) -> dict[str, Any]:
        """What ``motarei status`` and the like tell of; may be called from any thread."""
        view = self._view or View({}, expected=False, next_look_s=None)
        found = state.describe(view, self._publish, {*view.ports, *list(self._pools)})
        for port in found["ports"]:
            private = port["port"]
            port["listeners"] = list(self._listeners.get(private, ()))
            failed = self.failed.get(private)
            port["error"] = str(failed) if failed else ""
        return {"by": "server", "labels": self._labels, "docker": self._docker_error, **found}

    def upstream_labels(self, member: dict[str, Any]) -> dict[str, str]:
        """The private port and the container of an entry of the engine's ``stats()``."""
        pools = list(self._pools.items())  # as they are now: others change them meanwhile
        privates = [private for private, pool in pools if pool == member["pool"]]
        return {"port": str(privates[0] if privates else ""), "container": member["container"]}

    def follow(self) -> None:
        """Look at events and lists for ever."""
        failing = False
        while True:
            next_look_s = None
            try:
                view = self._look()
                next_look_s = view.next_look_s
                if failing:
                    self._log.info("Docker answers again")
                failing = False
                self._docker_error = ""
            except KojutoError as error:
                if not failing:
                    refused = isinstance(error, RefusalError)
                    what = "Docker refuses the list" if refused else "Docker does not answer"
                    self._log.warn(
                        f"{what}, the last known containers are kept",
                        error=str(error),
                        hint=error.hint,
                    )
                failing = True
                self._docker_error = str(error)
            else:
                self.update(view)
            wait_s = self._cut_drained()
            self.changed.wait(min(wait_s, next_look_s or TICK_S))
            self.changed.clear()


def _port_of(sock: socket.socket) -> int | None:
    name = sock.getsockname()
    return name[1] if isinstance(name, tuple) else None
