"""``deteco``: configuration, decisions, cache, reload, limits, its other commands."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import run, script, wait_until
from tests.peers.deteco import CONFUSION, Deteco, Pair, ask_on, service, start
from tests.peers.servers import LOOPBACK, Program, free_port, read_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage

RSA = Pair("rsa")
EC = Pair("ec")
ED = Pair()
OTHER = Pair()


def b64(data: bytes | str) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


# -- configuration ------------------------------------------------------------------------------


def refused(folder: Path, configuration: str | bytes) -> str:
    """What is said about a wrong file."""
    path = folder / "deteco.toml"
    if isinstance(configuration, str):
        configuration = configuration.encode()
    path.write_bytes(configuration)
    done = run("deteco", "--conf", path, "--dry-run")
    assert done.returncode == 1
    assert done.stdout == b""
    said = done.stderr.decode()
    assert said.startswith(f"deteco: error: {path}: ")
    assert "PRIVATE KEY" not in said
    return said


def test_a_wrong_configuration_is_one_line_that_names_the_service_and_the_key(
    tmp_path: Path,
) -> None:
    good = service("echo", [ED])
    private = RSA.private_pem.decode()
    small = subprocess.run(
        "openssl genrsa 1024 2>/dev/null | openssl pkey -pubout",
        shell=True, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    cases = {
        "": "no service",
        "[[services]": "no TOML",
        "x = 1\n" + good: "x: no such setting",
        good + good: "service echo is there twice",
        "[[services]]\npaths = []": "service number 1: id",
        '[[services]]\nid = 3': "service number 1: id",
        service("echo", []): "service echo: public_keys must be a list with at least one",
        service("echo", [ED], "[]"): "service echo: paths",
        service("echo", [ED], '"/api"'): "service echo: paths",
        service("echo", [ED], '["api"]'): "service echo: path api: a path begins with a slash",
        service("echo", [ED], '["/a/../b"]'): "service echo: path /a/../b: ",
        service("echo", [ED], '["/a%2fb"]'): "service echo: path /a%2fb: ",
        service("echo", [ED], "[3]"): "service echo: paths must be texts or tables",
        service("echo", [ED], "[{path = '/a', method = 'x'}]"): "path /a: method: no such setting",
        service("echo", [ED], rest="requires = {}"): "service echo: requires: no such setting",
        service("echo", [ED], rest="require = {aud = 3}"): "service echo: require.aud",
        service("echo", [ED], rest="require = []"): "service echo: require",
        service("echo", [ED], rest='methods = ["get"]'): "service echo: methods",
        service("echo", [ED], rest="pss = 1"): "service echo: pss",
        f"[[services]]\nid='a'\npaths=['/']\npublic_keys=['''{private}''']": (
            "key 1 of public_keys entry 1 of service a is a private key"
        ),
        f"[[services]]\nid='a'\npaths=['/']\npublic_keys=['''{small}''']": (
            "public_keys entry 1 of service a: an RSA key of 1024 bits"
        ),
        "[[services]]\nid='a'\npaths=['/']\npublic_keys=['rubbish']": "entry 1 of service a",
        service("echo", [ED, ED]).replace("MCow", "MCox", 1): "entry 1 of service echo",
    }  # fmt: skip
    for configuration, said in cases.items():
        assert said in refused(tmp_path, configuration)
    assert "no TOML" in refused(tmp_path, b"\xff\xfe")
    missing = run("deteco", "--conf", tmp_path / "missing", "--dry-run")
    assert missing.returncode == 1
    assert b"missing: No such file" in missing.stderr
    assert run("deteco").returncode == 2
    for wrong in ("--jwt-freshness=0", "--auth-endpoint=live", "--auth-endpoint=", "--listen=x"):
        assert run("deteco", "--conf", "x", wrong).returncode == 2


def test_a_dry_run_says_that_all_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "deteco.toml"
    path.write_text(service("a", [ED, RSA]) + service("b", [EC], rest="require = {iss = ['x']}"))
    done = run("deteco", "--conf", path, "--dry-run")
    assert done.returncode == 0
    assert done.stdout == b""
    assert b"2 services" in done.stderr


def test_toml_is_read_on_python_310_too(tmp_path: Path) -> None:
    """There the standard library has no TOML; the other reader gives the same."""
    import tomli
    import tomllib  # type: ignore[import-not-found]  # from 3.11 on

    text = service("a", [ED], rest="require = {aud = ['x', 'y']}\npss = true")
    assert tomli.loads(text) == tomllib.loads(text)


# -- decisions ----------------------------------------------------------------------------------


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
    for target in ("/", "/live", "/live?x"):
        said = gate.raw(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        assert said.startswith(b"HTTP/1.1 200 OK"), said
        assert said.endswith(b"\r\n\r\nOK\n")
    for target in ("/auth/", "/aut", "/auth%2f", "/AUTH", "http://h/auth"):
        said = gate.raw(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        assert said.startswith(b"HTTP/1.1 404 "), (target, said)
    said = gate.raw(b"POST /auth HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 405 ")


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
        assert gate.status(below, "/dir/x") == 200
        assert gate.status(below, "/dir/") == 200
        assert gate.status(below, "/dir") == 403
        assert gate.status(below, "/file/x") == 200
        assert gate.status(below, "/api/echo") == 403
        assert gate.status(below, "/dir/../file") == 403


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
        assert gate.status(mixed, "/free/../put", (method, "PUT")) == 403


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
        {"iat": "now"}, {"iat": 1e300}, {"nbf": now + 60}, {"nbf": "x"}, {"nonce": "x"},
    ):  # fmt: skip
        for _ in range(2):
            assert gate.status(ED.token(**claims)) == 401, claims
    assert gate.status(ED.token(iat=now - 3500, exp=now + 10**6)) == 200
    assert gate.status(ED.token(iat=now + 30)) == 200
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
        signed(RSA, {"alg": "RS256", "jwk": {"kty": "RSA"}}),
        signed(RSA, {"alg": "RS256", "jku": "http://127.0.0.1:1/"}),
        signed(RSA, {"alg": "RS256", "x5u": "http://127.0.0.1:1/"}),
        signed(RSA, {"alg": "RS256", "crit": ["exp"]}), signed(RSA, {"alg": "RS256", "crit": []}),
        signed(RSA, {"alg": "RS256", "zip": "DEF"}), signed(RSA, {"alg": "RS256", "b64": False}),
        signed(RSA, {"alg": "RS256", "typ": "at+jwt"}), signed(RSA, {"alg": "RS256", "kid": 1}),
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
    none, said = status()
    assert none == 401
    assert b"www-authenticate: Bearer\r\n" in said
    for value in (
        "", "Bearer", "Bearer ", f"Bearer  {token}", f"Token {token}", f"Basic {b64(token)}",
        f"Bearer {token}, Bearer x", f"Bearer{token}", token, f"Bearer {token}\x00",
    ):  # fmt: skip
        assert status(f"Authorization: {value}")[0] in (400, 401), value
    header = f"Authorization: Bearer {token}"
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
        return bool(gate.lines(msg="Refused", user="below", path="/nowhere"))

    wait_until(is_logged, what="the line")
    text = gate.text()
    for secret in (token, bad, *token.split("."), *bad.split("."), "hunter2"):
        assert secret not in text
    with open(f"/proc/{gate.pid}/cmdline", encoding="ascii") as line:
        assert "BEGIN" not in line.read()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_path_and_token_are_answered(gate: Deteco, data: st.DataObject) -> None:
    pieces = st.sampled_from(["/", "..", ".", "%2e", "%2f", ";", "%25", "a", "//", "?", "\\", "%"])
    uri = "/api/echo" + "".join(data.draw(st.lists(pieces, max_size=8)))
    token = data.draw(st.sampled_from([ED.token("all"), "a.b.c", "x" * 50, "..", "e30.e30.e30"]))
    status = gate.status(token, uri)
    assert status in (200, 403) if len(token) > 60 else status == 401


# -- the cache ----------------------------------------------------------------------------------


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


def test_a_known_token_is_answered_without_python_until_it_expires(stage: Stage) -> None:
    port = free_port()
    deteco = start(
        stage, service("echo", [ED]), "--metrics-listen", f"{LOOPBACK}:{port}",
        "--jwt-freshness", "5s",
    )  # fmt: skip
    now = time.time()
    short = ED.token(exp=int(now) + 3, iat=int(now))
    stale = ED.token(exp=int(now) + 300, iat=int(now) - 2)
    assert deteco.status(short) == deteco.status(stale) == 200
    quick = metrics(port)["kojuto_http_quick_total"]
    for _ in range(10):
        assert deteco.status(short) == 200
    found = metrics(port)
    assert found["kojuto_http_quick_total"] >= quick + 10
    assert found["kojuto_deteco_token_hits_total"] >= 10
    assert found['kojuto_deteco_tokens{kind="good"}'] == 2
    for token, end in ((short, int(now) + 3), (stale, int(now) + 3)):
        while time.time() < end + 0.05:
            before = time.time()
            if deteco.status(token) != 200:
                assert time.time() >= end
            assert before < end + 1
            time.sleep(0.05)
        assert deteco.status(token) == 401


def test_the_cache_is_bounded_and_bad_tokens_drive_no_good_one_out(stage: Stage) -> None:
    port = free_port()
    deteco = start(
        stage, service("echo", [ED]), "--metrics-listen", f"{LOOPBACK}:{port}",
        "--cache-size", "20", "--prune-size", "5",
    )  # fmt: skip
    mine = ED.token()
    assert deteco.status(mine) == 200
    for at in range(60):
        assert deteco.status(OTHER.token(jti=str(at))) == 401
    hits = metrics(port)["kojuto_deteco_token_hits_total"]
    assert deteco.status(mine) == 200
    found = metrics(port)
    assert found["kojuto_deteco_token_hits_total"] == hits + 1
    assert found['kojuto_deteco_tokens{kind="bad"}'] <= 20
    for at in range(60):
        assert deteco.status(ED.token(jti=str(at))) == 200
    assert metrics(port)['kojuto_deteco_tokens{kind="good"}'] <= 20


def test_without_a_cache_every_token_is_checked(stage: Stage) -> None:
    deteco = start(stage, service("echo", [ED]), "--cache-size=0")
    token = ED.token()
    assert [deteco.status(token) for _ in range(3)] == [200] * 3
    assert deteco.status(OTHER.token()) == 401


def test_a_flood_of_bad_tokens_does_not_starve_good_ones(stage: Stage) -> None:
    deteco = start(stage, service("echo", [RSA]))
    known = RSA.token()
    assert deteco.status(known) == 200
    stop = threading.Event()
    flooded = [0]

    def flood(number: int) -> None:
        conn = deteco.connect()
        head, body, signature = RSA.token(jti=str(number)).split(".")
        at = 0
        while not stop.is_set():
            at += 1
            wrong = b64(at.to_bytes(4, "big") + base64.urlsafe_b64decode(signature + "==")[4:])
            assert ask_on(conn, f"{head}.{body}.{wrong}").status == 401
            flooded[0] += 1
        conn.close()

    threads = [threading.Thread(target=flood, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        conn = deteco.connect()
        times = []
        for _ in range(100):
            began = time.monotonic()
            assert ask_on(conn, known).status == 200
            times.append(time.monotonic() - began)
        conn.close()
        assert sorted(times)[90] < 0.2
        for at in range(5):  # not known yet
            assert deteco.status(RSA.token(jti=f"new{at}")) == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert flooded[0] > 50


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


# -- reload, stop, sockets ----------------------------------------------------------------------


def test_a_reload_under_load_drops_no_request_and_forgets_all_tokens(stage: Stage) -> None:
    first, second = Pair(), Pair()
    deteco = start(stage, service("echo", [first, second]))
    stop = threading.Event()
    statuses: dict[str, set[int]] = {"both": set(), "first": set()}
    asked = [0]

    def load(name: str, token: str) -> None:
        conn = deteco.connect()
        while not stop.is_set():
            statuses[name].add(ask_on(conn, token).status)
            asked[0] += 1
        conn.close()

    tokens = [("both", second.token()), ("first", first.token())] * 2
    threads = [threading.Thread(target=load, args=pair) for pair in tokens]
    for thread in threads:
        thread.start()
    try:
        for at in range(6):
            text = service("echo", [second] if at % 2 == 0 else [first, second])
            deteco.conf.write_text(text)
            deteco.kill(signal.SIGHUP)
            wait_until(lambda at=at: len(deteco.lines(msg="Reloaded")) == at + 1, what="reload")  # type: ignore[misc]
            wanted = 401 if at % 2 == 0 else 200
            assert deteco.status(first.token(jti=str(at))) == wanted
            assert deteco.status(tokens[1][1]) == wanted  # was known under the configuration before
        already = asked[0]
        wait_until(lambda: asked[0] > already + 100, what="requests go on")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert statuses == {"both": {200}, "first": {200, 401}}


def test_a_broken_file_at_a_reload_keeps_the_last_configuration(stage: Stage) -> None:
    deteco = start(stage, service("echo", [ED]))
    token = ED.token()
    assert deteco.status(token) == 200
    deteco.conf.write_text(service("echo", [ED]) + "[[services]]\nid = 'broken'\n")
    deteco.kill(signal.SIGHUP)
    warning = deteco.wait_for_line(level="warn")
    assert "service broken: public_keys" in warning["error"]
    assert deteco.status(token) == 200
    assert deteco.status(ED.token(jti="new")) == 200
    deteco.conf.unlink()
    deteco.kill(signal.SIGHUP)
    wait_until(lambda: len(deteco.lines(level="warn")) == 2, what="a second warning")
    assert deteco.status(token) == 200
    assert deteco.end() == 0


def test_sigterm_finishes_requests_and_ends_with_0(stage: Stage) -> None:
    deteco = start(stage, service("echo", [ED]))
    with socket.create_connection((LOOPBACK, deteco.port), timeout=20) as half:
        half.sendall(b"GET /live HTTP/1.1\r\nHost: h\r\n")
        idle = deteco.connect()
        assert ask_on(idle, ED.token()).status == 200
        time.sleep(0.05)
        deteco.kill()
        assert idle.sock is not None
        assert idle.sock.recv(1) == b""  # closed at once
        idle.close()
        half.sendall(b"\r\n")
        said = read_all(half)
        assert said.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in said
    assert deteco.process.wait(20) == 0
    assert deteco.wait_for_lines(1, msg="Complete shutdown")


def test_a_client_that_says_nothing_does_not_hold_a_server_that_ends(stage: Stage) -> None:
    """A first request may be on its way; after a second it is not."""
    deteco = start(stage, service("echo", [ED]), "--shutdown-timeout=10s")
    with socket.create_connection((LOOPBACK, deteco.port), timeout=20) as silent:
        assert deteco.status(ED.token()) == 200
        deteco.kill()
        assert silent.recv(1) == b""
    assert deteco.process.wait(20) == 0
    assert deteco.lines(msg="Complete shutdown")


def test_slow_clients_are_cut_and_large_headers_refused(stage: Stage) -> None:
    deteco = start(stage, service("echo", [ED]), "--header-timeout=500ms", "--idle-timeout=500ms")
    with socket.create_connection((LOOPBACK, deteco.port), timeout=20) as conn:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            conn.settimeout(0.1)
            while time.monotonic() < began + 10:
                conn.sendall(b"a")
                with contextlib.suppress(TimeoutError):
                    assert conn.recv(100) == b""
                    break
        assert 0.4 < time.monotonic() - began < 9
    huge = b"GET /auth HTTP/1.1\r\nX: " + b"a" * 300_000 + b"\r\n\r\n"
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        assert deteco.raw(huge).startswith(b"HTTP/1.1 431 ")
    post = b"POST /auth HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"
    assert deteco.raw(post).startswith(b"HTTP/1.1 405 ")
    assert deteco.status(ED.token()) == 200


def test_it_survives_running_out_of_descriptors(stage: Stage) -> None:
    import resource

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    deteco = start(stage, service("echo", [ED]), preexec=few)
    conns = [socket.create_connection((LOOPBACK, deteco.port), timeout=20) for _ in range(80)]
    deteco.wait_for("accepting is paused")
    for conn in conns:
        conn.close()
    deteco.wait_for("accepting again")
    assert deteco.status(ED.token()) == 200
    assert len(deteco.wait_for_lines(1, msg="accepting is paused")) == 1


def test_sockets_from_server_starter_and_systemd(stage: Stage) -> None:
    conf = stage.folder / "deteco.toml"
    conf.write_text(service("echo", [ED]))
    for kind in ("starter", "systemd"):
        with socket.create_server((LOOPBACK, 0)) as sock:
            port, fd = sock.getsockname()[1], sock.fileno()
            if kind == "starter":
                env = {"SERVER_STARTER_PORT": f"{LOOPBACK}:{port}={fd}"}
                command: list[str | Path] = [script("deteco"), "--conf", conf]
                program = stage.program(command, env=env, pass_fds=[fd])
            else:
                # The shell's own pid is the program's after exec; descriptor 3 is the first.
                text = f'exec 3<&{fd}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@"'
                command = ["bash", "-c", text, script("deteco"), "--conf", conf]
                program = stage.program(command, pass_fds=[fd])
            program.wait_for("Start listen")
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/live", timeout=20) as answer:
                assert answer.read() == b"OK\n"
            assert program.end() == 0


def test_a_taken_address_is_one_line(tmp_path: Path) -> None:
    conf = tmp_path / "deteco.toml"
    conf.write_text(service("echo", [ED]))
    with socket.create_server((LOOPBACK, 0)) as sock:
        where = f"{LOOPBACK}:{sock.getsockname()[1]}"
        done = run("deteco", "--conf", conf, "--listen", where)
    assert done.returncode == 1
    assert f"cannot listen on {where}".encode() in done.stderr


# -- the other commands -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519"])
def test_keygen_jwtgen_and_the_server_fit_together(stage: Stage, kind: str) -> None:
    name = stage.folder / f"key-{kind}"
    os.umask(os.umask(0))  # whatever it is
    made = run("deteco", "keygen", "--type", kind, "--out", name)
    assert made.returncode == 0
    assert made.stdout.decode().split() == [str(name), f"{name}.pub"]
    assert stat.S_IMODE(name.stat().st_mode) == 0o600
    again = run("deteco", "keygen", "--type", kind, "--out", name)
    assert again.returncode == 1
    assert b"exists already" in again.stderr
    signed_ = run(
        "deteco", "jwtgen", "--private-key", name, "--private-key-user", "robot", "--max-age", "2m"
    )
    assert signed_.returncode == 0
    header, bearer, token = signed_.stdout.decode().split()
    assert (header, bearer) == ("Authorization:", "Bearer")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == "robot"
    assert claims["exp"] - claims["iat"] == 120
    public = (stage.folder / f"key-{kind}.pub").read_text()
    conf = f"[[services]]\nid='robot'\npaths=['/x']\npublic_keys=['''{public}''']\n"
    deteco = start(stage, conf)
    answer = deteco.ask(token, "/x/y")
    assert (answer.status, answer.headers["X-Deteco-User"]) == (200, "robot")


def test_jwtgen_with_a_wrong_key_is_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(ED.public_pem)
    for path in (wrong, tmp_path / "missing"):
        done = run("deteco", "jwtgen", "--private-key", path, "--private-key-user", "a")
        assert done.returncode == 1
        assert done.stdout == b""
        assert done.stderr.startswith(b"deteco jwtgen: error: ")
    assert run("deteco", "jwtgen").returncode == 2
    assert run("deteco", "nonsense").returncode == 2


def test_check_explains_each_decision(tmp_path: Path) -> None:
    conf = tmp_path / "deteco.toml"
    conf.write_text(service("echo", [RSA, ED], rest='methods = ["GET"]'))

    def check(token: str, uri: str, method: str = "GET", stdin: bytes = b"") -> tuple[int, str]:
        done = run("deteco", "--conf", conf, "check", token, method, uri, stdin=stdin)
        assert done.stderr == b""
        return done.returncode, done.stdout.decode()

    token = ED.token()
    status, text = check(token, "/api/echo/x")
    assert status == 0
    assert "signature: right by key 1 of public_keys entry 2 of service echo (Ed25519)" in text
    assert re.search(r"answer:    200 X-Deteco-User: echo\n", text)
    assert token not in text
    assert check("-", "/api/echo", stdin=f"Authorization: Bearer {token}\n".encode())[0] == 0
    for length, why in ((16_384, "not three segments"), (16_385, "16385 characters are over")):
        text = f"Authorization: Bearer {'x' * length}\n"
        assert f"answer:    401 {why}" in check("-", "/", stdin=text.encode())[1]
    for uri, method, why in (
        ("/api/echo/../x", "GET", "403 the path leaves what is allowed by .."),
        ("/x", "GET", "403 the path lies under none"),
        ("/api/echo", "POST", "403 the method is not allowed"),
        ("/api/echo/\n", "GET", "403 "),
    ):
        status, text = check(token, uri, method)
        assert status == 1
        assert why in text
    for bad, why in (
        (OTHER.token(), "401 the signature is wrong"),
        (ED.token("nobody"), "401 the claim sub names no service"),
        (ED.token(exp=1), "401 the token has expired"),
        ("x.y", "401 not three segments"),
    ):
        status, text = check(bad, "/api/echo")
        assert status == 1
        assert why in text
    assert run("deteco", "check", "--conf", conf, token).returncode == 2


def test_the_programs_answer_is_what_check_says(gate: Deteco) -> None:
    """The two come from the same code; a sample of them, end to end."""
    token = ED.token()
    for uri, status in CONFUSION[::15]:
        if not uri:
            continue
        done = run("deteco", "check", "--conf", gate.conf, token, "GET", uri)
        assert f"answer:    {status} ".encode() in done.stdout


def test_it_is_restarted_by_server_starter_without_losing_a_request(stage: Stage) -> None:
    """A second process takes over the socket while clients that reconnect go on asking."""
    conf = stage.folder / "deteco.toml"
    conf.write_text(service("echo", [ED]))
    token = ED.token()
    with socket.create_server((LOOPBACK, 0), backlog=1024) as sock:
        port, fd = sock.getsockname()[1], sock.fileno()

        def launch() -> Program:
            env = {"SERVER_STARTER_PORT": f"{LOOPBACK}:{port}={fd}"}
            program = stage.program([script("deteco"), "--conf", conf], env=env, pass_fds=[fd])
            program.wait_for("Start listen")
            return program

        old = launch()
        stop = threading.Event()
        done: list[int] = []

        def load() -> None:
            while not stop.is_set():
                request = urllib.request.Request(
                    f"http://{LOOPBACK}:{port}/auth",
                    headers={"Authorization": f"Bearer {token}", "X-Original-URI": "/api/echo"},
                )
                with urllib.request.urlopen(request, timeout=20) as answer:
                    done.append(answer.status)

        errors: list[BaseException] = []

        def guarded() -> None:
            try:
                load()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=guarded) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                new = launch()
                assert old.end() == 0
                old = new
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not errors
        assert len(done) > 20
        assert set(done) == {200}
        assert old.end() == 0
