"""Opening a WebSocket to a backend: proxy, TLS, upgrade."""

from __future__ import annotations

import os
import socket
import time

from kojuto.common.gateway import httphead
from kojuto.common.gateway.httphead import Head, HeadTooLargeError
from kojuto.common.jwt import read_key_file
from kojuto.common.server import connecting, listen
from kojuto.errors import KojutoError, words
from kojuto.tools.wsgate_client.errors import OpenError, RetryableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from websockets.client import ClientProtocol
    from websockets.http11 import Request

    from kojuto._native import TlsStream

    Stream: TypeAlias = socket.socket | TlsStream
    Headers: TypeAlias = Sequence[tuple[str, str]]

PIECE = 1 << 16
RETRY_PAUSES_S = (0.1, 0.4)
"""Before another attempt at a backend that refused the connection."""


class Address:
    """A backend as a map line gives it: ``http(s)://host[:port]/path``.

    Raises:
        ValueError: it is not an address of a backend.
    """

    def __init__(self, text: str) -> None:
        import re
        from urllib.parse import urlsplit

        parts = urlsplit(text)
        secure = {"http": False, "ws": False, "https": True, "wss": True}.get(parts.scheme)
        if secure is None or not parts.hostname or " " in text or not text.isascii():
            raise ValueError("not an address (write https://HOST/proxy/NAME)")
        if "@" in parts.netloc:
            raise ValueError("a password in an address ends up in logs (use --headers)")
        if parts.fragment:
            raise ValueError("an address must not have a fragment (#)")
        self.secure = secure
        self.host, self.name = listen.url_host(parts.hostname)
        self.port = parts.port or (443 if secure else 80)
        self.resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        where = re.sub("%[^]]*]", "]", parts.netloc)  # without a zone
        self.websocket = f"{'wss' if secure else 'ws'}://{where}{self.resource}"
        self.origin = f"{'https' if secure else 'http'}://{where}".lower()
        self.text = f"{parts.scheme}://{parts.netloc}{parts.path or '/'}"  # for logs: no query


class Trust:
    """How certificates are checked.

    Args:
        ca_pem: authorities instead of the system's.
        insecure: nothing is checked.
        server_name: to ask for and to check instead of the address's host.
        identity: files of our certificate and of its private key, for backends that ask.

    Raises:
        KojutoError: a file cannot be read.
    """

    def __init__(
        self,
        ca_pem: bytes | None,
        insecure: bool,
        server_name: str | None,
        identity: tuple[str, str] | None = None,
    ) -> None:
        self.ca_pem = ca_pem
        self.identity_files = identity
        self.identity = None
        if identity is not None:
            self.identity = (read_key_file(identity[0]), read_key_file(identity[1]))
        self.insecure = insecure
        self.server_name = server_name


