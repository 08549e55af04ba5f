"""``deteco`` as a server: reload, the end, sockets that others open, limits on clients."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

from tests.conftest import run, script, wait_until
from tests.peers.deteco import ED, Pair, ask_on, service, start
from tests.peers.servers import LOOPBACK, READ_BY_CAT, Program, read_all, unread

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage


def test_a_reload_under_load_drops_no_request_and_forgets_all_tokens(stage: Stage) -> None:
    first, second = Pair(), Pair(number=1)
    deteco = start(stage, service("echo", [first, second]))
    stop = threading.Event()
    statuses: dict[str, set[int]] = {"both": set(), "first": set()}
    asked = [0]

    def load(name: str, token: str) -> None:
        conn = deteco.connect()
        while not stop.is_set():
            statuses[name].add(ask_on(conn, token).status)
            asked[0] += 1
        conn.close()

    tokens = [("both", second.token()), ("first", first.token())] * 2
    threads = [threading.Thread(target=load, args=pair) for pair in tokens]
    for thread in threads:
        thread.start()
    try:
        for at in range(6):
            text = service("echo", [second] if at % 2 == 0 else [first, second])
            deteco.conf.write_text(text)
            deteco.kill(signal.SIGHUP)
            wait_until(lambda at=at: len(deteco.lines(msg="Reloaded")) == at + 1, what="reload")  # type: ignore[misc]
            wanted = 401 if at % 2 == 0 else 200
            assert deteco.status(first.token(jti=str(at))) == wanted
            assert deteco.status(tokens[1][1]) == wanted  # was known under the configuration before
        already = asked[0]
        wait_until(lambda: asked[0] > already + 100, what="requests go on")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert statuses == {"both": {200}, "first": {200, 401}}


def test_a_broken_file_at_a_reload_keeps_the_last_configuration(stage: Stage) -> None:
    deteco = start(stage, service("echo", [ED]))
    token = ED.token()
    assert deteco.status(token) == 200
    deteco.conf.write_text(service("echo", [ED]) + "[[services]]\nid = 'broken'\n")
    deteco.kill(signal.SIGHUP)
    warning = deteco.wait_for_line(level="warn")
    assert "service broken: public_keys" in warning["error"]
    assert deteco.status(token) == 200
    assert deteco.status(ED.token(jti="new")) == 200
    deteco.conf.unlink()
    deteco.kill(signal.SIGHUP)
    wait_until(lambda: len(deteco.lines(level="warn")) == 2, what="a second warning")
    assert deteco.status(token) == 200
    assert deteco.end() == 0


def test_sigterm_finishes_requests_and_ends_with_0(stage: Stage) -> None:
    deteco = start(stage, service("echo", [ED]))
    with socket.create_connection((LOOPBACK, deteco.port), timeout=20) as half:
        half.sendall(b"GET /live HTTP/1.1\r\nHost: h\r\n")
        idle = deteco.connect()
        assert ask_on(idle, ED.token()).status == 200
        time.sleep(0.05)
        deteco.kill()
        assert idle.sock is not None
        assert idle.sock.recv(1) == b""  # closed at once
        idle.close()
        half.sendall(b"\r\n")
        said = read_all(half)
        assert said.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in said
    assert deteco.process.wait(20) == 0
    assert deteco.wait_for_lines(1, msg="Complete shutdown")


def test_a_flood_of_accesses_leaves_room_in_the_log(stage: Stage) -> None:
    """While nobody reads the log; what is refused is told all the same."""
    deteco = start(stage, service("echo", [ED]), prefix=READ_BY_CAT)
    conn, token = deteco.connect(), ED.token()
    with unread(deteco):
        for _ in range(3000):  # 12 MB, of which 8 MiB may wait
            assert ask_on(conn, token, "/api/echo/" + "a" * 4000).status == 200
        assert ask_on(conn, token, "/elsewhere").status == 403
    conn.close()
    deteco.wait_for("log lines dropped")
    assert len(deteco.wait_for_lines(1, msg="Not allowed access")) == 1
    assert deteco.lines(msg="Authorized")


def test_a_client_that_says_nothing_does_not_hold_a_server_that_ends(stage: Stage) -> None:
    """A first request may be on its way; after a second it is not."""
    deteco = start(stage, service("echo", [ED]), "--shutdown-timeout=10s")
    with socket.create_connection((LOOPBACK, deteco.port), timeout=20) as silent:
        assert deteco.status(ED.token()) == 200
        deteco.kill()
        assert silent.recv(1) == b""
    assert deteco.process.wait(20) == 0
    assert deteco.lines(msg="Complete shutdown")


def test_slow_clients_are_cut_and_large_headers_refused(stage: Stage) -> None:
    deteco = start(stage, service("echo", [ED]), "--header-timeout=500ms", "--idle-timeout=500ms")
    with socket.create_connection((LOOPBACK, deteco.port), timeout=20) as conn:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            conn.settimeout(0.1)
            while time.monotonic() < began + 10:
                conn.sendall(b"a")
                with contextlib.suppress(TimeoutError):
                    assert conn.recv(100) == b""
                    break
        assert 0.4 < time.monotonic() - began < 9
    huge = b"GET /auth HTTP/1.1\r\nX: " + b"a" * 300_000 + b"\r\n\r\n"
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        assert deteco.raw(huge).startswith(b"HTTP/1.1 431 ")
    post = b"POST /auth HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"
    assert deteco.raw(post).startswith(b"HTTP/1.1 401 ")
    assert deteco.status(ED.token()) == 200


def test_it_survives_running_out_of_descriptors(stage: Stage) -> None:
    import resource

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    deteco = start(stage, service("echo", [ED]), preexec=few)
    conns = [socket.create_connection((LOOPBACK, deteco.port), timeout=20) for _ in range(80)]
    deteco.wait_for("accepting is paused")
    for conn in conns:
        conn.close()
    deteco.wait_for("accepting again")
    assert deteco.status(ED.token()) == 200
    (told,) = deteco.wait_for_lines(1, msg="accepting is paused")
    assert told["error"] == "Too many open files"


def test_at_the_most_connections_the_log_is_told_twice_and_not_for_each(stage: Stage) -> None:
    """Once that there are so many, and once that there has been room for a second."""
    deteco = start(stage, service("echo", [ED]), "--max-connections=1")
    ask = b"GET /auth HTTP/1.1\r\nConnection: close\r\n\r\n"
    for round_ in (1, 2):
        conns = [socket.create_connection((LOOPBACK, deteco.port), timeout=20) for _ in range(50)]
        for conn in conns:
            conn.sendall(ask)
        for conn in conns:
            assert read_all(conn).startswith(b"HTTP/1.1 401 ")
            conn.close()
        deteco.wait_for_lines(round_, msg="accepting again")
        for text in ("accepting is paused", "accepting again"):  # a machine may stand still
            assert round_ <= len(deteco.lines(msg=text)) <= round_ + 3


def test_sockets_from_server_starter_and_systemd(stage: Stage) -> None:
    conf = stage.folder / "deteco.toml"
    conf.write_text(service("echo", [ED]))
    for kind in ("starter", "systemd"):
        with socket.create_server((LOOPBACK, 0)) as sock:
            port, fd = sock.getsockname()[1], sock.fileno()
            if kind == "starter":
                env = {"SERVER_STARTER_PORT": f"{LOOPBACK}:{port}={fd}"}
                command: list[str | Path] = [script("deteco"), "--conf", conf]
                program = stage.program(command, env=env, pass_fds=[fd])
            else:
                # The shell's own pid is the program's after exec; descriptor 3 is the first.
                text = f'exec 3<&{fd}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@"'
                command = ["bash", "-c", text, script("deteco"), "--conf", conf]
                program = stage.program(command, pass_fds=[fd])
            program.wait_for("Start listen")
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/live", timeout=20) as answer:
                assert answer.read() == b"OK\n"
            assert program.end() == 0


def test_a_taken_address_is_one_line(tmp_path: Path) -> None:
    conf = tmp_path / "deteco.toml"
    conf.write_text(service("echo", [ED]))
    with socket.create_server((LOOPBACK, 0)) as sock:
        where = f"{LOOPBACK}:{sock.getsockname()[1]}"
        done = run("deteco", "--conf", conf, "--listen", where)
    assert done.returncode == 1
    assert f"cannot listen on {where}".encode() in done.stderr


def test_it_is_restarted_by_server_starter_without_losing_a_request(stage: Stage) -> None:
    """A second process takes over the socket while clients that reconnect go on asking."""
    conf = stage.folder / "deteco.toml"
    conf.write_text(service("echo", [ED]))
    token = ED.token()
    with socket.create_server((LOOPBACK, 0), backlog=1024) as sock:
        port, fd = sock.getsockname()[1], sock.fileno()

        def launch() -> Program:
            env = {"SERVER_STARTER_PORT": f"{LOOPBACK}:{port}={fd}"}
            program = stage.program([script("deteco"), "--conf", conf], env=env, pass_fds=[fd])
            program.wait_for("Start listen")
            return program

        old = launch()
        stop = threading.Event()
        done: list[int] = []

        def load() -> None:
            while not stop.is_set():
                request = urllib.request.Request(
                    f"http://{LOOPBACK}:{port}/auth",
                    headers={"Authorization": f"Bearer {token}", "X-Original-URI": "/api/echo"},
                )
                with urllib.request.urlopen(request, timeout=20) as answer:
                    done.append(answer.status)

        errors: list[BaseException] = []

        def guarded() -> None:
            try:
                load()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=guarded) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                new = launch()
                assert old.end() == 0
                old = new
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not errors
        assert len(done) > 20
        assert set(done) == {200}
        assert old.end() == 0
