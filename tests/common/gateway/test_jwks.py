"""Sets of keys (JWK): any bytes, their upper bound, and keys that can be misread."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kojuto.common.gateway import jwks
from kojuto.common.gateway.jwks import MAX_BYTES, KeySource
from kojuto.common.jwt.keys import ED25519
from kojuto.errors import KojutoError
from tests.keys import b64, ed_key, private_key
from tests.peers.certificates import authority, signed
from tests.peers.hosts import several

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


PROPERTY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def key_set(**more: Any) -> bytes:
    numbers = private_key("ec").public_key().public_numbers()
    x, y = (b64(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
    return json.dumps(
        {"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "x": x, "y": y, **more}]}
    ).encode()


def test_a_private_key_is_not_taken_for_a_public_one() -> None:
    assert jwks.load(key_set(), "set")[0].kid == "one"
    with pytest.raises(KojutoError, match="it has a secret key, public ones are expected"):
        jwks.load(key_set(d="AQ"), "set")


@pytest.mark.parametrize("name", [None, "EdDSA", "Ed25519"])
def test_an_ed25519_key_is_for_the_algorithm_that_it_names_or_for_both(name: str | None) -> None:
    x = b64(ed_key().public_key().public_bytes_raw())
    members = {"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x, "alg": name}
    (key,) = jwks.load(json.dumps({"keys": [members]}).encode(), "set")
    assert key.algorithms == (ED25519 if name is None else (name,))


def test_a_set_of_keys_has_an_upper_bound(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.write_bytes(key_set().ljust(jwks.MAX_BYTES))
    source = KeySource(str(path))
    assert source.renew()
    path.write_bytes(key_set().ljust(jwks.MAX_BYTES + 1))
    with pytest.raises(KojutoError, match="over 1048576 bytes"):
        source.renew()
    assert source.keys, "the old one stays"


def test_a_broken_key_or_one_of_an_unknown_curve_costs_no_other() -> None:
    (good,) = json.loads(key_set())["keys"]
    others = [
        {**good, "kid": "curve", "crv": "P-1"}, {**good, "kid": "broken", "y": good["x"]},
        {**good, "kid": "bound", "alg": "RS256"}, {"kty": "RSA", "kid": "small", "n": "AQAB"},
    ]  # fmt: skip
    for order in ([good, *others], [*others, good]):
        assert [key.kid for key in jwks.load(json.dumps({"keys": order}).encode(), "x")] == ["one"]
    with pytest.raises(KojutoError, match="key curve of x cannot be read"):
        jwks.load(json.dumps({"keys": others}).encode(), "x")


def test_what_a_serialiser_writes_of_members_that_are_not_set_is_not_there() -> None:
    """As .NET's does of its JsonWebKey: each of these left the key out, or refused the set."""
    everything: list[dict[str, Any]] = [
        {"d": None, "k": None}, {"key_ops": None}, {"key_ops": []}, {"use": None},
        {"alg": None, "x5c": [], "x5t": None, "oth": None},
    ]  # fmt: skip
    for unset in everything:
        (key,) = jwks.load(key_set(**unset), "set")
        assert (key.kid, key.algorithms) == ("one", ("ES256",))
    with pytest.raises(KojutoError, match="no key with a kid"):
        jwks.load(key_set(kid=None), "set")
    with pytest.raises(KojutoError, match="no key with a kid"):
        jwks.load(key_set(key_ops=["sign"]), "set")


def test_a_key_that_is_there_twice_is_one() -> None:
    """As in a set of several issuers; with or without its alg where that changes nothing."""
    (one,) = json.loads(key_set(issuer="one"))["keys"]
    for other in ({**one, "issuer": "two"}, {**one, "alg": "ES256"}):
        twice = json.dumps({"keys": [one, other]}).encode()
        assert [key.kid for key in jwks.load(twice, "x")] == ["one"]


def test_keys_of_another_machine_are_not_fetched_without_tls() -> None:
    for where in ("http://keys.example/set", "http://192.0.2.1/", "http://127.0.0.1.example/"):
        with pytest.raises(KojutoError, match="not fetched without TLS"):
            KeySource(where)
    for where in ("http://127.0.0.1:1/", "http://[::1]/", "http://localhost/", "https://x/", "x"):
        assert KeySource(where).where == where


