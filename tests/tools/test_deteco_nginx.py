"""``deteco`` behind a real nginx whose backends show what they would have served."""

from __future__ import annotations

import random
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import pytest

from tests.conftest import need_program
from tests.peers.deteco import CONFUSION, Deteco, Pair, service
from tests.peers.servers import LOOPBACK, Program, free_port, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = Pair()
OTHER = Pair(number=1)


def readings(target: str) -> set[str]:
    """The paths that servers of different habits would serve for a request target."""
    found = {target.split("?")[0].split("#")[0]}
    for _ in range(4):
        found |= {reading for path in found for reading in habits(path)}
    return found


def habits(path: str) -> list[str]:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    merged = path
    while "//" in merged:
        merged = merged.replace("//", "/")
    return [
        unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
        path.replace("\\", "/"),
        "/".join(segment.split(";")[0] for segment in path.split("/")),
        merged,
        "/" + "/".join(kept),
    ]


def inside(path: str) -> bool:
    return path == "/api/echo" or path.startswith("/api/echo/")


class Backend:
    """Answers everything and keeps the targets it was asked for."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.users: list[str | None] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                backend.seen.append(self.path)
                backend.users.append(self.headers["X-User"])
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"hi")

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Nginx(Program):
    """Three servers: one passes the URI on as it came, one as nginx reads it, one serves files."""

    def __init__(self, folder: Path, deteco: int, backend: int) -> None:
        self.raw, self.decoded, self.files = free_port(), free_port(), free_port()
        self.chain, self.inner, self.sloppy = free_port(), free_port(), free_port()
        root = folder / "root"
        (root / "api/echo/a").mkdir(parents=True)
        (root / "api/echo/x").write_text("echo")
        for path in ("secret", "api/secret", "api/echoes"):
            (root / path).write_text("secret")
        common = """
            location = /auth {
                internal;
                proxy_pass http://gate/auth;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_pass_request_body off;
                proxy_set_header Content-Length "";
                proxy_set_header X-Original-URI $request_uri;
                proxy_set_header X-Original-Method $request_method;
            }
        """
        conf = folder / "nginx.conf"
        conf.write_text(f"""
            daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr notice;
            user root;
            events {{ worker_connections 256; }}
            http {{
                access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
                fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
                large_client_header_buffers 4 32k;
                upstream gate {{ server {LOOPBACK}:{deteco}; keepalive 8; }}
                server {{
                    listen {LOOPBACK}:{self.raw};
                    location / {{
                        auth_request /auth; auth_request_set $user $upstream_http_x_deteco_user;
                        proxy_set_header X-User $user;
                        proxy_pass http://{LOOPBACK}:{backend};
                    }} {common}
                }}
                server {{
                    listen {LOOPBACK}:{self.decoded};
                    location / {{
                        auth_request /auth; proxy_pass http://{LOOPBACK}:{backend}/;
                    }} {common}
                }}
                server {{
                    listen {LOOPBACK}:{self.files}; merge_slashes off;
                    location / {{ auth_request /auth; root {root}; }} {common}
                }}
                server {{
                    listen {LOOPBACK}:{self.chain}; merge_slashes off;
                    location / {{
                        auth_request /auth; rewrite ^(.*)$ $1 break;
                        proxy_pass http://{LOOPBACK}:{self.inner};
                    }} {common}
                }}
                server {{
                    listen {LOOPBACK}:{self.inner};
                    location / {{ proxy_pass http://{LOOPBACK}:{backend}/; }}
                }}
                server {{
                    listen {LOOPBACK}:{self.sloppy};
                    location / {{ auth_request /auth; proxy_pass http://{LOOPBACK}:{backend}; }}
                    location = /auth {{
                        internal; proxy_pass http://gate/auth; proxy_http_version 1.1;
                        proxy_set_header Connection ""; proxy_pass_request_body off;
                        proxy_set_header X-Original-URI $request_uri;
                    }}
                }}
            }}
        """)
        nginx = need_program("nginx")
        super().__init__([nginx, "-p", folder, "-c", conf, "-e", "stderr"], folder)
        self.wait_for_port(self.raw)

    def ask(
        self, port: int, target: str, token: str | None, *headers: str, method: str = "GET"
    ) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", "Host: h", "Connection: close", *headers]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        with socket.create_connection((LOOPBACK, port), timeout=20) as conn:
            conn.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            return read_all(conn)


PIECES = [
    "/", "..", ".", "%2e", "%2E", "%2f", "%5c", "\\", ";", "%3b", "%25", "a", "api", "echo", "//",
    "secret", "%252e", "%252f", "%255c", "%EF%BC%8E", "%EF%BC%8F", "%E3%81%82", "v=1", "%20",
    "%3f", "%23", "...", "\xe3\x81\x82",
]  # fmt: skip


class House:
    def __init__(self, folder: Path) -> None:
        self.deteco = Deteco(
            folder / "deteco",
            service("echo", [KEY]) + service("get", [KEY], rest='methods = ["GET"]'),
        )
        self.backend = Backend()
        self.nginx = Nginx(folder, self.deteco.port, self.backend.port)

    def close(self) -> None:
        self.nginx.close()
        self.backend.close()
        self.deteco.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("nginx"))
    yield house
    house.close()


@pytest.mark.parametrize(
    ("uri", "status"), CONFUSION, ids=lambda value: str(value)[:40] if value else "empty"
)
def test_no_request_reaches_a_path_outside_the_services(
    house: House, uri: str, status: int
) -> None:
    token = KEY.token()
    for port in (house.nginx.raw, house.nginx.decoded, house.nginx.files):
        house.backend.seen.clear()
        said = house.nginx.ask(port, uri, token)
        got = int(said.split()[1])
        assert b"secret" not in said.partition(b"\r\n\r\n")[2]
        for target in house.backend.seen:
            assert all(map(inside, readings(target))), (uri, target)
        if uri.startswith("http:"):
            continue  # nginx takes the path out of it before it asks
        if status == 403:
            assert got in (400, 403, 414), said  # nginx refuses some itself
            assert not house.backend.seen
        elif port != house.nginx.files:
            assert got == 200, said
            assert len(house.backend.seen) == 1


def test_no_request_made_at_random_reaches_a_path_outside_the_services(house: House) -> None:
    nginx, rng = house.nginx, random.Random(20)
    passed = 0
    for _ in range(250):
        uri = "/api/echo" + "".join(rng.choices(PIECES, k=rng.randint(1, 6)))
        for port in (nginx.raw, nginx.decoded, nginx.files, nginx.chain):
            house.backend.seen.clear()
            said = nginx.ask(port, uri, KEY.token())
            passed += said.startswith(b"HTTP/1.1 200 ")
            assert b"secret" not in said.partition(b"\r\n\r\n")[2], uri
            for target in house.backend.seen:
                assert all(map(inside, readings(target))), (uri, target)
    assert passed > 30, "honest ones are among them"


def test_a_post_with_a_token_never_seen_passes_without_a_line_for_content_length(
    house: House,
) -> None:
    for number, length in enumerate((5, 100_000)):
        token = KEY.token(jti=f"post{number}")
        lines = [
            "POST /api/echo HTTP/1.1", "Host: h", f"Content-Length: {length}",
            f"Authorization: Bearer {token}", "Connection: close", "", "",
        ]  # fmt: skip
        with socket.create_connection((LOOPBACK, house.nginx.sloppy), timeout=20) as conn:
            conn.sendall("\r\n".join(lines).encode() + b"x" * length)
            assert read_all(conn).startswith(b"HTTP/1.1 200 ")


def test_the_unsafe_ones_would_have_been_served(house: House) -> None:
    """Without deteco, nginx and its backend do fall for them: the list is no idle one."""
    folder = house.nginx.output.parent / "open"
    folder.mkdir()
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(f"""
        daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr notice; user root;
        events {{ }}
        http {{
            access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            server {{
                listen {LOOPBACK}:{port};
                location / {{ proxy_pass http://{LOOPBACK}:{house.backend.port}/; }}
            }}
        }}
    """)
    nginx = Program([need_program("nginx"), "-p", folder, "-c", conf, "-e", "stderr"], folder)
    try:
        nginx.wait_for_port(port)
        house.backend.seen.clear()
        outside = 0
        for uri, status in CONFUSION:
            if status == 403 and uri.startswith("/api/echo/"):
                house.nginx.ask(port, uri, None)
        outside = sum(not all(map(inside, readings(target))) for target in house.backend.seen)
        assert outside >= 8
    finally:
        nginx.close()


def test_answers_and_headers_pass_through(house: House) -> None:
    nginx, backend = house.nginx, house.backend
    said = nginx.ask(nginx.raw, "/api/echo/x?y=1", KEY.token())
    assert said.endswith(b"hi")
    assert (backend.seen[-1], backend.users[-1]) == ("/api/echo/x?y=1", "echo")
    none = nginx.ask(nginx.raw, "/api/echo", None)
    assert none.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nwww-authenticate: bearer\r\n" in none.lower()
    bad = nginx.ask(nginx.raw, "/api/echo", OTHER.token())
    assert bad.startswith(b"HTTP/1.1 401 ")
    assert b'\r\nwww-authenticate: bearer error="invalid_token"\r\n' in bad.lower()
    assert nginx.ask(nginx.files, "/api/echo/x", KEY.token()).endswith(b"echo")


def test_headers_that_the_client_forges_do_not_count(house: House) -> None:
    nginx = house.nginx
    token = KEY.token()
    forged = ("X-Original-URI: /api/echo", "X-Original-Method: GET", "X-User: root")
    assert nginx.ask(nginx.raw, "/secret", token, *forged).startswith(b"HTTP/1.1 403 ")
    assert nginx.ask(nginx.raw, "/auth", token, *forged).startswith(b"HTTP/1.1 404 ")
    nginx.ask(nginx.raw, "/api/echo", token, *forged)
    assert house.backend.users[-1] == "echo"


def test_methods_are_those_of_the_client(house: House) -> None:
    nginx = house.nginx
    token = KEY.token("get")
    assert nginx.ask(nginx.raw, "/api/echo", token).startswith(b"HTTP/1.1 200 ")
    length = "Content-Length: 0"
    said = nginx.ask(nginx.raw, "/api/echo", token, length, method="POST")
    assert said.startswith(b"HTTP/1.1 403 ")
    everything = KEY.token()
    said = nginx.ask(nginx.raw, "/api/echo", everything, length, method="POST")
    assert said.startswith(b"HTTP/1.1 200 ")


def test_two_values_of_a_header_and_other_forms_at_the_front(house: House) -> None:
    nginx = house.nginx
    token: Any = KEY.token()
    twice = nginx.ask(nginx.raw, "/api/echo", token, f"Authorization: Bearer {token}")
    assert twice.split()[1] in (b"400", b"401")
