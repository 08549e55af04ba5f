"""``motarei``: a TCP relay to the newest Docker container that carries a label."""

from __future__ import annotations

import sys
from time import monotonic

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.server import exporter, listen, relay, service
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from kojuto._native import Relay
    from kojuto.common.server.logs import Logger
    from kojuto.tools.motarei.containers import Container, Finder


def _port_pair(text: str) -> tuple[int, int]:
    private, equals, public = text.partition("=")
    if not equals:
        raise ValueError("not a pair of ports (write PRIVATE=LISTEN, 80=8080)")
    port = units.integer(1, 65535)
    return port(private), port(public)


def _label(text: str) -> str:
    if text.partition("=")[0] == "":
        raise ValueError("not a label (write KEY=VALUE)")
    return text


def _ip(text: str) -> str:
    import ipaddress

    return str(ipaddress.ip_address(text))


COMMAND = Command(
    "motarei",
    "Relays each private TCP port of the newest running container with a label to the port that "
    "Docker published for it, so that 'start_server -- docker run -P …' is a deploy without an "
    "interruption.",
    [
        Option(
            "--bind",
            metavar="IP",
            read=_ip,
            default="0.0.0.0",  # noqa: S104
            help="the address to accept on",
        ),
        Option(
            "-l",
            "--label",
            metavar="KEY=VALUE",
            read=_label,
            required=True,
            repeat=True,
            help="the label of the containers; all of several",
        ),
        Option(
            "--publish",
            metavar="PRIVATE=LISTEN",
            read=_port_pair,
            repeat=True,
            help="accept on another port than the container's private one",
        ),
        relay.connect_timeout("a container"),
        Option(
            "--proxy-connect-ip",
            metavar="IP",
            read=_ip,
            default="127.0.0.1",
            help="where ports that are published on all addresses are reached",
        ),
        Option(
            "--drain-timeout",
            metavar="TIME",
            read=units.timed("1ms", "365d", zero=True),
            default="0",
            help="cut the connections to a container this long after it was replaced; 0 for never",
        ),
        Option(
            "--wait", help="wait when there is no such container at the start, instead of failing"
        ),
        *relay.OPTIONS,
    ],
    epilog="""
Examples:
  motarei --label app=web --publish 80=8080 &
  start_server --interval 5 -- docker run -P --rm -l app=web web:latest

The engine is found as the docker command finds it: DOCKER_HOST, DOCKER_TLS_VERIFY,
DOCKER_CERT_PATH.
""",
)

TICK_S = 1.0
"""A full list at least so often, whatever the events say."""
PROBE_S = 0.05
"""The time between two looks at a container that is not ready yet."""
SETTLE_S = 0.2
"""docker-proxy accepts and only then tries the container: while a newer container starts, and the
present one may be told to stop any moment, a connection must have stayed open for so long before
it is given its first byte."""
SETTLE_STOPPING_S = 0.3
"""The same when there is none but one that was told to stop. Between the container's end and
docker-proxy's, which its event tells, docker-proxy tries in vain and keeps silent."""
NEXT_CONTAINER_TIMEOUT_S = 5.0
"""How long new clients wait for another container after the last one has gone."""


