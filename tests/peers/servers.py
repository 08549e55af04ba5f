"""Real processes and small peers that the server tests start and stop themselves."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import script, wait_until
from tests.machine import free_port as free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

LOOPBACK = "127.0.0.1"
END_WITHIN_S = float(os.environ.get("KOJUTO_TESTS_END_WITHIN_S", "0"))
"""How long a program may take to end by itself before it is killed; tests/coverage sets it."""
Address = tuple[str, int]


def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


class Program:
    """A process in a session of its own, its output in a file; all of the session's processes
    end with the test: a supervisor's workers, too.

    Args:
        command: to run, or the name of an installed kojuto command with its arguments.
        folder: where its output goes.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        preexec: Callable[[], None] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.output = folder / f"output-{time.monotonic_ns()}"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                list(map(str, command)),
                stdin=stdin,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                pass_fds=pass_fds,
                preexec_fn=preexec,  # noqa: PLW1509
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        """The JSON log lines whose fields have these values."""
        found = []
        for line in self.text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                entry = json.loads(line)
                if all(entry.get(key.replace("_", "-")) == v for key, v in fields.items()):
                    found.append(entry)
        return found

    def wait_for_lines(
        self, count: int, within_s: float = 30, **fields: Any
    ) -> list[dict[str, Any]]:
        """The log lines with these values, once there are that many: the log comes later than
        what it tells of.
        """

        def there() -> bool:
            ended = self.process.poll() is not None
            enough = len(self.lines(**fields)) >= count
            assert enough or not ended, f"ended without {count} x {fields}: {self.text()}"
            return enough

        wait_until(there, within_s=within_s, what=lambda: f"{count} x {fields} in {self.text()}")
        return self.lines(**fields)

    def wait_for_line(self, within_s: float = 30, **fields: Any) -> dict[str, Any]:
        """The only log line with these values, once it is there."""
        (line,) = self.wait_for_lines(1, within_s, **fields)
        return line

    def wait_for(self, text: str, within_s: float = 30) -> None:
        def there() -> bool:
            assert self.process.poll() is None or text in self.text(), self.text()
            return text in self.text()

        wait_until(there, within_s=within_s, what=lambda: f"{text!r} in {self.text()[-2000:]}")

    def wait_for_port(self, port: int, within_s: float = 30, host: str = LOOPBACK) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.text()
            return accepts(port, host)

        wait_until(there, within_s=within_s, what=f"port {port} of {self.process.args!r}")

    def kill(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM, within_s: float = 20) -> int:
        """Send a signal and return the exit status."""
        self.kill(number)
        return self.process.wait(within_s)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self) -> int:
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        """Kill it and its process group; after a time to end by itself, if somebody measures: what
        is killed writes no figures.
        """
        with contextlib.suppress(ProcessLookupError):
            if END_WITHIN_S and self.process.poll() is None:
                os.killpg(self.pid, signal.SIGTERM)
                os.killpg(self.pid, signal.SIGCONT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(END_WITHIN_S)
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(20)


class Ppdp(Program):
    """`ppdp` on a free port of 127.0.0.1."""

    def __init__(
        self,
        folder: Path,
        upstream: int | str,
        *options: str,
        prefix: Sequence[str] = (),
        **keywords: Any,
    ) -> None:
        self.port = free_port()
        to = f"{LOOPBACK}:{upstream}" if isinstance(upstream, int) else upstream
        command = [script("ppdp"), "-l", f"{LOOPBACK}:{self.port}", "--upstream", to, *options]
        super().__init__([*prefix, *command], folder, **keywords)
        self.wait_for("Start listen")

    def connect(self, timeout_s: float = 20) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.port), timeout=timeout_s)


READ_BY_CAT = ("bash", "-c", 'exec "$@" 2> >(exec cat)', "-")
"""Put before a command, its standard error is read by a process that `unread` can stop."""


