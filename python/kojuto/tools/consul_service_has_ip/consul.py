"""A client of Consul's HTTP API: one question, within a time and a size."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from io import BufferedReader, RawIOBase

from kojuto.common.server import connecting
from kojuto.errors import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext
    from typing import Any, BinaryIO

    from kojuto.tools.consul_service_has_ip.endpoint import Endpoint, Proxy, Token

    Instance = tuple[list[str], list[str]]
    """Its addresses and its tags."""

MESSAGE_BYTES = 300
"""The most of an error's text that is passed on."""
MAX_RETRY_AFTER_S = 60.0
END_S = 1.0
KEEPALIVE = [("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)]
"""A Consul that vanished in the middle of a blocking query is noticed 25 s later."""


class ConsulError(Exception):
    """Consul did not tell what it was asked.

    Args:
        message: in one line.
        away: it could not be reached or was not able to; False when it refused.
        busy: it asks for fewer questions (429).
        retry_after_s: when it wants to be asked again.
    """

    def __init__(
        self, message: str, *, away: bool = True, busy: bool = False, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message)
        self.away = away
        self.busy = busy
        self.retry_after_s = retry_after_s


class Answer:
    """What Consul has told.

    Args:
        instances: those that pass.
        index: of the state that it told, 0 without one.
        filtered: instances were left out that the token may not read.
    """

    __slots__ = ("filtered", "index", "instances")

    def __init__(self, instances: list[Instance], index: int, *, filtered: bool) -> None:
        self.instances = instances
        self.index = index
        self.filtered = filtered


class Settings:
    """What all questions share.

    Args:
        endpoint: where to ask.
        token: shown to Consul.
        timeout_s: to connect, and for an answer that may not wait.
        max_bytes: the largest answer.
        suffix: parameters of each question, each with its ``&``.
        pick: the addresses of one instance, by its ``Node`` and ``Service``.
        tls: how to verify Consul, for https.
        server_name: the name in Consul's certificate, where it is not the host.
        proxy: on the way to Consul.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        token: Token,
        pick: Callable[[dict[str, Any], dict[str, Any]], list[str]],
        *,
        timeout_s: float,
        max_bytes: int,
        suffix: str = "",
        tls: SSLContext | None = None,
        server_name: str | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.token = token
        self.pick = pick
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self.suffix = suffix
        self.tls = tls
        self.server_name = server_name
        self.proxy = proxy


class _Timed(RawIOBase):
    """The reading half of a socket, up to a deadline."""

    def __init__(self, sock: socket.socket, deadline: Callable[[], float]) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline()))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Source:
    """What `HTTPResponse` takes for a socket."""

    def __init__(self, sock: socket.socket, deadline: Callable[[], float]) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, mode: str) -> BinaryIO:
        assert mode == "rb"
        return BufferedReader(_Timed(self._sock, self._deadline))


class Channel(HTTPConnection):
    """A connection to Consul for one question at a time, kept open between them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.endpoint.host, settings.endpoint.port or None)
        self._settings = settings
        self._until = 0.0
        self._closed = False
        self.response_class = self._response  # type: ignore[assignment]  # any callable will do

    def _response(self, sock: socket.socket, *args: Any, **keywords: Any) -> HTTPResponse:
        source: Any = _Source(sock, lambda: self._until)
        return HTTPResponse(source, *args, **keywords)

    def connect(self) -> None:
        """Connect within the time-out."""
        sock = self._reach(min(self._settings.timeout_s or 30.0, _left(self._until)))
        try:
            self.sock = self._secure(sock)
        except BaseException:
            sock.close()
            raise
        if self._closed:
            raise ConnectionAbortedError

    def _reach(self, timeout_s: float) -> socket.socket:
        endpoint = self._settings.endpoint
        if endpoint.unix is not None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(timeout_s)
            try:
                sock.connect(endpoint.unix)
            except OSError:
                sock.close()
                raise
            return sock
        hop = self._settings.proxy or endpoint
        sock = connecting.connect(hop.host, hop.port, time.monotonic() + timeout_s)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return sock

    def _secure(self, sock: socket.socket) -> socket.socket:
        settings = self._settings
        if settings.tls is None:
            return sock
        if settings.proxy is not None:
            self._tunnel_through(sock, settings.proxy)
        sock.settimeout(_left(self._until))
        name = settings.server_name or settings.endpoint.server_name
        return settings.tls.wrap_socket(sock, server_hostname=name)

    def _tunnel_through(self, sock: socket.socket, proxy: Proxy) -> None:
        """Ask the proxy for a tunnel (RFC 9110, section 9.3.6)."""
        where = self._settings.endpoint.netloc
        request = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n"
        if proxy.authorization:
            request += f"Proxy-Authorization: {proxy.authorization}\r\n"
        sock.sendall(f"{request}\r\n".encode())
        response = self._response(sock, method="CONNECT")
        response.begin()
        if response.status != 200:
            raise ConsulError(f"the proxy answers {response.status} {response.reason}")

    def shut(self) -> None:
        """End what another thread is waiting for, for good."""
        self._closed = True
        sock = self.sock
        if sock is not None:
            with suppress(OSError):  # it may have ended by itself
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def end(self) -> None:
        """Close the connection, once Consul has closed its side: it counts it no more."""
        sock = self.sock
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_WR)
                sock.settimeout(END_S)
                while socket.socket.recv(sock, 1 << 16):
                    pass
        self.close()

    def ask(self, key: str, *, index: int = 0, wait_s: float = 0.0) -> Answer:
        """Ask for the passing instances of a service.

        Args:
            key: path and query, see `kojuto._native.Membership.key`.
            index: wait for a state that is later; 0 answers at once.
            wait_s: how long Consul may wait for it.

        Raises:
            ConsulError: there is no answer, or none that can be used.
        """
        settings = self._settings
        target = settings.endpoint.path + key + settings.suffix
        limit_s = settings.timeout_s or 30.0
        if index:
            target += f"&index={index}&wait={round(wait_s * 1000)}ms"
            limit_s += wait_s * 17 / 16  # Consul adds up to wait / 16
        self._until = time.monotonic() + limit_s
        name = settings.endpoint.name
        try:
            return self._exchange(target)
        except TimeoutError:
            self.close()
            raise ConsulError(f"Consul at {name}: no answer within {limit_s:g} s") from None
        except ConsulError as error:
            self.close()
            raise ConsulError(
                settings.token.hide(f"Consul at {name}: {error}"),
                away=error.away,
                busy=error.busy,
                retry_after_s=error.retry_after_s,
            ) from None
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            cut = isinstance(error, IncompleteRead)
            why = "the answer ended before its last chunk" if cut else words(error)
            text = f"Consul at {name}: {why}"
            raise ConsulError(settings.token.hide(text)) from None

    def _exchange(self, target: str) -> Answer:
        settings = self._settings
        headers = {"Accept": "application/json", "User-Agent": "kojuto"}
        if settings.token.text:
            headers["X-Consul-Token"] = settings.token.text
        if settings.endpoint.authorization:
            headers["Authorization"] = settings.endpoint.authorization
        proxy = settings.proxy
        if proxy is not None and not settings.endpoint.tls:
            target = f"http://{settings.endpoint.netloc}{target}"
            if proxy.authorization:
                headers["Proxy-Authorization"] = proxy.authorization
        if self.sock is not None:
            self.sock.settimeout(_left(self._until))
        self.request("GET", target, headers=headers)
        response = self.getresponse()
        status = response.status
        if status != 200:
            text = response.read(MESSAGE_BYTES).decode("utf-8", "replace").strip()
            text = " ".join(text.split())
            if 300 <= status < 400 and (where := response.getheader("Location")):
                where = where.partition("?")[0][:MESSAGE_BYTES]
                text = f"it leads to {where}, ask there (--consul-api-endpoint)"
            raise ConsulError(
                f"{status} {response.reason}" + (f": {text}" if text else ""),
                away=status in (408, 429) or status >= 500,
                busy=status == 429,
                retry_after_s=_retry_after(response.getheader("Retry-After")),
            )
        body = self._read(response)
        index = response.getheader("X-Consul-Index") or ""
        found = instances(body, settings.pick)
        if not found and response.getheader("X-Consul-KnownLeader") == "false":
            # Nobody can vouch for the empty list: the servers have lost each other.
            raise ConsulError("no leader is known, and the list of instances is empty")
        return Answer(
            found,
            int(index) if index.isascii() and index.isdigit() else 0,
            filtered=response.getheader("X-Consul-Results-Filtered-By-ACLs") == "true",
        )

    def _read(self, response: HTTPResponse) -> bytes:
        limit = self._settings.max_bytes
        length = response.length
        body = response.read(limit + 1) if length is None or length <= limit else None
        if body is None or len(body) > limit:
            raise ConsulError(f"the answer is over {limit} bytes (--max-answer-size)")
        if length is not None and len(body) < length:
            raise ConsulError(f"the answer ended after {len(body)} of {length} bytes")
        if length is None and not response.isclosed():
            response.read()  # the last chunk's end: the connection can be used again
        return body


