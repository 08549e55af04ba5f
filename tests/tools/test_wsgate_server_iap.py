"""wsgate-server behind Google's Identity-Aware Proxy."""

from __future__ import annotations

import json
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conftest import run, wait_until
from tests.keys import b64, ec_key, private_key, public_pem, token
from tests.peers.gates import UPGRADE, server
from tests.peers.servers import LOOPBACK, echo, free_port

if TYPE_CHECKING:
    from tests.peers.servers import Stage


# -- IAP --------------------------------------------------------------------------------------


class KeyServer:
    """Answers with a set of keys, as Google does; counts requests."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked = 0
        self.fails = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = jwk_set(outer.keys) if not outer.fails else b"down"
                self.send_response(200 if not outer.fails else 500)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = HTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def jwk_set(keys: dict[str, Any]) -> bytes:
    members = []
    for kid, key in keys.items():
        numbers = key.public_key().public_numbers()
        x, y = (b64(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
        members.append(
            {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y}
        )
    return json.dumps({"keys": members}).encode()


AUDIENCE = "/projects/123/global/backendServices/456"


def assertion(key: Any, kid: str | None, **claims: Any) -> str:
    import jwt as pyjwt

    now = int(time.time())
    members = {
        "iss": "https://cloud.google.com/iap",
        "aud": AUDIENCE,
        "sub": "accounts.google.com:1",
        "email": "eve@example.com",
        "iat": now,
        "exp": now + 600,
        **claims,
    }
    members = {name: value for name, value in members.items() if value is not None}
    headers = {"kid": kid} if kid is not None else None
    return pyjwt.encode(members, key, algorithm="ES256", headers=headers)


@pytest.mark.parametrize("by", ["file", "address"])
def test_the_assertion_of_iap(stage: Stage, by: str) -> None:
    one, two = private_key("ec"), private_key("ec", 1)
    keys = KeyServer()
    stage.later(keys.close)
    keys.keys = {"one": one}
    path = stage.folder / "jwk"
    path.write_bytes(jwk_set({"one": one}))
    where = str(path) if by == "file" else keys.url
    options = ("--iap-audience", "/projects/9/apps/x", "--iap-audience", AUDIENCE)
    gate = server(stage, {"a": stage.peer(echo).port}, *options, "--iap-keys", where)

    def answer(text: str | None, **more: str) -> int:
        headers = {**UPGRADE, **more}
        if text is not None:
            headers["X-Goog-IAP-JWT-Assertion"] = text
        return gate.status("/proxy/a", **headers)

    wait_until(lambda: answer(assertion(one, "one")) == 101)
    assert gate.wait_for_lines(1, status="Connected")[0]["user-email"] == "eve@example.com"
    now = int(time.time())
    for bad in (
        None,
        "",
        assertion(two, "one"),
        assertion(one, "two"),
        assertion(one, None),
        assertion(one, "one", aud="/projects/123/global/backendServices/4567"),
        assertion(one, "one", aud=None),
        assertion(one, "one", iss="https://evil.example"),
        assertion(one, "one", iss=None),
        assertion(one, "one", exp=now - 31),
        assertion(one, "one", iat=now + 120),
        assertion(one, "one", email="eve\n@example.com"),
        assertion(one, "one", email=["eve@example.com"]),
        assertion(one, "one")[:-1],
        token(private_key("rsa")),
    ):
        assert answer(bad, X_Goog_Authenticated_User_Email="forged") == 401
    assert answer(assertion(one, "one", exp=now - 5)) == 101, "30 s of skew"
    assert "forged" not in gate.text()
    assert gate.status("/live") == 200, "health checks carry no assertion"
    if by == "address":
        assert keys.asked <= 3, "unknown names do not have the keys fetched again and again"
        keys.fails = True
        assert answer(assertion(one, "one")) == 101, "kept"
    else:
        path.write_bytes(jwk_set({"two": two}))
        gate.kill(signal.SIGHUP)
        gate.wait_for("Reloaded")
        assert answer(assertion(two, "two")) == 101
        assert answer(assertion(one, "one")) == 401


def test_a_hangup_takes_all_files_or_none(stage: Stage) -> None:
    """The new public key is not taken when the keys of IAP are bad, nor the map."""
    old, new, one = private_key("ec"), private_key("ed25519"), ec_key()
    pem, iap = stage.folder / "keys.pem", stage.folder / "iap.json"
    pem.write_bytes(public_pem(old))
    iap.write_bytes(jwk_set({"one": one}))
    options = ("--iap-audience", AUDIENCE, "--iap-keys", str(iap), "--public-key", str(pem))
    gate = server(stage, {"a": stage.peer(echo).port}, *options)

    def opens(key: Any, name: str = "a") -> bool:
        headers = {**UPGRADE, "X-Goog-IAP-JWT-Assertion": assertion(one, "one")}
        asked = gate.status(f"/proxy/{name}", **headers, Authorization=f"Bearer {token(key)}")
        return asked == 101

    assert opens(old)
    pem.write_bytes(public_pem(new))
    iap.write_bytes(b"{}")
    gate.kill(signal.SIGHUP)
    gate.wait_for("the last ones are kept")
    assert opens(old)
    assert not opens(new)
    iap.write_bytes(jwk_set({"one": one}))
    gate.kill(signal.SIGHUP)
    gate.wait_for("Reloaded")
    assert opens(new)
    assert not opens(old)


def test_iap_without_keys_opens_nothing(stage: Stage) -> None:
    options = ("--iap-audience", AUDIENCE, "--iap-keys", f"http://127.0.0.1:{free_port()}/keys")
    gate = server(stage, {"a": 1}, *options)
    text = assertion(private_key("ec"), "one")
    headers = {**UPGRADE, "X-Goog-IAP-JWT-Assertion": text}
    assert gate.status("/proxy/a", **headers) == 503
    gate.wait_for("Failed to renew the keys")
    (stage.folder / "jwk").write_text("{}")
    done = run("wsgate-server", "--map", gate.map_file, "--iap-audience", "x", "--iap-keys",
               stage.folder / "jwk")  # fmt: skip
    assert done.returncode == 1
    assert "not a JWK Set" in done.stderr.decode()


def test_sets_of_keys_that_are_refused() -> None:
    from kojuto.common.gateway import jwks
    from kojuto.errors import KojutoError

    one = private_key("ec")
    member = json.loads(jwk_set({"one": one}))["keys"][0]
    assert [key.kid for key in jwks.load(json.dumps({"keys": [member]}).encode(), "x")] == ["one"]
    wrong: list[Any] = [
        [],
        [member, *json.loads(jwk_set({"one": private_key("ec", 1)}))["keys"]],
        [{**member, "d": "AA"}],
        [member, {"kty": "oct", "k": "AA", "kid": "two"}],
        [{**member, "use": "enc"}],
        [{**member, "key_ops": ["sign"]}],
        [{**member, "alg": "ES384"}],
        [{**member, "alg": "HS256"}],
        [{**member, "x": "AA"}],
        [{**member, "kid": 1}],
        [{**member, "kty": []}],
        [1],
    ]
    for keys in wrong:
        with pytest.raises(KojutoError):
            jwks.load(json.dumps({"keys": keys}).encode(), "x")
    for document in (b"", b"[]", b"{", b'{"keys":1}', b"[" * 100_000):
        with pytest.raises(KojutoError):
            jwks.load(document, "x")
    assert isinstance(one, ec.EllipticCurvePrivateKey)
