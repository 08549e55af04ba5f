"""Verifying tokens strictly: their form, then the signature, then the claims.

PyJWT and cryptography check signatures; this module decides what they may be asked to check.
Everything that one reader could take otherwise than another (RFC 8725, section 2) is refused.
Sources: RFC 7515, 7519, 8725. No message holds a token or a part of one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from kojuto.common.jwt.keys import Key

MAX_TOKEN_CHARS = 16_384
IAT_LEEWAY_S = 60.0
MAX_DATE = 253_402_300_799
"""Seconds since 1970 at the end of the year 9999."""

KINDS = ("jwt",)
"""The header's ``typ``, in lower case and without ``application/``."""

_SEGMENT = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_REFUSED_MEMBERS = {
    "crit": "an extension that is not supported",
    "jwk": "a key of its own",
    "jku": "keys from an address of its own",
    "x5c": "a certificate of its own",
    "x5u": "certificates from an address of its own",
    "zip": "compression",
    "b64": "a payload that is not encoded",
    "enc": "encryption",
}

_OWN_KEYS = ("jwk", "jku", "x5c", "x5u")


class TokenError(Exception):
    """A token is refused.

    Args:
        reason: why, in a few words that are safe to log: they hold nothing of the token.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoTokenError(TokenError):
    """The request has no token: neither a bad one nor a good one (RFC 6750, 3.1)."""


class FormError(TokenError):
    """The token, or the header that carries it, is not of the one form that is read."""


class NoKeyError(TokenError):
    """No key fits the token: in a set that is renewed, a newer one may."""


class SignatureError(TokenError):
    """The form is right, but none of the keys that fit has signed it."""


class ClaimError(TokenError):
    """The signature is right, a claim is not.

    Args:
        claim: its name.
        reason: as of a `TokenError`.
    """

    def __init__(self, claim: str, reason: str) -> None:
        super().__init__(reason)
        self.claim = claim


def bearer(values: Sequence[str], *, bare: bool = False) -> str:
    """The token of the ``Authorization`` headers of a request (RFC 6750, 2.1).

    Args:
        values: one for each such header.
        bare: a token without the word Bearer is taken, too.

    Raises:
        NoTokenError: there is none, or its scheme is another one.
        FormError: there is not exactly one of the form ``Bearer TOKEN``.
    """
    if not values:
        raise NoTokenError("no Authorization header")
    if len(values) > 1:
        raise FormError("more than one Authorization header")
    scheme, _, token = values[0].partition(" ")
    if bare and scheme == values[0] and "." in scheme:
        return scheme
    if scheme.lower() != "bearer":
        raise NoTokenError("the Authorization header is no Bearer token")
    if not token:
        raise FormError("the Bearer token is empty")
    return token


def verify(
    token: str,
    keys: Sequence[Key],
    *,
    now: float,
    freshness_s: float | None,
    require: Mapping[str, str | Sequence[str]] | None = None,
    leeway_s: float = 0.0,
    early_s: float = IAT_LEEWAY_S,
    kinds: Sequence[str] = (),
) -> dict[str, Any]:
    """Check a token's form, then its signature, then its claims; return the claims.

    ``exp`` must be there and after `now`; ``iat`` must be there, at most `freshness_s` old and at
    most 60 s in the future; ``nbf``, where it is, at most 60 s in the future. ``typ``, where it is,
    must be JWT or one of `kinds`, and a ``nonce`` is refused, since it marks an OpenID Connect id
    token that was meant for a log-in (RFC 8725, 3.11).

    Args:
        token: in compact form.
        keys: any of them may have signed it. A key with a ``kid`` checks only tokens that name it;
            the ``kid`` of a token is ignored by keys without one.
        now: seconds since 1970.
        freshness_s: None not to look at the age.
        require: claims and the value, or the values of which one, they must have; ``aud`` may hold
            several, one of which is enough.
        leeway_s: allowed difference of clocks for ``exp`` and the age.
        early_s: allowed difference of clocks for ``iat`` and ``nbf``, at least `leeway_s`.
        kinds: see `signed_by`.

    Raises:
        TokenError: it is refused.
    """
    payload = signed_payload(token, keys, kinds)
    return check_claims(
        payload,
        now=now,
        freshness_s=freshness_s,
        require=require,
        leeway_s=leeway_s,
        early_s=early_s,
    )


def check_claims(
    payload: bytes,
    *,
    now: float,
    freshness_s: float | None,
    require: Mapping[str, str | Sequence[str]] | None = None,
    leeway_s: float = 0.0,
    early_s: float = IAT_LEEWAY_S,
) -> dict[str, Any]:
    """The claims of a token whose signature is right; all that `verify` has beside that.

    Raises:
        TokenError: they are refused.
    """
    claims = _object(payload, "payload")
    _check_times(claims, now, freshness_s, leeway_s, max(early_s, leeway_s))
    _check_names(claims)
    for name, wanted in (require or {}).items():
        allowed = [wanted] if isinstance(wanted, str) else list(wanted)
        held = claims.get(name)
        if name == "aud" and isinstance(held, list):
            if not any(one in allowed for one in held):
                raise ClaimError(name, "the claim aud does not have a required value")
        elif not isinstance(held, str) or held not in allowed:
            raise ClaimError(name, f"the claim {name} does not have a required value")
    return claims


def signed_payload(token: str, keys: Sequence[Key], kinds: Sequence[str] = ()) -> bytes:
    """The payload of a token whose form and signature are right, as `signed_by` has it."""
    return signed_by(token, keys, kinds)[1]


def signed_by(token: str, keys: Sequence[Key], kinds: Sequence[str] = ()) -> tuple[Key, bytes]:
    """The key that has signed a token of right form, and the payload; no claim is looked at.

    Args:
        token: in compact form.
        keys: any of them may have signed it.
        kinds: values of the header's ``typ`` that are taken, in lower case and without
            ``application/``. With any given, members that bring a key along (``jwk``, ``jku``,
            ``x5c``, ``x5u``) are passed over; without one they are refused, and JWT is taken.

    Raises:
        TokenError: it is refused.
    """
    from jwt.algorithms import OKPAlgorithm
    from jwt.api_jws import PyJWS
    from jwt.exceptions import PyJWTError

    header, payload = _parts(token, _OWN_KEYS if kinds else ())
    _check_kind(header, kinds)
    algorithm, kid = header["alg"], header.get("kid")
    fitting = [
        key for key in keys if algorithm in key.algorithms and (key.kid is None or key.kid == kid)
    ]
    if not fitting:
        raise NoKeyError("no key fits the token's alg and kid")
    checker = PyJWS()
    if algorithm not in checker.get_algorithms():  # Ed25519, which PyJWT knows as EdDSA alone
        checker.register_algorithm(algorithm, OKPAlgorithm())
    for key in fitting:
        try:
            checker.decode_complete(token, key.public, algorithms=[algorithm])
        except (PyJWTError, ValueError, TypeError):
            continue
        return key, payload
    raise SignatureError("the signature is wrong")


def unverified_subject(token: str) -> str:
    """The ``sub`` of a token of right form whose signature is NOT checked, to choose the keys by.

    What its header asks for beside an algorithm is left to `signed_by`.

    Raises:
        TokenError: it has none, or the form is wrong.
    """
    claims = _object(_parts(token, _OWN_KEYS)[1], "payload")
    _check_names(claims)
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise ClaimError("sub", "the claim sub is missing")
    return subject


def _parts(token: str, passed_over: Sequence[str]) -> tuple[dict[str, Any], bytes]:
    """Header and payload of a token in compact form (RFC 7515, 7.1)."""
    if len(token) > MAX_TOKEN_CHARS:
        raise FormError(f"{len(token)} characters are over the limit of {MAX_TOKEN_CHARS}")
    segments = token.split(".")
    if len(segments) != 3:
        raise FormError("not three segments")
    header_bytes, payload, signature = map(_decode, segments)
    if not signature:
        raise FormError("no signature")
    header = _object(header_bytes, "header")
    for member, what in _REFUSED_MEMBERS.items():
        if member in header and member not in passed_over:
            raise FormError(f"the header asks for {what} ({member})")
    if not isinstance(header.get("alg"), str):
        raise FormError("the header has no alg")
    kid = header.get("kid", "")
    if not isinstance(kid, str) or len(kid) > 256:
        raise FormError("the header's kid is not a short string")
    return header, payload


def _check_kind(header: Mapping[str, Any], kinds: Sequence[str]) -> None:
    kind = header.get("typ", "JWT")
    if kinds and kind is None:
        return
    if isinstance(kind, str):
        kind = kind.lower().removeprefix("application/")
    if not isinstance(kind, str) or kind not in (kinds or KINDS):
        what = "is not one that is taken" if kinds else "is not JWT"
        raise FormError(f"the header's typ {what}")


def _decode(segment: str) -> bytes:
    """The bytes of base64url without padding, in the one right spelling."""
    from base64 import urlsafe_b64decode, urlsafe_b64encode

    if not _SEGMENT.issuperset(segment) or len(segment) % 4 == 1:
        raise FormError("a segment is not base64url")
    data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if urlsafe_b64encode(data).rstrip(b"=").decode() != segment:
        raise FormError("the last character of a segment has stray bits")
    return data


def _object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object in UTF-8 without repeated members, infinities or lone surrogates."""
    from json import dumps, loads

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FormError(f"the {what} has a member twice")
        return found

    def constant(_: str) -> float:
        raise FormError(f"the {what} has a number that is not finite")

    try:
        value = loads(data.decode(), object_pairs_hook=members, parse_constant=constant)
        dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise FormError(f"the {what} is not valid JSON") from None
    if not isinstance(value, dict):
        raise FormError(f"the {what} is not a JSON object")
    return value