class Switch:
    """Keeps the engine's listeners and lists of upstreams as the containers are.

    Args:
        inherited: listening sockets of a supervisor, used for the ports they are bound to.
    """

    def __init__(
        self,
        engine: Relay,
        log: Logger,
        values: Values,
        finder: Finder,
        inherited: list[socket.socket],
    ) -> None:
        from threading import Event

        self._engine = engine
        self._log = log
        self._bind: str = values.bind
        self._publish = dict(values.publish)
        self._finder = finder
        self._inherited = {
            name[1]: sock for sock in inherited if isinstance(name := sock.getsockname(), tuple)
        }
        self._pools: dict[int, int] = {}
        self._shown: dict[int, list[tuple[str, str]]] = {}
        self._settling: dict[int, tuple[float, bool]] = {}
        self._served_at: float | None = None
        self._drain_timeout_s: float = values.drain_timeout
        self._newest: dict[int, tuple[str, int]] = {}
        self._draining: dict[tuple[int, tuple[str, int]], float] = {}
        self.changed = Event()

    def update(self, ready: Sequence[Container], pending: bool) -> None:
        """Tell the engine which containers take connections.

        Args:
            ready: newest first.
            pending: a newer one is about to follow.

        Raises:
            listen.BindError: a port of the newest container cannot be bound.
        """
        if ready:
            self._served_at = monotonic()
            for private in sorted(ready[0].ports):
                self._open(private)
        for private, pool in self._pools.items():
            self._settle(pool, [c for c in ready if private in c.ports], pending)
            where = [(c.short_id, c.ports[private]) for c in ready if private in c.ports]
            if where:
                self._note_newest(pool, where[0][1])
            shown = [(name, listen.address_text(*address)) for name, address in where]
            if shown != self._shown.get(private):
                self._engine.set_upstreams(pool, [address for _, address in where])
                self._shown[private] = shown
                self._log.info(
                    "Upstreams",
                    port=private,
                    containers=[name for name, _ in shown],
                    addresses=[text for _, text in shown],
                )

    def _settle(self, pool: int, ready: Sequence[Container], pending: bool) -> None:
        """Hold connections back while a deploy is under way that could break them."""
        settle_s, wait = (SETTLE_S if pending else 0.0), pending
        if ready and ready[0].stopping:
            settle_s, wait = SETTLE_STOPPING_S, True
        elif not ready and self._served_at is not None:
            wait |= monotonic() - self._served_at < NEXT_CONTAINER_TIMEOUT_S
        if self._settling.get(pool, (0.0, False)) != (settle_s, wait):
            self._settling[pool] = (settle_s, wait)
            self._engine.set_settling(pool, settle_s=settle_s, wait_for_upstream=wait)

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

    def _open(self, private: int) -> None:
        if private in self._pools:
            return
        port = self._publish.get(private, private)
        sock = self._inherited.pop(port, None) or listen.bind(self._bind, port)
        pool = self._engine.add_pool("first", max_fails=0)
        name = listen.name_of(sock)
        self._pools[private] = pool
        self._engine.listen(sock.fileno(), name, pool)
        sock.close()
        self._log.info("Start listen", listener=name, port=private)

    def follow(self) -> None:
        """Look at events and lists for ever."""
        failing = False
        told: tuple[str, int | None] | None = None
        while True:
            pending = False
            try:
                ready, pending = self._finder.ready()
                if failing:
                    self._log.info("Docker answers again")
                failing = False
            except KojutoError as error:
                if not failing:
                    self._log.warn(
                        "Docker does not answer, the last known containers are kept",
                        error=str(error),
                    )
                failing = True
            else:
                try:
                    self.update(ready, pending)
                    told = None
                except listen.BindError as error:
                    why = (error.address, error.number)
                    if why != told:
                        self._log.error("A port cannot be opened", error=str(error))
                    told = why
            wait_s = self._cut_drained()
            self.changed.wait(min(wait_s, PROBE_S if pending else TICK_S))
            self.changed.clear()


def _first(switch: Switch, finder: Finder, values: Values, log: Logger) -> None:
    """Open the ports of the first containers; wait for them only with ``--wait``.

    Raises:
        KojutoError: Docker does not answer, or there is no container with a published port.
    """
    try:
        ready, pending = finder.ready()
    except KojutoError:
        if not values.wait:
            raise
        ready, pending = [], False
    if not ready and not pending and not values.wait:
        raise KojutoError(
            f"no running container with the label {' and '.join(values.label)} has a published "
            "TCP port",
            "start one with 'docker run -P -l …', or give --wait to wait for it",
        )
    switch.update(ready, pending)
    if not ready:
        log.info("Waiting for a container", label=values.label)


def _work(values: Values, _: list[str]) -> int:
    from threading import Thread

    from kojuto._native import Relay
    from kojuto.common.server.logs import Logger
    from kojuto.tools.motarei.containers import Finder

    service.preload("docker", "docker.utils", "requests.exceptions")
    metrics = exporter.open_port(values)
    inherited = listen.inherited()
    log = Logger()
    try:
        finder = Finder(values.label, values.proxy_connect_ip)
        engine = Relay(log.writer, max_attempts=16, **relay.engine_options(values))
        switch = Switch(engine, log, values, finder, inherited)
        service.hold_signals()
        _first(switch, finder, values, log)
        for name, target in (
            ("events", lambda: finder.watch(switch.changed.set)),
            ("follow", switch.follow),
        ):
            Thread(target=target, name=name, daemon=True).start()
        return relay.run(engine, log, values, metrics, switch.changed.set)
    finally:
        log.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``motarei`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