class Opener:
    """Opens WebSockets to one backend; `open` may be called by many threads.

    Args:
        address: of the backend.
        headers: added to each request.
        token: makes the Bearer token of a request within so many seconds, or None.
        trust: how certificates are checked.
        timeout_s: for all of one opening.
    """

    def __init__(
        self,
        address: Address,
        headers: Headers,
        token: Callable[[float], str] | None,
        trust: Trust,
        timeout_s: float,
    ) -> None:
        self.address = address
        self.trust = trust
        self._headers = headers
        self._token = token
        self._timeout_s = timeout_s or 365 * 86400.0
        self._usual = b""
        """The lines of every handshake but those of its key and its token."""

    def open(self) -> tuple[Stream, bytes, bool]:
        """A stream whose peer has agreed to speak WebSocket, and what came behind its answer.

        The third tells whether the peer is known to end its stream by a Close frame: the Go
        gateway just leaves when its upstream has.

        Raises:
            OpenError: it cannot be reached; a refused connection was tried again.
        """
        deadline = time.monotonic() + self._timeout_s
        pauses = list(RETRY_PAUSES_S)
        while True:
            try:
                return self._open(deadline)
            except RetryableError:
                if not pauses or time.monotonic() + pauses[0] >= deadline:
                    raise
            time.sleep(pauses.pop(0))

    def _open(self, deadline: float) -> tuple[Stream, bytes, bool]:
        sock, rest = self.connect(deadline)
        stream: Stream = sock
        try:
            if self.address.secure:
                if rest:
                    raise OpenError("the proxy sent more than its answer to CONNECT")
                stream = self._secure(sock, deadline)
            return stream, *self._upgrade(stream, rest, deadline)
        except BaseException:
            if isinstance(stream, socket.socket):
                stream.close()
            raise
        finally:
            if stream is not sock:
                sock.close()

    # -- the way there ------------------------------------------------------------------------

    def connect(self, deadline: float) -> tuple[socket.socket, bytes]:
        """A connection to the backend, through the environment's proxy where there is one.

        Raises:
            OpenError: it cannot be reached.
        """
        from kojuto.tools.wsgate_client import proxies

        address = self.address
        proxy = proxies.choose(address.secure, address.host, address.port)
        host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
        where = listen.address_text(host, port)
        title = f"the proxy {where}" if proxy else where
        try:
            sock = connecting.connect(host, port, deadline)
        except OSError as error:
            raise RetryableError(f"{title}: {words(error)}") from None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if proxy is None:
            return sock, b""
        try:
            target = listen.address_text(address.host, address.port)
            sock.sendall(proxy.request(target))
            head = _read_head(sock, b"", deadline, title)
        except OSError as error:
            sock.close()
            raise OpenError(f"{title}: {words(error)}") from None
        except BaseException:
            sock.close()
            raise
        status = proxies.status(bytes(head.data))
        if not 200 <= status < 300:
            sock.close()
            raise OpenError(f"{title} answered {_status_text(status)} to CONNECT {target}")
        return sock, head.rest

    def _secure(self, sock: socket.socket, deadline: float) -> TlsStream:
        from kojuto._native import TlsStream

        trust = self.trust
        name = trust.server_name or self.address.name
        try:
            return TlsStream(
                sock.fileno(),
                name,
                ca_pem=trust.ca_pem,
                insecure=trust.insecure,
                identity=trust.identity,
                timeout_s=_left(deadline),
            )
        except (OSError, ValueError) as error:
            # What TLS itself has to say names the server already.
            said = isinstance(error, OSError) and error.errno is None
            raise OpenError(str(error) if said else f"TLS with {name}: {words(error)}") from None

    # -- the upgrade --------------------------------------------------------------------------

    def request(self, deadline: float, extensions: Any = None) -> tuple[ClientProtocol, bytes]:
        """A new handshake and the bytes that begin it.

        Raises:
            OpenError: there is no token, or none in time.
        """
        protocol = self._protocol(extensions)
        request = self._bare_request(protocol)
        if token := self._bearer(deadline):
            request.headers["Authorization"] = f"Bearer {token}"
        protocol.send_request(request)
        return protocol, b"".join(protocol.data_to_send())

    def _bare_request(self, protocol: ClientProtocol) -> Request:
        """What is asked of the backend, without a token."""
        request = protocol.connect()
        request.headers[httphead.END_HEADER] = httphead.END_BY_CLOSE
        names = {name.lower() for name, _ in self._headers}
        for name in ("Host", "Origin"):
            if name.lower() in names:
                del request.headers[name]
        for name, value in self._headers:
            request.headers[name] = value
        return request

    def _protocol(self, extensions: Any = None) -> ClientProtocol:
        from websockets.client import ClientProtocol
        from websockets.uri import parse_uri

        return ClientProtocol(
            parse_uri(self.address.websocket),
            origin=self.address.origin,  # type: ignore[arg-type]
            extensions=extensions,
        )

    def _bearer(self, deadline: float) -> str:
        if self._token is None:
            return ""
        try:
            return self._token(_left(deadline))
        except KojutoError as error:
            raise OpenError(str(error)) from None

    def _plain_request(self, deadline: float) -> tuple[str, bytes]:
        """The key and the bytes of a new handshake without extensions.

        The library writes the first one; all others differ from it in key and token only.
        """
        from base64 import b64encode

        if not self._usual:
            lines = self._bare_request(self._protocol()).serialize().split(b"\r\n")
            own = b"sec-websocket-key:"
            kept = [line for line in lines if line and not line.lower().startswith(own)]
            self._usual = b"\r\n".join(kept)
        key = b64encode(os.urandom(16)).decode()
        lines = [self._usual, f"Sec-WebSocket-Key: {key}".encode()]
        if token := self._bearer(deadline):
            lines.append(f"Authorization: Bearer {token}".encode())
        return key, b"\r\n".join([*lines, b"", b""])

    def _upgrade(self, stream: Stream, rest: bytes, deadline: float) -> tuple[bytes, bool]:
        key, begin = self._plain_request(deadline)
        title = self.address.text
        try:
            if isinstance(stream, socket.socket):
                stream.settimeout(_left(deadline))
            stream.sendall(begin)
            head = _read_head(stream, rest, deadline, title)
        except OSError as error:
            raise OpenError(f"{title}: {words(error)}") from None
        closes = plain_answer(bytes(head.data), key)
        if closes is None:  # the library says what is wrong with it, if anything is
            protocol = self._protocol()
            protocol.key = key
            accept(protocol, head, title)
            closes = ends_by_close(protocol)
        return head.rest, closes


