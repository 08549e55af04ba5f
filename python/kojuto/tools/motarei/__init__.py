"""``motarei``: a TCP relay to the newest Docker container that carries a label."""

from __future__ import annotations

import sys

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.server import exporter, forever, listen, relay, service
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.motarei import options, refusals
from kojuto.tools.motarei.ports import Ports, View
from kojuto.tools.motarei.switch import Switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kojuto.common.server.logs import Logger


COMMAND = Command(
    "motarei",
    "Relays each private TCP port of the newest running container with a label to the port that "
    "Docker published for it, so that 'start_server -- docker run -P …' is a deploy without an "
    "interruption.",
    [
        Option(
            "--bind",
            metavar="IP",
            read=options.ip,
            default="0.0.0.0",  # noqa: S104
            help="the address to accept on",
        ),
        options.LABEL,
        options.PUBLISH,
        options.ONLY_PUBLISHED,
        relay.connect_timeout("a container"),
        options.CONNECT_IP,
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
    usage="--label KEY=VALUE [options] [{status | explain | wait} …]",
    positional="COMMAND …",
    stop_at_positional=True,
    commands={
        "status": "kojuto.tools.motarei.explain:STATUS",
        "explain": "kojuto.tools.motarei.explain:EXPLAIN",
        "wait": "kojuto.tools.motarei.explain:WAIT",
    },
    epilog="""
Without a command it relays. Commands:
  status   which container takes the connections of which port
  explain  why, and what the others wait for
  wait     until a container takes connections

'motarei COMMAND --help' shows their options.

Examples:
  motarei --label app=web --publish 80=8080 &
  start_server --interval 5 -- docker run -P --rm -l app=web web:latest
  motarei wait --healthy --label app=web

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


def _work(values: Values) -> int:
    options.check(values)
    refusals.check_host()
    from json import dumps

    from kojuto._native import Relay
    from kojuto.common.server.logs import Logger
    from kojuto.tools.motarei.finder import Finder

    service.preload("docker", "docker.utils", "requests.exceptions")
    metrics = exporter.open_port(values)
    inherited = listen.inherited()
    log = Logger()
    try:
        finder = Finder(values.label, values.proxy_connect_ip, log.warn)
        ports = Ports(options.only(values))

        def look() -> View:
            return ports.look(finder.running(), finder.expected)

        engine = Relay(log.writer, max_attempts=16, **relay.engine_options(values))
        switch = Switch(engine, log, values, look, inherited)
        service.hold_signals()
        _first(switch, look, values, log)
        for name, target in (
            ("events", lambda: finder.watch(switch.changed.set)),
            ("networks", lambda: finder.watch_networks(switch.changed.set)),
            ("follow", switch.follow),
        ):
            forever.begin(name, target, log)
        if metrics is not None:
            metrics.pages["/status"] = lambda: dumps(switch.state()).encode()
        return relay.run(
            engine, log, values, metrics, switch.changed.set, label=switch.upstream_labels
        )
    finally:
        log.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``motarei`` and return its exit status."""
    line = sys.argv[1:] if argv is None else list(argv)

    def work(values: Values, arguments: list[str]) -> int:
        if not arguments:
            return _work(values)
        name, *rest = arguments
        if name not in COMMAND.commands:
            raise UsageError(
                f"{name}: no such command", "motarei status, motarei explain or motarei wait"
            )
        from kojuto.tools.motarei import explain

        # What stands before the name is for that command too.
        before = line[: len(line) - len(arguments)]
        return explain.run(name, [*before, *rest])

    return cli.run(COMMAND, work, line)


if __name__ == "__main__":
    sys.exit(main())
