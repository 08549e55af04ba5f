"""Sockets from Server::Starter and systemd, and restarts that fail no connection."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from kojuto.common import listen
from kojuto.errors import KojutoError
from tests.conftest import need_program, run, script, wait_until
from tests.servers import LOOPBACK, accepts, echo, free_port, read_exactly

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Program, Stage


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        (":80", ("", 80)),
        ("80", ("", 80)),
        ("db.example.com:3306", ("db.example.com", 3306)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert listen.split_address(text) == expected


@pytest.mark.parametrize("text", ["", "::1:80", "a:", "a:x", "a:65536", "[::1]", "a:-1", "²:²"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"write HOST:PORT|brackets"):
        listen.split_address(text)


def test_an_empty_host_accepts_both_families() -> None:
    with listen.bind("", 0) as sock:
        port = sock.getsockname()[1]
        assert accepts(port)
        assert accepts(port, "::1")


@pytest.mark.parametrize("value", ["nonsense", "80", "127.0.0.1:80=x", "127.0.0.1:80=99"])
def test_a_wrong_variable_of_server_starter_is_named(value: str) -> None:
    done = run("ppdp", "--upstream", "127.0.0.1:1", env={"SERVER_STARTER_PORT": value})
    assert done.returncode == 1
    error, hint = done.stderr.decode().splitlines()
    assert "SERVER_STARTER_PORT" in error
    assert hint.startswith("hint: ")


def test_inherited_sockets_of_all_kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every stream socket is used, a UDP one is left alone, and the variable is gone."""
    tcp = socket.create_server((LOOPBACK, 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "a=b.sock"))
    unix.listen()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    entries = [f"127.0.0.1:80={tcp.fileno()}", f"{tmp_path}/a=b.sock={unix.fileno()}"]
    monkeypatch.setenv("SERVER_STARTER_PORT", ";".join([*entries, f"u53={udp.fileno()}"]))
    found = listen.inherited()
    assert [sock.fileno() for sock in found] == [tcp.fileno(), unix.fileno()]
    assert not any(os.get_inheritable(sock.fileno()) for sock in found)
    assert "SERVER_STARTER_PORT" not in os.environ
    assert listen.name_of(found[1]) == f"unix:{tmp_path}/a=b.sock"
    for sock in found:
        sock.detach()
    client = socket.create_connection(tcp.getsockname())
    monkeypatch.setenv("SERVER_STARTER_PORT", f"x={client.detach()}")
    with pytest.raises(KojutoError, match="does not listen"):
        listen.inherited()
    for sock in (tcp, unix, udp):
        sock.close()


def test_systemd_variables_for_another_process_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert listen.inherited() == []
    assert "LISTEN_FDS" not in os.environ


def test_a_socket_of_systemd_socket_activate(stage: Stage) -> None:
    program = need_program("systemd-socket-activate")
    port, upstream = free_port(), stage.peer(echo)
    activated = stage.program(
        [program, f"--listen=127.0.0.1:{port}", script("ppdp"), "--upstream",
         f"127.0.0.1:{upstream.port}"]
    )  # fmt: skip
    activated.wait_for("Listening on")
    with socket.create_connection((LOOPBACK, port), timeout=20) as conn:
        conn.sendall(b"activated")
        assert read_exactly(conn, 9) == b"activated"
    activated.wait_for("Start listen")
    assert activated.wait_for_lines(1, msg="Start listen")[0]["listener"] == f"127.0.0.1:{port}"
    assert activated.end() == 0


def test_ready_is_told_to_systemd(stage: Stage) -> None:
    path = str(stage.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(path)
        told.settimeout(20)
        ppdp = stage.ppdp(stage.peer(echo).port, env={"NOTIFY_SOCKET": path})
        assert told.recv(100) == b"READY=1"
        assert ppdp.end() == 0
        assert told.recv(100) == b"STOPPING=1"


class Load:
    """Short connections one after the other, and some long ones, until told to stop."""

    def __init__(self, port: int, short: int = 3, long: int = 6) -> None:
        self.port = port
        self.done = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        work = [self._short] * short + [self._long] * long
        self._threads = [threading.Thread(target=target) for target in work]
        for thread in self._threads:
            thread.start()

    def _short(self) -> None:
        while not self._stop.is_set():
            try:
                with socket.create_connection((LOOPBACK, self.port), timeout=20) as conn:
                    conn.sendall(b"ping")
                    if conn.recv(4) != b"ping":
                        raise OSError("no answer")
                self.done += 1
            except OSError as error:
                self.failures.append(f"short: {error}")
            time.sleep(0.001)

    def _long(self) -> None:
        """One connection from the beginning to the end of the load."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=20) as conn:
                while not self._stop.wait(0.01):
                    conn.sendall(b"x" * 1000)
                    if read_exactly(conn, 1000) != b"x" * 1000:
                        raise OSError("garbled")
        except (OSError, AssertionError) as error:
            self.failures.append(f"long: {error}")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def restarted(starter: Program, generation: int) -> bool:
    """Whether this generation serves and the one before it was told to end."""
    started = len(starter.lines(msg="Start listen"))
    return started == generation and starter.text().count("Go shutdown") == generation - 1


def has_done(load: Load, count: int) -> bool:
    return load.done > count


def test_restarts_by_server_starter_fail_no_connection_and_cut_none(stage: Stage) -> None:
    program = need_program("start_server")
    port, upstream = free_port(), stage.peer(echo)
    starter = stage.program(
        [program, "--port", f"127.0.0.1:{port}", "--interval=1", "--", script("ppdp"),
         "--upstream", f"127.0.0.1:{upstream.port}"]
    )  # fmt: skip
    starter.wait_for("Start listen")
    load = Load(port)
    try:
        for generation in (2, 3):
            before = load.done
            starter.kill(signal.SIGHUP)
            wait_until(partial(restarted, starter, generation), within_s=20)
            wait_until(partial(has_done, load, before + 50), within_s=30)
    finally:
        load.stop()
    assert load.failures == []
    # The old generations end with their last connection.
    wait_until(lambda: starter.text().count("Complete shutdown") == 2)
    assert not starter.lines(status="Failed")
    assert starter.end() == 0


def test_a_restart_without_a_supervisor_serves_what_was_queued(stage: Stage) -> None:
    """Connections that the kernel has accepted when SIGTERM comes are not lost."""
    ppdp = stage.ppdp(stage.peer(echo).port, "--max-connections", "1")
    assert ppdp.end() == 0
    slow = stage.ppdp(stage.peer(echo).port)
    slow.kill(signal.SIGSTOP)
    conns = [slow.connect() for _ in range(20)]
    slow.kill(signal.SIGTERM)
    slow.kill(signal.SIGCONT)
    for conn in conns:
        with conn:
            conn.sendall(b"queued")
            assert read_exactly(conn, 6) == b"queued"
    assert slow.process.wait(20) == 0, slow.text()
