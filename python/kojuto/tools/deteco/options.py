"""The options that ``deteco`` and ``deteco check`` share."""

from __future__ import annotations

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
