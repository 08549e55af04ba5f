"""A Docker engine of the tests' own, in a network namespace of its own, and motarei beside it.

The images are built from scratch: an echo server and busybox, both static, in a tar.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import subprocess
import tarfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT, need_program, script, wait_until
from tests.machine import of_the_module
from tests.peers.certificates import authority, signed
from tests.peers.servers import Program, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Docker:
    """A dockerd with everything it owns in one folder and one network namespace."""

    timeout_s = 60
    """Of one call of its client."""

    def __init__(self, folder: Path) -> None:
        need_program("dockerd")
        need_program("docker")
        self.folder = folder
        self.name = f"kojuto-{os.getpid()}"
        self.host = f"unix://{folder}/docker.sock"
        self.env = {"DOCKER_HOST": self.host}
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        # Not `ip netns exec`: it would hide the control groups under a /sys of its own.
        self.inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        subprocess.run([*self.inside, "ip", "link", "set", "lo", "up"], check=True)
        self.certificates = folder / "certificates"
        authority(self.certificates)
        signed(self.certificates, "server", "127.0.0.1", by=self.certificates / "ca")
        (folder / "daemon.json").write_text("{}")
        self.daemon: Program | None = None
        self.start()

    def start(self) -> None:
        folder = self.folder
        self.daemon = Program(
            [*self.inside, "dockerd", "--config-file", folder / "daemon.json", "--data-root",
             folder / "data", "--exec-root", folder / "exec", "-H", self.host, "-p",
             folder / "docker.pid", "--storage-driver", "vfs", "--live-restore",
             "-H", "tcp://127.0.0.1:2376", "--tlsverify",
             "--tlscacert", self.certificates / "ca.pem",
             "--tlscert", self.certificates / "server.pem",
             "--tlskey", self.certificates / "server-key.pem"],
            folder,
        )  # fmt: skip
        of_the_module.add(self.daemon.pid)
        wait_until(lambda: self.docker("version", check=False).returncode == 0, within_s=60)

    def stop(self) -> None:
        assert self.daemon is not None
        assert self.daemon.end(within_s=60) == 0

    def docker(self, *arguments: str, check: bool = True, stdin: bytes | None = None) -> Any:
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, **self.env},
            input=stdin,
            capture_output=True,
            check=False,
            timeout=self.timeout_s,
        )
        if check and done.returncode != 0:
            pytest.fail(f"docker {arguments}: {done.stderr.decode()}")
        return done

    def build(self) -> None:
        server = self.folder / "echo-server"
        source = ROOT / "tests/programs/echo_server.c"
        compiler = [need_program("cc"), "-O2", "-w", "-static"]
        subprocess.run([*compiler, "-o", server, source], check=True)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in (
                ("bin/busybox", Path(need_program("busybox")).read_bytes()),
                ("bin/echo-server", server.read_bytes()),
            ):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, io.BytesIO(content))
            for name in ("sh", "sleep", "test", "touch"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        for tag, changes in {
            "plain": ["EXPOSE 80", 'CMD ["/bin/echo-server", "80"]'],
            "two": ["EXPOSE 80 81 53/udp", 'CMD ["/bin/echo-server", "80", "81"]'],
            "half": ["EXPOSE 80 443", 'CMD ["/bin/echo-server", "80"]'],
            "none": ['CMD ["/bin/echo-server", "80"]'],
        }.items():
            extra = [part for change in changes for part in ("-c", change)]
            self.docker("import", *extra, "-", f"kojuto:{tag}", stdin=archive.getvalue())

    def up(self, image: str, *options: str, label: str = "app=web") -> str:
        done = self.docker("run", "-d", "-P", "-l", label, *options, f"kojuto:{image}")
        return str(done.stdout.decode().strip())

    def remove_all(self) -> None:
        ids = self.docker("ps", "-aq").stdout.decode().split()
        if ids:
            self.docker("rm", "-f", *ids)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.remove_all()
        if self.daemon is not None and self.daemon.process.poll() is None:
            self.daemon.end(within_s=60)
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            points = [line.split()[1] for line in mounts]
        for point in reversed(points):  # dockerd leaves mounts of its own behind
            if point.startswith(f"{self.folder}/"):
                subprocess.run(["umount", point], check=False)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    docker = Docker(tmp_path_factory.mktemp("docker"))
    try:
        docker.build()
        yield docker
    finally:
        docker.close()


@pytest.fixture
def docker(engine: Docker) -> Iterator[Docker]:
    yield engine
    engine.remove_all()


def inside(docker: Docker, action: Any, *arguments: Any) -> Any:
    """Call something in a thread that lives in the engine's network namespace."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    result: list[Any] = []

    def work() -> None:
        with open(f"/run/netns/{docker.name}", "rb") as namespace:
            assert libc.setns(namespace.fileno(), 0x40000000) == 0
        try:
            result.append(action(*arguments))
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(110)
    assert result, "it did not end"
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def motarei(stage: Stage, docker: Docker, *options: str, label: str = "app=web") -> Program:
    command = [*docker.inside, script("motarei"), "--label", label, *options]
    return stage.program(command, env=docker.env)


