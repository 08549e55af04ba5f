"""Tokens: which are good, their forms, vectors of others and properties."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto.common import jwt
from kojuto.common.jwt import TokenError
from kojuto.errors import KojutoError
from tests.common.tokens import (
    NOW,
    PAIRS,
    H,
    P,
    both_find_the_same_signer,
    check,
    good,
    keys,
    refused,
    rs256,
    signed,
)
from tests.conftest import corpus
from tests.keys import b64, ec_key, ed_key, private_pem, public_pem, rsa_key

# -- what is good -----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", PAIRS)
def test_signed_tokens_verify_with_their_key_and_no_other(algorithm: str) -> None:
    private = PAIRS[algorithm]()
    key = jwt.load_private_key(private_pem(private), "k.pem")
    assert key.algorithm == algorithm
    token = jwt.sign(key, P)
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "==")) == {
        "alg": algorithm,
        "typ": "JWT",
    }
    assert check(token, private) == P
    others = [make() for name, make in PAIRS.items() if name != algorithm]
    refused(token, *others)
    assert check(token, *others, private) == P, "a second key serves for rotation"
    refused(token, rsa_key(number=1), ec_key(number=1))


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_an_ed25519_key_checks_its_algorithm_under_both_names(name: str) -> None:
    data = f"{b64({'alg': name})}.{b64(P)}"
    token = f"{data}.{b64(ed_key().sign(data.encode()))}"
    assert check(token, ed_key()) == P
    assert jwt.Signers(keys(ed_key()))._native.signed_by(token) is not None
    assert refused(token, ed_key(1)) == "the signature is wrong"
    assert "no key fits" in refused(token, rsa_key(), ec_key())


@pytest.mark.parametrize("size", [256, 384, 512])
def test_an_rsa_key_checks_its_three_algorithms(size: int) -> None:
    assert check(signed({"alg": f"RS{size}"}, P, size=size)) == P
    token = signed({"alg": f"PS{size}"}, P, size=size, pss=True)
    assert "no key fits" in refused(token)
    with_pss = jwt.load_public_keys(public_pem(rsa_key()), "k", pss=True)
    assert jwt.verify(token, with_pss, now=NOW, freshness_s=None) == P


def test_the_kind_of_an_error_says_what_is_wrong() -> None:
    """Callers decide by it, not by the words."""
    header, payload, signature = good().split(".")
    kinds: dict[str, type[TokenError]] = {
        f"{header}.{payload}": jwt.FormError,
        f"{header}.{payload}.": jwt.FormError,
        f"{b64('[]')}.{payload}.{signature}": jwt.FormError,
        signed({"alg": "ES256"}, P): jwt.NoKeyError,
        signed(H, P, key=rsa_key(number=1)): jwt.SignatureError,
        signed(H, {**P, "exp": int(NOW)}): jwt.ClaimError,
    }
    for token, kind in kinds.items():
        with pytest.raises(TokenError) as caught:
            check(token)
        assert type(caught.value) is kind, token
    for claim, value in {
        "exp": NOW - 1, "iat": NOW + 99, "nbf": NOW + 99, "aud": 1, "sub": "", "nonce": "x",
    }.items():  # fmt: skip
        with pytest.raises(jwt.ClaimError) as wrong:
            check(signed(H, {**P, claim: value}))
        assert wrong.value.claim == claim
    with pytest.raises(jwt.ClaimError) as wrong:
        check(good(), require={"iss": "x"})
    assert wrong.value.claim == "iss"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], jwt.NoTokenError),
        ([""], jwt.NoTokenError),
        (["Basic dTpw"], jwt.NoTokenError),
        (["Bearer"], jwt.FormError),
        (["Bearer "], jwt.FormError),
        (["Bearer a.b.c"] * 2, jwt.FormError),
    ],
)
def test_only_a_request_that_brings_none_has_no_token(
    values: list[str], kind: type[TokenError]
) -> None:
    with pytest.raises(TokenError) as caught:
        jwt.bearer(values)
    assert type(caught.value) is kind


# -- forms (the names are those of the list of attacks) -----------------------------------------


def test_h01_the_number_of_segments() -> None:
    g = good()
    for token in (
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        g + ".",
        "." + g,
        g + ".a.b",
        g + "." + g,
    ):
        refused(token)


def test_h03_blanks_and_odd_characters_anywhere() -> None:
    header, payload, signature = good().split(".")
    for odd in (" ", "\t", "\n", "\r\n", "\0", "=", "+", "/", "%", "é", "%3D", "."):
        for i, part in enumerate((header, payload, signature)):
            for changed in (odd + part, part + odd, part[:5] + odd + part[5:]):
                parts = [header, payload, signature]
                parts[i] = changed
                refused(".".join(parts))
    # The last character of 256 bytes has four bits too many: each other value is refused.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [c for c in alphabet if c != signature[-1]]
    assert len(others) == 63
    for other in others:
        refused(f"{header}.{payload}.{signature[:-1]}{other}")


@pytest.mark.parametrize("segment", [0, 1, 2], ids=["header", "payload", "signature"])
def test_a_last_character_with_bits_too_many_is_refused(segment: int) -> None:
    """One token, one text: what would decode to the same bytes is no other way to write them."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = {2: 16, 3: 4}  # characters of the last group: how many last ones decode alike
    seen = set()
    for blanks in range(3):
        # The same members with blanks, so that each length of the last group comes up.
        texts = [json.dumps(part) + " " * blanks for part in (H, P)]
        segments = [b64(text) for text in texts]
        segments.append(b64(rs256(".".join(segments))))
        assert check(".".join(segments)) == P
        last = len(segments[segment]) % 4
        for more in range(1, spare.get(last, 1)):
            odd = segments[segment][:-1] + alphabet[alphabet.index(segments[segment][-1]) + more]
            parts = [*segments[:segment], odd, *segments[segment + 1 :]]
            if segment < 2:
                parts[2] = b64(rs256(".".join(parts[:2])))
            assert refused(".".join(parts)) == "the last character of a segment has stray bits"
            seen.add(last)
    assert seen == ({2, 3} if segment < 2 else {2})


