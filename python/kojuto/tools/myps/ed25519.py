"""The login by MariaDB's plugin ``ed25519``: the server's random bytes, signed.

It is Ed25519 (RFC 8032, 5.1.6) but for the private key, which is a password of any length, where
libraries want 32 bytes. So the arithmetic of section 5.1.4 is written out.
"""

from __future__ import annotations

from hashlib import sha512
from typing import Any

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y = 4 * pow(5, -1, P) % P

_Point = tuple[int, int, int, int]
BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % P)


def _add(one: _Point, other: _Point) -> _Point:
    """In extended homogeneous coordinates (X, Y, Z, T)."""
    a = (one[1] - one[0]) * (other[1] - other[0])
    b = (one[1] + one[0]) * (other[1] + other[0])
    c = 2 * one[3] * other[3] * D
    d = 2 * one[2] * other[2]
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times_base(scalar: int) -> bytes:
    """The point as 32 bytes: y, and of x the last bit."""
    point, result = BASE, (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    inverse = pow(result[2], -1, P)
    x, y = result[0] * inverse % P, result[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _hashed(*parts: bytes) -> int:
    return int.from_bytes(sha512(b"".join(parts)).digest(), "little") % ORDER


def signature(password: bytes, message: bytes) -> bytes:
    """64 bytes: the message signed with a password."""
    key = sha512(password).digest()
    secret = int.from_bytes(key[:32], "little") & ((1 << 254) - 8) | 1 << 254
    nonce = _hashed(key[32:], message)
    commitment = _times_base(nonce)
    challenge = _hashed(commitment, _times_base(secret), message)
    return commitment + ((nonce + challenge * secret) % ORDER).to_bytes(32, "little")


class Ed25519Login:
    """Answers the server for pymysql, which would need another package for it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def authenticate(self, packet: Any) -> Any:
        """Sign what the server sent.

        Raises:
            pymysql.err.MySQLError: it was the wrong password.
        """
        self.connection.write_packet(signature(self.connection.password, packet.read_all()))
        answer = self.connection._read_packet()
        answer.check_error()
        return answer
