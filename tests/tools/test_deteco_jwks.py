"""deteco: keys from a JWK Set in a file or at an address, chosen by kid; claims in headers."""

from __future__ import annotations

import json
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jwt as pyjwt
from jwt.algorithms import ECAlgorithm

from kojuto.common.gateway.jwks import KeySource, load
from kojuto.tools.deteco import gate
from tests.conftest import run, wait_until
from tests.keys import ec_key, private_pem
from tests.peers.deteco import ED, service, start
from tests.peers.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from tests.peers.servers import Stage


def key_set(**keys: Any) -> bytes:
    members = [
        {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid}
        for kid, key in keys.items()
    ]
    return json.dumps({"keys": members}).encode()


def token(key: Any, kid: str | None, **claims: Any) -> str:
    now = int(time.time())
    members = {"sub": "echo", "iat": now - 1, "exp": now + 300, **claims}
    return pyjwt.encode(
        members, private_pem(key).decode(), algorithm="ES256", headers={"kid": kid} if kid else None
    )


class Keys:
    """Serves a key set."""

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.asked = 0
        keys = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keys.asked += 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(keys.document)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self.server.server_address[1]}/keys"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def conf(jwks: str) -> str:
    return f"[[services]]\nid='echo'\npaths=['/api/echo']\njwks='{jwks}'\n"


def test_keys_of_a_file_are_chosen_by_kid_and_renewed_by_a_hangup(stage: Stage) -> None:
    one, two = ec_key(), ec_key(number=1)
    path = stage.folder / "keys.json"
    path.write_bytes(key_set(one=one))
    deteco = start(stage, conf(str(path)) + service("pem", [ED]))
    assert deteco.status(token(one, "one")) == 200
    for key, kid in ((one, "two"), (one, None), (two, "one"), (two, "two")):
        assert deteco.status(token(key, kid)) == 401
    assert deteco.status(ED.token("pem")) == 200
    path.write_bytes(b"{}")
    deteco.kill(signal.SIGHUP)
    deteco.wait_for("the last configuration is kept")
    assert deteco.status(token(one, "one")) == 200
    path.write_bytes(key_set(two=two))
    deteco.kill(signal.SIGHUP)
    deteco.wait_for("Reloaded")
    assert deteco.status(token(two, "two")) == 200
    assert deteco.status(token(one, "one")) == 401


def test_keys_of_an_address_are_fetched_again_for_a_token_of_a_newer_one(stage: Stage) -> None:
    one, two = ec_key(), ec_key(number=1)
    keys = Keys(key_set(one=one))
    stage.later(keys.close)
    deteco = start(stage, conf(keys.url))
    assert deteco.status(token(one, "one")) == 200
    keys.document = key_set(two=two)
    newer = token(two, "two")
    assert deteco.status(newer) == 401
    # At most one fetch in 30 s, however many ask.
    wait_until(lambda: deteco.status(newer) == 200, within_s=90)
    assert deteco.status(token(one, "one")) == 401
    assert keys.asked <= 4


def test_an_address_that_does_not_answer_keeps_nobody_from_starting(stage: Stage) -> None:
    keys = Keys(b"no set")
    stage.later(keys.close)
    deteco = start(stage, conf(keys.url) + service("pem", [ED]))
    (warned,) = deteco.wait_for_lines(1, level="warn")
    assert warned["msg"] == "Failed to fetch keys, tokens that they sign are refused"
    assert deteco.status(ED.token("pem")) == 200
    assert deteco.status(token(ec_key(), "one")) == 401


def test_keys_that_cannot_be_fetched_again_are_kept_and_that_is_said() -> None:
    source = KeySource(f"http://127.0.0.1:{free_port()}/")
    source.keys = load(key_set(one=ec_key()), "x")
    said: list[str] = []
    log: Any = SimpleNamespace(warn=lambda message, **_: said.append(message))
    gate._fetch([source.where], {source.where: source}, log)
    assert said == ["Failed to fetch keys, the last ones are kept"]
    assert source.keys


def test_what_is_no_place_for_keys_is_refused(stage: Stage) -> None:
    path = stage.folder / "deteco.toml"
    for jwks, said in (
        ("''", "jwks must be a file or an address"),
        ("3", "jwks must be a file or an address"),
        ("'http://keys.example/set'", "not fetched without TLS"),
        ("'/missing'", "/missing: No such file"),
    ):
        path.write_text(f"[[services]]\nid='echo'\npaths=['/']\njwks={jwks}\n")
        done = run("deteco", "--conf", path, "--dry-run")
        assert done.returncode == 1
        assert said in done.stderr.decode()


def test_claims_are_shown_in_headers(stage: Stage) -> None:
    deteco = start(
        stage, service("echo", [ED], rest="headers = {X-Email = 'email', X-Team = 'team'}")
    )
    good = ED.token(email="あ@example.com", team="x")
    for _ in range(2):  # new, and known
        answer = deteco.ask(good)
        assert answer.status == 200
        assert answer.headers["X-Email"].encode("latin-1").decode() == "あ@example.com"
        assert (answer.headers["X-Team"], answer.headers["X-Deteco-User"]) == ("x", "echo")
    for claims in ({"email": "a\r\nX-Team: root"}, {"email": ["a"]}, {"email": None}):
        answer = deteco.ask(ED.token(**claims))
        assert (answer.status, answer.headers["X-Email"]) == (200, None)
        assert answer.headers["X-Team"] is None
    assert deteco.ask(good, "/other").headers["X-Email"] is None