def test_a_token_has_16384_characters_at_most() -> None:
    def token(length: int) -> str:
        """Of that length, as near as base64 comes: a filler whose last group has any size."""
        filler = length * 3 // 4 - len(good()) * 3 // 4
        for more in range(-20, 20):
            text = signed(H, {**P, "x": "x" * (filler + more)})
            if len(text) == length:
                return text
        raise AssertionError(length)

    length = next(n for n in (jwt.MAX_TOKEN_CHARS, jwt.MAX_TOKEN_CHARS - 1) if n % 4 != 3)
    assert check(token(length))["sub"] == "alice"
    with pytest.raises(TokenError, match="16385 characters are over the limit of 16384"):
        check(token(length) + "x" * (16385 - length))


def test_h05_h07_h09_other_forms() -> None:
    header, payload, signature = good().split(".")
    flat = {"protected": header, "payload": payload, "signature": signature}
    refused(json.dumps(flat))
    refused(json.dumps({"payload": payload, "signatures": [flat]}))
    for crit in (["exp-x"], [], "x", ["alg"], ["b64"], None):
        assert "crit" in refused(signed({**H, "crit": crit, "exp-x": 1}, P))
    for member in ({"zip": "DEF"}, {"b64": False}, {"b64": True}, {"enc": "A128GCM"}):
        refused(signed({**H, **member}, P))


def test_h11_large_and_deep() -> None:
    deep = "[" * 5000 + "]" * 5000
    for token in (
        signed({**H, "x": "x" * 1_000_000}, P),
        signed(H, {**P, "x": "x" * 10_000_000}),
        signed(f'{{"alg":"RS256","x":{deep}}}', P),
        signed(H, f'{{"x":{deep}}}'),
        signed(H, '{"x":' + "[" * 9000),
        signed(H, {f"m{i}": 0 for i in range(100_000)}),
        "." * 1_000_000,
    ):
        refused(token)


def test_i01_the_authorization_header() -> None:
    for value in ("Bearer x.y.z", "bearer x.y.z", "BEARER x.y.z"):
        assert jwt.bearer([value]) == "x.y.z"
    assert check(jwt.bearer([f"Bearer {good()}"])) == P
    g = good()
    for values in (
        [], [""], ["Bearer"], ["Bearer "], [f"Token {g}"], [f"Basic {b64(g)}"], [f"Bearer{g}"],
        [f"Bearer {g}", f"Bearer {g}"], [f" Bearer {g}"], [g],
    ):  # fmt: skip
        with pytest.raises(TokenError) as caught:
            jwt.bearer(values)
        assert g[:20] not in str(caught.value)
    for value in (f"Bearer  {g}", f"Bearer {g}, Bearer x", f"Bearer {g} ", f"Bearer \t{g}"):
        refused(jwt.bearer([value]))


