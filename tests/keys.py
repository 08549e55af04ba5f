"""Keys and tokens that the tests make for themselves, each key once a run."""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from kojuto.common import jwt


def b64(data: bytes | str | dict[str, Any]) -> str:
    """base64url without padding, as tokens have it (RFC 7515, 2); a dict as compact JSON."""
    if isinstance(data, dict):
        data = json.dumps(data, separators=(",", ":"))
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def _rsa_key(bits: int, number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def _ec_key(curve: type[ec.EllipticCurve], number: int) -> Any:
    return ec.generate_private_key(curve())


@cache
def _ed_key(number: int) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """The same key for the same arguments, as all of these; another `number` is another key."""
    return _rsa_key(bits, number)


def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1, number: int = 0) -> Any:
    return _ec_key(curve, number)


def ed_key(number: int = 0) -> ed25519.Ed25519PrivateKey:
    return _ed_key(number)


def private_key(kind: str, number: int = 0) -> Any:
    """A key of kind rsa, ec or ed25519."""
    if kind == "rsa":
        return rsa_key(number=number)
    return ec_key(number=number) if kind == "ec" else ed_key(number)


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    data: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )
    return data


def public_pem(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


def token(key: Any, **claims: Any) -> str:
    """A good token for five minutes, unless the claims say otherwise; None leaves one out."""
    now = int(time.time())
    members = {"sub": "alice@example.com", "iat": now, "exp": now + 300, **claims}
    kept = {name: value for name, value in members.items() if value is not None}
    return jwt.sign(jwt.load_private_key(private_pem(key), "test"), kept)
