"""``wsgate-server`` and ``wsgate-client`` as the tests start them; raw requests."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.request
from typing import TYPE_CHECKING, Any

import websockets.exceptions
import websockets.sync.client
import websockets.sync.server

from tests.conftest import script
from tests.keys import private_key, private_pem
from tests.peers.certificates import self_signed
from tests.peers.servers import LOOPBACK, Program, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.http11 import Request

    from tests.peers.servers import Stage


class Server(Program):
    """`wsgate-server` on a free port of 127.0.0.1, its map in `map_file`."""

    def __init__(
        self, folder: Path, targets: dict[str, int | str], *options: str, **keywords: Any
    ) -> None:
        self.port = free_port()
        self.map_file = folder / f"server-{self.port}.map"
        self.write_map(targets)
        command = [script("wsgate-server"), "--listen", f"{LOOPBACK}:{self.port}"]
        super().__init__([*command, "--map", str(self.map_file), *options], folder, **keywords)
        self.wait_for("Start listen")

    def write_map(self, targets: dict[str, int | str]) -> None:
        lines = [
            f"{name},{LOOPBACK}:{to}" if isinstance(to, int) else f"{name},{to}"
            for name, to in targets.items()
        ]
        self.map_file.write_text("# names\n\n" + "\n".join(lines) + "\n")

    def url(self, name: str, scheme: str = "http") -> str:
        return f"{scheme}://{LOOPBACK}:{self.port}/proxy/{name}"

    def connect(self, name: str, **options: Any) -> websockets.sync.client.ClientConnection:
        """A tunnel by an independent client."""
        options.setdefault("compression", None)
        options.setdefault("proxy", None)
        options.setdefault("max_size", None)
        tunnel: websockets.sync.client.ClientConnection
        tunnel = websockets.sync.client.connect(self.url(name, "ws"), **options)
        return tunnel

    def status(self, path: str, **headers: str) -> int:
        return ask(self.port, path, **headers)[0]


class Client(Program):
    """`wsgate-client` whose lines lead from free ports to addresses."""

    def __init__(
        self,
        folder: Path,
        urls: list[str],
        *options: str,
        **keywords: Any,
    ) -> None:
        self.ports = [free_port() for _ in urls]
        self.map_file = folder / f"client-{self.ports[0]}.map"
        self.write_map(urls)
        command = [script("wsgate-client"), "--map", str(self.map_file), *options]
        super().__init__(command, folder, **keywords)
        self.wait_for_lines(len(urls), msg="Start listen")

    def write_map(self, urls: list[str]) -> None:
        pairs = zip(self.ports, urls, strict=True)
        self.map_file.write_text("".join(f"{LOOPBACK}:{port},{url}\n" for port, url in pairs))

    @property
    def port(self) -> int:
        return self.ports[0]

    def connect(self, line: int = 0) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.ports[line]), timeout=30)


def server(stage: Stage, targets: dict[str, int | str], *options: str, **keywords: Any) -> Server:
    program = Server(stage.folder, targets, *options, **keywords)
    stage.later(program.close)
    return program


def client(stage: Stage, url: str | list[str], *options: str, **keywords: Any) -> Client:
    urls = [url] if isinstance(url, str) else url
    program = Client(stage.folder, urls, *options, **keywords)
    stage.later(program.close)
    return program


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """A request of a client that knows nothing but HTTP: status, head and body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {LOOPBACK}:{port}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw(port, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


def raw(port: int, request: bytes) -> tuple[int, str]:
    """Send bytes and return the status and all of the answer, a 101's head alone."""
    with socket.create_connection((LOOPBACK, port), timeout=20) as conn:
        conn.sendall(request)
        answer = b""
        while piece := conn.recv(65536):
            answer += piece
            if answer.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in answer:
                break
        return int(answer.split(b" ", 2)[1]), answer.decode("latin-1")


class Backend:
    """A plain WebSocket server (of `websockets`) that echoes; notes the requests it gets."""

    def __init__(self, refuse: int | None = None, **options: Any) -> None:
        self.requests: list[Request] = []

        def note(connection: Any, request: Request) -> Any:
            self.requests.append(request)
            return connection.respond(refuse, "no\n") if refuse else None

        def handle(tunnel: Any) -> None:
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                for message in tunnel:
                    tunnel.send(message)

        options.setdefault("compression", None)
        self.server = websockets.sync.server.serve(
            handle, LOOPBACK, 0, process_request=note, max_size=None, **options
        )
        self.port = self.server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, scheme: str = "http", host: str = LOOPBACK) -> str:
        return f"{scheme}://{host}:{self.port}/proxy/a"

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join(10)


def backend(stage: Stage, **options: Any) -> Backend:
    found = Backend(**options)
    stage.later(found.close)
    return found


def opens(conn: socket.socket) -> bool:
    """Whether a tunnel carries bytes; false when it is closed instead."""
    try:
        conn.sendall(b"hello")
        return conn.recv(5) == b"hello"
    except ConnectionError:
        return False


def tls(folder: Path, *hosts: str) -> tuple[Any, Path]:
    import ssl

    cert, key = self_signed(folder, hosts[0], *hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


CLIENT_ID = "123456789012-abcdefghijklmnopqrstuvwxyz012345.apps.googleusercontent.com"


def account(token_uri: str) -> dict[str, str]:
    return {
        "type": "service_account",
        "client_email": "robot@project.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": private_pem(private_key("rsa")).decode(),
        "token_uri": token_uri,
    }


def metrics(port: int) -> dict[str, str]:
    """What a metrics port answers, by name with labels."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def round_trip(conn: socket.socket, data: bytes) -> None:
    """Send to an echo and check what comes back."""
    from tests.peers.servers import read_exactly

    conn.sendall(data)
    assert read_exactly(conn, len(data)) == data
