"""A token of each kind, and whether the product takes it: what the tests of tokens share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from kojuto.common import jwt
from kojuto.common.jwt import TokenError
from tests.keys import b64, ec_key, ed_key, public_pem, rsa_key

if TYPE_CHECKING:
    from collections.abc import Callable


NOW = 1_800_000_000.0


def keys(*private: Any) -> list[jwt.Key]:
    return jwt.load_public_keys(b"".join(map(public_pem, private or [rsa_key()])), "keys.pem")


def rs256(
    data: str, key: rsa.RSAPrivateKey | None = None, size: int = 256, pss: bool = False
) -> bytes:
    hash_: Any = getattr(hashes, f"SHA{size}")()
    pad: Any = padding.PSS(padding.MGF1(hash_), hash_.digest_size) if pss else padding.PKCS1v15()
    return (key or rsa_key()).sign(data.encode(), pad, hash_)


H = {"alg": "RS256", "typ": "JWT"}

P = {"sub": "alice", "exp": int(NOW) + 300, "nbf": int(NOW) - 10, "iat": int(NOW) - 10}


def signed(header: Any, payload: Any, **how: Any) -> str:
    """A token that is well signed with RSA, whatever its header says."""
    data = f"{b64(header)}.{b64(payload)}"
    return f"{data}.{b64(rs256(data, **how))}"


def good() -> str:
    return signed(H, P)


def check(token: str, *private: Any, **options: Any) -> dict[str, Any]:
    both_find_the_same_signer(token, keys(*private))
    return jwt.verify(token, keys(*private), **{"now": NOW, "freshness_s": 3600.0, **options})


def both_find_the_same_signer(token: str, known: list[jwt.Key]) -> None:
    """What is checked without Python, and by it: the key and the payload, or the words."""

    def said(signed_by: Callable[[str], tuple[jwt.Key, bytes]]) -> object:
        try:
            return signed_by(token)
        except TokenError as error:
            return type(error), str(error)

    assert said(jwt.Signers(known).signed_by) == said(lambda text: jwt.signed_by(text, known))


def refused(token: str, *private: Any, **options: Any) -> str:
    """Why it is refused; a good token beside it is not. Nothing of it is in the reason."""
    assert check(good())["sub"] == "alice"
    with pytest.raises(TokenError) as caught:
        check(token, *private, **options)
    for part in token.split("."):
        assert len(part) < 8 or part not in str(caught.value)
    return caught.value.reason


PAIRS: dict[str, Callable[[], Any]] = {
    "RS256": rsa_key,
    "ES256": ec_key,
    "ES384": lambda: ec_key(ec.SECP384R1),
    "ES512": lambda: ec_key(ec.SECP521R1),
    "EdDSA": ed_key,
}
