"""The options that ``deteco`` and ``deteco check`` share."""

from __future__ import annotations

from kojuto.common import units
from kojuto.common.cli import Option
from kojuto.common.server.options import jwt_freshness


def conf(*, required: bool) -> Option:
    """``--conf``; the server asks for it itself, since the other commands need none."""
    return Option(
        "--conf",
        metavar="FILE",
        help="services, their paths and public keys (TOML)",
        required=required,
    )


FRESHNESS = jwt_freshness("refuse tokens that were issued longer ago")

LEEWAY = Option(
    "--leeway",
    metavar="TIME",
    read=units.timed("0s", "1h", zero=True),
    help="allowed difference of clocks for exp, iat and nbf; 60s for iat and nbf, none for exp "
    "when it is not given",
)