def test_the_subject_to_choose_keys_by() -> None:
    assert jwt.unverified_subject(signed(H, P, key=rsa_key(number=1))) == "alice"
    for token in (
        "", "a.b.c", signed(H, {"exp": 1}), signed(H, {"sub": 5}), signed(H, {"sub": "a\n"}),
        signed({"alg": "RS256", "crit": ["x"]}, P),
    ):  # fmt: skip
        with pytest.raises(TokenError):
            jwt.unverified_subject(token)


# -- vectors of others ------------------------------------------------------------------------


def wycheproof() -> list[Any]:
    """The tests of groups with a public key for signatures (use and key_ops belong to key sets)."""
    document = json.loads(corpus("jwt/wycheproof_jws.json").read_text())
    return [
        pytest.param(jwk, test, id=str(test["tcId"]))
        for group in document["testGroups"]
        if (jwk := group.get("public"))
        and jwk.get("use", "sig") == "sig"
        and "verify" in jwk.get("key_ops", ["verify"])
        for test in group["tests"]
    ]


@pytest.mark.parametrize(("jwk", "test"), wycheproof())
def test_wycheproof(jwk: dict[str, Any], test: dict[str, Any]) -> None:
    """What is valid passes and what is invalid is refused."""
    from jwt import PyJWK

    public: Any = PyJWK(jwk, "RS256" if jwk["kty"] == "RSA" else "ES256").key
    if jwk["kty"] == "RSA" and public.key_size < 2048:
        with pytest.raises(KojutoError, match="below the minimum"):
            jwt.public_key(public, "vector")
        return
    found = [jwt.public_key(public, "vector", pss=True)]
    # Their RSA keys are bound to one algorithm each, ours take all of the family.
    if test["result"] == "valid" or test["comment"].startswith("UsingPS"):
        jwt.signed_payload(test["jws"], found)
    elif test["comment"].startswith("UsingRS"):
        with pytest.raises(TokenError):
            jwt.signed_payload(test["jws"], [jwt.Key(public, jwt.RSA_PSS, "vector")])
    else:
        with pytest.raises(TokenError):
            jwt.signed_payload(test["jws"], found)


def test_the_ed25519_example_of_rfc8037() -> None:
    """RFC 8037, appendix A.4."""
    raw = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    key = jwt.public_key(ed25519.Ed25519PublicKey.from_public_bytes(raw), "RFC 8037")
    token = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    assert jwt.signed_payload(token, [key]) == b"Example of Ed25519 signing"


# -- properties -------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text("AQe.-_{}0=", max_size=60)))
def test_any_text_is_refused_and_nothing_else(token: str) -> None:
    with pytest.raises(TokenError):
        check(token)
    with pytest.raises(TokenError):
        jwt.unverified_subject(token)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["exp", "iat", "nbf", "sub", "aud", "iss", "jti"]), JSON),
    st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "jwk"]), JSON),
)
def test_a_well_signed_token_passes_only_with_right_times(claims: Any, header: Any) -> None:
    token = signed({**H, **header}, {**P, **claims})
    try:
        found = check(token)
    except TokenError:
        return
    assert found["exp"] > NOW >= found["iat"] - 60
    assert NOW - found["iat"] <= 3600
    assert not {"crit", "jwk"} & set(header)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_character_is_never_accepted(data: st.DataObject) -> None:
    token = good()
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(max_codepoint=127))
    changed = token[:place] + other + token[place + 1 :]
    if changed != token:
        with pytest.raises(TokenError):
            check(changed)


@pytest.mark.parametrize("algorithm", PAIRS)
def test_a_good_signature_is_found_without_python_but_of_p521(algorithm: str) -> None:
    key = PAIRS[algorithm]()
    known = keys(key)
    text = jwt.sign(jwt.load_private_key(private_pem(key), "test"), P)
    both_find_the_same_signer(text, known)
    found = jwt.Signers(known)._native.signed_by(text)
    assert (found is None) == (algorithm == "ES512")


@pytest.mark.parametrize("member", ["jwk", "jku", "x5c", "x5u", "crit"])
def test_a_token_that_brings_a_key_is_refused_whoever_looks_first(member: str) -> None:
    text = signed({**H, member: ["x"]}, P)
    assert jwt.Signers(keys())._native.signed_by(text) is None
    both_find_the_same_signer(text, keys())
    assert jwt.Signers(keys())._native.signed_by(signed({**H, "typ": None}, P)) is None
