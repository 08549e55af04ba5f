"""wsgate-server and wsgate-client with others: nginx with TLS, ssh, MariaDB, Server::Starter."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import select
import signal
import socket
import subprocess
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from tests.conftest import need_program, script, wait_until
from tests.io.test_listen import Load, has_done
from tests.keys import private_key, private_pem, public_pem, token
from tests.peers.certificates import self_signed
from tests.peers.gates import client, round_trip, server
from tests.peers.mariadb import mariadb
from tests.peers.servers import LOOPBACK, echo, free_port, read_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.gates import Client, Server
    from tests.peers.servers import Program, Stage


def pair(stage: Stage, target: int, *, kind: str = "ec", via: Any = None) -> tuple[Server, Client]:
    """A server and a client with a token between them."""
    key = private_key(kind)
    (stage.folder / "public").write_bytes(public_pem(key))
    (stage.folder / "private").write_bytes(private_pem(key))
    gate = server(stage, {"a": target}, "--public-key", str(stage.folder / "public"))
    url, options = via(gate) if via else (gate.url("a"), [])
    private = str(stage.folder / "private")
    return gate, client(stage, url, "--private-key", private, *options)


def nginx(stage: Stage, gate: Server) -> tuple[str, list[str]]:
    """A reverse proxy with TLS before the server."""
    program = need_program("nginx")
    port = free_port()
    cert, key = self_signed(stage.folder, "localhost", "localhost")
    folder = stage.folder / "nginx"
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; master_process off; worker_processes 1; pid {folder}/pid;
        error_log {folder}/error.log; events {{ worker_connections 4096; }}
        http {{
            access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
            fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
            server {{
                listen {LOOPBACK}:{port} ssl;
                ssl_certificate {cert}; ssl_certificate_key {key};
                location / {{
                    proxy_pass http://{LOOPBACK}:{gate.port};
                    proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection "upgrade";
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    proxy_read_timeout 60s;
                }}
            }}
        }}
        """
    )
    proxy = stage.program([program, "-c", folder / "nginx.conf", "-p", folder])
    proxy.wait_for_port(port)
    return f"https://localhost:{port}/proxy/a", ["--ca-file", str(cert)]


@pytest.mark.parametrize("way", ["plain", "nginx"])
def test_bytes_in_both_directions_at_once(stage: Stage, way: str) -> None:
    via = partial(nginx, stage) if way == "nginx" else None
    gate, local = pair(stage, stage.peer(echo).port, via=via)
    data = os.urandom(1 << 20) * 24
    got = bytearray()
    with local.connect() as conn:
        sender = threading.Thread(target=conn.sendall, args=(data,))
        sender.start()
        while len(got) < len(data):
            piece = conn.recv(1 << 20)
            assert piece, f"ended after {len(got)} bytes"
            got += piece
        sender.join()
        assert got == data
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b""
    for end in (gate, local):
        assert end.wait_for_lines(1, status="Suceeded")[0]["read"] == len(data)
    if way == "nginx":
        assert gate.wait_for_lines(1, status="Connected")[0]["x-forwarded-for"] == LOOPBACK


def test_half_close_through_nginx(stage: Stage) -> None:
    def count(conn: socket.socket) -> None:
        conn.sendall(str(len(read_all(conn))).encode())

    _, local = pair(stage, stage.peer(count).port, via=partial(nginx, stage))
    with local.connect() as conn:
        conn.sendall(bytes(100_000))
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b"100000"


# -- ssh --------------------------------------------------------------------------------------


class Ssh:
    """An ssh server for the user of this process, and the options for its client."""

    def __init__(self, stage: Stage) -> None:
        program = need_program("sshd")
        self.client = need_program("ssh")
        folder = stage.folder / "ssh"
        folder.mkdir(mode=0o700)
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        (folder / "keys").write_bytes((folder / "user.pub").read_bytes())
        self.port = free_port()
        (folder / "config").write_text(
            f"ListenAddress {LOOPBACK}:{self.port}\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/keys\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPermitRootLogin prohibit-password\nLogLevel ERROR\n"
            "MaxStartups 200\n"
        )
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # its privilege separation
        self.server = stage.program([program, "-D", "-e", "-f", folder / "config"])
        self.server.wait_for_port(self.port)
        user = pwd.getpwuid(os.geteuid()).pw_name
        self.options = [
            "-F", "none", "-i", str(folder / "user"), "-l", user, "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes",
        ]  # fmt: skip

    def run(self, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.client, *self.options, *arguments],
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
        )


