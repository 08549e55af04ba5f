"""wsgate-client: tokens of a private key, and Google id_tokens from an endpoint run here."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt as pyjwt
import pytest

from kojuto.errors import KojutoError
from kojuto.tools.wsgate_client import tokens
from tests.conftest import wait_until
from tests.keys import private_key, private_pem, public_pem
from tests.peers.gates import CLIENT_ID, account, backend, client, opens, round_trip, server
from tests.peers.servers import LOOPBACK, echo

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers.servers import Stage


# -- tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519"])
def test_a_private_key_opens_a_server_with_its_public_key(stage: Stage, kind: str) -> None:
    key = private_key(kind)
    (stage.folder / "public").write_bytes(public_pem(key))
    (stage.folder / "private").write_bytes(private_pem(key))
    (stage.folder / "other").write_bytes(private_pem(private_key(kind, 1)))
    gate = server(stage, {"a": stage.peer(echo).port}, "--public-key", str(stage.folder / "public"))
    user = ["--private-key-user", "alice"]
    local = client(stage, gate.url("a"), "--private-key", str(stage.folder / "private"), *user)
    with local.connect() as conn:
        round_trip(conn, b"hello")
    assert gate.wait_for_lines(1, status="Suceeded")[0]["user-email"] == "alice"
    other = client(stage, gate.url("a"), "--private-key", str(stage.folder / "other"))
    with other.connect() as conn:
        assert not opens(conn)
    other.wait_for("answered 401 Unauthorized: the token or credential was refused")


def test_the_token_of_a_private_key_and_its_renewal(stage: Stage) -> None:
    key = private_key("ec")
    (stage.folder / "private").write_bytes(private_pem(key))
    peer = backend(stage)
    local = client(stage, peer.url(), "--private-key", str(stage.folder / "private"))
    for _ in range(2):
        with local.connect() as conn:
            round_trip(conn, b"hello")
    scheme, _, text = peer.requests[0].headers["Authorization"].partition(" ")
    assert scheme == "Bearer"
    claims = pyjwt.decode(text, key.public_key(), algorithms=["ES256"])
    second = peer.requests[1].headers["Authorization"].removeprefix("Bearer ")
    if second != text:  # a new one every ten seconds
        later = pyjwt.decode(second, key.public_key(), algorithms=["ES256"])
        assert later["iat"] >= claims["iat"] + 9, "made once for ten seconds"
    assert claims["sub"] == "private-key-user"
    assert claims["iss"]
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - time.time()) < 30
    for part in text.split("."):
        assert part not in local.text()


def test_a_token_is_renewed_in_the_background_before_it_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kojuto.tools.wsgate_client import tokens

    now = 1_000_000.0
    made: list[float] = []
    log: Any = Collected()

    class Clock:
        @staticmethod
        def time() -> float:
            return now

        monotonic = time

        @staticmethod
        def sleep(pause: float) -> None:
            nonlocal now
            now += pause
            if now > 1_000_100:
                raise SystemExit

    def fetch() -> tuple[str, float, float]:
        made.append(now)
        return f"token {len(made)}", now + 55, now + 10

    monkeypatch.setattr(tokens, "time", Clock)
    renewed = tokens.Renewed(fetch, log)
    with pytest.raises(SystemExit):
        renewed._run()
    assert made == [1_000_000.0 + 10 * i for i in range(len(made))]
    assert renewed.get() == f"token {len(made)}"
    assert log.lines == []


@pytest.mark.parametrize("set_s", [-9 * 3600, -2, 56])
def test_a_token_does_not_outlive_a_clock_that_is_set(
    monkeypatch: pytest.MonkeyPatch, set_s: float
) -> None:
    """The machine's clock was hours wrong when it started, or it was suspended for a minute."""
    clock = {"wall": 1_000_000.0, "monotonic": 50.0}

    class Clock:
        time = staticmethod(lambda: clock["wall"])
        monotonic = staticmethod(lambda: clock["monotonic"])

    fetched: list[float] = []

    def fetch() -> tuple[str, float, float]:
        fetched.append(clock["wall"])
        return f"token {len(fetched)}", clock["wall"] + 55, clock["wall"] + 10

    monkeypatch.setattr(tokens, "time", Clock)
    log: Any = Collected()
    renewed = tokens.Renewed(fetch, log)
    assert renewed.get() == "token 1"
    clock["wall"] += set_s
    assert renewed.get() == "token 2"
    # It ages by the other clock, too: one of them may stand still.
    clock["monotonic"] += 56
    assert renewed.get() == "token 3"
    assert renewed.get() == "token 3"


