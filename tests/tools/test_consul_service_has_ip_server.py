"""consul-service-has-ip: its life as a server: restarts, the end, slow clients."""

from __future__ import annotations

import resource
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from tests.conftest import need_program, script, wait_until
from tests.peers.consul import Consul, instance
from tests.peers.consul_checker import NAME, checker, consul, get
from tests.peers.servers import LOOPBACK, free_port, read_all

if TYPE_CHECKING:
    from tests.peers.servers import Stage

__all__ = ["consul"]


def test_start_server_restarts_it_under_load(stage: Stage, consul: Consul) -> None:
    starter = need_program("start_server")
    consul.set("web", instance("10.0.0.1"))
    port, logs = free_port(), stage.folder / "logs"
    command = [starter, "--port", f"{LOOPBACK}:{port}", "--interval", "1", "--", script(NAME)]
    options = ["--consul-api-endpoint", consul.url, "--access-log-dir", str(logs)]
    program = stage.program([*command, *options, "--service", "web"])
    program.wait_for("Members")
    stop, results, broken = threading.Event(), [0], []

    def load() -> None:
        while not stop.is_set():
            try:
                reply = get(port, "/has/web/10.0.0.1")
                assert (reply.status, reply.body) == (200, b'{"error":0}\n')
                results[0] += 1
            except Exception as error:  # noqa: PERF203
                broken.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for ended in (1, 2):
            program.kill(signal.SIGHUP)
            program.wait_for_lines(ended, msg="Complete shutdown")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not broken
    assert results[0] > 100
    assert program.end() == 0
    # Each generation waited for the files of the one before; no line is lost.
    lines = b"".join(p.read_bytes() for p in logs.glob("access_log.*")).splitlines()
    assert len(lines) == sum(b'"uri":"/has/web/10.0.0.1",' in line for line in lines)
    assert len(lines) == results[0]


def test_clients_leave_descriptors_for_the_way_to_consul(stage: Stage, consul: Consul) -> None:
    """However many come at a time, each is told what Consul says."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    for number in range(20):
        consul.set(f"web{number}", instance("10.0.0.1"))
    gate = checker(stage, consul, preexec=limit)
    conns = [socket.create_connection((LOOPBACK, gate.port), timeout=30) for _ in range(200)]
    for number, conn in enumerate(conns):
        line = f"GET /has/web{number % 20}/10.0.0.1 HTTP/1.1\r\n"
        conn.sendall(f"{line}Host: x\r\nConnection: close\r\n\r\n".encode())
    for conn in conns:
        assert read_all(conn).startswith(b"HTTP/1.1 200 ")
        conn.close()


def test_a_repeated_sigterm_costs_no_line(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    folder = stage.folder / "logs"
    holder = checker(stage, consul, "--access-log-dir", folder)
    holder.get("/has/web/1")
    # The second one has to wait for the files, so its end takes a while.
    server = checker(stage, consul, "--access-log-dir", folder)
    for number in range(50):
        server.get(f"/has/web/{number}")
    server.kill()
    wait_until(lambda: server.lines(msg="Complete shutdown"))
    for _ in range(20):
        server.kill()
        time.sleep(0.02)
    assert holder.end() == 0
    assert server.process.wait(20) == 0
    assert len((folder / "current").read_text().splitlines()) == 51


def test_systemd_hands_the_socket_down(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    with socket.create_server((LOOPBACK, 0)) as sock:
        port = sock.getsockname()[1]
        shell = f'exec 3<&{sock.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        command = ["bash", "-c", shell, "bash", script(NAME), "--consul-api-endpoint", consul.url]
        program = stage.program(command, pass_fds=[sock.fileno()])
        program.wait_for("Start listen")
    assert get(port, "/has/web/10.0.0.1").status == 200
    assert program.end() == 0


def test_sigterm_lets_an_open_question_end(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    consul.delay_s = 1.0
    server = checker(stage, consul)
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(server.status("/has/web/10.0.0.1")))
    asking.start()
    wait_until(lambda: consul.asked)
    assert server.end() == 0
    asking.join()
    assert found == [200]
    wait_until(lambda: server.lines(msg="Complete shutdown"))


def test_slow_clients_and_large_requests_are_cut(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    server = checker(stage, consul, "--read-timeout", "500ms")
    with socket.create_connection((LOOPBACK, server.port), 10) as slow:
        slow.sendall(b"GET /has/web/10.0.0.1 HTTP/1.1\r\n")
        began = time.monotonic()
        assert b" 200 " not in read_all(slow)
        assert time.monotonic() - began < 5
    assert server.status("/has/web/10.0.0.1", Cookie="x" * 70_000) == 431
    with socket.create_connection((LOOPBACK, server.port), 10) as large:
        head = b"GET /has/new/1.2.3.4 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        large.sendall(head)
        assert large.recv(100).startswith(b"HTTP/1.1 404 "), "a body is not waited for"
    assert server.status("/has/web/10.0.0.1") == 200
