"""What a well signed token must say of its times, its use and its bearer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.common.tokens import NOW, H, P, check, good, refused, signed


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW - 1}, "expired"),
        ({"exp": NOW - 60}, "expired"),
        ({"exp": NOW}, "expired"),
        ({"exp": 0}, "expired"),
        ({"exp": -1}, "expired"),
        ({"exp": None}, "exp is not a number"),
        ({"exp": "9999999999"}, "exp is not a number"),
        ({"exp": True}, "exp is not a number"),
        ({"exp": [9999999999]}, "exp is not a number"),
        ({"exp": {}}, "exp is not a number"),
        ({"exp": ""}, "exp is not a number"),
        ({"exp": 1e300}, "exp is not a date"),
        ({"exp": 10**400}, "exp is not a date"),
        ({"iat": "now"}, "iat is not a number"),
        ({"iat": 1e300}, "iat is not a date"),
        ({"iat": -1e300}, "iat is not a date"),
        ({"iat": False}, "iat is not a number"),
        ({"iat": NOW - 3601}, "not fresh"),
        ({"iat": 0}, "not fresh"),
        ({"iat": NOW + 61}, "in the future"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"nbf": "0"}, "nbf is not a number"),
        ({"nbf": None}, "nbf is not a number"),
        ({"sub": 1}, "sub is no"),
        ({"sub": ""}, "sub is no"),
        ({"sub": "a\nb"}, "sub is no"),
        ({"sub": "a\0"}, "sub is no"),
        ({"sub": "s" * 2000}, "sub is no"),
        ({"iss": ["a"]}, "iss is no"),
        ({"aud": []}, "aud is neither"),
        ({"aud": [None]}, "aud is neither"),
        ({"aud": [1, "good"]}, "aud is neither"),
        ({"aud": ""}, "aud is neither"),
        ({"aud": {"good": 1}}, "aud is neither"),
        ({"nonce": "n"}, "nonce"),
    ],
)  # fmt: skip
def test_f_g_claims(claims: dict[str, Any], reason: str) -> None:
    assert reason in refused(signed(H, {**P, **claims}))


@pytest.mark.parametrize("name", ["exp", "iat"])
def test_f11_exp_and_iat_must_be_there(name: str) -> None:
    claims = {key: value for key, value in P.items() if key != name}
    assert refused(signed(H, claims)) == f"the claim {name} is missing"
    assert name in refused(signed(H, {**claims, name.upper(): NOW + 1}))


def test_the_edges_of_time() -> None:
    for claims in (
        {"exp": NOW + 0.001}, {"iat": NOW - 3600}, {"iat": NOW + 60}, {"nbf": NOW + 60},
        {"iat": NOW - 1.5},
    ):  # fmt: skip
        assert check(signed(H, {**P, **claims}))["sub"] == "alice"
    late = signed(H, {**P, "exp": NOW - 29, "nbf": NOW + 90})
    refused(late)
    refused(late, leeway_s=30)
    assert check(late, leeway_s=90)
    early = signed(H, {**P, "nbf": NOW + 30})
    refused(early, early_s=29)
    assert check(early, early_s=30)
    assert check(signed(H, {**P, "iat": 5}), freshness_s=None)


def test_f07_f09_repeated_claims_and_the_order_of_the_checks() -> None:
    for first, second in ((1, 9999999999), (9999999999, 1)):
        payload = f'{{"exp":{first},"exp":{second},"iat":{int(NOW)}}}'
        assert "twice" in refused(signed(H, payload))
    expired = signed(H, {**P, "exp": 1})
    assert refused(expired[:-4] + "AAAA") == "the signature is wrong"


@pytest.mark.parametrize(
    "payload",
    [
        "[]", '"x"', "null", "1", "", "{}x", "{", "\xff", '{"exp":Infinity}',
        '{"exp":1e999,"iat":1}', '{"a":"\\udc00"}',
    ],
)  # fmt: skip
def test_g04_claims_that_are_no_object(payload: str) -> None:
    refused(signed(H, payload.encode("latin-1")))


@pytest.mark.parametrize(
    "kind", ["at+jwt", "logout+jwt", "JOSE+JSON", "application/at+jwt", 1, None]
)
def test_g06_a_token_for_another_use(kind: Any) -> None:
    assert "typ" in refused(signed({**H, "typ": kind}, P))
    for same in ("jwt", "JWT", "application/jwt"):
        assert check(signed({**H, "typ": same}, P)) == P


def test_g02_required_claims() -> None:
    ours = signed(H, {**P, "aud": ["good", "evil"], "iss": "me"})
    assert check(ours, require={"aud": "good", "iss": ["you", "me"]})
    assert check(signed(H, {**P, "aud": "good"}), require={"aud": ["good"]})
    wrong: list[Any] = [
        {"aud": "goo"},
        {"iss": "Me"},
        {"iss": ()},
        {"team": "x"},
        {"exp": str(P["exp"])},
    ]
    for wanted in wrong:
        assert "does not have a required value" in refused(ours, require=wanted)
    assert "aud" in refused(good(), require={"aud": "good"})
    assert "tenant" in refused(signed(H, {**P, "tenant": ["x"]}), require={"tenant": "x"})
