"""deteco: tokens checked in Rust and tokens checked in Python come to the same."""

from __future__ import annotations

import json
import random
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kojuto.common import jwt
from kojuto.common.jwt.keys import ED25519
from kojuto.common.server.logs import Logger
from kojuto.tools.deteco.gate import State
from tests.conftest import DATA, SHARED_CORPORA
from tests.keys import b64, ec_key, ed_key, public_pem, rsa_key
from tests.peers.deteco import Deteco

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_800_000_000.0
CLAIMS = {"sub": "all", "iat": int(NOW) - 10, "exp": int(NOW) + 300}
KEYS: dict[str, Any] = {
    "RS256": rsa_key(), "RS384": rsa_key(), "RS512": rsa_key(),
    "PS256": rsa_key(), "PS384": rsa_key(), "PS512": rsa_key(),
    "ES256": ec_key(), "ES384": ec_key(ec.SECP384R1), "ES512": ec_key(ec.SECP521R1),
    "EdDSA": ed_key(), "Ed25519": ed_key(),
}  # fmt: skip
NATIVE = [name for name in KEYS if name != "ES512"]


def sign(algorithm: str, data: str, key: Any = None) -> bytes:
    key = KEYS[algorithm] if key is None else key
    if algorithm in ED25519:
        signed: bytes = key.sign(data.encode())
        return signed
    hash_: Any = getattr(hashes, f"SHA{algorithm[2:]}")()
    if algorithm[0] == "E":
        size = (key.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(data.encode(), ec.ECDSA(hash_)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    pss = padding.PSS(padding.MGF1(hash_), hash_.digest_size)
    made: bytes = key.sign(data.encode(), pss if algorithm[0] == "P" else padding.PKCS1v15(), hash_)
    return made


def token(
    algorithm: str, claims: Any = None, header: Any = None, key: Any = None, **more: Any
) -> str:
    """A token that is well signed, whatever it says."""
    header = {"alg": algorithm, "typ": "JWT"} if header is None else header
    claims = {**CLAIMS, **more} if claims is None else claims
    data = f"{b64(header)}.{b64(claims)}"
    return f"{data}.{b64(sign(algorithm, data, key))}"


def service(name: str, keys: list[Any], rest: str = "") -> str:
    texts = ", ".join(f"'''{public_pem(key).decode()}'''" for key in keys)
    return f"[[services]]\nid = '{name}'\npaths = ['/']\npublic_keys = [{texts}]\n{rest}\n"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    conf = tmp_path_factory.mktemp("verify") / "deteco.toml"
    keys = [rsa_key(number=1), *{id(key): key for key in KEYS.values()}.values()]
    conf.write_text(
        service("all", keys, "pss = true")
        + service("one", [ed_key(1)])
        + service("サービス", [rsa_key(), ed_key()])
        + service("aud", [ed_key()], "require = {aud = ['api', 'web'], iss = 'ci'}")
        + service("typ", [ed_key()], "typ = ['X+jwt']\nleeway = '5s'")
        + service("weak", [rsa_key(1024), ed_key()], "allow_weak_keys = true")
    )
    log = Logger()
    yield State(str(conf), log, freshness_s=3600.0)
    log.close()


def python(state: State, text: str, now: float) -> tuple[str, str, Any]:
    """What the verifier in Python makes of a token."""
    try:
        at, found = state.service(text)
        jwt.signed_payload(text, found.keys, found.kinds)
    except jwt.TokenError as error:
        return "bad", error.reason, None
    try:
        claims = state.verify(text, found, now)
    except jwt.TokenError as error:
        return "refused", error.reason, None
    return "good", "", (at, *state.life(claims, found))


def agree(state: State, text: str, now: float = NOW) -> str:
    """What both make of a token, or that Rust leaves it."""
    ours = state.gate.judge(text, now)
    if ours[0] != "unsure":
        assert ours == python(state, text, now), text
    return ours[0]


def test_a_token_of_p521_is_let_through(tmp_path: Path) -> None:
    pem = public_pem(KEYS["ES512"]).decode()
    configuration = f"[[services]]\nid = 'all'\npaths = ['/']\npublic_keys = ['''{pem}''']\n"
    iat = int(time.time()) - 1
    gate = Deteco(tmp_path, configuration)
    try:
        answer = gate.ask(token("ES512", iat=iat, exp=iat + 300))
        assert (answer.status, answer.headers["X-Deteco-User"]) == (200, "all")
        other = ec_key(ec.SECP521R1, 1)
        assert gate.status(token("ES512", iat=iat, exp=iat + 300, key=other)) == 401
    finally:
        gate.close()


@pytest.mark.parametrize("algorithm", KEYS)
def test_each_algorithm_is_checked_without_python_but_p521(state: State, algorithm: str) -> None:
    assert agree(state, token(algorithm)) == ("good" if algorithm in NATIVE else "unsure")
    assert python(state, token(algorithm), NOW)[0] == "good"
    other = {"R": rsa_key(number=2), "P": rsa_key(number=2), "E": ec_key(number=3)}[algorithm[0]]
    if algorithm in ED25519:
        other = ed_key(5)
    if algorithm in ("ES384", "ES512"):
        other = ec_key(KEYS[algorithm].curve.__class__, number=3)
    assert agree(state, token(algorithm, key=other)) in ("bad", "unsure")


def test_the_claims_come_to_the_same(state: State) -> None:
    now = int(NOW)
    several: tuple[dict[str, Any], ...] = (
        {"exp": now}, {"exp": now + 0.5}, {"exp": 1e300}, {"exp": -1}, {"exp": True}, {"exp": "x"},
        {"exp": None}, {"exp": [1]}, {"iat": now + 60}, {"iat": now + 61}, {"iat": now - 3600},
        {"iat": now - 3601}, {"iat": 0.5}, {"nbf": now + 60}, {"nbf": now + 60.5}, {"nbf": {}},
        {"aud": "x"}, {"aud": []}, {"aud": ["a", 1]}, {"aud": ""}, {"iss": ""}, {"iss": "a\n"},
        {"jti": "\u200b"}, {"jti": "é"}, {"jti": "x" * 1025}, {"nonce": 1}, {"sub": 1},
        {"sub": "nobody"}, {"sub": "サービス"}, {"sub": "\u2029"}, {"exp": 10**400},
        {"sub": "aud"}, {"sub": "aud", "aud": "api", "iss": "ci"},
        {"sub": "aud", "aud": ["x", "web"], "iss": "ci"}, {"sub": "aud", "aud": "api", "iss": 1},
        {"sub": "aud", "aud": "web", "iss": ["ci"]}, {"sub": "one"}, {"sub": "typ"},
        {"sub": "weak"},
    )  # fmt: skip
    seen = {agree(state, token("EdDSA", **claims)) for claims in several}
    assert seen == {"good", "bad", "refused", "unsure"}
    for text in ("{}", "[]", "x", "null", "{}x", '{"sub":"all","sub":"all"}', "{", '{"a":NaN}'):
        assert agree(state, token("EdDSA", text)) == "bad"
    kind = {"alg": "EdDSA", "typ": "application/x+JWT"}
    edges = {"sub": "typ", "exp": int(NOW) - 4, "iat": int(NOW) + 5, "nbf": int(NOW) + 5}
    assert agree(state, token("EdDSA", {**CLAIMS, **edges}, kind)) == "good"
    assert agree(state, token("EdDSA", {**CLAIMS, **edges, "exp": int(NOW) - 5}, kind)) == "refused"


def test_the_headers_come_to_the_same(state: State) -> None:
    several: tuple[dict[str, Any], ...] = (
        {"typ": "at+jwt"}, {"typ": "x"}, {"typ": 1}, {"typ": None}, {"kid": "x"}, {"kid": 1},
        {"kid": "x" * 257}, {"crit": []}, {"jwk": {}}, {"jku": "x"}, {"x5c": []}, {"x5u": 1},
        {"zip": "DEF"}, {"b64": False}, {"enc": "x"}, {"cty": "x"}, {"alg": "none"}, {"alg": 1},
        {"alg": "RS256"}, {"alg": "HS256"}, {"alg": "ES256K"}, {"alg": "ES256"}, {"a": {"b": 1.5}},
    )  # fmt: skip
    for more in several:
        agree(state, token("EdDSA", header={"alg": "EdDSA", **more}))
    for header in ("", "[]", "{", '{"alg":"EdDSA","alg":"EdDSA"}', '{"alg":"EdDSA","x":-Infinity}'):
        assert agree(state, token("EdDSA", header=header)) == "bad"


def test_keys_and_signatures_of_odd_forms(state: State, tmp_path: Path) -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head = token("ES256").rpartition(".")[0]
    raw = sign("ES256", head)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    outcomes = {}
    for name, pair in {
        "same": (r, s), "other s": (r, order - s), "0": (0, 0), "r 0": (0, s), "s 0": (r, 0),
        "order": (order, order), "r over": (r, s + order) if s + order < 1 << 256 else (r, order),
    }.items():  # fmt: skip
        text = f"{head}.{b64(pair[0].to_bytes(32, 'big') + pair[1].to_bytes(32, 'big'))}"
        outcomes[name] = agree(state, text)
    assert outcomes["same"] == outcomes["other s"] == "good"
    assert set(outcomes.values()) == {"good", "bad"}
    for algorithm in NATIVE:
        head, _, signature = token(algorithm).rpartition(".")
        whole = sign(algorithm, head)
        for odd in (whole[:-1], whole + b"\0", b"\0" + whole, b"", bytes(len(whole)), b"\0"):
            assert agree(state, f"{head}.{b64(odd)}") == "bad", algorithm
        assert agree(state, f"{head}.{signature}=") == "bad"
    # Keys that ring does not take are Python's: small ones, and odd exponents.
    weak = token("RS256", sub="weak", key=rsa_key(1024))
    assert agree(state, weak) == "unsure"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyJWT, which warns of the key
        assert python(state, weak, NOW)[0] == "good"
    one = rsa.RSAPublicNumbers(65537 + (1 << 40), rsa_key().public_key().public_numbers().n)
    key = jwt.Key(one.public_key(), ("RS256",), "odd")
    assert jwt.for_native(key) == [("RS256", None, None)]


def test_json_of_all_kinds_as_header_and_claims(state: State) -> None:
    folder = SHARED_CORPORA / "json" / "test_parsing"
    paths = sorted((folder if folder.exists() else DATA / "json").glob("*.json"))
    assert len(paths) > 10
    for path in paths:
        data = path.read_bytes()
        if len(data) > 8000:
            continue
        for value in (data, b'{"alg":"EdDSA","x":' + data + b"}"):
            agree(state, token("EdDSA", header=value))
        for value in (data, json.dumps(CLAIMS).encode()[:-1] + b',"x":' + data + b"}"):
            agree(state, token("EdDSA", value))


@pytest.mark.parametrize("algorithm", NATIVE)
def test_tokens_changed_at_random(state: State, algorithm: str) -> None:
    rng = random.Random(algorithm)
    alphabet = "ABCxyz019-_.=+/ é"
    good = token(algorithm)
    for _ in range(300):
        text = list(good)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            how = rng.randrange(4)
            if how == 0:
                text[at] = rng.choice(alphabet)
            elif how == 1:
                del text[at]
            elif how == 2:
                text.insert(at, rng.choice(alphabet))
            else:
                other = rng.randrange(len(text))
                text[at], text[other] = text[other], text[at]
        assert agree(state, "".join(text)) in ("good", "bad", "unsure")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = st.sampled_from(["exp", "iat", "nbf", "sub", "iss", "jti", "aud", "nonce", "x"])
PIECES = st.sampled_from(
    ['"', "\\u00e9", "\\", "{", "}", "[", "]", ":", ",", "1", "-", ".", "e", "true", "null", " "]
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(NAMES, VALUES, max_size=4), st.lists(PIECES, max_size=8), st.integers(0, 60))
def test_any_claims_come_to_the_same(
    state: State, claims: dict[str, Any], pieces: list[str], at: int
) -> None:
    agree(state, token("EdDSA", {**CLAIMS, **claims}))
    text = json.dumps(CLAIMS)
    agree(state, token("EdDSA", text[:at] + "".join(pieces) + text[at:]))
    header = '{"alg":"EdDSA","typ":"JWT"}'
    agree(state, token("EdDSA", header=header[:at] + "".join(pieces) + header[at:]))


def test_the_time_of_a_refusal_tells_no_service(state: State, tmp_path: Path) -> None:
    """A service that is not there, one that did not sign and one without such a key: as many
    verifications each."""
    conf = tmp_path / "deteco.toml"
    strangers = [rsa_key(number=number) for number in (1, 2, 3)]
    conf.write_text(
        service("few", strangers[:1]) + service("many", strangers) + service("none", [ed_key()])
    )
    log = Logger()
    try:
        gate = State(str(conf), log, freshness_s=3600.0).gate
        # A signature below every modulus: none is refused before the work begins.
        names = ("few", "many", "none", "nobody")
        unsigned = {name: token("RS256", sub=name).rpartition(".")[0] for name in names}
        tokens = {name: f"{text}.{b64(bytes([1]) * 256)}" for name, text in unsigned.items()}
        times: dict[str, list[float]] = {name: [] for name in tokens}
        for _ in range(400):
            for name, text in tokens.items():
                began = time.perf_counter()
                assert gate.judge(text, NOW)[0] == "bad"
                times[name].append(time.perf_counter() - began)
    finally:
        log.close()
    # The shortest of many is what the machine did undisturbed.
    best = {name: min(found) for name, found in times.items()}
    assert max(best.values()) < 1.5 * min(best.values()), best
