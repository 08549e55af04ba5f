"""Every server, renewed again and again under short and long connections.

Each is renewed three times, with KOJUTO_GENERATIONS as often as that says.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import websockets.exceptions
import websockets.sync.client

from tests.conftest import need_program, script, wait_until
from tests.io.test_listen import restarted
from tests.peers.consul import Consul, instance
from tests.peers.consul_checker import consul
from tests.peers.deteco import ED, service
from tests.peers.gates import server as wsgate_server
from tests.peers.servers import LOOPBACK, echo, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.peers.servers import Program, Stage

    Step = Callable[[], None]
    Way = Callable[[int], AbstractContextManager[Step]]

__all__ = ["consul"]

TIMES = int(os.environ.get("KOJUTO_GENERATIONS", "3"))
pytestmark = pytest.mark.timeout(120 + 20 * TIMES)


# -- how a client of each kind uses one connection ------------------------------------------------


@contextlib.contextmanager
def tcp(port: int) -> Iterator[Step]:
    with socket.create_connection((LOOPBACK, port), 20) as conn:

        def step() -> None:
            conn.sendall(b"ping")
            got = b""
            while len(got) < 4 and (piece := conn.recv(4)):
                got += piece
            if got != b"ping":
                raise OSError(f"the answer is {got!r}")

        yield step


@contextlib.contextmanager
def tunnel(port: int) -> Iterator[Step]:
    url = f"ws://{LOOPBACK}:{port}/proxy/a"
    try:
        with websockets.sync.client.connect(url, compression=None, proxy=None) as conn:

            def step() -> None:
                conn.send(b"ping")
                got = conn.recv(20)
                if got != b"ping":
                    raise OSError(f"the answer is {got!r}")

            yield step
    except websockets.exceptions.WebSocketException as error:
        raise OSError(str(error)) from error


def asks(path: str, **headers: str) -> Way:
    @contextlib.contextmanager
    def use(port: int) -> Iterator[Step]:
        conn = http.client.HTTPConnection(LOOPBACK, port, timeout=20)

        def once() -> int:
            conn.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
            answer = conn.getresponse()
            answer.read()
            return answer.status

        def step() -> None:
            """An idle connection may be closed whenever the server likes (RFC 9112, 9.3.1)."""
            kept = conn.sock is not None
            try:
                status = once()
            except (http.client.HTTPException, OSError) as error:
                conn.close()
                if not kept:
                    raise OSError(repr(error)) from error
                status = once()
            if status != 200:
                raise OSError(f"the status is {status}")

        yield step
        conn.close()

    return use


class Load:
    """Two threads of short connections and two of long ones, until told to stop."""

    def __init__(self, port: int, way: Way) -> None:
        self.done = 0
        self.failures: list[tuple[float, str]] = []
        self.cut: list[float] = []
        """When a long connection ended, monotonic seconds."""
        self._port, self._way = port, way
        self._stop = threading.Event()
        work = [self._short, self._short, self._long, self._long]
        self._threads = [threading.Thread(target=target) for target in work]
        for thread in self._threads:
            thread.start()

    def _short(self) -> None:
        while not self._stop.wait(0.002):
            try:
                with self._way(self._port) as step:
                    step()
                self.done += 1
            except OSError as error:  # noqa: PERF203
                self.failures.append((time.monotonic(), str(error)))

    def _long(self) -> None:
        while not self._stop.is_set():
            try:
                with self._way(self._port) as step:
                    step()
                    while not self._stop.wait(0.01):
                        step()
            except OSError:  # noqa: PERF203
                self.cut.append(time.monotonic())

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


# -- the servers ----------------------------------------------------------------------------------


class Case:
    """A server's options, and how its clients use it at a port."""

    def __init__(self, stage: Stage, consul: Consul, name: str, port: int) -> None:
        self.way: Way = tcp
        self.options: list[str] = []
        folder = stage.folder
        match name:
            case "ppdp":
                upstream = stage.peer(echo).port
                self.options = ["--upstream", f"{LOOPBACK}:{upstream}"]
                self.options += ["--dump-pcap", f"{folder}/capture.pcap"]
            case "wsgate-server":
                (folder / "map").write_text(f"a,{LOOPBACK}:{stage.peer(echo).port}\n")
                self.options, self.way = ["--map", f"{folder}/map"], tunnel
            case "wsgate-client":
                gate = wsgate_server(stage, {"a": stage.peer(echo).port})
                (folder / "map").write_text(f"{LOOPBACK}:{port},{gate.url('a')}\n")
                self.options = ["--map", f"{folder}/map"]
            case "deteco":
                (folder / "deteco.toml").write_text(service("echo", [ED]))
                self.options = ["--conf", f"{folder}/deteco.toml"]
                bearer = f"Bearer {ED.token()}"
                self.way = asks("/auth", Authorization=bearer, X_Original_URI="/api/echo")
            case "consul-service-has-ip":
                consul.set("web", instance("10.0.0.1"))
                self.options = ["--consul-api-endpoint", consul.url]
                self.way = asks("/has/web/10.0.0.1")


