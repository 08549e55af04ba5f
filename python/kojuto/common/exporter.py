"""An HTTP port for monitoring: ``/metrics`` in Prometheus text, ``/live``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_TIMEOUT_S = 5
MAX_REQUESTS = 16
"""Requests at a time; more are closed at once."""


class Family:
    """A metric family in the text exposition format (version 0.0.4).

    Args:
        name: with its unit, and ``_total`` for a counter.
        kind: counter, gauge or histogram.
        help: one line.
    """

    def __init__(self, name: str, kind: str, help: str) -> None:  # noqa: A002
        self.name = name
        text = help.replace("\\", "\\\\").replace("\n", "\\n")
        self.lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]

    def add(self, value: float, suffix: str = "", **labels: str) -> Family:
        """Add a sample and return the family."""
        inner = ",".join(
            '{}="{}"'.format(
                key.rstrip("_"),
                text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"),
            )
            for key, text in labels.items()
        )
        name = self.name + suffix
        self.lines.append(f"{name}{{{inner}}} {value!r}" if inner else f"{name} {value!r}")
        return self


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


def text(families: list[Family]) -> str:
    """The document of these families."""
    return "".join(line + "\n" for family in families for line in family.lines)


def serve(sock: socket.socket, collect: Callable[[], list[Family]]) -> None:
    """Answer on a listening socket in threads that end with the process.

    Args:
        sock: listening.
        collect: called for each request of ``/metrics``.
    """
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from socketserver import ThreadingMixIn

    from kojuto import __version__

    busy = threading.BoundedSemaphore(MAX_REQUESTS)

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version = f"kojuto/{__version__}"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, text(collect()), CONTENT_TYPE)
            elif path == "/live":
                self._answer(200, "OK\n", "text/plain; charset=utf-8")
            else:
                self._answer(404, "there is /metrics and /live\n", "text/plain; charset=utf-8")

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, status: int, body: str, kind: str) -> None:
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

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

    server = Server(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    threading.Thread(target=server.serve_forever, name="exporter", daemon=True).start()
