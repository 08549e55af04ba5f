"""Reading a request of ``wsgate-server``, and who of those that a browser speaks for may come."""

from __future__ import annotations

from kojuto.common.gateway import httphead
from kojuto.common.jwt import NoTokenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.http11 import Request
    from websockets.server import ServerProtocol

    from kojuto.common.gateway.httphead import Head
    from kojuto.common.jwt import TokenError

MAX_LINE_BYTES = 8190
MAX_HEADERS = 128
METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"}


class Refused(Exception):  # noqa: N818
    """The answer is not the upgrade."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


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
    if len(lines) - 3 > MAX_HEADERS or max(map(len, lines)) > MAX_LINE_BYTES:
        raise Refused(431, "the request's headers are too large")
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
    return events[0]  # type: ignore[return-value]


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
