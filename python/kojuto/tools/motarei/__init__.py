"""``motarei``: a TCP relay to the newest Docker container that carries a label."""

from __future__ import annotations

import sys

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.server import exporter, listen, relay, service
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.motarei import refusals
from kojuto.tools.motarei.ports import Ports, View
from kojuto.tools.motarei.switch import Switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kojuto.common.server.logs import Logger


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
        Option(
            "--only-published",
            help="relay the ports of --publish and no other that a container exposes",
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


def _first(switch: Switch, look: Callable[[], View], values: Values, log: Logger) -> None:
    """Open the ports of the first containers; wait for them only with ``--wait``.

    Raises:
        KojutoError: Docker does not answer, no container serves a port or is about to, or none of
            the ports that are served can be opened.
    """
    try:
        view = look()
    except KojutoError:
        if not values.wait:
            raise
        view = View({}, expected=False, next_look_s=None)
    if not view.served and not view.pending and not values.wait:
        raise _nobody(view, values)
    switch.update(view)
    if switch.failed and not switch.listening and not values.wait:
        raise next(iter(switch.failed.values()))
    if not view.served:
        log.info("Waiting for a container", label=values.label)


def _nobody(view: View, values: Values) -> KojutoError:
    for private, port in sorted(view.ports.items()):
        for one, why in port.others:
            return KojutoError(
                f"no container takes connections: {one.name}, port {private}: {why}",
                "mend that one, or give --wait to wait for it",
            )
    ports = "TCP port"
    if values.only_published:
        ports = f"port {', '.join(str(private) for private, _ in values.publish)}"
    return KojutoError(
        f"no running container with the label {' and '.join(values.label)} has a published {ports}",
        "start one with 'docker run -P -l …', or give --wait to wait for it",
    )


def _check(values: Values) -> None:
    if values.only_published and not values.publish:
        raise UsageError(
            "--only-published has no meaning without --publish",
            "add --publish PRIVATE=LISTEN for each port, --publish 80=8080",
        )


def _work(values: Values, _: list[str]) -> int:
    _check(values)
    refusals.check_host()
    from threading import Thread

    from kojuto._native import Relay
    from kojuto.common.server.logs import Logger
    from kojuto.tools.motarei.finder import Finder

    service.preload("docker", "docker.utils", "requests.exceptions")
    metrics = exporter.open_port(values)
    inherited = listen.inherited()
    log = Logger()
    try:
        finder = Finder(values.label, values.proxy_connect_ip, log.warn)
        only = {private for private, _ in values.publish}
        ports = Ports(only if values.only_published else None)

        def look() -> View:
            return ports.look(finder.running(), finder.expected)

        engine = Relay(log.writer, max_attempts=16, **relay.engine_options(values))
        switch = Switch(engine, log, values, look, inherited)
        service.hold_signals()
        _first(switch, look, values, log)
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