def test_a_token_that_was_asked_for_first_is_not_fetched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kojuto.tools.wsgate_client import tokens

    slept: list[float] = []

    class Clock:
        monotonic = staticmethod(time.monotonic)
        time = staticmethod(time.time)

        @staticmethod
        def sleep(pause: float) -> None:
            slept.append(pause)
            raise SystemExit

    fetched: list[str] = []

    def fetch() -> tuple[str, float, float]:
        fetched.append("token")
        return "token", time.time() + 3600, time.time() + 3000

    monkeypatch.setattr(tokens, "time", Clock)
    log: Any = Collected()
    renewed = tokens.Renewed(fetch, log)
    assert renewed.get() == "token"
    with pytest.raises(SystemExit):
        renewed._run()
    assert fetched == ["token"]
    assert 2900 < slept[0] <= 3000


class Collected:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, message: str, **fields: Any) -> None:
        self.lines.append(f"{message} {fields}")

    info = warn


# -- IAP --------------------------------------------------------------------------------------


class TokenEndpoint:
    """Gives id_tokens for assertions that it checks as Google's endpoint does."""

    def __init__(self, life_s: float = 3600, port: int = 0) -> None:
        self.life_s = life_s
        self.status = 200
        self.asked: list[dict[str, Any]] = []
        self.given: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
                status, body = outer.answer(form)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer((LOOPBACK, port), Handler)
        self.port = self.server.server_port
        self.url = f"http://{LOOPBACK}:{self.port}/token"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self.status != 200:
            return self.status, {"error": "invalid_grant", "error_description": form["assertion"]}
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        claims = pyjwt.decode(
            form["assertion"],
            private_key("rsa").public_key(),
            algorithms=["RS256"],
            audience="https://oauth2.googleapis.com/token",
        )
        self.asked.append(claims)
        now = time.time()
        payload = {"aud": claims["target_audience"], "iat": int(now), "exp": int(now + self.life_s)}
        payload["jti"] = str(len(self.asked))
        self.given.append(pyjwt.encode(payload, private_key("rsa", 1), algorithm="RS256"))
        return 200, {"id_token": self.given[-1], "access_token": "not-this-one"}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    found = TokenEndpoint()
    yield found
    with contextlib.suppress(OSError):
        found.close()


def iap(stage: Stage, endpoint: TokenEndpoint, client_id: str = CLIENT_ID) -> list[str]:
    path = stage.folder / "account.json"
    path.write_text(json.dumps(account(endpoint.url)))
    return ["--iap-credential", str(path), "--iap-client-id", client_id]


def test_an_id_token_is_fetched_once_and_sent(stage: Stage, endpoint: TokenEndpoint) -> None:
    peer = backend(stage)
    local = client(stage, peer.url(), *iap(stage, endpoint))
    for _ in range(3):
        with local.connect() as conn:
            round_trip(conn, b"hello")
    assert len(endpoint.asked) == 1
    claims = endpoint.asked[0]
    assert claims["iss"] == "robot@project.iam.gserviceaccount.com"
    assert claims["target_audience"] == CLIENT_ID
    assert claims["exp"] - claims["iat"] <= 3600
    for request in peer.requests:
        assert request.headers["Authorization"] == f"Bearer {endpoint.given[0]}"
    for secret in (endpoint.given[0].split(".")[2], "not-this-one", "PRIVATE KEY"):
        assert secret not in local.text()


def test_the_short_client_id_of_the_original(stage: Stage, endpoint: TokenEndpoint) -> None:
    options = iap(stage, endpoint, CLIENT_ID.partition(".")[0])
    local = client(stage, backend(stage).url(), *options)
    wait_until(lambda: endpoint.asked)
    assert endpoint.asked[0]["target_audience"] == CLIENT_ID
    assert local.process.poll() is None
    from kojuto.tools.wsgate_client.tokens import audience_of

    for other in ("my-client", "https://gate.example.com", "/projects/1/apps/x", CLIENT_ID):
        assert audience_of(other) == other


@pytest.mark.parametrize(("life_s", "before_s"), [(3600, 600), (1200, 600), (1000, 500)])
def test_when_an_id_token_is_renewed(
    tmp_path: Path, endpoint: TokenEndpoint, life_s: float, before_s: float
) -> None:
    from kojuto.tools.wsgate_client import tokens

    endpoint.life_s = life_s
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account(endpoint.url)))
    log: Any = None
    _, expires, renews = tokens.from_service_account(str(path), CLIENT_ID, log)._fetch()
    assert expires - renews == pytest.approx(before_s, abs=2)


