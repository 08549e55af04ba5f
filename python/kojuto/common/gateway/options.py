"""The options that both WebSocket gateways have, each said once."""

from __future__ import annotations

from kojuto.common import units
from kojuto.common.cli import Option


def map_file(lines: str, *, required: bool = False) -> Option:
    """``--map``, for `kojuto.common.gateway.mapfile`; `lines` is the form of one."""
    return Option(
        "--map",
        metavar="FILE",
        required=required,
        help=f"lines of {lines}; comment lines begin with #; SIGHUP reads it again",
    )


def compression(verb: str) -> Option:
    """``--enable-compression``, for `kojuto.common.gateway.deflate`; `verb` is what we do to it."""
    return Option(
        "--enable-compression",
        help=f"{verb} permessage-deflate (RFC 7692); such tunnels are slower",
    )


def ping_interval(peer: str) -> Option:
    """``--ping-interval``; `peer` is who gets the pings."""
    return Option(
        "--ping-interval",
        metavar="TIME",
        read=units.timed("1ms", "24h", zero=True),
        default="20s",
        help=f"silence after which the {peer} is sent a ping; one that answers neither of two is "
        "gone; 0 for never",
    )