def _date(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, section 2) of the years 1970 to 9999."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ClaimError(name, f"the claim {name} is not a number")
    if not -MAX_DATE <= value <= MAX_DATE:
        raise ClaimError(name, f"the claim {name} is not a date before the year 10000")
    return float(value)


def _check_times(
    claims: Mapping[str, Any],
    now: float,
    freshness_s: float | None,
    leeway_s: float,
    early_s: float,
) -> None:
    expires, issued = _date(claims, "exp"), _date(claims, "iat")
    begins = _date(claims, "nbf")
    if expires is None or issued is None:
        name = "exp" if expires is None else "iat"
        raise ClaimError(name, f"the claim {name} is missing")
    if now >= expires + leeway_s:
        raise ClaimError("exp", "the token has expired")
    if issued > now + early_s:
        raise ClaimError("iat", "the token was issued in the future")
    if freshness_s is not None and now - issued > freshness_s + leeway_s:
        raise ClaimError("iat", "the token is not fresh enough")
    if begins is not None and now < begins - early_s:
        raise ClaimError("nbf", "the token is not valid yet")


def _check_names(claims: Mapping[str, Any]) -> None:
    for name in ("sub", "iss", "jti"):
        if name in claims and not _is_name(claims[name]):
            raise ClaimError(name, f"the claim {name} is not a short printable string")
    audience = claims.get("aud", "none")
    names = audience if isinstance(audience, list) else [audience]
    if not names or not all(map(_is_name, names)):
        raise ClaimError("aud", "the claim aud is neither a string nor a list of strings")
    if "nonce" in claims:
        raise ClaimError("nonce", "the token has a nonce, so it is an ID token of a log-in")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1024 and value.isprintable()
