"""Which containers take the connections of which port, and what is awaited for the others."""

from __future__ import annotations

import socket
import time

from kojuto.common.server import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto.tools.motarei.containers import Container

PROBE_TIMEOUT_S = 0.5
PROBE_HOLD_S = 0.1
"""So long a probe must stay open: docker-proxy accepts whether the container does or not, and
closes at once if not."""
START_TIMEOUT_S = 300.0
"""A container that has been running for longer is not expected to begin to accept any more."""
QUICK_START_S = 10.0
"""For so long a container that starts is looked at every `PROBE_S`, and then every
`PROBE_LATER_S`."""
PROBE_S = 0.05
PROBE_LATER_S = 0.25


def accepts(address: tuple[str, int]) -> bool:
    """Whether a connection is accepted and not closed at once."""
    try:
        with socket.create_connection(address, timeout=PROBE_TIMEOUT_S) as conn:
            conn.settimeout(PROBE_HOLD_S)
            try:
                return bool(conn.recv(1))
            except TimeoutError:
                return True
    except OSError:
        return False


class Port:
    """How things stand with one private port.

    Args:
        private: its number within the containers.
        pending: a newer container is about to follow.
    """

    def __init__(self, private: int, *, pending: bool = False) -> None:
        self.private = private
        self.pending = pending
        self.ready: list[Container] = []
        """Those that take connections, first the one that gets the new ones."""
        self.others: list[tuple[Container, str]] = []
        """Those that do not, newest first, and why not."""
        self.awaited: list[tuple[Container, str]] = []
        """Those of them that are newer than all that do, and may yet."""


class View:
    """All ports that the containers offer, as they were at one moment.

    Args:
        ports: by their private number.
        expected: a container was created that is about to run.
        next_look_s: when to look again for what is pending; None when nothing is.
    """

    def __init__(
        self, ports: dict[int, Port], *, expected: bool, next_look_s: float | None
    ) -> None:
        self.ports = ports
        self.expected = expected
        self.next_look_s = next_look_s

    def port(self, private: int) -> Port:
        """That port, whether a container offers it or not."""
        return self.ports.get(private) or Port(private, pending=self.expected)

    @property
    def served(self) -> bool:
        """Whether some port has a container that takes connections."""
        return any(port.ready for port in self.ports.values())

    @property
    def pending(self) -> bool:
        """Whether a container is about to follow."""
        return self.expected or any(port.pending for port in self.ports.values())


class Ports:
    """Decides port by port, and remembers what has accepted once.

    Args:
        only: the private ports that count; None for all.
    """

    def __init__(self, only: set[int] | None = None) -> None:
        self._only = only
        self._accepting: set[tuple[object, ...]] = set()

    def look(self, running: Sequence[Container], expected: bool) -> View:
        """Who takes the connections of each port.

        A container with a health check counts while it is healthy; one without counts for a port
        from the moment that port has accepted since its start, whatever its other ports do. Those
        that were told to stop come after all others, and not at all while a newer one is about to
        follow: it is safer to wait for that than to catch the old one's end. One that still runs
        after its stop time-out ignores what it was told, and counts while its port accepts. Those
        that are paused come last of all: to wait until they go on is better than to be refused.

        Args:
            running: newest first.
            expected: a container was created that is about to run.
        """
        offered = {_run(one, private) for one in running for private in one.ports}
        self._accepting = {mark for mark in self._accepting if mark[:-1] in offered}
        now = time.monotonic()
        next_look_s = PROBE_S if expected else None
        ports: dict[int, Port] = {}
        for container in running:
            age_s = now - container.first_seen_s
            for private in container.ports:
                if self._only is not None and private not in self._only:
                    continue
                port = ports.setdefault(private, Port(private, pending=expected))
                why = self._why_not(container, private)
                if not why:
                    port.ready.append(container)
                    continue
                port.others.append((container, why))
                overtaken = port.ready or container.stopping or container.health == "unhealthy"
                if not overtaken and age_s < START_TIMEOUT_S:
                    port.awaited.append((container, why))
                    port.pending = True
                    again_s = PROBE_S if age_s < QUICK_START_S else PROBE_LATER_S
                    next_look_s = min(next_look_s or again_s, again_s)
        for port in ports.values():
            port.ready.sort(key=lambda container: (container.paused, container.stopping))
            if port.pending:
                port.others += [(one, "it was told to stop") for one in port.ready if one.ending]
                port.ready = [one for one in port.ready if not one.ending]
                port.others += [(one, "it is paused") for one in port.ready if one.paused]
                port.ready = [one for one in port.ready if not one.paused]
        return View(ports, expected=expected, next_look_s=next_look_s)

    def _why_not(self, container: Container, private: int) -> str:
        """What keeps a container from taking the connections of a port; empty for nothing."""
        overdue = container.stopping and not container.ending
        if container.health == "healthy" and not overdue:
            return ""
        if container.health not in ("none", "healthy"):
            return f"its health check says {container.health}"
        mark = (*_run(container, private), overdue)
        if mark not in self._accepting:
            address = container.ports[private]
            if not accepts(address):
                where = listen.address_text(*address)
                return f"nothing accepts on its port {private} (tried at {where})"
            self._accepting.add(mark)
        return ""


def _run(container: Container, private: int) -> tuple[object, ...]:
    """A port of a container from one start to the next: a restart may go unseen by any list."""
    return (container.id, container.starts, private, container.ports[private])
