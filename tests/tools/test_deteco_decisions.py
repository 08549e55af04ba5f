"""What ``deteco`` lets through: keys, paths, methods, claims, and attacks on each."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import run, wait_until
from tests.keys import b64
from tests.peers.deteco import CONFUSION, EC, ED, OTHER, RSA, Deteco, Pair, service


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A running deteco that tests only ask."""
    configuration = (
        service("echo", [RSA, EC, ED])
        + service("all", [ED], '["/"]')
        + service("below", [ED], '["/dir/", "/file"]')
        + service("get", [ED], rest='methods = ["GET", "HEAD"]')
        + service("mixed", [ED], '["/free", {path = "/put", methods = ["PUT"]}]')
        + service("aud", [ED], rest='require = {aud = ["api", "web"], iss = "ci"}')
        + service("pss", [RSA], rest="pss = true")
    )
    deteco = Deteco(tmp_path_factory.mktemp("gate"), configuration, "--cache-size", "50")
    yield deteco
    deteco.close()


@pytest.mark.parametrize("pair", [RSA, EC, ED], ids=["rsa", "ec", "ed25519"])
def test_a_good_token_names_its_user(gate: Deteco, pair: Pair) -> None:
    token = pair.token()
    for _ in range(3):  # from Python, then from Rust
        answer = gate.ask(token)
        assert answer.status == 200
        assert answer.headers["X-Deteco-User"] == "echo"
    before = int(gate.ask(token).headers["Content-Length"])
    assert before == len("OK\n")


