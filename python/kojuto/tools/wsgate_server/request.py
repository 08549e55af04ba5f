"""Reading a request of ``wsgate-server``, and who of those that a browser speaks for may come."""

from __future__ import annotations

import re

from kojuto.common.gateway import httphead
from kojuto.common.jwt import NoTokenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from websockets.extensions import Extension
    from websockets.http11 import Request

    from kojuto.common.gateway.httphead import Head
    from kojuto.common.jwt import TokenError
    from kojuto.tools.wsgate_server.rules import Rules

MAX_LINE_BYTES = 8190
MAX_HEADERS = 128
METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"}


NOT_UNDERSTOOD = "this is not an HTTP request that this server understands"
_TARGET = re.compile(rb"[\x21-\x7e]+")
UPGRADE = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
"""What a client that does not ask for it, or for another version, is told."""


class Refused(Exception):  # noqa: N818
    """The answer is not the upgrade."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


class Opened:
    """A tunnel whose upstream is reached.

    Args:
        upstream: connected.
        answer: to the client.
        extensions: that were agreed on.
        rules: by which it was judged.
        grant: of `grants.written`.
        names: what the engine is told of it.
    """

    def __init__(
        self,
        upstream: socket.socket,
        answer: bytes,
        extensions: Sequence[Extension],
        rules: Rules,
        grant: str | None,
        **names: Any,
    ) -> None:
        self.upstream = upstream
        self.answer = answer
        self.extensions = extensions
        self.rules = rules
        self.grant = grant
        self.names = names


def read(head: Head) -> Request:
    """The request of a complete head; one for HEAD is read as one for GET.

    Raises:
        Refused: it is not a request that is understood.
    """
    from websockets.datastructures import Headers
    from websockets.http11 import Request

    lines = bytes(head.data).split(b"\r\n")
    if len(lines[0]) > MAX_LINE_BYTES:
        raise Refused(414, "the request line is too long")
    # Beside the headers there are the request line, the empty line and what is behind it.
    if len(lines) - 3 > MAX_HEADERS:
        raise Refused(431, "the request has too many headers")
    method, _, rest = lines[0].partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if method in METHODS - {b"GET", b"HEAD"}:
        raise Refused(405, "only GET and HEAD are allowed", Allow="GET, HEAD")
    if version == b"HTTP/1.0" and b"/proxy/" not in target:
        version = b"HTTP/1.1"  # a health check of old
    if method not in METHODS or version != b"HTTP/1.1" or not _TARGET.fullmatch(target):
        raise Refused(400, NOT_UNDERSTOOD)
    headers = Headers()
    for line in lines[1:-2]:
        name, value = _header(line)
        headers[name] = value
    return Request(path=target.decode(), headers=headers)


def _header(line: bytes) -> tuple[str, str]:
    """Name and value of a header line (RFC 9112, 5); one that tells of a body is refused."""
    found = httphead.FIELD.fullmatch(line)
    if found is None:
        raise Refused(400, NOT_UNDERSTOOD)
    name, value = found[1].decode(), found[2].rstrip(b" \t").decode("iso-8859-1")
    has_body = name.lower() == "transfer-encoding"
    if has_body or (name.lower() == "content-length" and value != "0"):
        raise Refused(400, NOT_UNDERSTOOD)
    return name, value


def choose_websocket(request: Request) -> None:
    """Pass over other protocols that the client would speak, too (RFC 9110, 7.8).

    Raises:
        Refused: it speaks another version of WebSocket (RFC 6455, 4.4).
    """
    offered = [
        protocol.strip().lower()
        for value in request.headers.get_all("Upgrade")
        for protocol in value.split(",")
    ]
    if "websocket" not in offered:
        return
    if len(offered) > 1:
        del request.headers["Upgrade"]
        request.headers["Upgrade"] = "websocket"
    if request.headers.get_all("Sec-WebSocket-Version") not in ([], ["13"]):
        raise Refused(426, "the version of WebSocket here is 13", **UPGRADE)


def path_of(target: str) -> str:
    """The path of a request target in origin or absolute form (RFC 9112, 3.2)."""
    path = target.partition("?")[0]
    if path.startswith(("http://", "https://")):
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path


def is_head(head: Head) -> bool:
    """Whether the answer is to have no body."""
    return head.data.startswith(b"HEAD ")


def challenge(error: TokenError) -> dict[str, str]:
    """RFC 6750, 3.1: no error code for a request that has no token at all."""
    bare = isinstance(error, NoTokenError)
    return {"WWW-Authenticate": "Bearer" if bare else 'Bearer error="invalid_token"'}


def ends_by_close(request: Request) -> bool:
    """Whether the client ends its stream by a Close frame; the Go client just leaves."""
    return httphead.END_BY_CLOSE in request.headers.get_all(httphead.END_HEADER)


def foreign_origin(request: Request, allowed: Sequence[str]) -> str | None:
    """The Origin of a request that a page of another site may have sent, None where none has.

    A page can neither choose its Origin nor add a header to its handshake. So a request is no
    page's when it has a token or the header of our client, and it is one of our own site when the
    Origin's host and port are those of Host, as gorilla/websocket has it. A proxy that replaces
    Host (nginx does) makes them differ.
    """
    headers = request.headers
    bearer = any(
        value.lstrip().lower().startswith("bearer ") for value in headers.get_all("Authorization")
    )
    if bearer or ends_by_close(request) or "*" in allowed:
        return None
    hosts = [host.lower() for host in headers.get_all("Host")]
    for origin in headers.get_all("Origin"):
        authority = origin.partition("://")[2].partition("/")[0].lower()
        if origin not in allowed and not (authority and hosts == [authority]):
            return origin
    return None
