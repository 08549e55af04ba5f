"""A web server whose files are logs: with ranges or without, slow, or breaking off midway."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Logs:
    """What the server has, and what was asked of it.

    Attributes:
        files: content by path; a path that is not here is 404.
        ranges: whether parts are given; else all is, whatever is asked for.
        breaks: of these paths the connection ends after so many bytes of a whole answer.
        pause_s: before each answer of a file.
        asked: the method, the path and the range of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.breaks: dict[str, int] = {}
        self.pause_s = 0.0
        self.asked: list[tuple[str, str, str | None]] = []
        self.url = ""

    def got(self, path: str) -> list[str | None]:
        """The ranges that were asked for by GET."""
        return [part for method, of, part in list(self.asked) if (method, of) == ("GET", path)]


@contextlib.contextmanager
def serving() -> Iterator[Logs]:
    logs = Logs()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            time.sleep(logs.pause_s)
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            path, _, query = self.path.partition("?")
            logs.asked.append((self.command, path, self.headers["Range"]))
            content = logs.files.get(path)
            if content is None or "denied" in query:
                self.send_error(404 if content is None else 403)
                return
            wanted = RANGE.fullmatch(self.headers["Range"] or "") if logs.ranges else None
            whole = len(content)
            if wanted:
                first, last = int(wanted[1]), min(int(wanted[2]), whole - 1)
                content = content[first : last + 1]
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{last}/{whole}")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                # Whoever asked may be gone.
                with contextlib.suppress(ConnectionError):
                    self.send(path, content)

        def send(self, path: str, content: bytes) -> None:
            at = logs.breaks.get(path, len(content))
            self.wfile.write(content[:at])
            if at < len(content):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    logs.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield logs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