@contextlib.contextmanager
def unread(program: Program) -> Iterator[None]:
    """Nobody reads the standard error of a program that was started with `READ_BY_CAT`."""
    with open(f"/proc/{program.pid}/task/{program.pid}/children", encoding="ascii") as file:
        (reader,) = map(int, file.read().split())
    os.kill(reader, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(reader, signal.SIGCONT)


class Peer:
    """A TCP server whose every connection is handled by a function in a thread."""

    def __init__(
        self,
        handle: Callable[[socket.socket], None],
        host: str = LOOPBACK,
        port: int = 0,
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.create_server((host, port), family=family, backlog=1024)
        self.port = int(self.sock.getsockname()[1])
        self.accepted = 0
        self._handle = handle
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            conn.settimeout(30)
            self._open.add(conn)
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn: socket.socket) -> None:
        with contextlib.suppress(OSError), conn:
            self._handle(conn)
        self._open.discard(conn)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self._thread.join(5)
        for conn in list(self._open):
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)


def echo(conn: socket.socket) -> None:
    """Answer what comes, to its end."""
    while data := conn.recv(1 << 16):
        conn.sendall(data)


def read_all(conn: socket.socket) -> bytes:
    """Everything until the peer ends its stream."""
    data = bytearray()
    while piece := conn.recv(1 << 16):
        data += piece
    return bytes(data)


def read_exactly(conn: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = conn.recv(count - len(data))
        assert piece, f"the stream ended after {len(data)} of {count} bytes"
        data += piece
    return bytes(data)


def each_is_answered(conns: Iterable[socket.socket], word: bytes) -> None:
    """Have each connection answered by `word`, in whatever order, and close it."""
    waiting = set(conns)
    while waiting:
        answered = select.select(waiting, [], [], 30)[0]
        assert answered, f"{len(waiting)} got no answer"
        for conn in answered:
            assert read_exactly(conn, len(word)) == word
            conn.close()
            waiting.remove(conn)


def allow_descriptors(count: int) -> int:
    """Let this process and those it starts open so many files, where the system lets us raise the
    hard limit, else as many as that one allows; how many it is.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < count:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
            return count
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def reset(conn: socket.socket) -> None:
    """Close with a reset."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


class Most:
    """The highest value of a count, looked at again and again in a thread while it is entered."""

    def __init__(self, count: Callable[[], int]) -> None:
        self.seen = 0
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._stop.is_set():
            self.seen = max(self.seen, self._count())

    def __enter__(self) -> Most:  # noqa: PYI034
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def hammer(ports: Sequence[int], say: bytes, *, rounds: int, crowd: int = 6) -> int:
    """Open crowds of connections at once, each of which says something, gets an answer and ends;
    how many got one.
    """
    answered = 0
    for number in range(rounds):
        conns = [socket.socket() for _ in range(crowd)]
        for at, conn in enumerate(conns):
            conn.settimeout(30)
            conn.connect((LOOPBACK, ports[(number + at) % len(ports)]))
            conn.sendall(say)
        waiting = set(conns)
        while waiting:
            for conn in select.select(list(waiting), [], [], 30)[0]:
                answered += bool(conn.recv(1 << 16))
                conn.close()
                waiting.discard(conn)
    return answered


class Stage:
    """Starts things in a folder and ends them all with the test."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack

    def peer(self, handle: Callable[[socket.socket], None], **where: Any) -> Peer:
        peer = Peer(handle, **where)
        self._stack.callback(peer.close)
        return peer

    def ppdp(self, upstream: int | str, *options: str, **keywords: Any) -> Ppdp:
        ppdp = Ppdp(self.folder, upstream, *options, **keywords)
        self._stack.callback(ppdp.close)
        return ppdp

    def program(self, command: Sequence[str | Path], **keywords: Any) -> Program:
        program = Program(command, self.folder, **keywords)
        self._stack.callback(program.close)
        return program

    def later(self, action: Callable[[], object]) -> None:
        self._stack.callback(action)

    def full_backlog(self) -> tuple[str, int]:
        """An address at which handshakes are dropped: only a time-out ends an attempt."""
        full = socket.socket()
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        self.later(full.close)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            self.later(filler.close)
        host, port = full.getsockname()
        return host, port


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        yield Stage(tmp_path, stack)