def test_the_probes_the_other_paths_and_the_methods(gate: Deteco) -> None:
    for target in ("/", "/live", "/live?x", "http://h/live", "/%6cive"):
        said = gate.raw(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        assert said.startswith(b"HTTP/1.1 200 OK"), said
        assert said.endswith(b"\r\n\r\nOK\n")
    for target in ("/auth/", "/aut", "/auth%2f", "/AUTH", "/auth%", "/auth%ff"):
        said = gate.raw(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        assert said.startswith(b"HTTP/1.1 404 "), (target, said)
        assert said.endswith(b"\r\n\r\n404 page not found\n")
    for target in ("/./auth", "//auth", "/x/../auth"):
        said = gate.raw(f"GET {target}?a HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        assert said.startswith(b"HTTP/1.1 301 "), (target, said)
        assert b"\r\nlocation: /auth?a\r\n" in said
    token = ED.token()
    headers = f"Authorization: {token}\r\nX-Original-URI: /api/echo\r\nConnection: close\r\n"
    for line in ("POST /auth", "PUT /%61uth", "FOO /auth", "OPTIONS http://h/auth"):
        said = gate.raw(f"{line} HTTP/1.1\r\n{headers}\r\n".encode())
        assert said.startswith(b"HTTP/1.1 200 "), (line, said)


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_a_body_that_is_announced_is_neither_judged_nor_waited_for(
    gate: Deteco, known: bool
) -> None:
    token = ED.token(jti=f"body{known}")
    if known:
        assert gate.status(token) == 200
    for announced in (
        "Content-Length: 5",
        "Content-Length: 99999999",
        "Transfer-Encoding: chunked",
    ):
        head = f"GET /auth HTTP/1.1\r\nAuthorization: Bearer {token}\r\n{announced}\r\n"
        said = gate.raw(f"{head}X-Original-URI: /api/echo\r\n\r\n".encode())
        assert said.startswith(b"HTTP/1.1 200 "), said
        assert b"\r\nconnection: close\r\n" in said
        token = token if known else ED.token(jti=f"body{announced}")


def test_five_hundred_headers_are_read(gate: Deteco) -> None:
    for count, size in ((150, 200), (500, 20)):
        more = [(f"X{number}", "v" * size) for number in range(count)]
        assert gate.status(ED.token(), "/api/echo", *more) == 200, count
    assert gate.ask(ED.token(), "/api/echo", ("X-Large", "v" * 200_000)).status == 431


@pytest.mark.parametrize("cached", [False, True], ids=["from Python", "from Rust"])
@pytest.mark.parametrize(
    ("uri", "status"), CONFUSION, ids=lambda value: str(value)[:40] if value else "empty"
)
def test_a_path_that_could_be_read_as_another_is_refused(
    gate: Deteco, uri: str, status: int, cached: bool
) -> None:
    token = ED.token(jti=f"{uri[:50].encode().hex()}{cached}")
    if cached:
        assert gate.status(token) == 200
    if any(c in uri for c in "\r\n\0"):
        pytest.skip("cannot be sent in a header")
    assert gate.status(token, uri) == status


def test_the_uri_must_be_there_once(gate: Deteco) -> None:
    token = ED.token()
    for _ in range(2):
        assert gate.status(token, None) == 403
        assert gate.status(token, "/api/echo", ("X-Original-URI", "/api/echo")) == 403
        assert gate.status(token, "/api/echo", ("x-original-uri", "/secret")) == 403
        assert gate.status(token) == 200


def test_services_reach_their_own_paths(gate: Deteco) -> None:
    everything, below = ED.token("all"), ED.token("below")
    for _ in range(2):
        assert gate.status(everything, "/any/where?x") == 200
        assert gate.status(everything, "/..") == 403
        assert gate.status(everything, "/a/%2F/b;c") == 200
        assert gate.status(below, "/dir/x") == 200
        assert gate.status(below, "/dir/") == 200
        assert gate.status(below, "/dir") == 200
        assert gate.status(below, "/dirx") == 403
        assert gate.status(below, "/file/x") == 200
        assert gate.status(below, "/api/echo") == 403
        assert gate.status(below, "/dir/../file") == 200  # either way one of its paths
        assert gate.status(below, "/dir/../other") == 403


def test_methods_where_the_service_has_rules_for_them(gate: Deteco) -> None:
    token = ED.token("get")
    method = "X-Original-Method"
    for _ in range(2):
        assert gate.status(token, "/api/echo", (method, "GET")) == 200
        assert gate.status(token, "/api/echo", (method, "POST")) == 403
        assert gate.status(token, "/api/echo", (method, "get")) == 403
        assert gate.status(token, "/api/echo") == 403
        assert gate.status(token, "/api/echo", (method, "GET"), (method, "POST")) == 403
        assert gate.status(ED.token(), "/api/echo", (method, "DELETE")) == 200
    mixed = ED.token("mixed")
    for _ in range(2):
        assert gate.status(mixed, "/free", (method, "DELETE")) == 200
        assert gate.status(mixed, "/free") == 200
        assert gate.status(mixed, "/put/x", (method, "PUT")) == 200
        assert gate.status(mixed, "/put/x", (method, "GET")) == 403
        assert gate.status(mixed, "/put/x") == 403
        assert gate.status(mixed, "/free/../put", (method, "PUT")) == 200
        assert gate.status(mixed, "/free/../put", (method, "GET")) == 403


def test_required_claims(gate: Deteco) -> None:
    def status(**claims: Any) -> int:
        return gate.status(ED.token("aud", **claims))

    assert status(aud="api", iss="ci") == 200
    assert status(aud=["evil", "web"], iss="ci") == 200
    for claims in (
        {"aud": "api"}, {"iss": "ci"}, {"aud": "evil", "iss": "ci"}, {"aud": [], "iss": "ci"},
        {"aud": [1, "api"], "iss": "ci"}, {"aud": "api", "iss": "co"},
        {"aud": "api", "iss": ["ci"]},
    ):  # fmt: skip
        assert status(**claims) == 401, claims


def test_the_time_claims(gate: Deteco) -> None:
    now = int(time.time())
    for claims in (
        {"exp": now - 1}, {"exp": 0}, {"exp": -1}, {"exp": None}, {"exp": str(now + 99)},
        {"exp": True}, {"exp": [now + 99]}, {"iat": None}, {"iat": now - 3700}, {"iat": now + 120},
        {"iat": "now"}, {"iat": 1e300}, {"nbf": now + 120}, {"nbf": "x"}, {"nonce": "x"},
    ):  # fmt: skip
        for _ in range(2):
            assert gate.status(ED.token(**claims)) == 401, claims
    assert gate.status(ED.token(iat=now - 3500, exp=now + 10**6)) == 200
    assert gate.status(ED.token(iat=now + 30)) == 200
    assert gate.status(ED.token(nbf=now + 30)) == 200
    assert gate.status(ED.token(nbf=now - 1)) == 200


def signed(pair: Pair, header: dict[str, Any] | str, payload: bytes | None = None) -> str:
    """A token with any header, signed RS256 or as the key does."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    now = int(time.time())
    claims = {"sub": "echo", "iat": now - 1, "exp": now + 300}
    text = header if isinstance(header, str) else json.dumps(header)
    data = f"{b64(text)}.{b64(json.dumps(claims) if payload is None else payload)}"
    if pair is RSA:
        signature = RSA.private.sign(data.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = pair.private.sign(data.encode())
    return f"{data}.{b64(signature)}"


def test_attacks_on_the_token(gate: Deteco) -> None:
    good = signed(RSA, {"alg": "RS256", "typ": "JWT"})
    assert gate.status(good) == 200
    # A key that a token brings along is passed over; RFC 9068 has a type of its own.
    for more in (
        {"jwk": {"kty": "RSA"}}, {"jku": "http://127.0.0.1:1/"}, {"x5u": "x"}, {"x5c": ["x"]},
        {"typ": "at+jwt"}, {"typ": "application/AT+JWT"}, {"typ": "JWT"}, {"typ": None},
    ):  # fmt: skip
        assert gate.status(signed(RSA, {"alg": "RS256", **more})) == 200, more
    head, body, signature = good.split(".")
    none = b64('{"alg":"none"}')
    twice = b64('{"alg":"RS256","alg":"none"}')
    bad = [
        f"{none}.{body}.", f"{none}.{body}.{signature}", f"{none}.{body}.AA",
        *(f"{b64(json.dumps({'alg': alg}))}.{body}.{signature}" for alg in
          ("None", "nOnE", "none ", " none", "none\0", "", "HS256", "RS384", "PS256", "ES256")),
        f"{twice}.{body}.",
        f"{head}.{body}.{b64(bytes(256))}", f"{head}.{body}.{b64(bytes(1))}",
        signed(OTHER, {"alg": "EdDSA"}), signed(ED, {"alg": "ES256"}),
        signed(OTHER, {"alg": "EdDSA", "jwk": {"kty": "OKP"}}),
        signed(RSA, {"alg": "RS256", "crit": ["exp"]}), signed(RSA, {"alg": "RS256", "crit": []}),
        signed(RSA, {"alg": "RS256", "zip": "DEF"}), signed(RSA, {"alg": "RS256", "b64": False}),
        signed(RSA, {"alg": "RS256", "typ": "secevent+jwt"}),
        signed(RSA, {"alg": "RS256", "typ": 1}), signed(RSA, {"alg": "RS256", "kid": 1}),
        signed(RSA, {"alg": ["RS256"]}), signed(RSA, "[]"), signed(RSA, "null"), signed(RSA, "{"),
        *(signed(RSA, {"alg": "RS256"}, payload) for payload in
          (b"", b"[]", b'"x"', b"null", b"1", b"{}", b"{}x", b"[" * 5000, b"\xff")),
        f"{head}.{body[:-1]}{'A' if body[-1] != 'A' else 'B'}.{signature}",
        *(f"{head}.{body}.{_flipped(signature, at)}" for at in (0, 1, 127, 254, 255)),
        "", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", good + ".", "." + good, good + ".a.b",
        good + "=", good.replace("_", "/").replace("-", "+") + "+", f"{head}.{body}.{signature} x",
        "a" * 20000 + ".b.c",
        json.dumps({"protected": head, "payload": body, "signature": signature}),
    ]  # fmt: skip
    for alg, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        data = f"{b64(json.dumps({'alg': alg}))}.{body}"
        mac = hmac.new(RSA.public_pem.encode(), data.encode(), digest).digest()
        bad.append(f"{data}.{b64(mac)}")
    for _ in range(2):  # known as bad the second time
        for token in bad:
            answer = gate.ask(token)
            assert answer.status == 401, token[:200]
            assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert gate.status(good) == 200


def _flipped(signature: str, at: int) -> str:
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[at] ^= 1
    return b64(bytes(raw))


def test_the_header_that_carries_the_token(gate: Deteco) -> None:
    token = ED.token()

    def status(*headers: str) -> tuple[int, bytes]:
        lines = ["GET /auth HTTP/1.1", "X-Original-URI: /api/echo", "Connection: close", *headers]
        said = gate.raw("\r\n".join([*lines, "", ""]).encode())
        return int(said.split()[1]), said

    assert status(f"Authorization: Bearer {token}")[0] == 200
    assert status(f"authorization: bearer {token}")[0] == 200
    assert status(f"Authorization: {token}")[0] == 200
    none, said = status()
    assert none == 401
    assert b"www-authenticate: Bearer\r\n" in said
    for value in (
        "", "Bearer", "Bearer ", f"Bearer  {token}", f"Token {token}", f"Basic {b64(token)}",
        f"Bearer {token}, Bearer x", f"Bearer{token}", f"Bearer {token}\x00",
    ):  # fmt: skip
        assert status(f"Authorization: {value}")[0] in (400, 401), value
    for value in ("", f"Basic {b64(token)}", f"Token {token}", f"JWT {token}"):
        assert b"www-authenticate: Bearer\r\n" in status(f"Authorization: {value}")[1], value
    header = f"Authorization: Bearer {token}"
    assert b'www-authenticate: Bearer error="invalid_token"' in status("Authorization: Bearer")[1]
    assert b'www-authenticate: Bearer error="invalid_token"' in status(header, header)[1]
    assert status(header, header)[0] == 401
    assert status(f"X-Forwarded-Authorization: Bearer {token}", f"Cookie: t={token}")[0] == 401
    assert gate.raw(
        f"GET /auth?access_token={token} HTTP/1.1\r\nX-Original-URI: /api/echo\r\n"
        "Connection: close\r\n\r\n".encode()
    ).startswith(b"HTTP/1.1 401 ")


def test_other_rsa_algorithms_only_where_they_are_asked_for(gate: Deteco) -> None:
    import jwt as pyjwt

    now = int(time.time())
    for sub, algorithms in (("echo", {"RS384", "RS512"}), ("pss", {"PS256", "PS512", "RS256"})):
        for algorithm in ("RS384", "RS512", "PS256", "PS512"):
            claims = {"sub": sub, "iat": now, "exp": now + 60, "jti": algorithm}
            token = pyjwt.encode(claims, RSA.private_pem, algorithm=algorithm)
            wanted = 200 if algorithm in algorithms or algorithm.startswith("RS") else 401
            assert gate.status(token) == wanted, (sub, algorithm)


def test_nothing_of_a_token_or_a_query_is_logged(gate: Deteco) -> None:
    token = ED.token("below")
    bad = OTHER.token()
    assert gate.status(bad, "/api/echo?password=hunter2") == 401

    def is_logged() -> bool:  # few refusals a second are, and there may have been others
        assert gate.status(token, "/nowhere?password=hunter2") == 403
        return bool(gate.lines(msg="Not allowed access", service="below", path="/nowhere"))

    wait_until(is_logged, what="the line")
    text = gate.text()
    for secret in (token, bad, *token.split("."), *bad.split("."), "hunter2"):
        assert secret not in text
    with open(f"/proc/{gate.pid}/cmdline", encoding="ascii") as line:
        assert "BEGIN" not in line.read()


def test_the_log_is_that_of_the_original(gate: Deteco) -> None:
    token = ED.token(jti="logged")
    for _ in range(2):  # new, and known
        assert gate.status(token, "/api/echo/logged?x=1") == 200
    lines = gate.wait_for_lines(2, msg="Authorized", level="info", path="/api/echo/logged")
    assert {line["service"] for line in lines} == {"echo"}

    def is_logged(message: str, **fields: str) -> bool:  # few a second are
        assert gate.status(token, "/other/logged") == 403
        assert gate.status(OTHER.token(), "/unsigned/logged") == 401
        return bool(gate.lines(msg=message, level="warn", **fields))

    wait_until(lambda: is_logged("Not allowed access", path="/other/logged", service="echo"))
    wait_until(
        lambda: is_logged(
            "Failed to authorize JWT", path="/unsigned/logged", error="the signature is wrong"
        )
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_path_and_token_are_answered(gate: Deteco, data: st.DataObject) -> None:
    pieces = st.sampled_from(["/", "..", ".", "%2e", "%2f", ";", "%25", "a", "//", "?", "\\", "%"])
    uri = "/api/echo" + "".join(data.draw(st.lists(pieces, max_size=8)))
    token = data.draw(st.sampled_from([ED.token("all"), "a.b.c", "x" * 50, "..", "e30.e30.e30"]))
    status = gate.status(token, uri)
    assert status in (200, 403) if len(token) > 60 else status == 401


def test_a_token_used_a_hundred_times_at_once(gate: Deteco) -> None:
    token = RSA.token(jti="replay")
    found: list[int] = []

    def ask() -> None:
        found.append(gate.status(token))

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 100


def test_the_programs_answer_is_what_check_says(gate: Deteco) -> None:
    """The two come from the same code; a sample of them, end to end."""
    token = ED.token()
    for uri, status in CONFUSION[::15]:
        if not uri:
            continue
        done = run("deteco", "check", "--conf", gate.conf, token, "GET", uri)
        assert f"answer:    {status} ".encode() in done.stdout
