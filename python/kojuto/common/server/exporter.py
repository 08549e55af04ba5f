"""An HTTP port for monitoring: ``/metrics`` for Prometheus, ``/live``."""

from __future__ import annotations

from kojuto.common import prometheus
from kojuto.common.prometheus import Family
from kojuto.common.server import forever, listen
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from kojuto._native import HttpRequest, HttpServer
    from kojuto.common.cli import Values
    from kojuto.common.server.logs import Logger

    Answer = tuple[int, list[tuple[str, str]], bytes]

REQUEST_TIMEOUT_S = 5
"""The time for a request to arrive, and for its client to read some of the answer."""
RETRY_S = 0.2
"""The pause before a port that an older generation still holds is tried again."""
MAX_CONNECTIONS = 256
"""The most at a time, so that slow clients hold nobody up."""
MAX_HEADER_BYTES = 8192
MAX_WAITING = 16
"""Requests that may wait for the one that is being answered; more are told 503."""


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

        self.pages: dict[str, Callable[[], bytes]] = {}
        """More paths, each with what makes its JSON document; to be filled before `serve`."""
        self._address = address
        self._sock: socket.socket | None = None
        self._server: HttpServer | None = None
        self._closed = Event()
        self._lock = Lock()
        try:
            self._sock = listen.bind(*address)
        except listen.TakenError:
            if "SERVER_STARTER_PORT" not in os.environ:
                raise

    def serve(self, collect: Callable[[], list[Family]], log: Logger) -> None:
        """Answer from now on, `collect` for each ``/metrics``.

        Raises:
            OSError: the system gives no thread.
        """
        if self._sock is not None:
            self._begin(self._sock, collect, log)
            return
        name = listen.address_text(*self._address)
        log.warn("The metrics port is in use, trying again until it is free", listen=name)
        forever.begin("metrics", lambda: self._insist(collect, log), log)

    def _insist(self, collect: Callable[[], list[Family]], log: Logger) -> None:
        while not self._closed.wait(RETRY_S):
            try:
                sock = listen.bind(*self._address)
            except listen.TakenError:
                continue
            except KojutoError as error:
                log.error("Failed to serve metrics", error=str(error))
                return
            try:
                self._begin(sock, collect, log)
            except OSError as error:  # no thread can be started
                log.error("Failed to serve metrics", error=str(error))
            return

    def _begin(self, sock: socket.socket, collect: Callable[[], list[Family]], log: Logger) -> None:
        with self._lock:
            if self._closed.is_set():
                sock.close()
                return
            name = listen.name_of(sock)
            self._server = serve(sock, collect, log, self.pages)
        log.info("Start metrics", listen=name)

    def close(self) -> None:
        """Leave the port to the next generation."""
        with self._lock:
            self._closed.set()
            server, self._server = self._server, None
        if server is not None:
            server.stop()


def open_port(values: Values) -> Port | None:
    """Bind the port of ``--metrics-listen``, if it is asked for, before anything else is done.

    Raises:
        KojutoError: the address cannot be bound.
    """
    return Port(values.metrics_listen) if values.metrics_listen else None


def serve(
    sock: socket.socket,
    collect: Callable[[], list[Family]],
    log: Logger,
    pages: Mapping[str, Callable[[], bytes]] | None = None,
) -> HttpServer:
    """Answer on a listening socket, which is closed here, until the server is stopped.

    Args:
        sock: listening.
        collect: called for each request of ``/metrics``; one that raises is a 500 and a line.
        log: told of failures.
        pages: more paths, each with what makes its JSON document.

    Raises:
        OSError: the system gives no thread.
    """
    from kojuto._native import HttpServer

    with sock:
        return HttpServer(
            log.writer,
            [sock.fileno()],
            lambda request: answer(request, collect, pages or {}),
            header_timeout_s=REQUEST_TIMEOUT_S,
            idle_timeout_s=REQUEST_TIMEOUT_S,
            write_timeout_s=REQUEST_TIMEOUT_S,
            max_header_bytes=MAX_HEADER_BYTES,
            max_connections=MAX_CONNECTIONS,
            workers=1,
            threads=1,
            queue=MAX_WAITING,
        )


def answer(
    request: HttpRequest,
    collect: Callable[[], list[Family]],
    pages: Mapping[str, Callable[[], bytes]],
) -> Answer:
    """The answer to one request, after which its connection ends."""
    status, kind, body = 200, "text/plain; charset=utf-8", b"OK\n"
    path = request.target.partition("?")[0]
    more = [("Connection", "close")]
    known = ("/metrics", "/live", *pages)
    if path not in known:
        there = f"{', '.join(known[:-1])} and {known[-1]}"
        status, body = 404, f"there is {there}\n".encode()
    elif request.method not in ("GET", "HEAD"):
        status, body = 405, b"this is asked for with GET or HEAD\n"
        more.append(("Allow", "GET, HEAD"))
    elif path == "/metrics":
        openmetrics = prometheus.wants_openmetrics(",".join(request.header("Accept")))
        body = prometheus.document(collect(), openmetrics=openmetrics)
        kind = prometheus.OPENMETRICS_TYPE if openmetrics else prometheus.TEXT_TYPE
    elif path in pages:
        kind, body = "application/json", pages[path]()
    return status, [("Content-Type", kind), *more], body