def test_an_id_token_is_renewed_before_it_expires_and_kept_when_that_fails(
    stage: Stage, endpoint: TokenEndpoint
) -> None:
    endpoint.life_s = 4
    peer = backend(stage)
    local = client(stage, peer.url(), *iap(stage, endpoint))
    wait_until(lambda: len(endpoint.given) == 2, within_s=10)  # nobody asked for a tunnel
    endpoint.status = 400

    def shown() -> str:
        """The token of a tunnel that is opened now."""
        with local.connect() as conn:
            round_trip(conn, b"hello")
        return peer.requests[-1].headers["Authorization"].removeprefix("Bearer ")

    # The client may still have the answer to read; until then the first token serves.
    wait_until(lambda: shown() == endpoint.given[1])
    local.wait_for("The token cannot be renewed, the old one is kept")
    assert shown() == endpoint.given[1]
    line = local.wait_for_lines(1, msg="The token cannot be renewed, the old one is kept")[0]
    assert line["error"] == f"no token from {endpoint.url}: it answered invalid_grant"
    # After its end nothing is sent; when the endpoint is back, the next connection fetches.
    time.sleep(max(0.0, pyjwt.decode(endpoint.given[1], options={"verify_signature": False})["exp"]
                   - time.time()) + 0.1)  # fmt: skip
    with local.connect() as conn:
        assert not opens(conn)
    before = len(peer.requests)
    endpoint.life_s = 3600
    endpoint.status = 200
    time.sleep(1.1)
    with local.connect() as conn:
        round_trip(conn, b"hello")
    assert len(peer.requests) == before + 1
    for text in endpoint.given:
        assert text.split(".")[2] not in local.text()


def test_an_endpoint_that_is_down_at_the_start_is_an_error_on_use(stage: Stage) -> None:
    endpoint = TokenEndpoint()
    endpoint.close()
    peer = backend(stage)
    local = client(stage, peer.url(), *iap(stage, endpoint))
    with local.connect() as conn:
        assert not opens(conn)
    local.wait_for("Failed to connect backend")
    error = local.wait_for_lines(1, msg="Failed to connect backend")[0]["error"]
    assert error == f"no token from {endpoint.url}: Connection refused"
    assert peer.requests == []
    back = TokenEndpoint(port=endpoint.port)
    stage.later(back.close)
    time.sleep(1.1)
    with local.connect() as conn:
        round_trip(conn, b"hello")


def test_a_token_is_sent_up_to_five_seconds_before_its_end(tmp_path: Path) -> None:
    import jwt as pyjwt

    path = tmp_path / "key"
    path.write_bytes(private_pem(private_key("ec")))
    log: Any = None
    token, expires, renews = tokens.from_key(str(path), "alice", log)._fetch()
    claims = pyjwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60
    assert claims["exp"] - expires == 5
    assert 9 <= renews - claims["iat"] <= 11


def test_a_token_that_cannot_be_had_is_asked_for_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked = [100.0], []

    def fetch() -> tuple[str, float, float]:
        asked.append(now[0])
        raise KojutoError("it is down")

    log: Any = None
    renewed = tokens.Renewed(fetch, log)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for at in (100.0, 100.9, 101.0, 101.9):
        now[0] = at
        with pytest.raises(KojutoError, match="it is down"):
            renewed.get()
    assert asked == [100.0, 101.0]


@pytest.mark.parametrize("how", ["silent", "slow"])
def test_a_token_endpoint_has_no_more_time_than_the_whole_connection(
    stage: Stage, how: str
) -> None:
    """One that says a byte now and then never runs into a time-out of a single read."""
    stop = threading.Event()
    stage.later(stop.set)

    def handle(conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not stop.wait(0.2):
            if how == "slow":
                conn.sendall(b"x")

    path = stage.folder / "account.json"
    path.write_text(json.dumps(account(f"http://{LOOPBACK}:{stage.peer(handle).port}/token")))
    options = ["--iap-credential", str(path), "--iap-client-id", CLIENT_ID]
    peer = backend(stage)
    local = client(stage, peer.url(), *options, "--connect-timeout", "1s")
    with local.connect() as one, local.connect() as two:
        for conn in (one, two):
            conn.settimeout(15)  # less than what a single read was given
            assert not opens(conn)
    errors = [line["error"] for line in local.wait_for_lines(2, msg="Failed to connect backend")]
    assert errors == ["no token within --connect-timeout"] * 2
    assert peer.requests == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([], "its answer cannot be read"),
        ({"id_token": 7}, "its answer cannot be read"),
        ({}, "its answer holds no id_token"),
    ],
)
def test_an_answer_that_is_no_token_is_told_in_words(
    tmp_path: Path, endpoint: TokenEndpoint, answer: Any, why: str
) -> None:
    endpoint.answer = lambda _: (200, answer)  # type: ignore[method-assign, assignment]
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account(endpoint.url)))
    log: Any = None
    with pytest.raises(KojutoError) as refused:
        tokens.from_service_account(str(path), CLIENT_ID, log).get()
    assert str(refused.value) == f"no token from {endpoint.url}: {why}"
