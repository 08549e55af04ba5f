"""Forged tokens: every attack of the list beside a good token (the names are those of the list)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from kojuto.common import jwt
from kojuto.common.jwt import TokenError
from tests.common.tokens import NOW, H, P, check, good, refused, rs256, signed
from tests.keys import b64, ec_key, ed_key, private_pem, public_pem, rsa_key


@pytest.mark.parametrize(
    "name", ["none", "None", "NONE", "nOnE", "none ", " none", "none\0", "none\t", "", None, 0, []]
)
def test_a_tokens_without_a_signature(name: Any) -> None:
    header, payload = b64({"alg": name}), b64(P)
    data = f"{header}.{payload}"
    for signature in ("", "AA", good().split(".")[2], b64(rs256(data))):
        refused(f"{data}.{signature}")


def test_a07_a_signature_of_nul_bytes() -> None:
    for size in (1, 256):
        refused(good().rpartition(".")[0] + "." + b64(bytes(size)))


@pytest.mark.parametrize("size", [256, 384, 512])
def test_b01_b03_hmac_with_the_public_key_as_secret(size: int) -> None:
    data = f"{b64({'alg': f'HS{size}', 'typ': 'JWT'})}.{b64(P)}"
    der = (
        rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for secret in (public_pem(rsa_key()), public_pem(rsa_key()).strip(), der, b""):
        mac = hmac.new(secret, data.encode(), getattr(hashlib, f"sha{size}")).digest()
        assert "no key fits" in refused(f"{data}.{b64(mac)}")


def test_b07_e05_another_key_type_or_curve() -> None:
    for signer, header in [
        (ec_key(), "ES256"),
        (ec_key(), "RS256"),
        (ec_key(ec.SECP384R1), "ES256"),
        (ec_key(), "ES384"),
        (ec_key(), "ES256K"),
        (ec_key(ec.SECP256K1), "ES256K"),
    ]:
        data = f"{b64({'alg': header})}.{b64(P)}"
        r, s = decode_dss_signature(signer.sign(data.encode(), ec.ECDSA(hashes.SHA256())))
        raw = r.to_bytes(48, "big") + s.to_bytes(48, "big")
        token = f"{data}.{b64(raw if header == 'ES384' else raw[16:48] + raw[64:])}"
        for verifier in (rsa_key(), ec_key(number=1), ec_key(ec.SECP384R1), ed_key()):
            if verifier is not signer or header == "ES256":
                refused(token, verifier)


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"RS256","alg":"none"}',
        '{"alg":"none","alg":"RS256"}',
        '{"alg":"RS256","typ":"JWT","x":{"y":1,"y":2}}',
        '{"\\u0061lg":"none"}',
        '{"alg":"n\\u006fne"}',
        '{"alg":"RS256"}x',
        '\ufeff{"alg":"RS256"}',
        '{"alg":"RS256","x":NaN}',
        '{"alg":"RS256","x":"\\ud800"}',
        "[]", '"x"', "null", "1", "", "{}", "{",
    ],
)  # fmt: skip
def test_b09_b11_headers_that_could_be_read_otherwise(header: str) -> None:
    refused(signed(header, P))
    refused(signed(header, P).rpartition(".")[0] + ".")


def test_an_escaped_alg_means_what_it_says() -> None:
    assert check(signed('{"\\u0061lg":"RS\\u003256"}', P)) == P


def test_c_keys_that_the_header_names() -> None:
    attacker = rsa_key(number=1)
    numbers = attacker.public_key().public_numbers()
    own = {
        "kty": "RSA",
        "n": b64(numbers.n.to_bytes(256, "big")),
        "e": b64(numbers.e.to_bytes(3, "big")),
    }
    for member in (
        {"jwk": own},
        {"jku": "http://127.0.0.1:1/jwks.json"},
        {"x5u": "http://127.0.0.1:1/cert.pem"},
        {"x5c": ["MIIB"]},
        {"kid": "../../dev/null"},
        {"kid": "' or 1=1 --"},
    ):
        refused(signed({**H, **member}, P, key=attacker))
        if "kid" not in member:
            assert "of its own" in refused(signed({**H, **member}, P))


def test_c09_kid_is_a_short_text_that_keys_without_one_ignore() -> None:
    for kid in ("unknown", "", "a\0b"):
        assert check(signed({**H, "kid": kid}, P)) == P
    for bad in (1, None, ["a"], "k" * 1000):
        refused(signed({**H, "kid": bad}, P))
    named = jwt.public_key(rsa_key().public_key(), "k", kid="one")
    options: Any = {"now": NOW, "freshness_s": None}
    assert jwt.verify(signed({**H, "kid": "one"}, P), [named], **options) == P
    for other in ({"kid": "two"}, {}):
        with pytest.raises(TokenError, match="no key fits"):
            jwt.verify(signed({**H, **other}, P), [named], **options)


def test_d_broken_signatures() -> None:
    data, _, text = good().rpartition(".")
    raw = base64.urlsafe_b64decode(text + "==")
    for place in (0, 1, 127, 254, 255):
        flipped = bytearray(raw)
        flipped[place] ^= 1
        assert refused(f"{data}.{b64(bytes(flipped))}") == "the signature is wrong"
    refused(f"{b64({**H, 'x': 1})}.{b64(P)}.{text}")
    refused(f"{b64(H)}.{b64(json.dumps(P))}.{text}")
    n = rsa_key().public_key().public_numbers().n
    larger = int.from_bytes(raw, "big") + n
    refused(f"{data}.{b64(larger.to_bytes(256 if larger < 1 << 2048 else 257, 'big'))}")
    for other in (raw[:-1], b"\0" + raw, raw + b"\0"):
        refused(f"{data}.{b64(other)}")


def test_e01_e03_forged_ecdsa_signatures() -> None:
    key = ec_key()
    token = jwt.sign(jwt.load_private_key(private_pem(key), "k"), P)
    assert check(token, key) == P
    data = token.rpartition(".")[0]
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for r in (0, 1, order - 1, order, 2**256 - 1):
        for s in (0, 1, order - 1, order, 2**256 - 1):
            refused(f"{data}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}", key)
    der = key.sign(data.encode(), ec.ECDSA(hashes.SHA256()))
    refused(f"{data}.{b64(der)}", key)
    raw = base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")
    refused(f"{data}.{b64(raw[:32] + bytes(32) + raw[32:])}", key)
    refused(f"{data}.{b64(bytes(64))}", ed_key())