@pytest.mark.parametrize(
    "target", ["http://keys.example/set", "HTTP://192.0.2.1/", "ftp://a.example/"]
)
def test_nor_are_they_where_an_address_leads_on(target: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:

        def lead_on() -> None:
            with sock.accept()[0] as conn:
                conn.recv(65536)
                head = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
                conn.sendall(head.encode())

        thread = threading.Thread(target=lead_on)
        thread.start()
        source = KeySource(f"http://127.0.0.1:{sock.getsockname()[1]}/")
        with pytest.raises(KojutoError, match=r"^(http|ftp)://[a-z0-9.]+/.*: keys .* without TLS$"):
            source.renew()
        thread.join()


@contextlib.contextmanager
def answering(rest: bytes, tls: ssl.SSLContext | None = None) -> Iterator[KeySource]:
    """A source that is answered once: 200, and `rest` after that line."""
    with socket.create_server(("127.0.0.1", 0)) as sock:

        def answer() -> None:
            conn, _ = sock.accept()
            with contextlib.suppress(ssl.SSLError), contextlib.ExitStack() as stack:
                stack.callback(conn.close)
                if tls is not None:
                    conn = stack.enter_context(tls.wrap_socket(conn, server_side=True))
                conn.recv(65536)
                conn.sendall(b"HTTP/1.1 200 OK\r\n" + rest)

        thread = threading.Thread(target=answer)
        thread.start()
        scheme = "http" if tls is None else "https"
        yield KeySource(f"{scheme}://127.0.0.1:{sock.getsockname()[1]}/")
        thread.join()


def test_keys_are_fetched_over_tls_from_who_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = authority(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*signed(tmp_path, "keys", "127.0.0.1", by=trusted))
    answer = b"Content-Length: %d\r\n\r\n" % len(key_set()) + key_set()
    with answering(answer, tls) as source:
        with pytest.raises(KojutoError, match="certificate verify failed"):
            source.renew()
        assert source.keys == ()
    monkeypatch.setenv("SSL_CERT_FILE", f"{trusted}.pem")
    with answering(answer, tls) as source:
        source.renew()
        assert [key.kid for key in source.keys] == ["one"]


@pytest.mark.parametrize(
    "cut",
    [
        b"Content-Length: 9000\r\n\r\n" + key_set(),
        b"Content-Length: 9000\r\n\r\n" + key_set()[:40],
        b"Transfer-Encoding: chunked\r\n\r\n28\r\n" + key_set()[:40] + b"\r\n",
    ],
)
def test_an_answer_that_is_cut_off_is_told_as_such(cut: bytes) -> None:
    with answering(cut) as source:
        with pytest.raises(KojutoError, match=r": the answer ended before it was whole$"):
            source.renew()
        assert source.keys == ()


def test_a_set_that_is_kept_packed_is_unpacked() -> None:
    """As a store does of what was uploaded with this header, whether it is asked for or not."""
    packed = gzip.compress(key_set())
    with answering(b"Content-Encoding: GZIP\r\n\r\n" + packed) as source:
        source.renew()
        assert len(source.keys) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"gzip\r\n\r\n" + gzip.compress(key_set())[:-9], "the answer ended before it was whole"),
        (b"gzip\r\n\r\n" + key_set(), "the answer cannot be unpacked"),
        (b"gzip\r\n\r\n" + gzip.compress(bytes(MAX_BYTES + 1)), f"over {MAX_BYTES} bytes"),
        (b"br\r\n\r\n" + key_set(), r"the answer is packed \(br\), which was not asked for"),
    ],
)
def test_a_packed_set_that_cannot_be_had_is_told(answer: bytes, reason: str) -> None:
    told = pytest.raises(KojutoError, match=f": {reason}$")
    with answering(b"Content-Encoding: " + answer) as source, told:
        source.renew()


