"""The options that several servers have, each said once."""

from __future__ import annotations

from kojuto.common import units
from kojuto.common.cli import Option
from kojuto.common.server import listen

GROUP = "Connections"


def listen_at(default: str, *short: str, several: bool = False) -> Option:
    """``--listen`` of a server with one address, or with `several`; `short` is a name beside it."""
    sockets = "sockets" if several else "a socket"
    return Option(
        *short,
        "--listen",
        metavar="ADDRESS",
        read=listen.address,
        default=(default,) if several else default,
        repeat=several,
        help=f"where to accept when neither Server::Starter nor systemd hands {sockets} down",
    )


def max_connections() -> Option:
    """``--max-connections``."""
    return Option(
        "--max-connections",
        metavar="N",
        read=units.integer(0, 10_000_000),
        default="0",
        help="the most connections at a time; more wait in the listen queue; 0 for no limit",
        group=GROUP,
    )


def shutdown_timeout(default: str, what: str = "connections", group: str | None = GROUP) -> Option:
    """``--shutdown-timeout``; `what` is open then."""
    return Option(
        "--shutdown-timeout",
        metavar="TIME",
        read=units.timed("0", "365d"),
        default=default,
        help=f"how long open {what} may go on after SIGTERM; a second SIGTERM ends them",
        group=group,
    )


def metrics_listen(group: str | None = GROUP) -> Option:
    """``--metrics-listen``, for `kojuto.common.server.exporter`."""
    return Option(
        "--metrics-listen",
        metavar="ADDRESS",
        read=listen.address,
        help="answer /metrics (Prometheus) and /live on this address",
        group=group,
    )


def jwt_freshness(text: str, group: str | None = None) -> Option:
    """``--jwt-freshness``, for `kojuto.common.jwt.verify`; `text` is its help."""
    return Option(
        "--jwt-freshness",
        metavar="TIME",
        read=units.timed("1s", "36500d"),
        default="1h",
        help=text,
        group=group,
    )


def dump_tcp(group: str | None = None) -> Option:
    """``--dump-tcp``, the level of `kojuto._native.Dump`."""
    return Option(
        "--dump-tcp",
        metavar="LEVEL",
        read=units.integer(0, 255),
        default="0",
        help="log what passes in hexadecimal: 0 nothing, 1 client to upstream, 2 or more both ways",
        group=group,
    )
