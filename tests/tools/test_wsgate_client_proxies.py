"""Which proxy wsgate-client takes, and what it reads of its answer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kojuto.tools.wsgate_client import proxies
from kojuto.tools.wsgate_client.errors import OpenError

PROPERTY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("https_proxy", "socks5://127.0.0.1:1080"),
        ("all_proxy", "socks5://127.0.0.1:1080"),
        ("https_proxy", "http://proxy..example:3128"),  # no name that a resolver could be asked for
        ("https_proxy", "http://[::1:3128"),
        ("https_proxy", "http://proxy.example:port"),
    ],
)
def test_the_variable_that_names_no_http_proxy_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for other in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.upper(), raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(OpenError, match=f"^{name} is not http://HOST:PORT"):
        proxies.choose(True, "example.com", 443)
