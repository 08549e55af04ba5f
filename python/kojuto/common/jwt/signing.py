"""Signing tokens."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kojuto.common.jwt.keys import PrivateKey


def sign(key: PrivateKey, claims: Mapping[str, Any]) -> str:
    """A token in compact form, ``typ`` JWT."""
    from json import dumps

    from jwt.api_jws import PyJWS

    payload = dumps(dict(claims), separators=(",", ":"), allow_nan=False).encode()
    return PyJWS().encode(payload, key.private, algorithm=key.algorithm)