def exchange(port: int, host: str = "127.0.0.1", timeout_s: float = 10) -> None:
    with socket.create_connection((host, port), timeout=timeout_s) as conn:
        conn.sendall(b"hello")
        assert conn.recv(5) == b"hello"


def newest(program: Program, port: int = 80) -> str:
    """The id of the container that takes the connections of a private port now."""
    lines = program.lines(msg="Upstreams", port=port)
    return str(lines[-1]["containers"][0]) if lines and lines[-1]["containers"] else ""


class Load:
    """Clients that never rest: short exchanges one after another, and connections of 2.5 s."""

    def __init__(self, docker: Docker, port: int) -> None:
        self.failures: list[str] = []
        self.done = self.long = 0
        self._port = port
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=inside, args=(docker, work))
            for work in (self._short, self._short, self._keep, self._keep)
        ]
        for thread in self._threads:
            thread.start()

    def _short(self) -> None:
        while not self._stop.is_set():
            try:
                exchange(self._port)
                self.done += 1
            except (OSError, AssertionError) as error:
                self.failures.append(f"{time.time():.3f} {error!r}")
            time.sleep(0.005)

    def _keep(self) -> None:
        while not self._stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=10) as conn:
                    for _ in range(50):
                        conn.sendall(b"x")
                        assert conn.recv(1) == b"x"
                        time.sleep(0.05)
                self.long += 1
            except (OSError, AssertionError) as error:  # noqa: PERF203
                self.failures.append(f"{time.time():.3f} long: {error!r}")
                time.sleep(0.005)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


class Front:
    """Stands before the engine's socket and notes the paths that are asked for.

    Args:
        path: of its own socket.
        behind: of the engine's.
        refused: an expression for the end of the paths (without query) that are refused, and the
            answer's status line; as docker-socket-proxy, which is an HAProxy, has it.
    """

    def __init__(self, path: str, behind: str, refused: Mapping[str, str] | None = None) -> None:
        self.paths: list[str] = []
        self.refused = dict(refused or {})
        self._behind = behind
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        self.sock.listen(64)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            back = socket.socket(socket.AF_UNIX)
            back.connect(self._behind)
            threading.Thread(target=self._pass, args=(conn, back, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(back, conn, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, note: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if note and data[:4] == b"GET ":
                    path = data.split(b" ")[1].decode()
                    self.paths.append(path)
                    if status := self._refusal(path.partition("?")[0]):
                        page = b"<html><body><h1>no</h1></body></html>\n"
                        head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: "
                        source.sendall(f"{head}{len(page)}\r\n\r\n".encode() + page)
                        continue
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        source.close()

    def _refusal(self, path: str) -> str | None:
        for end, status in self.refused.items():
            if re.search(f"{end}$", path):
                return status
        return None
