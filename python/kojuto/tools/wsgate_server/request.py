"""Reading a request of ``wsgate-server``, and who of those that a browser speaks for may come."""

from __future__ import annotations

from kojuto.common.gateway import httphead
from kojuto.common.jwt import NoTokenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    from websockets.http11 import Request, Response
    from websockets.server import ServerProtocol

    from kojuto.common.gateway.httphead import Head
    from kojuto.common.jwt import TokenError
    from kojuto.tools.wsgate_server.rules import Rules

MAX_LINE_BYTES = 8190
MAX_HEADERS = 128
METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"}


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
        response: the answer to the client.
        rules: by which it was judged.
        grant: of `grants.written`.
        names: what the engine is told of it.
    """

    def __init__(
        self,
        upstream: socket.socket,
        response: Response,
        rules: Rules,
        grant: str | None,
        **names: Any,
    ) -> None:
        self.upstream = upstream
        self.response = response
        self.rules = rules
        self.grant = grant
        self.names = names


def read(protocol: ServerProtocol, head: Head) -> Request:
    """The request of a complete head; one for HEAD is read as one for GET.

    The library knows neither HEAD nor HTTP/1.0 in all its versions; both are answered without a
    tunnel.

    Raises:
        Refused: it is not a request that is understood.
    """
    lines = bytes(head.data).split(b"\r\n")
    if len(lines[0]) > MAX_LINE_BYTES:
        raise Refused(414, "the request line is too long")
    # Beside the headers there are the request line, the empty line and what is behind it.
    if len(lines) - 3 > MAX_HEADERS:
        raise Refused(431, "the request has too many headers")
    # The library takes no line so long, as cookies of single sign-on are.
    long = [_header(line) for line in lines[1:] if len(line) > MAX_LINE_BYTES]
    lines = [line for line in lines if len(line) <= MAX_LINE_BYTES]
    method, _, rest = lines[0].partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if method in METHODS - {b"GET", b"HEAD"}:
        raise Refused(405, "only GET and HEAD are allowed", Allow="GET, HEAD")
    if method in (b"GET", b"HEAD") and version == b"HTTP/1.0" and b"/proxy/" not in target:
        version = b"HTTP/1.1"  # a health check of old
    if method == b"HEAD":
        method = b"GET"
    protocol.receive_data(b"\r\n".join([b" ".join([method, target, version]), *lines[1:]]))
    events = protocol.events_received()
    if not events:
        raise Refused(400, "this is not an HTTP request that this server understands")
    request: Request = events[0]  # type: ignore[assignment]
    for name, value in long:
        request.headers[name] = value
    return request


def _header(line: bytes) -> tuple[str, str]:
    """Name and value of a header line (RFC 9112, 5)."""
    from re import fullmatch

    found = fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)", line)
    if found is None or found[1].lower() in (b"content-length", b"transfer-encoding"):
        raise Refused(400, "this is not an HTTP request that this server understands")
    return found[1].decode(), found[2].rstrip(b" \t").decode("ascii", "surrogateescape")


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