def test_ssh_through_the_tunnel(stage: Stage) -> None:
    ssh = Ssh(stage)
    _, local = pair(stage, ssh.port)
    data = os.urandom(3_000_000)
    done = ssh.run("-p", str(local.port), LOOPBACK, "cat; exit 7", data=data)
    assert done.stderr == b""
    assert (done.returncode, done.stdout) == (7, data)


def test_ssh_with_the_client_as_its_proxy_command(stage: Stage) -> None:
    ssh = Ssh(stage)
    gate, _ = pair(stage, ssh.port)
    private = stage.folder / "private"
    command = f"{script('wsgate-client')} stdio {gate.url('a')} --private-key {private} 2>/dev/null"
    data = os.urandom(3_000_000)
    done = ssh.run("-o", f"ProxyCommand={command}", "gate", "cat; exit 7", data=data)
    assert (done.returncode, done.stdout) == (7, data), done.stderr
    # ssh sends it SIGHUP at the end, which is not one in the middle of a frame.
    gate.wait_for("Suceeded")
    assert gate.lines(status="Failed") == []


# -- MariaDB ----------------------------------------------------------------------------------


def test_a_mariadb_client_through_the_tunnel(stage: Stage) -> None:
    program = need_program("mariadb")
    with mariadb(max_allowed_packet="64M") as database:
        _, local = pair(stage, database.port)
        where = ["--no-defaults", "-h", LOOPBACK, "-P", str(local.port), "-u", "root"]
        done = subprocess.run(
            [program, *where, "--skip-ssl", "-N", "-e",
             "CREATE DATABASE t; CREATE TABLE t.b (id INT PRIMARY KEY, v LONGBLOB);"
             "INSERT INTO t.b VALUES (1, REPEAT('x', 20000000));"
             "SELECT LENGTH(v), MD5(v) FROM t.b"],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stderr == b""
        digest = hashlib.md5(b"x" * 20_000_000).hexdigest()
        assert done.stdout.split() == [b"20000000", digest.encode()]
        options: dict[str, Any] = {"host": LOOPBACK, "port": local.port, "ssl_disabled": True}
        with (
            contextlib.closing(database.connect(**options)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT v FROM t.b")
            (row,) = cursor.fetchall()
            assert row[0] == b"x" * 20_000_000
            for number in range(300):
                cursor.execute("SELECT %s", (number,))
                assert cursor.fetchall() == ((number,),)
            with pytest.raises(pymysql.err.MySQLError):
                cursor.execute("SELECT no_such_column")


# -- many -------------------------------------------------------------------------------------


def test_a_thousand_tunnels_at_once(stage: Stage) -> None:
    """All are opened at once, all carry bytes, and their ends leave nothing behind."""
    upstream = EchoLoop()
    stage.later(upstream.close)
    gate, local = pair(stage, upstream.port)
    before = gate.descriptors(), local.descriptors()
    conns: list[socket.socket] = []
    try:
        began = time.monotonic()
        for i in range(1000):
            conn = local.connect()
            conn.sendall(b"%08d" % i)
            conns.append(conn)
        for i, conn in enumerate(conns):
            data = b""
            while len(data) < 8:
                piece = conn.recv(8)
                assert piece, local.text()[-1000:]
                data += piece
            assert data == b"%08d" % i
        assert time.monotonic() - began < 60
        assert len(gate.lines(status="Connected")) <= 1000
        wait_until(lambda: len(gate.lines(status="Connected")) == 1000, within_s=20)
    finally:
        for conn in conns:
            conn.close()
    for end in (gate, local):
        wait_until(
            lambda end=end: len(end.lines(status="Suceeded")) == 1000,  # type: ignore[misc]
            within_s=30,
        )
        assert not end.lines(status="Failed")
    wait_until(lambda: gate.descriptors() <= before[0] + 2, within_s=20)
    wait_until(lambda: local.descriptors() <= before[1] + 2, within_s=20)


class EchoLoop:
    """An echo server for many connections in one thread."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0), backlog=1024)
        self.port = int(self._listener.getsockname()[1])
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poll = select.epoll()
        conns: dict[int, socket.socket] = {}
        for sock in (self._listener, self._stopped):
            poll.register(sock, select.EPOLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._stopped.fileno():
                    for conn in conns.values():
                        conn.close()
                    self._listener.close()
                    poll.close()
                    return
                if fd == self._listener.fileno():
                    conn, _ = self._listener.accept()
                    conns[conn.fileno()] = conn
                    poll.register(conn, select.EPOLLIN)
                    continue
                conn = conns[fd]
                data = b""
                with contextlib.suppress(OSError):
                    data = conn.recv(65536)
                    conn.sendall(data)
                if not data:
                    poll.unregister(fd)
                    conns.pop(fd).close()

    def close(self) -> None:
        self._stop.send(b"x")
        self._thread.join(10)
        self._stop.close()
        self._stopped.close()


# -- restarts ---------------------------------------------------------------------------------


def restarted(starter: Program, generation: int) -> bool:
    started = len(starter.lines(msg="Start listen"))
    return started == generation and starter.text().count("Go shutdown") == generation - 1


def test_restarts_of_both_ends_by_server_starter_fail_nothing(stage: Stage) -> None:
    program = need_program("start_server")
    ports = [free_port(), free_port()]
    (stage.folder / "server.map").write_text(f"a,{LOOPBACK}:{stage.peer(echo).port}\n")
    url = f"http://{LOOPBACK}:{ports[0]}/proxy/a"
    (stage.folder / "client.map").write_text(f"{LOOPBACK}:{ports[1]},{url}\n")
    starters = []
    for name, port in zip(("server", "client"), ports, strict=True):
        starter = stage.program(
            [program, "--port", f"{LOOPBACK}:{port}", "--interval=1", "--",
             script(f"wsgate-{name}"), "--map", stage.folder / f"{name}.map"]
        )  # fmt: skip
        starter.wait_for("Start listen")
        starters.append(starter)
    load = Load(ports[1], short=2, long=4)
    try:
        for starter in starters:
            before = load.done
            starter.kill(signal.SIGHUP)
            wait_until(partial(restarted, starter, 2), within_s=30)
            wait_until(partial(has_done, load, before + 30), within_s=30)
    finally:
        load.stop()
    assert load.failures == []
    for starter in starters:
        wait_until(lambda starter=starter: "Complete shutdown" in starter.text())  # type: ignore[misc]
        assert not starter.lines(status="Failed")
        assert starter.end() == 0


def test_a_socket_of_systemd(stage: Stage) -> None:
    program = need_program("systemd-socket-activate")
    port = free_port()
    (stage.folder / "map").write_text(f"a,{LOOPBACK}:{stage.peer(echo).port}\n")
    activated = stage.program(
        [program, f"--listen={LOOPBACK}:{port}", script("wsgate-server"), "--map",
         stage.folder / "map"]
    )  # fmt: skip
    activated.wait_for("Listening on")
    local = client(stage, f"http://{LOOPBACK}:{port}/proxy/a")
    with local.connect() as conn:
        round_trip(conn, b"activated")
    assert activated.wait_for_lines(1, msg="Start listen")[0]["listener"] == f"{LOOPBACK}:{port}"
    assert activated.end() == 0


def test_a_server_that_is_killed_costs_its_tunnels_and_no_more(stage: Stage) -> None:
    gate, local = pair(stage, stage.peer(echo).port)
    with local.connect() as conn:
        round_trip(conn, b"hello")
        gate.kill(signal.SIGKILL)
        gate.process.wait(20)
        with contextlib.suppress(ConnectionResetError):
            assert conn.recv(1) == b""
    wait_until(lambda: local.lines(status="Failed"))
    with local.connect() as conn, contextlib.suppress(ConnectionError):
        assert conn.recv(1) == b""
    assert local.process.poll() is None


def test_no_secret_in_any_log(stage: Stage, tmp_path: Path) -> None:
    """Tokens of both ends, seen on the wire, are in neither log."""
    seen = bytearray()
    gate, _ = pair(stage, stage.peer(echo).port)

    def tap(conn: socket.socket) -> None:
        with socket.create_connection((LOOPBACK, gate.port), timeout=20) as there:
            request = conn.recv(65536)
            seen.extend(request)
            there.sendall(request)
            conn.sendall(there.recv(65536))
            round_trip_frames(conn, there)

    def round_trip_frames(conn: socket.socket, there: socket.socket) -> None:
        there.sendall(conn.recv(65536))
        conn.sendall(there.recv(65536))
        read_all(conn)

    url = f"http://{LOOPBACK}:{stage.peer(tap).port}/proxy/a"
    local = client(stage, url, "--private-key", str(stage.folder / "private"))
    with local.connect() as conn:
        round_trip(conn, b"hello")
    text = seen.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode()
    assert text.count(".") == 2
    bad = token(private_key("ec", 5))
    assert gate.status("/proxy/a", Authorization=f"Bearer {bad}") == 401
    wait_until(lambda: gate.lines(msg="Failed to authorize"))
    shown = gate.text() + local.text()
    for part in [*text.split("."), *bad.split(".")]:
        assert part not in shown