def test_keys_are_fetched_past_a_dead_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a host with IPv6 that leads nowhere, say."""
    with socket.create_server(("127.0.0.1", 0)) as sock:

        def answer() -> None:
            with sock.accept()[0] as conn:
                conn.recv(65536)
                conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + key_set())

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setattr(jwks, "_check_address", lambda _: None)
        with several(monkeypatch, "dead", sock.getsockname()):
            source = KeySource("http://name.test/")
            assert source.renew()
        thread.join()
    assert [key.kid for key in source.keys] == ["one"]


def test_an_address_of_keys_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        source = KeySource(f"http://127.0.0.1:{sock.getsockname()[1]}/")
        with pytest.raises(KojutoError, match="timed out"):
            source.renew()


def test_addresses_that_say_little_cost_one_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One says nothing, and one a byte now and then, which is no end of its time-outs."""
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT_S", 1.0)
    over = threading.Event()

    def drip(sock: socket.socket) -> None:
        with sock.accept()[0] as conn, contextlib.suppress(OSError):
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not over.wait(0.2):
                conn.sendall(b" ")

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_server(("127.0.0.1", 0)) as slow,
    ):
        thread = threading.Thread(target=drip, args=(slow,))
        thread.start()
        sources = [
            KeySource(f"http://127.0.0.1:{sock.getsockname()[1]}/") for sock in (silent, slow)
        ]
        began = time.monotonic()
        failed = jwks.renew_together(sources, 0.0)
        took_s = time.monotonic() - began
        over.set()
        thread.join()
    assert [source for source, _ in failed] == sources
    assert [str(error) for _, error in failed] == [f"{each.where}: timed out" for each in sources]
    assert 1 <= took_s < 1.9


@PROPERTY
@given(st.binary())
def test_any_bytes_are_a_set_of_keys_or_refused(data: bytes) -> None:
    with pytest.raises(KojutoError):
        jwks.load(data, "x")


@PROPERTY
@given(
    st.recursive(
        st.none() | st.integers() | st.sampled_from(["RSA", "EC", "oct", "sig", "P-256"]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["keys", "kty", "kid", "n", "e", "x", "y", "crv", "use"]),
                inner,
            )
        ),
        max_leaves=8,
    )
)  # fmt: skip
def test_any_json_is_a_set_of_keys_or_refused(value: object) -> None:
    import json

    for document in (value, {"keys": value}, {"keys": [value]}):
        with pytest.raises(KojutoError):
            jwks.load(json.dumps(document).encode(), "x")


EC_KEY = {
    "kty": "EC", "crv": "P-256", "kid": "one",
    # RFC 7517, appendix A.1
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([EC_KEY, *json.loads(key_set())["keys"]], "two keys have the kid one"),
        ([{**EC_KEY, "alg": "RS256"}], "key one of x: its alg does not fit its type"),
        ([{**EC_KEY, "alg": "ES384"}], "key one of x: its alg does not fit its type"),
        ([{**EC_KEY, "alg": ["ES256"]}], "key one of x: its alg does not fit its type"),
        ([{**EC_KEY, "y": EC_KEY["x"]}], "key one of x cannot be read"),
        ([{**EC_KEY, "crv": "P-1"}], "key one of x cannot be read"),
        ([{"kty": "RSA", "kid": "one", "n": "AQAB"}], "key one of x cannot be read"),
        ([{"kty": "OKP", "kid": "one", "crv": "Ed25519", "x": "AA"}], "one of x cannot be read"),
        ([{**EC_KEY, "use": "enc"}, {**EC_KEY, "kid": 1}], "no key with a kid that may verify"),
    ],
)
def test_a_set_of_keys_that_can_be_misread_is_refused(keys: list[Any], message: str) -> None:
    import json

    with pytest.raises(KojutoError, match=message):
        jwks.load(json.dumps({"keys": keys}).encode(), "x")


def test_a_key_of_a_set_is_bound_to_its_algorithm() -> None:
    import json

    (key,) = jwks.load(json.dumps({"keys": [{**EC_KEY, "alg": "ES256"}]}).encode(), "x")
    assert (key.kid, key.algorithms) == ("one", ("ES256",))


def test_a_set_of_keys_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(KojutoError, match=f"^{tmp_path}/keys: No such file or directory$"):
        jwks.KeySource(f"{tmp_path}/keys").renew()
