"""motarei with a Docker engine of the test's own, in a network namespace of its own.

The images are built from scratch: an echo server and busybox, both static, in a tar.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.certificates import authority, signed
from tests.conftest import ROOT, need_program, run, script, wait_until
from tests.servers import Program, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")


class Docker:
    """A dockerd with everything it owns in one folder and one network namespace."""

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
            timeout=60,
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--label is required"),
        (["-l", "=x"], "--label =x: no label"),
        (["-l", "a=b", "--publish", "80"], "--publish 80: no pair of ports"),
        (["-l", "a=b", "--publish", "0=80"], "--publish 0=80: below the minimum of 1"),
        (["-l", "a=b", "--bind", "x"], "--bind x: "),
    ],
)
def test_a_wrong_call_names_the_value(options: list[str], message: str) -> None:
    done = run("motarei", *options)
    assert done.returncode == 2
    assert message in done.stderr.decode().splitlines()[0]


def test_without_an_engine_it_says_so() -> None:
    done = run("motarei", "-l", "a=b", env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[0].startswith("motarei: error: Docker does not answer")


def test_no_container_ends_with_1_and_wait_waits(stage: Stage, docker: Docker) -> None:
    docker.up("none", "--label", "kind=portless")
    lost = motarei(stage, docker)
    assert lost.process.wait(20) == 1
    assert "no running container with the label app=web has a published TCP port" in lost.text()
    waiting = motarei(stage, docker, "--wait", "--publish", "80=8080")
    waiting.wait_for("Waiting for a container")
    docker.up("plain")
    waiting.wait_for("Start listen")
    inside(docker, exchange, 8080)
    assert waiting.end() == 0


def test_ports_health_pause_and_kill(stage: Stage, docker: Docker) -> None:
    """Two private ports, a UDP one ignored; who counts and who does not; how fast it switches."""
    first = docker.up("two")
    program = motarei(stage, docker, "--publish", "81=8181")
    wait_until(lambda: newest(program, 81) == first[:12] and newest(program, 80) == first[:12])
    assert len(program.lines(msg="Start listen")) == 2
    inside(docker, exchange, 80)
    inside(docker, exchange, 8181)
    # Unhealthy and starting ones do not count, whatever their ports do.
    sick = docker.up("plain", "--health-cmd", "false", "--health-interval", "500ms",
                     "--health-retries", "1")  # fmt: skip
    well = docker.up("plain", "--health-cmd", "test -e /healthy", "--health-interval", "300ms",
                     "--health-retries", "1", "--name", "well")  # fmt: skip
    wait_until(lambda: b"(unhealthy)" in docker.docker("ps").stdout, within_s=20)
    assert newest(program) == first[:12]
    docker.docker("exec", "well", "touch", "/healthy")
    wait_until(lambda: newest(program) == well[:12], within_s=20)
    assert sick[:12] not in program.lines(msg="Upstreams")[-1]["containers"]
    # Paused: out at once; back when it goes on; killed: out again.
    docker.docker("pause", well)
    wait_until(lambda: newest(program) == first[:12])
    inside(docker, exchange, 80)
    docker.docker("unpause", well)
    wait_until(lambda: newest(program) == well[:12])
    docker.docker("kill", well)
    wait_until(lambda: newest(program) == first[:12])
    inside(docker, exchange, 80)
    assert newest(program, 81) == first[:12]


def test_the_switch_happens_within_a_second_of_being_ready(stage: Stage, docker: Docker) -> None:
    docker.up("plain")
    program = motarei(stage, docker)
    program.wait_for("Start listen")
    second = docker.up("plain", "-e", "DELAY=1.5")
    row = json.loads(docker.docker("inspect", second).stdout)[0]
    public = int(row["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])

    def first_answer() -> float:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                exchange(public, timeout_s=0.3)
            except (OSError, AssertionError):  # noqa: PERF203
                time.sleep(0.005)
            else:
                return time.time()
        raise AssertionError("the new container never answered")

    ready = inside(docker, first_answer)
    wait_until(lambda: newest(program) == second[:12])
    switched = program.lines(msg="Upstreams")[-1]["ts"]
    assert switched - ready < 1.0


def test_a_socket_of_server_starter_is_used_for_its_port(stage: Stage, docker: Docker) -> None:
    docker.up("plain")
    starter = stage.program(
        [*docker.inside, need_program("start_server"), "--port", "127.0.0.1:8085", "--",
         script("motarei"), "-l", "app=web", "--publish", "80=8085"],
        env=docker.env,
    )  # fmt: skip
    starter.wait_for("Start listen")
    assert starter.lines(msg="Start listen")[0]["listener"] == "127.0.0.1:8085"
    inside(docker, exchange, 8085)
    starter.kill(signal.SIGHUP)
    wait_until(lambda: "Complete shutdown" in starter.text(), within_s=20)
    inside(docker, exchange, 8085)
    assert starter.end() == 0


def test_a_container_that_is_told_to_stop_gets_no_new_connections(
    stage: Stage, docker: Docker
) -> None:
    """A rollback: the newest one is stopped, and lets its open connections end first."""
    first = docker.up("plain")
    second = docker.up("plain", "--stop-signal", "SIGTERM")
    program = motarei(stage, docker)
    wait_until(lambda: newest(program) == second[:12])

    def talk() -> None:
        with socket.create_connection(("127.0.0.1", 80), timeout=10) as conn:
            conn.sendall(b"before")
            assert conn.recv(6) == b"before"
            docker.docker("kill", "--signal", "HUP", second)  # not what stops it
            docker.docker("kill", "--signal", "TERM", second)
            wait_until(lambda: newest(program) == first[:12])
            assert not gone(docker, second[:12])
            exchange(80)
            conn.sendall(b"after")
            assert conn.recv(5) == b"after"
        wait_until(lambda: gone(docker, second[:12]))

    inside(docker, talk)


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


# With an interval below a container's start, Server::Starter stops the old one too early: there
# is a time without any.
@pytest.mark.parametrize(("interval", "delay"), [(2, 0.2), (1, 1.0)], ids=["proper", "too-short"])
def test_a_hot_deploy_fails_no_request(
    stage: Stage, docker: Docker, interval: int, delay: float
) -> None:
    """Generations under Server::Starter, under load; long connections see their end."""
    starter = stage.program(
        [*docker.inside, need_program("start_server"), f"--interval={interval}", "--",
         "docker", "run", "-P", "--rm", "-l", "app=web", "-e", f"DELAY={delay}", "kojuto:plain"],
        env=docker.env,
    )  # fmt: skip
    program = motarei(stage, docker, "--wait")
    program.wait_for("Start listen", within_s=30)
    wait_until(lambda: newest(program))
    load = Load(docker, 80)
    try:
        seen = [newest(program)]
        for _ in range(3 if interval > 1 else 2):
            # At once, too: the first two generations are created within the same second.
            starter.kill(signal.SIGHUP)
            wait_until(lambda: newest(program) not in ("", *seen), within_s=30)
            seen.append(newest(program))
            wait_until(partial(gone, docker, seen[-2]), within_s=30)
            done = load.done
            wait_until(partial(more, load, done + 30), within_s=30)
    finally:
        load.end()
    told = "\n".join(entry["error"] for entry in program.lines(status="Failed"))
    assert load.failures == [], f"{told}\n{starter.text()}"
    assert len(set(seen)) >= 3
    assert load.long >= 3
    assert load.done > 90
    assert not program.lines(msg="Giveup to connect upstreams")
    # The servers' own account: they finished all that they were given.
    wait_until(lambda: starter.text().count("ended: ") == len(seen) - 1)
    assert starter.text().count(" served, 0 cut") == len(seen) - 1
    starter.kill(signal.SIGTERM)
    starter.process.wait(30)


def gone(docker: Docker, short_id: str) -> bool:
    return short_id.encode() not in docker.docker("ps", "-q").stdout


def more(load: Load, count: int) -> bool:
    return load.done > count


def test_an_open_connection_to_the_old_container_runs_on(stage: Stage, docker: Docker) -> None:
    docker.up("plain")
    program = motarei(stage, docker)
    program.wait_for("Start listen")

    def talk() -> None:
        with socket.create_connection(("127.0.0.1", 80), timeout=10) as conn:
            conn.sendall(b"before")
            assert conn.recv(6) == b"before"
            second = docker.up("plain")
            wait_until(lambda: newest(program) == second[:12])
            exchange(80)
            conn.sendall(b"after")
            assert conn.recv(5) == b"after"

    inside(docker, talk)


def test_connections_to_a_replaced_container_are_cut_after_the_drain_time_out(
    stage: Stage, docker: Docker
) -> None:
    docker.up("plain")
    program = motarei(stage, docker, "--drain-timeout", "1500ms")
    wait_until(lambda: newest(program))

    def talk() -> None:
        with socket.create_connection(("127.0.0.1", 80), timeout=10) as conn:
            conn.sendall(b"before")
            assert conn.recv(6) == b"before"
            second = docker.up("plain")
            wait_until(lambda: newest(program) == second[:12])
            replaced = time.monotonic()
            with socket.create_connection(("127.0.0.1", 80), timeout=10) as other:
                while True:
                    try:
                        conn.sendall(b"after")
                        assert conn.recv(5) == b"after"
                    except ConnectionError:
                        break
                    time.sleep(0.01)
                assert 1.3 < time.monotonic() - replaced < 5
                other.sendall(b"stays")
                assert other.recv(5) == b"stays"

    inside(docker, talk)
    error = "the upstream was replaced and the time to end is over"
    assert len(program.lines(status="Failed", error=error)) == 1


def test_a_restart_of_the_engine_is_survived(stage: Stage, docker: Docker) -> None:
    first = docker.up("plain")
    program = motarei(stage, docker)
    program.wait_for("Start listen")
    docker.stop()
    program.wait_for("Docker does not answer, the last known containers are kept")
    assert newest(program) == first[:12]
    docker.start()
    program.wait_for("Docker answers again")
    second = docker.up("plain")
    wait_until(lambda: newest(program) == second[:12], within_s=20)
    inside(docker, exchange, 80)
    assert len(program.lines(msg="Docker answers again")) == 1


def test_ipv6_bindings(stage: Stage, docker: Docker) -> None:
    docker.up("plain", "-p", "[::1]::80")
    only_v6 = docker.docker(
        "run", "-d", "-l", "app=six", "-p", "[::1]:9080:80", "kojuto:plain"
    ).stdout.decode()
    program = motarei(stage, docker, "--bind", "::", label="app=six")
    wait_until(lambda: newest(program) == only_v6[:12])
    assert program.lines(msg="Upstreams")[-1]["addresses"] == ["[::1]:9080"]
    inside(docker, exchange, 80, "::1")


def client_folder(stage: Stage, ca: Path, by: Path) -> dict[str, str]:
    """What a user of docker over TLS has in the environment."""
    folder = stage.folder / "client"
    signed(folder, "cert", by=by)
    (folder / "cert-key.pem").rename(folder / "key.pem")
    shutil.copy(ca, folder / "ca.pem")
    return {
        "DOCKER_HOST": "tcp://127.0.0.1:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(folder),
    }


def test_the_engine_over_tls(stage: Stage, docker: Docker) -> None:
    docker.up("plain")
    ours = docker.certificates / "ca"
    env = client_folder(stage, ours.with_suffix(".pem"), ours)
    env["REQUESTS_CA_BUNDLE"] = "/etc/ssl/certs/ca-certificates.crt"  # it is none of our business
    program = stage.program(
        [*docker.inside, script("motarei"), "-l", "app=web", "--publish", "80=8088"], env=env
    )
    wait_until(lambda: newest(program))
    inside(docker, exchange, 8088)
    second = docker.up("plain")
    wait_until(lambda: newest(program) == second[:12])
    assert program.end() == 0


@pytest.mark.parametrize("wrong", ["server", "client", "missing"])
def test_certificates_of_the_wrong_authority(stage: Stage, docker: Docker, wrong: str) -> None:
    """Of the engine: we refuse it; of the client: it refuses us. Both times one says why."""
    ours, theirs = docker.certificates / "ca", stage.folder / "others" / "ca"
    authority(theirs.parent)
    ca, by = (theirs, ours) if wrong == "server" else (ours, theirs)
    env = client_folder(stage, ca.with_suffix(".pem"), by)
    if wrong == "missing":
        (stage.folder / "client" / "cert.pem").unlink()
    program = stage.program([*docker.inside, script("motarei"), "-l", "app=web"], env=env)
    assert program.process.wait(20) == 1
    first, hint = program.text().splitlines()
    assert first.startswith("motarei: error: Docker does not answer: ")
    assert "certificate" in first.lower()
    assert hint.startswith("hint: DOCKER_CERT_PATH needs ca.pem")


class Front:
    """Stands before the engine's socket and notes the paths that are asked for."""

    def __init__(self, path: str, behind: str) -> None:
        self.paths: list[str] = []
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
                    self.paths.append(data.split(b" ")[1].decode())
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        source.close()


def test_the_api_version_is_negotiated(stage: Stage, docker: Docker) -> None:
    docker.up("plain")
    path = str(stage.folder / "front.sock")
    front = Front(path, docker.host.removeprefix("unix://"))
    stage.later(front.sock.close)
    version = json.loads(docker.docker("version", "--format", "{{json .}}").stdout)
    spoken = version["Server"]["ApiVersion"]
    program = stage.program(
        [*docker.inside, script("motarei"), "-l", "app=web"], env={"DOCKER_HOST": f"unix://{path}"}
    )
    program.wait_for("Start listen")
    assert front.paths[0] == "/version"
    assert any(path.startswith(f"/v{spoken}/containers/json") for path in front.paths)
    wait_until(lambda: any(path.startswith(f"/v{spoken}/events") for path in front.paths))