def _retry_after(text: str | None) -> float:
    if text is None or not (text.isascii() and text.isdigit()):
        return 0.0
    return min(float(text[:9]), MAX_RETRY_AFTER_S)


def instances(
    body: bytes, pick: Callable[[dict[str, Any], dict[str, Any]], list[str]]
) -> list[Instance]:
    """The instances in an answer of ``/v1/health/service``, with the addresses that `pick` takes.

    Raises:
        ConsulError: it is not such an answer.
    """
    from json import loads

    try:
        entries = loads(body)
    except (ValueError, RecursionError) as error:
        raise ConsulError(f"the answer is not JSON: {error}") from None
    if not isinstance(entries, list):
        raise ConsulError("the answer is not a list of instances")
    found: list[Instance] = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise ConsulError("an instance in the answer is no object")
        node, service = entry.get("Node") or {}, entry.get("Service") or {}
        if not isinstance(node, dict) or not isinstance(service, dict):
            raise ConsulError("an instance in the answer has no node")
        tags = service.get("Tags") or []
        if not isinstance(tags, list):
            raise ConsulError("an instance in the answer has no list of tags")
        found.append((pick(node, service), [tag for tag in tags if _is_text(tag)]))
    return found


def _is_text(value: object) -> bool:
    """Whether it is one: half of a surrogate pair, which JSON can write, is none."""
    return isinstance(value, str) and value == value.encode("utf-8", "ignore").decode()


def picker(rule: str) -> Callable[[dict[str, Any], dict[str, Any]], list[str]]:
    """Make the function that picks an instance's addresses.

    Args:
        rule: ``any``, ``node``, ``service`` (the node's where the service has none), or
            ``tagged:NAME``.

    Raises:
        ValueError: it is not one of these.
    """

    def of(where: dict[str, Any]) -> list[str]:
        address = where.get("Address")
        return [address] if address and _is_text(address) else []

    def tagged(where: dict[str, Any]) -> list[str]:
        named = where.get("TaggedAddresses")
        address = named.get(tag) if isinstance(named, dict) else None
        if isinstance(address, dict):  # a service's has a port too
            return of(address)
        return [address] if address and _is_text(address) else []

    word, _, tag = rule.partition(":")
    if rule == "any":
        return lambda node, service: of(node) + of(service)
    if rule == "node":
        return lambda node, _: of(node)
    if rule == "service":
        return lambda node, service: of(service) or of(node)
    if word == "tagged" and tag:
        return lambda node, service: tagged(service) or tagged(node) or of(service) or of(node)
    raise ValueError("not one of any, node, service, tagged:NAME")
