"""Sockets from Server::Starter and systemd, and restarts that fail no connection."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from kojuto.common.server import listen
from kojuto.errors import KojutoError
from tests.conftest import need_program, run, script, wait_until
from tests.peers.network import Namespace, namespace
from tests.peers.servers import LOOPBACK, accepts, echo, free_port, read_exactly
from tests.sandbox import as_user, no_ipv6

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Program, Stage


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        (":80", ("", 80)),
        ("80", ("", 80)),
        ("db.example.com:3306", ("db.example.com", 3306)),
        ("db.example.com:https", ("db.example.com", 443)),
        ("db.example.com.:80", ("db.example.com.", 80)),
        (f"{'x' * 63}.ü:80", (f"{'x' * 63}.ü", 80)),
        ("[::1]:https", ("::1", 443)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert listen.split_address(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no port"),
        ("a", "no port"),
        ("a:", "no port"),
        ("[::1]", "no port"),
        ("[::1]:", "no port"),
        ("a..b:80", "not a host name"),
        (".b:80", "not a host name"),
        ("b..:80", "not a host name"),
        (f"{'x' * 64}.b:80", "not a host name"),
        (f"{'ü' * 60}.b:80", "not a host name"),  # longer as it is asked for
        ("a:x", "the port is no number from 0 to 65535"),
        ("a:65536", "the port is no number from 0 to 65535"),
        ("a:-1", "the port is no number from 0 to 65535"),
        ("²:²", "the port is no number from 0 to 65535"),
        ("::1:80", "an IPv6 address needs brackets"),
        ("[::1", "an IPv6 address needs brackets"),
    ],
)
def test_what_is_no_address(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}"):
        listen.split_address(text)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])  # as Go has it
def test_all_addresses_are_those_of_both_families(host: str) -> None:
    with listen.bind(host, 0) as sock:
        port = sock.getsockname()[1]
        assert accepts(port)
        assert accepts(port, "::1")


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", LOOPBACK)])
def test_one_address_is_one_family(host: str, other: str) -> None:
    with listen.bind(host, 0) as sock:
        port = sock.getsockname()[1]
        assert accepts(port, host)
        assert not accepts(port, other)


def test_a_peer_on_ipv4_is_shown_so() -> None:
    assert listen.peer_text(("::ffff:192.0.2.1", 80, 0, 0)) == "192.0.2.1:80"
    assert listen.peer_text(("192.0.2.1", 80)) == "192.0.2.1:80"
    assert listen.peer_text(("::ffff:0:1", 80, 0, 0)) == "[::ffff:0:1]:80"
    assert listen.peer_text(("2001:db8::1", 80, 0, 0)) == "[2001:db8::1]:80"
    assert listen.peer_text("") == "unix:"


def families(space: Namespace, command: list[str], port: int, stage: Stage) -> str:
    """Which families get an answer within a namespace."""
    program = stage.program(space.command(*command))
    program.wait_for("Start listen")
    text = space.python(
        "import socket\n"
        "for host in ('127.0.0.1', '::1'):\n"
        f"    try: print(bool(socket.create_connection((host, {port}), 5)), end=' ')\n"
        "    except ConnectionResetError: print(True, end=' ')\n"  # there is no upstream
        "    except OSError: print(False, end=' ')"
    )
    assert program.end() == 0
    return text.strip()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", ""])
def test_every_server_falls_back_to_ipv4(stage: Stage, host: str) -> None:
    (stage.folder / "map").write_text(f"{host}:4003,http://127.0.0.1:1/proxy/a\n")
    (stage.folder / "gate").write_text("a,127.0.0.1:1\n")
    servers = [
        (4001, ["ppdp", "-l", f"{host}:4001", "--upstream", "127.0.0.1:1"]),
        (
            4002,
            [
                "consul-service-has-ip",
                f"--listen={host.strip('[]') or '::'}",
                "--port=4002",
                "--consul-api-endpoint=127.0.0.1:1",
            ],
        ),
        (4003, ["wsgate-client", "--map", f"{stage.folder}/map"]),
        (4004, ["wsgate-server", "--listen", f"{host}:4004", "--map", f"{stage.folder}/gate"]),
    ]
    with namespace() as space:
        for off in (False, True):
            if off:
                space.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
            for port, (name, *options) in servers:
                found = families(space, [script(name), *options], port, stage)
                assert found == ("True False" if off else "True True"), name


def test_a_kernel_without_ipv6(stage: Stage) -> None:
    """There the family itself is refused (EAFNOSUPPORT)."""
    port = free_port()
    command = [script("ppdp"), "-l", f"[::]:{port}", "--upstream", "127.0.0.1:1"]
    ppdp = stage.program([*command, f"--proxy-protocol=require@[::]:{port}"], preexec=no_ipv6())
    ppdp.wait_for_port(port)
    assert ppdp.wait_for_line(msg="Start listen")["listener"] == f"0.0.0.0:{port}"


def test_the_same_listener_twice_is_said(stage: Stage) -> None:
    port = free_port()
    for one, other in (("0.0.0.0", "[::]"), ("[::]", ""), ("127.0.0.1", "127.0.0.1")):
        done = run("ppdp", "-l", f"{one}:{port}", "-l", f"{other}:{port}", "--upstream", "a:1")
        assert done.returncode == 2
        assert "are the same listener" in done.stderr.decode()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", ""])
def test_an_ipv4_client_of_all_addresses_stays_one(stage: Stage, host: str) -> None:
    """In the log, in the header for the upstream, and for the list of who is believed."""
    heads: list[bytes] = []

    def note(conn: socket.socket) -> None:
        heads.append(conn.recv(4096))
        conn.sendall(b"x")

    port = free_port()
    command = [script("ppdp"), "-l", f"{host}:{port}", "-l", f"{LOOPBACK}:{free_port()}"]
    options = [f"--proxy-protocol=require@{host}:{port}", "--trusted-proxies", "127.0.0.1/32"]
    to = f"{LOOPBACK}:{stage.peer(note).port}"
    ppdp = stage.program([*command, "--upstream", to, *options, "--send-proxy", "v1"])
    ppdp.wait_for_lines(2, msg="Start listen")
    with socket.create_connection((LOOPBACK, port), timeout=20) as conn:
        conn.sendall(b"PROXY UNKNOWN\r\nhello")
        assert conn.recv(1) == b"x"
        own = conn.getsockname()[1]
    assert heads == [f"PROXY TCP4 {LOOPBACK} {LOOPBACK} {own} {port}\r\nhello".encode()]
    line = ppdp.wait_for_line(status="Suceeded")
    assert line["remote-addr"] == f"{LOOPBACK}:{own}"


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


@pytest.mark.parametrize(
    ("count", "message"),
    [
        ("two", "LISTEN_FDS=two: not a number of sockets"),
        ("1", "LISTEN_FDS: descriptor 3 is not a socket: "),
    ],
)
def test_wrong_variables_of_systemd_are_named(count: str, message: str) -> None:
    """A shell sets them and becomes the program: the process keeps its number."""
    command = f"LISTEN_PID=$$ LISTEN_FDS={count} exec {script('ppdp')} --upstream 127.0.0.1:1"
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec 3</dev/null; {command}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"ppdp: error: {message}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make itself another user")
def test_a_port_for_root_is_named_with_what_it_needs() -> None:
    done = subprocess.run(
        [*as_user(4_321_000), script("ppdp"), "--listen", ":1", "--upstream", "127.0.0.1:1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "ppdp: error: cannot listen on *:1: Permission denied",
        "hint: ports below 1024 need root or CAP_NET_BIND_SERVICE",
    ]


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
