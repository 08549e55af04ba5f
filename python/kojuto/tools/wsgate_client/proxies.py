"""HTTP proxies of the environment: ``https_proxy``, ``http_proxy``, ``no_proxy``."""

from __future__ import annotations

import os

from kojuto.common.server.listen import url_host
from kojuto.tools.wsgate_client.errors import OpenError


class Proxy:
    """A proxy that is asked for a tunnel by CONNECT (RFC 9110, 9.3.6)."""

    def __init__(self, host: str, port: int, credentials: str | None) -> None:
        self.host = host
        self.port = port
        self._credentials = credentials

    def request(self, target: str) -> bytes:
        """The request for a tunnel to ``host:port``."""
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self._credentials is not None:
            from base64 import b64encode

            text = b64encode(self._credentials.encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {text}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def choose(secure: bool, host: str, port: int) -> Proxy | None:
    """The proxy for an address; None to go there directly.

    Raises:
        OpenError: the environment names what is no HTTP proxy.
    """
    name = "https_proxy" if secure else "http_proxy"
    text = _variable(name)
    if not text:
        name = "all_proxy"
        text = _variable(name)
    if not text or bypasses(_variable("no_proxy"), host, port):
        return None
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        there, _ = url_host(parts.hostname or "")
        at = parts.port
    except ValueError:
        there = ""
    if not there or parts.scheme != "http":
        raise OpenError(f"{name} is not http://HOST:PORT")
    credentials = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(there, at or 80, credentials)


def _variable(name: str) -> str:
    value = os.environ.get(name, "")
    # HTTP_PROXY is what a CGI server makes of a request's Proxy header.
    if not value and not (name == "http_proxy" and "REQUEST_METHOD" in os.environ):
        value = os.environ.get(name.upper(), "")
    return value.strip()


def bypasses(no_proxy: str, host: str, port: int) -> bool:
    """Whether `no_proxy` names a host: itself, a domain above it, an address range, or ``*``."""
    from ipaddress import ip_address, ip_network

    host = host.lower().rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    for entry in no_proxy.lower().split(","):
        pattern = entry.strip()
        name, colon, number = pattern.rpartition(":")
        if colon and number.isdigit() and (":" not in name or name.endswith("]")):
            if int(number) != port:
                continue
            pattern = name
        pattern = pattern.strip("[]")
        if pattern == "*":
            return True
        if address is not None:
            try:
                if address in ip_network(pattern, strict=False):
                    return True
            except ValueError:
                continue
        domain = pattern.removeprefix("*").strip(".")
        if domain and (host == domain or host.endswith("." + domain)):
            return True
    return False


def status(head: bytes) -> int:
    """The status of an answer's head; 0 when it is no HTTP."""
    fields = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(fields) < 2 or not fields[0].startswith(b"HTTP/1."):
        return 0
    return int(fields[1]) if len(fields[1]) == 3 and fields[1].isdigit() else 0