SERVERS = ["ppdp", "wsgate-server", "wsgate-client", "deteco", "consul-service-has-ip"]


@pytest.mark.parametrize("name", SERVERS)
def test_under_start_server_no_connection_fails_or_is_cut(
    stage: Stage, consul: Consul, name: str
) -> None:
    port = free_port()
    case = Case(stage, consul, name, port)
    words = [need_program("start_server"), "--port", f"{LOOPBACK}:{port}", "--interval=1", "--"]
    program = stage.program([*words, script(name), *case.options])
    program.wait_for("Start listen")
    load = Load(port, case.way)
    try:
        for generation in range(2, TIMES + 2):
            program.kill(signal.SIGHUP)
            wait_until(lambda: restarted(program, generation), what=program.text)  # noqa: B023
            before = load.done  # from here on only the new generation accepts
            wait_until(lambda: load.done > before + 20)  # noqa: B023
    finally:
        load.stop()
    assert load.failures == []
    assert load.cut == []
    wait_until(lambda: program.text().count("Complete shutdown") == TIMES)
    assert program.end() == 0
    captures = sorted(stage.folder.glob("capture.pcap*"))
    assert len(captures) == (TIMES + 1 if name == "ppdp" else 0)
    for path in captures:  # of each generation, and none was cut by the next
        data = path.read_bytes()
        assert data[:4] in (b"\xd4\xc3\xb2\xa1", b"M<\xb2\xa1", b"\n\r\r\n")
        assert b"ping" in data
        assert path.stat().st_mode & 0o777 == 0o600


@contextlib.contextmanager
def held(
    stage: Stage, consul: Consul, name: str
) -> Iterator[tuple[Case, int, Callable[[], Program]]]:
    """A socket that outlives the server, its port, and what starts the server on it."""
    with socket.create_server((LOOPBACK, 0), backlog=1024) as sock:
        port, fd = sock.getsockname()[1], sock.fileno()
        case = Case(stage, consul, name, port)
        shell = f'exec 3<&{fd}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@"'
        command = ["bash", "-c", shell, script(name), *case.options, "--shutdown-timeout", "1s"]

        def started() -> Program:
            program = stage.program(command, pass_fds=[fd])
            program.wait_for("Start listen")
            return program

        yield case, port, started


@pytest.mark.parametrize("name", SERVERS)
def test_under_systemds_socket_none_is_refused_and_long_ones_have_their_time(
    stage: Stage, consul: Consul, name: str
) -> None:
    """A restart as systemd does it: the old process ends, the socket stays, the next one has it."""
    with held(stage, consul, name) as (case, port, started):
        program = started()
        load = Load(port, case.way)
        stops: list[float] = []
        try:
            for _ in range(TIMES):
                before = load.done
                wait_until(lambda: load.done > before + 20)  # noqa: B023
                stops.append(time.monotonic())
                assert program.end(within_s=30) == 0, program.text()
                program = started()
            before = load.done
            wait_until(lambda: load.done > before + 20)
        finally:
            load.stop()
        assert program.end() == 0
    assert load.failures == []
    for cut in load.cut:
        since = cut - max(stop for stop in stops if stop <= cut)
        assert since > 0.99, "before its time-out"
    assert len(load.cut) == (0 if case.way not in (tcp, tunnel) else 2 * TIMES)


@pytest.mark.parametrize("name", SERVERS)
def test_one_that_is_killed_costs_what_was_open_and_the_next_one_serves(
    stage: Stage, consul: Consul, name: str
) -> None:
    """What a crash leaves behind (files, sockets, addresses) stops no next start."""
    with held(stage, consul, name) as (case, port, started):
        program = started()
        load = Load(port, case.way)
        begun: list[float] = []
        try:
            for _ in range(TIMES):
                before = load.done
                wait_until(lambda: load.done > before + 20)  # noqa: B023
                program.kill(signal.SIGKILL)
                assert program.process.wait(20) == -signal.SIGKILL
                program = started()
                begun.append(time.monotonic())
            before = load.done
            wait_until(lambda: load.done > before + 20)
        finally:
            load.stop()
        assert program.end() == 0
    failed = [since for since, _ in load.failures]
    assert len(failed) <= 2 * TIMES, "no more than what two threads had open"
    assert all(since < begun[-1] for since in failed), "after the last death nothing fails"


@pytest.mark.parametrize("name", SERVERS)
def test_system_calls_that_are_interrupted_cost_nothing(
    stage: Stage, consul: Consul, name: str
) -> None:
    """Stopped and continued, a process finds its waits interrupted (signal(7)): EINTR."""
    with held(stage, consul, name) as (case, port, started):
        program = started()
        load = Load(port, case.way)
        try:
            for _ in range(20):
                before = load.done
                program.kill(signal.SIGSTOP)
                stat = Path(f"/proc/{program.pid}/stat")
                wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")  # noqa: B023
                program.kill(signal.SIGCONT)
                wait_until(lambda: load.done > before + 2)  # noqa: B023
        finally:
            load.stop()
        assert program.end() == 0
    assert load.failures == []
    assert load.cut == []
