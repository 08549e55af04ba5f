"""The options that ``deteco`` and ``deteco check`` share."""

from __future__ import annotations

from kojuto.common import units
from kojuto.common.cli import Option

CONF = Option(
    "--conf", metavar="FILE", help="services, their paths and public keys (TOML)", required=True
)
FRESHNESS = Option(
    "--jwt-freshness",
    metavar="TIME",
    read=units.timed("1s", "36500d"),
    default="1h",
    help="refuse tokens that were issued longer ago",
)
