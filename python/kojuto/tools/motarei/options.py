"""The options that say which containers and ports motarei is about."""

from __future__ import annotations

from kojuto.common import units
from kojuto.common.cli import Option, Values
from kojuto.errors import UsageError


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


def ip(text: str) -> str:
    """A reader for options: an IP address.

    Raises:
        ValueError: it is none.
    """
    import ipaddress

    return str(ipaddress.ip_address(text))


LABEL = Option(
    "-l",
    "--label",
    metavar="KEY=VALUE",
    read=_label,
    repeat=True,
    help="the label of the containers; all of several",
)
PUBLISH = Option(
    "--publish",
    metavar="PRIVATE=LISTEN",
    read=_port_pair,
    repeat=True,
    help="accept on another port than the container's private one",
)
ONLY_PUBLISHED = Option(
    "--only-published",
    help="relay the ports of --publish and no other that a container exposes",
)
CONNECT_IP = Option(
    "--proxy-connect-ip",
    metavar="IP",
    read=ip,
    default="127.0.0.1",
    help="where ports that are published on all addresses are reached",
)
CONTAINERS = [LABEL, PUBLISH, ONLY_PUBLISHED, CONNECT_IP]


def check(values: Values) -> None:
    """What the options must be together.

    Raises:
        UsageError: there is no label, or no port is left.
    """
    if not values.label:
        raise UsageError("--label is required", "give the label of the containers, -l app=web")
    if values.only_published and not values.publish:
        raise UsageError(
            "--only-published has no meaning without --publish",
            "add --publish PRIVATE=LISTEN for each port, --publish 80=8080",
        )


def only(values: Values) -> set[int] | None:
    """The private ports that count; None for all."""
    return {private for private, _ in values.publish} if values.only_published else None
