"""A real deteco on a free port, with keys and tokens made for it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from typing import TYPE_CHECKING, Any

from tests import keys
from tests.conftest import script
from tests.peers.servers import LOOPBACK, Program, Stage, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Headers = "Mapping[str, str] | Iterable[tuple[str, str]]"


class Pair:
    """A pair of keys and what is signed with it."""

    def __init__(self, kind: str = "ed25519", number: int = 0) -> None:
        self.private: Any = keys.private_key(kind, number)
        self.public_pem = keys.public_pem(self.private).decode()
        self.private_pem = keys.private_pem(self.private)

    def token(self, sub: str = "echo", **claims: Any) -> str:
        """A good token unless the claims say otherwise; None leaves one out."""
        return keys.token(self.private, **{"sub": sub, "iat": int(time.time()) - 1, **claims})


RSA, EC, ED, OTHER = Pair("rsa"), Pair("ec"), Pair(), Pair(number=1)


def service(name: str, pairs: Iterable[Pair], paths: str = '["/api/echo"]', rest: str = "") -> str:
    """A service as the configuration has it."""
    keys = ", ".join(f"'''{pair.public_pem}'''" for pair in pairs)
    return f'[[services]]\nid = "{name}"\npaths = {paths}\npublic_keys = [{keys}]\n{rest}\n'


class Deteco(Program):
    """`deteco` on a free port of 127.0.0.1."""

    def __init__(
        self,
        folder: Path,
        configuration: str,
        *options: str,
        prefix: Iterable[str] = (),
        **keywords: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.conf = folder / "deteco.toml"
        self.conf.write_text(configuration)
        listen = f"{LOOPBACK}:{self.port}"
        command = [
            *prefix,
            script("deteco"),
            "--conf",
            str(self.conf),
            "--listen",
            listen,
            *options,
        ]
        super().__init__(command, folder, **keywords)
        self.wait_for("Start listen")

    def connect(self, timeout_s: float = 20) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(LOOPBACK, self.port, timeout=timeout_s)

    def raw(self, data: bytes) -> bytes:
        """Everything that is answered to these bytes."""
        with socket.create_connection((LOOPBACK, self.port), timeout=20) as conn:
            conn.sendall(data)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := conn.recv(65536):
                    answer += piece
            return answer

    def ask(
        self, token: str | None, uri: str | None = "/api/echo", *more: tuple[str, str]
    ) -> http.client.HTTPResponse:
        """One request to the endpoint on a connection of its own."""
        conn = self.connect()
        try:
            return ask_on(conn, token, uri, *more)
        finally:
            conn.close()

    def status(
        self, token: str | None, uri: str | None = "/api/echo", *more: tuple[str, str]
    ) -> int:
        return self.ask(token, uri, *more).status


def ask_on(
    conn: http.client.HTTPConnection,
    token: str | None,
    uri: str | None = "/api/echo",
    *more: tuple[str, str],
) -> http.client.HTTPResponse:
    """One request on an open connection; its body is read."""
    conn.putrequest("GET", "/auth")
    if token is not None:
        conn.putheader("Authorization", f"Bearer {token}")
    if uri is not None:
        conn.putheader("X-Original-URI", uri.encode("latin-1"))
    for name, value in more:
        conn.putheader(name, value.encode("latin-1"))
    conn.endheaders()
    answer = conn.getresponse()
    answer.read()
    return answer


def start(stage: Stage, configuration: str, *options: str, **keywords: Any) -> Deteco:
    deteco = Deteco(stage.folder / "deteco", configuration, *options, **keywords)
    stage.later(deteco.close)
    return deteco


CONFUSION = [
    # (X-Original-URI, status), for a service whose paths are ["/api/echo"]
    ("/api/echo", 200), ("/api/echo/", 200), ("/api/echo?x=/../y", 200),
    ("/api/echo/a%2Eb", 200), ("/api/echo/%E3%81%82", 200), ("/api/echo/a+b", 200),
    ("/api/echo/a/./b", 200), ("/api/echo/a/../b", 200), ("/api/echo//x", 200),
    ("/api/echoes", 403), ("/API/echo", 403), ("/api/ech", 403),
    ("/api/echo/../secret", 403), ("/api/echo/a/../../secret", 403), ("/api/echo/..", 403),
    ("/api/echo/%2e%2e/secret", 403), ("/api/echo/.%2E/secret", 403),
    ("/api/echo/..%2fsecret", 403), ("/api/echo%2fx", 403), ("/api%2Fecho/x", 403),
    ("/api/echo/%252e%252e/secret", 403), ("/api/echo/%252f..", 403),
    ("/api/echo/..;/secret", 403), ("/api/echo;v=1/../secret", 403),
    ("/api/echo/..\\secret", 403), ("/api/echo/%5c..%5csecret", 403),
    ("/api/echo/%00", 403), ("/api/echo/%0d%0ax", 403), ("/api/echo/%zz", 403),
    ("/api/echo/%", 403), ("//api/echo", 403), ("api/echo", 403), ("http://h/api/echo", 403),
    ("*", 403), ("", 403), ("/api/echo/x#y", 403), ("/api/echo/" + "a" * 8192, 403),
    # and others of the same kinds
    ("/api/echo//../secret", 403), ("/api/echo/./../secret", 403), ("/x/../api/echo", 403),
    ("/api/./echo", 403), ("/api//echo", 403), ("/api/echo/%c0%ae%c0%ae/secret", 403),
    ("/api/echo/%e0%80%ae./secret", 403), ("/api/echo/%EF%BC%8E%EF%BC%8E/secret", 403),
    ("/api/echo/..%3b/secret", 403), ("/api/echo/..%20/secret", 403), ("/api/echo/.../secret", 200),
    ("/api/echo/%3f/../../secret", 403), ("/api/echo/%23/../../secret", 403),
    ("/api/echo/..%00/secret", 403), ("/api/echo/..%09/secret", 403),
    ("/api/echo/\xe3\x81\x82", 200), ("/api/echo/\xe3\x81", 403), ("/%61pi/echo", 403),
    ("/api/echo/%2F/permissions", 200), ("/api/echo/a%2Fb", 200), ("/api/echo/a;v=1/b", 200),
    ("/api/echo/100%25", 200), ("/api/echo/%23top", 200), ("/api/echo/what%3F", 200),
    ("/api/echo/...", 200), ("/api/echo/%EF%BC%9F", 200), ("/api/echo/a%E2%80%A6", 200),
    ("/api/echo/a%5Cb", 200), ("/api/echo/a\\b", 200), ("/api/echo/..%EF%BC%8Fsecret", 403),
    ("/api/echo/..%253b/secret", 403), ("/api/echo/%2500", 403), ("/api/echo/%25zz", 200),
    ("/api/echo/a%20b", 200), ("/api/echo/a/%2e%2e/b", 200), ("/api/echo/..a", 200),
    ("/api/echo?%zz;\\", 200), ("/api/echo?#", 403), ("/", 403), ("/secret", 403),
]  # fmt: skip
"""The list of the specification, and more."""
