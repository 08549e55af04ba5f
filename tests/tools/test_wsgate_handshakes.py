"""The usual handshakes, which the gateways read and write themselves, beside the library's."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.server import ServerProtocol

from kojuto.common.gateway import httphead
from kojuto.common.gateway.httphead import Head
from kojuto.tools.wsgate_client import backend
from kojuto.tools.wsgate_client.backend import Address, Opener, Trust
from kojuto.tools.wsgate_client.errors import OpenError
from kojuto.tools.wsgate_server import handshake
from kojuto.tools.wsgate_server import request as requests
from kojuto.tools.wsgate_server.request import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.datastructures import Headers

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3

REQUEST = (
    b"GET /proxy/db?x=1 HTTP/1.1", b"Host: gate.example:8080", b"Upgrade: websocket",
    b"Connection: Upgrade", b"Sec-WebSocket-Key: " + KEY.encode(), b"Sec-WebSocket-Version: 13",
    b"Origin: http://gate.example:8080", b"Authorization: Bearer a.b.c",
    b"X-Wsgate-End: close-frame",
)  # fmt: skip
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade",
    b"Sec-WebSocket-Accept: " + ACCEPT.encode(), b"X-Wsgate-End: close-frame",
)  # fmt: skip

ODD = st.sampled_from([
    b"", b"Upgrade: h2c, websocket", b"upgrade: WebSocket", b"Connection: keep-alive, Upgrade",
    b"connection:upgrade", b"Connection: close", b"Sec-WebSocket-Key: c2hvcnQ=", b"X: \xff",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=", b"Sec-WebSocket-Key: dGhl IHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 8", b"Sec-WebSocket-Version: 13, 8", b"Content-Length: 0",
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b" folded", b"no colon", b"A : blank",
    b"Sec-WebSocket-Extensions: permessage-deflate", b"Sec-WebSocket-Protocol: chat", b"E:",
    b"Sec-WebSocket-Accept: AAAA", b"HTTP/1.1 200 OK", b"HTTP/1.0 101 Switching Protocols",
    b"X-Wsgate-End: no", b"GET /proxy/db HTTP/1.0", b"GET  /proxy/db HTTP/1.1", b"B: \x01",
    b"C:\td\t",
])  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, lines: Sequence[bytes]) -> bytes:
    """A head of these lines, some of them left out, doubled, replaced, or with a byte changed."""
    found = list(lines)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(found) - 1))
        match draw(st.integers(0, 3)):
            case 0 if len(found) > 1:
                del found[at]
            case 1:
                found.insert(at, found[at])
            case 2:
                found[at] = draw(ODD) if draw(st.booleans()) else found[at].swapcase()
            case _ if found[at]:
                here = draw(st.integers(0, len(found[at]) - 1))
                byte = draw(st.integers(0, 255))
                found[at] = found[at][:here] + bytes([byte]) + found[at][here + 1 :]
    return b"\r\n".join([*found, b"", b""])


def head_of(data: bytes, *, of_answer: bool = False) -> Head | None:
    head = Head(of_answer=of_answer)
    return head if head.feed(data) and not head.rest else None


@given(changed(REQUEST))
def test_a_request_is_answered_as_the_library_answers_it(data: bytes) -> None:
    head = head_of(data)
    if head is None:
        return
    library = ServerProtocol()
    library.receive_data(data)
    events = library.events_received()
    try:
        request = requests.read(head)
    except Refused as refused:
        target = data.partition(b" ")[2].partition(b" HTTP/1.")[0]
        # It takes HTTP/1.0, which has no upgrade (RFC 6455, 4.1).
        of_1_1 = data.partition(b"\r\n")[0].endswith(b" HTTP/1.1")
        usual = data.startswith(b"GET ") and of_1_1 and refused.status == 400
        if usual and all(0x20 < byte < 0x7F for byte in target):  # it takes any byte there
            assert not events, "the library understands it"
        return
    if data.startswith(b"HEAD ") or not events:
        assert (
            data.startswith((b"HEAD ", b"GET /proxy/db HTTP/1.0"))
            or b"content-length: 0" in data.lower()
        )
        return
    (theirs,) = events
    assert isinstance(theirs, Request)
    assert request.path == theirs.path
    assert opaque(request.headers) == opaque(theirs.headers)
    offered = request.headers.get_all("Upgrade")
    if len(offered) != 1 or "," in offered[0]:
        return  # where the library would refuse what may also speak something else
    judged = library.accept(theirs)
    try:
        answer, extensions = handshake.agree(request, compress=False)
    except Refused as refused:
        assert judged.status_code in (refused.status, 400)
        assert judged.status_code != 101
        return
    assert judged.status_code == 101
    assert not extensions
    first, *lines = answer.decode().split("\r\n")[:-2]
    assert first == "HTTP/1.1 101 Switching Protocols"
    ours = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    assert ours.pop(httphead.END_HEADER) == httphead.END_BY_CLOSE
    assert abs(parsed_date(ours.pop("Date")) - parsed_date(judged.headers.pop("Date"))) < 60
    assert ours == dict(judged.headers.raw_items())


def opaque(headers: Headers) -> list[tuple[str, bytes]]:
    """Their bytes: the library reads them as Latin-1, and before 16 with surrogates."""
    return [
        (
            name,
            value.encode(
                "ascii" if max(value, default="") > "\xff" else "latin-1", "surrogateescape"
            ),
        )
        for name, value in headers.raw_items()
    ]


def parsed_date(text: str) -> float:
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(text).timestamp()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        ([b"binary"], b"binary"),
        ([b"base64, binary"], b"binary"),
        ([b"chat,mqtt"], b"mqtt"),
        ([b"base64", b"mqttv3.1"], b"mqttv3.1"),
        ([b"chat"], None),
        ([b"bearer.token, "], None),
    ],
)
def test_a_subprotocol_that_is_true_of_all_tunnels_is_chosen(
    offers: list[bytes], chosen: bytes | None, compress: bool
) -> None:
    lines = [b"Sec-WebSocket-Protocol: " + offer for offer in offers]
    head = head_of(b"\r\n".join([*REQUEST, *lines, b"", b""]))
    assert head is not None
    answer = handshake.agree(requests.read(head), compress=compress)[0]
    assert answer.startswith(b"HTTP/1.1 101 ")
    told = [line for line in answer.split(b"\r\n") if b"-Protocol:" in line]
    assert told == ([b"Sec-WebSocket-Protocol: " + chosen] if chosen else [])


@pytest.mark.parametrize("offer", [b"", b"x-webkit-deflate-frame", b",", b"=;"])
def test_an_offer_of_no_extension_that_is_known_is_none(offer: bytes) -> None:
    line = b"Sec-WebSocket-Extensions: " + offer
    head = head_of(b"\r\n".join([*REQUEST, line, b"", b""]))
    assert head is not None
    answer, extensions = handshake.agree(requests.read(head), compress=True)
    assert (answer[:13], extensions) == (b"HTTP/1.1 101 ", ())
    assert b"-Extensions" not in answer


@pytest.mark.parametrize("zone", ["%25lo", "%lo"])
def test_the_zone_of_an_address_stays_on_this_machine(zone: str) -> None:
    address = Address(f"http://[fe80::1{zone}]:8086/proxy/db?x=1")
    assert (address.host, address.port) == ("fe80::1%lo", 8086)
    assert address.name == "fe80::1"
    assert address.text == f"http://[fe80::1{zone}]:8086/proxy/db"
    here = Opener(address, [], None, Trust(None, False, None), 10)
    lines = here._plain_request(time.monotonic() + 60)[1].split(b"\r\n")
    assert b"Host: [fe80::1]:8086" in lines
    assert b"Origin: http://[fe80::1]:8086" in lines


def test_a_long_header_that_is_not_ascii_is_read() -> None:
    cookie = b"Cookie: name=" + "ü".encode() * 5000
    head = head_of(b"\r\n".join([*REQUEST, cookie, b"", b""]))
    assert head is not None
    request = requests.read(head)
    assert request.headers["Cookie"].encode("latin-1").decode() == "name=" + "ü" * 5000


def test_the_request_of_the_rfc_has_its_answer() -> None:
    head = head_of(b"\r\n".join([*REQUEST, b"", b""]))
    assert head is not None
    answer, _ = handshake.agree(requests.read(head), compress=False)
    assert f"\r\nSec-WebSocket-Accept: {ACCEPT}\r\n".encode() in answer


@given(changed(ANSWER))
def test_an_answer_is_judged_as_the_library_judges_it(data: bytes) -> None:
    head = head_of(data, of_answer=True)
    if head is None:
        return
    ours = backend.plain_answer(bytes(head.data), KEY)
    if ours is None:
        return  # it is the library's to judge
    protocol = opener()._protocol()
    protocol.key = KEY
    backend.accept(protocol, head, "it")
    assert backend.ends_by_close(protocol) == ours


def test_the_answer_of_the_rfc_is_taken_and_one_to_another_key_is_not() -> None:
    head = b"\r\n".join([*ANSWER, b"", b""])
    assert backend.plain_answer(head, KEY) is True
    assert backend.plain_answer(head.replace(b"close-frame", b"leaves"), KEY) is False
    assert backend.plain_answer(head, base64.b64encode(b"x" * 16).decode()) is None


def opener(**options: str) -> Opener:
    headers = [("X-Team", "ops"), ("host", "other.example"), ("Authorization", "Basic x")]
    headers = headers if options else []
    token = (lambda _: options["token"]) if options else None
    return Opener(
        Address("http://gate.example/proxy/db?x=1"), headers, token, Trust(None, False, None), 10
    )


@pytest.mark.parametrize("options", [{}, {"token": "a.b.c"}])
def test_each_handshake_is_the_librarys_with_a_key_of_its_own(options: dict[str, str]) -> None:
    here, deadline = opener(**options), time.monotonic() + 60
    library = sorted(here.request(deadline)[1].split(b"\r\n"))
    keys = set()
    for _ in range(3):
        key, data = here._plain_request(deadline)
        assert data.endswith(b"\r\n\r\n")
        assert data.startswith(b"GET /proxy/db?x=1 HTTP/1.1\r\n")
        lines = sorted(data.split(b"\r\n"))
        assert f"Sec-WebSocket-Key: {key}".encode() in lines
        assert [line for line in lines if b"-Key: " not in line] == [
            line for line in library if b"-Key: " not in line
        ]
        assert len(base64.b64decode(key, validate=True)) == 16
        keys.add(key)
    assert len(keys) == 3


def test_a_token_is_asked_for_each_time() -> None:
    tokens = iter(["one", "two"])
    here = Opener(
        Address("http://gate.example/"), [], lambda _: next(tokens), Trust(None, False, None), 10
    )
    here._usual = b"GET / HTTP/1.1"
    deadline = time.monotonic() + 60
    assert b"\r\nAuthorization: Bearer one\r\n" in here._plain_request(deadline)[1]
    assert b"\r\nAuthorization: Bearer two\r\n" in here._plain_request(deadline)[1]
    with pytest.raises(OpenError, match="not open within"):
        here._plain_request(time.monotonic() - 1)


def test_the_accept_of_a_key_is_the_rfcs() -> None:
    digest = hashlib.sha1(KEY.encode() + httphead.GUID).digest()
    assert base64.b64encode(digest).decode() == ACCEPT