def plain_answer(head: bytes, key: str) -> bool | None:
    """Whether the backend ends its streams by Close frames; None for an unusual answer.

    Args:
        head: of the answer.
        key: of the request (RFC 6455, 4.2.2).
    """
    from base64 import b64encode
    from hashlib import sha1

    first, *lines = head.split(b"\r\n")[:-2]
    found: dict[bytes, bytes] = {}
    for line in lines:
        field = httphead.FIELD.fullmatch(line)
        if field is None or field[1].lower() in found:
            return None
        found[field[1].lower()] = field[2].rstrip(b" \t")
    accept = b64encode(sha1(key.encode() + httphead.GUID).digest())  # noqa: S324 (RFC 6455)
    if (
        not httphead.SWITCHING.fullmatch(first)
        or found.get(b"upgrade", b"").lower() != b"websocket"
        or found.get(b"connection", b"").lower() != b"upgrade"
        or found.get(b"sec-websocket-accept") != accept
        or any(name.startswith((b"sec-websocket-e", b"sec-websocket-p")) for name in found)
    ):
        return None
    return found.get(httphead.END_HEADER.lower().encode()) == httphead.END_BY_CLOSE.encode()


def ends_by_close(protocol: ClientProtocol) -> bool:
    """Whether the backend's answer said that it ends its streams by Close frames."""
    return any(
        event.headers.get(httphead.END_HEADER) == httphead.END_BY_CLOSE
        for event in protocol.events_received()
        if hasattr(event, "headers")
    )


def accept(protocol: ClientProtocol, head: Head, title: str) -> None:
    """Check the answer to a handshake.

    Raises:
        OpenError: it is not an upgrade to WebSocket.
    """
    from kojuto.tools.wsgate_client import proxies

    status = proxies.status(bytes(head.data))
    if status != 101:
        hint = {401: ": the token or credential was refused", 404: ": no such name there"}
        raise OpenError(f"{title} answered {_status_text(status)}{hint.get(status, '')}")
    protocol.receive_data(head.data)
    problem = protocol.handshake_exc
    if problem is not None:
        raise OpenError(f"{title}: no valid WebSocket handshake ({type(problem).__name__})")


def _read_head(stream: Stream, data: bytes, deadline: float, title: str) -> Head:
    head = Head(of_answer=True)
    try:
        while not head.feed(data):
            if not head.is_http():
                raise OpenError(f"{title} answered {_status_text(0)}")
            if isinstance(stream, socket.socket):
                stream.settimeout(_left(deadline))
            _left(deadline)
            data = stream.recv(PIECE)
            if not data:
                raise OpenError(f"{title} closed the connection without an answer")
    except HeadTooLargeError:
        raise OpenError(f"{title} answered with too large a head") from None
    return head


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise OpenError("not open within --connect-timeout")
    return left


def _status_text(status: int) -> str:
    from http import HTTPStatus

    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return "something other than HTTP" if status == 0 else str(status)
