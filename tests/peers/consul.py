"""An HTTP server that behaves as Consul's health endpoint does, as far as its documentation goes:
blocking queries with index and wait, ACLs, data centres, tags, failures on request.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "b1f0c6de-0000-4e5d-9d0a-a1a5a1a5a1a5"


def instance(
    node: str,
    own: str = "",
    *,
    tags: tuple[str, ...] = (),
    status: str = "passing",
    wan: str = "",
    old: bool = False,
) -> dict[str, Any]:
    """One entry of an answer: ``old`` as Consul 0.5 to 0.7 shaped it, else as 1.10 and later do."""
    number = abs(hash((node, own, tags))) % 10**6
    check = {
        "Node": f"node-{number}",
        "CheckID": f"service:{number}",
        "Name": "Service check",
        "Status": status,
        "Notes": "",
        "Output": 'HTTP GET http://localhost/: 200 OK Output: {"Address": "6.6.6.6"}',
        "ServiceID": f"id-{number}",
        "ServiceName": "web",
    }
    if old:
        return {
            "Node": {"Node": f"node-{number}", "Address": node},
            "Service": {
                "ID": f"id-{number}",
                "Service": "web",
                "Tags": list(tags) or None,
                "Address": own,
                "Port": 80,
            },
            "Checks": [check],
        }
    return {
        "Node": {
            "ID": "40e4a748-2192-161a-0510-9bf59fe950b5",
            "Node": f"node-{number}",
            "Address": node,
            "Datacenter": "dc1",
            "TaggedAddresses": {"lan": node, "wan": wan or node, "lan_ipv4": node},
            "Meta": {"consul-network-segment": "", "consul-version": "1.19.1"},
            "CreateIndex": 13,
            "ModifyIndex": 14,
        },
        "Service": {
            "ID": f"id-{number}",
            "Service": "web",
            "Tags": list(tags),
            "Address": own,
            "TaggedAddresses": {"lan_ipv4": {"Address": own or node, "Port": 80}},
            "Meta": None,
            "Port": 80,
            "Weights": {"Passing": 1, "Warning": 1},
            "EnableTagOverride": False,
            "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}},
            "Connect": {},
            "PeerName": "",
            "CreateIndex": 25,
            "ModifyIndex": 26,
        },
        "Checks": [{**check, "Definition": {}, "CreateIndex": 13, "ModifyIndex": 13}],
    }


class Asked:
    """A request that came."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.at = time.monotonic()
        self.target = handler.path
        self.service = unquote(parts.path.rpartition("/")[2])
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.headers = dict(handler.headers.items())
        self.answered = False

    def first(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    @property
    def index(self) -> int:
        return int(self.first("index", "0"))


class Consul:
    """See the module; everything may be changed while it runs."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.certificate = certificate
        self.state = threading.Condition()
        self.services: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.indexes: dict[tuple[str, str], int] = {}
        self.index = 100
        self.epoch = 0
        self.centres = {"dc1"}
        self.token: str | None = None
        """When set: other tokens are unknown."""
        self.hides = False
        """The token may not read the services."""
        self.failure: tuple[int, str, dict[str, str]] | None = None
        self.delay_s = 0.0
        self.raw: Callable[[socket.socket], None] | None = None
        """Takes the connection over instead of an answer."""
        self.told_index: int | None = None
        """What the header says instead of the index, -1 for no header."""
        self.asked: list[Asked] = []
        self.connections = 0
        self.most_open = 0
        """The most connections there were at a time."""
        self.knows_leader = True
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        consul = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                consul.connections += 1
                consul._open.add(self.connection)
                consul.most_open = max(consul.most_open, len(consul._open))

            def finish(self) -> None:
                consul._open.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                with contextlib.suppress(OSError):
                    consul._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        serve = self._server.serve_forever
        threading.Thread(target=serve, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Go away, open connections included; `start` comes back on the same port."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        with self.state:
            self.state.notify_all()
        self.cut()

    def cut(self) -> None:
        """End the connections, as a proxy before Consul does that restarts."""
        for conn in list(self._open):
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)

    # -- the catalogue ----------------------------------------------------------------------------

    def set(self, service: str, *instances: dict[str, Any], dc: str = "dc1") -> None:
        """Register these instances instead of what was there."""
        with self.state:
            self.centres.add(dc)
            self.index += random.randint(1, 5)
            self.services[dc, service] = list(instances)
            self.indexes[dc, service] = self.index
            self.state.notify_all()

    def rewind(self) -> None:
        """A snapshot was restored: indexes are lower than before."""
        with self.state:
            self.index, self.epoch = 10, self.epoch + 1
            for key in self.indexes:
                self.index += 1
                self.indexes[key] = self.index
            self.state.notify_all()

    def questions(self, service: str, **query: str) -> list[Asked]:
        return [
            asked
            for asked in list(self.asked)
            if asked.service == service
            and all(asked.first(name) == value for name, value in query.items())
        ]

    def waits(self, service: str) -> bool:
        """Whether a blocking query for the service is open."""
        return any(asked.index and not asked.answered for asked in self.questions(service)[-1:])

    # -- answering --------------------------------------------------------------------------------

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = Asked(handler)
        self.asked.append(asked)
        try:
            self._reply(handler, asked)
        finally:
            asked.answered = True

    def _reply(self, handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.raw is not None:
            self.raw(handler.connection)
            handler.close_connection = True
            return
        token = asked.headers.get("X-Consul-Token")
        if self.token is not None and token != self.token:
            self._send(handler, 403, b"ACL not found", {})
            return
        dc = asked.first("dc", "dc1")
        if dc not in self.centres:
            self._send(handler, 500, b"No path to datacenter", {})
            return
        key = (dc, asked.service)
        if asked.index:
            self._block(key, asked)
        if self._server is None:
            handler.close_connection = True
            return
        if self.failure is not None:
            status, text, headers = self.failure
            self._send(handler, status, text.encode(), headers)
            return
        with self.state:
            found = self.services.get(key, [])
            index = self.indexes.get(key, self.index)
        tags = asked.query.get("tag", [])
        if "passing" in asked.query:
            found = [e for e in found if all(c["Status"] == "passing" for c in e["Checks"])]
        found = [e for e in found if set(tags) <= set(e["Service"]["Tags"] or ())]
        headers = {
            "Vary": "Accept-Encoding",
            "X-Consul-Default-Acl-Policy": "allow",
            "X-Consul-Effective-Consistency": "stale" if "stale" in asked.query else "leader",
            "X-Consul-Knownleader": "true" if self.knows_leader else "false",
            "X-Consul-Lastcontact": "0",
        }
        if not self.knows_leader:
            found = []
        if self.hides:
            found = []
            headers["X-Consul-Results-Filtered-By-Acls"] = "true"
        told = index if self.told_index is None else self.told_index
        if told >= 0:
            headers["X-Consul-Index"] = str(told)
        self._send(handler, 200, json.dumps(found).encode(), headers)

    def _block(self, key: tuple[str, str], asked: Asked) -> None:
        """Wait until the service is later than the index, or the time and up to 1/16 are over."""
        text = asked.first("wait", "5m")
        units = {"ms": 1e-3, "s": 1.0, "m": 60.0}
        unit = next(unit for unit in ("ms", "s", "m") if text.endswith(unit))
        wait_s = min(600.0, float(text.removesuffix(unit)) * units[unit])
        wait_s += random.uniform(0, wait_s / 16)
        with self.state:
            epoch = self.epoch
            self.state.wait_for(
                lambda: (
                    self._server is None
                    or self.failure is not None
                    or self.epoch != epoch
                    or self.indexes.get(key, self.index) > asked.index
                ),
                wait_s,
            )

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json" if status == 200 else "text/plain")
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def fail(self, status: int, text: str = "", **headers: str) -> None:
        """Answer so from now on, blocking queries included."""
        with self.state:
            self.failure = (status, text, {k.replace("_", "-"): v for k, v in headers.items()})
            self.state.notify_all()

    def work(self) -> None:
        """Answer rightly again."""
        with self.state:
            self.failure = None
            self.raw = None
            self.state.notify_all()
