"""What the gateways read from others, fed with anything: map files, heads, key sets, proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kojuto.common.gateway import jwks, mapfile
from kojuto.common.gateway.httphead import MAX_BYTES, Head, HeadTooLargeError
from kojuto.common.server import listen
from kojuto.errors import KojutoError
from kojuto.tools.wsgate_client import proxies, read_headers
from kojuto.tools.wsgate_client.backend import Address

if TYPE_CHECKING:
    from pathlib import Path

PROPERTY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@PROPERTY
@given(st.one_of(st.binary(), st.text("ab,:[]1#\n /.%@http").map(str.encode)))
def test_a_map_file_is_read_or_refused_by_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "map"
    path.write_bytes(data)
    rights: list[Any] = [listen.upstream, Address]
    for right in rights:
        check_map(path, right)


def check_map(path: Path, right: Any) -> None:
    try:
        found = mapfile.read(str(path), str, right, "shape")
    except KojutoError as error:
        assert ", line " in str(error)
        return
    lines = path.read_text("utf-8-sig").split("\n")
    assert len(found) == sum(bool(line.strip()) and line.strip()[0] != "#" for line in lines)


def test_a_map_file_has_an_upper_bound(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(b"#" * (mapfile.MAX_BYTES + 1))
    with pytest.raises(KojutoError, match="over 16777216 bytes"):
        mapfile.read(str(path), str, str, "shape")
    with pytest.raises(KojutoError, match=f"^--map {path}x: No such file or directory$"):
        mapfile.read(f"{path}x", str, str, "shape")
    path.write_bytes(b"\xef\xbb\xbfa , b,c \r\n")
    assert mapfile.read(str(path), str, str, "shape") == {"a": "b,c"}


@PROPERTY
@given(st.binary(max_size=200), st.lists(st.integers(1, 20)), st.binary(max_size=50))
def test_a_head_is_found_however_it_is_cut(head: bytes, cuts: list[int], rest: bytes) -> None:
    data = head.replace(b"\r\n\r\n", b"") + b"\r\n\r\n" + rest
    end = data.index(b"\r\n\r\n") + 4
    found, at = Head(), 0
    for size in [*cuts, len(data)]:
        if found.feed(data[at : at + size]):
            break
        at += size
    assert found.complete
    assert bytes(found.data) == data[:end]
    assert data[end:].startswith(found.rest)


def test_a_head_has_an_upper_bound() -> None:
    fits = Head()
    assert fits.feed(b"x" * (MAX_BYTES - 4) + b"\r\n\r\nrest")
    assert fits.rest == b"rest"
    for data in (b"x" * (MAX_BYTES - 3) + b"\r\n\r\n", b"x" * (MAX_BYTES + 1)):
        with pytest.raises(HeadTooLargeError):
            Head().feed(data)


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
        ([EC_KEY, {**EC_KEY, "use": "sig"}], "two keys have the name one"),
        ([{**EC_KEY, "alg": "RS256"}], "key one of x: its algorithm does not fit it"),
        ([{**EC_KEY, "alg": "ES384"}], "key one of x: its algorithm does not fit it"),
        ([{**EC_KEY, "alg": ["ES256"]}], "key one of x: its algorithm does not fit it"),
        ([{**EC_KEY, "y": EC_KEY["x"]}], "key one of x cannot be read"),
        ([{**EC_KEY, "crv": "P-1"}], "key one of x cannot be read"),
        ([{"kty": "RSA", "kid": "one", "n": "AQAB"}], "key one of x cannot be read"),
        ([{"kty": "OKP", "kid": "one", "crv": "Ed25519", "x": "AA"}], "one of x cannot be read"),
        ([{**EC_KEY, "use": "enc"}, {**EC_KEY, "kid": 1}], "no key with a name that may check"),
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


@PROPERTY
@given(st.one_of(st.binary(), st.from_regex(rb"HTTP/1\.[01] [0-9]{0,4} ?")))
def test_the_status_of_any_head(data: bytes) -> None:
    assert 0 <= proxies.status(data) <= 999


@PROPERTY
@given(st.text(), st.text("a.b:1[]/,*"), st.integers(1, 65535))
def test_any_no_proxy(no_proxy: str, host: str, port: int) -> None:
    """Any list is read; one more entry takes none away, and ``*`` is everybody."""
    found = proxies.bypasses(no_proxy, host, port)
    assert proxies.bypasses(f"{no_proxy},no.such.name", host, port) == found
    assert proxies.bypasses(f"{no_proxy},*", host, port)
    assert not proxies.bypasses("", host, port)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "expected"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "a.EXAMPLE.com.", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "a.example.com", 443, True),
        ("example.com", "anexample.com", 443, False),
        ("a.example.com", "example.com", 443, False),
        ("x, example.com:443", "example.com", 443, True),
        ("example.com:443", "example.com", 444, False),
        ("10.0.0.0/8", "10.255.255.255", 80, True),
        ("10.0.0.0/8", "11.0.0.0", 80, False),
        ("[2001:db8::1]:80", "2001:db8::1", 80, True),
        ("[2001:db8::1]:80", "2001:db8::1", 81, False),
        ("2001:db8::/32", "2001:db9::", 80, False),
    ],
)
def test_who_is_reached_without_a_proxy(
    no_proxy: str, host: str, port: int, expected: bool
) -> None:
    assert proxies.bypasses(no_proxy, host, port) is expected


@pytest.mark.parametrize(
    ("environment", "secure", "expected"),
    [
        ({"HTTP_PROXY": "http://p:1"}, False, "p"),
        # A CGI server makes HTTP_PROXY of a request's Proxy header (httpoxy, CVE-2016-5385).
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, False, None),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": ""}, False, None),
        ({"http_proxy": "http://p:1", "REQUEST_METHOD": "GET"}, False, "p"),
        ({"HTTPS_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, True, "p"),
        ({"ALL_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, False, "p"),
        ({"HTTP_PROXY": "http://p:1"}, True, None),
    ],
)
def test_a_stranger_names_no_proxy(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    secure: bool,
    expected: str | None,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = proxies.choose(secure, "example.com", 80)
    assert (proxy and proxy.host) == expected


@PROPERTY
@given(st.text())
def test_no_header_can_smuggle_a_line(text: str) -> None:
    try:
        found = read_headers([text.lstrip("@")])
    except KojutoError:
        return
    for name, value in found:
        assert not set(name + value) & set("\r\n\0")
