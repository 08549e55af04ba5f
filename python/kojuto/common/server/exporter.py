"""An HTTP port for monitoring: ``/metrics`` for Prometheus, ``/live``."""

from __future__ import annotations

from kojuto.common import prometheus
from kojuto.common.prometheus import Family
from kojuto.common.server import listen
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from kojuto.common.server.logs import Logger

REQUEST_TIMEOUT_S = 5
RETRY_S = 0.2
"""Before a port that an older generation still has is asked for again."""
MAX_REQUESTS = 16
"""Requests at a time; more are closed at once."""


def http_families(stats: dict[str, int]) -> list[Family]:
    """The metrics of a `kojuto._native.HttpServer`, from its ``stats()``."""
    requests = Family("kojuto_http_requests_total", "counter", "Requests by class of status.")
    for code in ("2xx", "3xx", "4xx", "5xx"):
        requests.add(stats[code], code=code)
    found = [requests, Family("kojuto_http_connections_open", "gauge", "Connections open now.")]
    found[1].add(stats["open"])
    for key, text in (
        ("accepted", "Connections accepted."),
        ("quick", "Requests that were answered without Python."),
        ("refused", "Requests that were refused because too many waited."),
        ("timeouts", "Connections that were cut for being slow or idle."),
        ("errors", "Connections that ended with an error."),
        ("pauses", "Times that accepting paused."),
        ("log_dropped", "Access-log lines that were dropped."),
    ):
        found.append(Family(f"kojuto_http_{key}_total", "counter", text).add(stats[key]))
    return found


class Port:
    """The port of ``--metrics-listen``, bound at once.

    Under Server::Starter the generation before may still have it: then it is bound when that one,
    told to end, has closed it, and everything else is served meanwhile.

    Args:
        address: host and port.

    Raises:
        KojutoError: it cannot be bound.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        import os
        from threading import Event, Lock

        self._address = address
        self._sock: socket.socket | None = None
        self._server: HTTPServer | None = None
        self._closed = Event()
        self._lock = Lock()
        try:
            self._sock = listen.bind(*address)
        except listen.TakenError:
            if "SERVER_STARTER_PORT" not in os.environ:
                raise

    def serve(self, collect: Callable[[], list[Family]], log: Logger) -> None:
        """Answer in threads that end with the process, `collect` for each ``/metrics``."""
        if self._sock is not None:
            self._begin(self._sock, collect, log)
            return
        from threading import Thread

        name = listen.address_text(*self._address)
        log.warn("The metrics port is taken, it is asked for again and again", listen=name)
        Thread(target=self._insist, args=(collect, log), name="metrics", daemon=True).start()

    def _insist(self, collect: Callable[[], list[Family]], log: Logger) -> None:
        while not self._closed.wait(RETRY_S):
            try:
                sock = listen.bind(*self._address)
            except listen.TakenError:
                continue
            except KojutoError as error:
                log.error("No metrics", error=str(error))
                return
            self._begin(sock, collect, log)
            return

    def _begin(self, sock: socket.socket, collect: Callable[[], list[Family]], log: Logger) -> None:
        with self._lock:
            if self._closed.is_set():
                sock.close()
                return
            self._server = serve(sock, collect)
        log.info("Start metrics", listen=listen.name_of(sock))

    def close(self) -> None:
        """Leave the port to the next generation."""
        with self._lock:
            self._closed.set()
            server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


def serve(sock: socket.socket, collect: Callable[[], list[Family]]) -> HTTPServer:
    """Answer on a listening socket in threads that end with the process.

    Args:
        sock: listening.
        collect: called for each request of ``/metrics``.
    """
    from threading import Thread

    server = _server_class()(("", 0), _handler_class(collect), bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    Thread(target=server.serve_forever, name="exporter", daemon=True).start()
    return server


def _handler_class(collect: Callable[[], list[Family]]) -> type[BaseHTTPRequestHandler]:
    """What answers one request; made late, as its base costs a start-up."""
    from http.server import BaseHTTPRequestHandler

    from kojuto import __version__

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version = f"kojuto/{__version__}"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._metrics()
            elif path == "/live":
                self._answer(200, b"OK\n", "text/plain; charset=utf-8")
            else:
                self._answer(404, b"there is /metrics and /live\n", "text/plain; charset=utf-8")

        do_HEAD = do_GET  # noqa: N815

        def _metrics(self) -> None:
            accept = ",".join(self.headers.get_all("Accept", ()))
            openmetrics = prometheus.wants_openmetrics(accept)
            body = prometheus.document(collect(), openmetrics=openmetrics)
            kind = prometheus.OPENMETRICS_TYPE if openmetrics else prometheus.TEXT_TYPE
            self._answer(200, body, kind)

        def _answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


def _server_class() -> type[HTTPServer]:
    """A server with a thread for each request, at most `MAX_REQUESTS`."""
    from http.server import HTTPServer
    from socketserver import ThreadingMixIn
    from threading import BoundedSemaphore

    busy = BoundedSemaphore(MAX_REQUESTS)

    class Server(ThreadingMixIn, HTTPServer):
        daemon_threads = True

        def process_request(self, request: object, client_address: object) -> None:
            if busy.acquire(blocking=False):
                try:
                    super().process_request(request, client_address)  # type: ignore[arg-type]
                except RuntimeError:  # the system gives no thread; the next scrape may have one
                    busy.release()
                else:
                    return
            self.shutdown_request(request)  # type: ignore[arg-type]

        def process_request_thread(self, request: object, client_address: object) -> None:
            try:
                super().process_request_thread(request, client_address)  # type: ignore[arg-type]
            finally:
                busy.release()

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that went away

    return Server
