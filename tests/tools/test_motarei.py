"""motarei beside a real Docker engine: who counts, ports, health, addresses, the API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.tools.motarei import switch as module
from kojuto.tools.motarei.ports import Port, View
from tests import exposition
from tests.conftest import need_program, run, script, wait_until
from tests.peers.engine import Front, exchange, inside, motarei, newest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.engine import Docker
    from tests.peers.servers import Stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--label is required"),
        (["-l", "=x"], "--label =x: not a label"),
        (["-l", "a=b", "--publish", "80"], "--publish 80: not a pair of ports"),
        (["-l", "a=b", "--publish", "0=80"], "--publish 0=80: below the minimum of 1"),
        (["-l", "a=b", "--bind", "x"], "--bind x: "),
        (["-l", "a=b", "--only-published"], "--only-published has no meaning without --publish"),
    ],
)
def test_a_wrong_call_names_the_value(options: list[str], message: str) -> None:
    done = run("motarei", *options)
    assert done.returncode == 2
    assert message in done.stderr.decode().splitlines()[0]


class FakeRelay:
    """Notes what it is told about its one pool."""

    def __init__(self) -> None:
        self.waits: list[bool] = []
        self.upstreams: list[list[tuple[str, int]]] = []
        self.cuts: list[tuple[str, int]] = []
        self.closed: list[int] = []

    def cut(self, _: int, address: tuple[str, int]) -> None:
        self.cuts.append(address)

    def add_pool(self, _: list[tuple[str, int]]) -> int:
        return 1

    def listen(self, *_: object, **__: object) -> None:
        pass

    def unlisten(self, pool: int) -> None:
        self.closed.append(pool)

    def set_upstreams(
        self, _: int, addresses: list[tuple[str, int]], containers: list[str]
    ) -> None:
        assert len(containers) == len(addresses)
        self.upstreams.append(addresses)

    def set_settling(self, _: int, *, settle_s: float, wait_for_upstream: bool) -> None:
        assert settle_s == 0
        self.waits.append(wait_for_upstream)


def switch_of(**options: float) -> tuple[FakeRelay, module.Switch]:
    relay: Any = FakeRelay()
    values: Any = SimpleNamespace(
        bind="127.0.0.1", publish=[], label=[], **{"drain_timeout": 0.0, **options}
    )
    nothing: Any = SimpleNamespace(info=lambda *_, **__: None)
    switch = module.Switch(relay, nothing, values, nothing, [])
    switch._pools[80] = 1
    return relay, switch


def container(name: str, port: int, private: int = 80) -> Any:
    return SimpleNamespace(
        ports={private: ("127.0.0.1", port)},
        id=name,
        short_id=name,
        name=name,
        stopping=False,
        ending=False,
    )


def view(*ready: Any) -> View:
    ports: dict[int, Port] = {}
    for one in ready:
        for private in one.ports:
            ports.setdefault(private, Port(private)).ready.append(one)
    return View(ports, expected=False, next_look_s=None)


def test_connections_are_cut_once_and_not_of_a_container_that_is_the_newest_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    relay, switch = switch_of(drain_timeout=10.0)
    old, new = container("old", 1), container("new", 2)
    for ready in ([old], [old], [new, old]):
        switch.update(view(*ready))
    assert relay.upstreams == [[("127.0.0.1", 1)], [("127.0.0.1", 2), ("127.0.0.1", 1)]]
    now += 9
    assert switch._cut_drained() == 1
    switch.update(view(old))  # the new one failed
    now += 1
    assert switch._cut_drained() == 9
    assert relay.cuts == [], "the old one is the newest again"
    now += 9
    assert switch._cut_drained() == module.TICK_S
    assert relay.cuts == [("127.0.0.1", 2)]
    switch._cut_drained()
    assert relay.cuts == [("127.0.0.1", 2)]


def test_new_clients_wait_5_seconds_after_the_last_container_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    relay, switch = switch_of()
    switch.update(view(container("a", 1)))
    assert relay.waits == []
    switch.update(view())
    now += module.NEXT_CONTAINER_TIMEOUT_S - 0.001
    switch.update(view())
    assert relay.waits == [True]
    assert relay.closed == []
    now += 0.001
    for _ in range(2):
        switch.update(view())
    assert relay.waits == [True, False]
    assert relay.closed == [1], "once"
    assert now == 1005


def test_a_port_that_is_taken_is_said_once_and_again_after_it_was_no_longer_wanted() -> None:
    said: list[str] = []
    _, switch = switch_of()
    switch._log = SimpleNamespace(  # type: ignore[assignment]
        info=lambda *_, **__: None, error=lambda text, **_: said.append(text)
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = container("a", 1, taken.getsockname()[1])
        for ready in [wanted], [wanted], [], [wanted], [wanted]:
            said.append("round")
            switch.update(view(*ready))
    error = "A port cannot be opened, trying again"
    assert said == ["round", error, "round", "round", "round", error, "round"]


def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    engine = {"DOCKER_HOST": f"unix://{tmp_path}/missing/docker.sock"}
    done = run("motarei", "-l", "a=b", env=engine)
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
    assert len(program.wait_for_lines(2, msg="Start listen")) == 2
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
    # Paused: behind the others at once; back when it goes on; killed: out.
    docker.docker("pause", well)
    wait_until(lambda: newest(program) == first[:12])
    inside(docker, exchange, 80)
    docker.docker("unpause", well)
    wait_until(lambda: newest(program) == well[:12])
    docker.docker("kill", well)
    wait_until(lambda: newest(program) == first[:12])
    inside(docker, exchange, 80)
    assert newest(program, 81) == first[:12]


def test_the_only_container_may_be_paused(stage: Stage, docker: Docker) -> None:
    """As `docker commit` does: who connects meanwhile waits as with Docker alone, and is served."""
    only = docker.up("plain")
    program = motarei(stage, docker, "--metrics-listen", "127.0.0.1:9100")
    wait_until(lambda: newest(program) == only[:12])
    status = [*docker.inside, script("motarei"), "status", "--metrics-listen", "127.0.0.1:9100"]
    docker.docker("pause", only)
    wait_until(lambda: b"serves  it is paused" in subprocess.check_output(status))
    with inside(docker, socket.create_connection, ("127.0.0.1", 80), 30) as conn:
        conn.sendall(b"hello")
        docker.docker("unpause", only)
        assert conn.recv(5) == b"hello"
    assert [line["containers"] for line in program.lines(msg="Upstreams")] == [[only[:12]]]


def scraped(accept: str) -> tuple[str, bytes]:
    request = urllib.request.Request("http://127.0.0.1:9100/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.headers["Content-Type"], answer.read()


def test_metrics_are_what_prometheus_takes(stage: Stage, docker: Docker) -> None:
    """Two ports that lead to one container, and two containers for one port."""
    for name in ("first", "second"):
        docker.up("two", "--name", name)
    program = motarei(stage, docker, "--publish", "81=8181", "--metrics-listen", "127.0.0.1:9100")
    program.wait_for_lines(2, msg="Start listen")
    inside(docker, exchange, 80)
    _, document = inside(docker, scraped, "text/plain")
    families = exposition.checked(document)
    upstreams = families["kojuto_relay_upstream_connections_total"].samples
    labels = [dict(sample.labels) for sample in upstreams]
    assert len({each["pool"] for each in labels}) == 2
    assert {(each["port"], each["container"]) for each in labels} == {
        ("80", "first"), ("80", "second"), ("81", "first"), ("81", "second")
    }  # fmt: skip
    ended = program.wait_for_line(msg="log", status="Suceeded")
    assert ended["container"] == "second"
    docker.docker("rm", "-f", "first")

    def shown() -> bytes:
        return bytes(inside(docker, scraped, "text/plain")[1])

    wait_until(lambda: b"first" not in shown())
    assert b'container="second"' in shown()
    _, document = inside(docker, scraped, "text/plain")
    families = exposition.checked(document)
    kind, document = inside(docker, scraped, "application/openmetrics-text; version=1.0.0")
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    open_ones = exposition.parse(document, openmetrics=True)
    assert {name.removesuffix("_total") for name in families} == set(open_ones)


def test_a_socket_of_server_starter_is_used_for_its_port(stage: Stage, docker: Docker) -> None:
    docker.up("plain")
    starter = stage.program(
        [*docker.inside, need_program("start_server"), "--port", "127.0.0.1:8085", "--",
         script("motarei"), "-l", "app=web", "--publish", "80=8085"],
        env=docker.env,
    )  # fmt: skip
    starter.wait_for("Start listen")
    assert starter.wait_for_lines(1, msg="Start listen")[0]["listener"] == "127.0.0.1:8085"
    inside(docker, exchange, 8085)
    starter.kill(signal.SIGHUP)
    wait_until(lambda: "Complete shutdown" in starter.text(), within_s=20)
    inside(docker, exchange, 8085)
    assert starter.end() == 0


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
    assert len(program.wait_for_lines(1, msg="Docker answers again")) == 1


def test_ipv6_bindings(stage: Stage, docker: Docker) -> None:
    docker.up("plain", "-p", "[::1]::80")
    only_v6 = docker.docker(
        "run", "-d", "-l", "app=six", "-p", "[::1]:9080:80", "kojuto:plain"
    ).stdout.decode()
    program = motarei(stage, docker, "--bind", "::", label="app=six")
    wait_until(lambda: newest(program) == only_v6[:12])
    assert program.wait_for_lines(1, msg="Upstreams")[-1]["addresses"] == ["[::1]:9080"]
    inside(docker, exchange, 80, "::1")


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


def test_a_full_disk_behind_its_log_stops_no_connection(stage: Stage, docker: Docker) -> None:
    docker.up("plain")
    command = [*docker.inside, script("motarei"), "--label", "app=web"]
    program = stage.program(
        ["bash", "-c", 'exec "$@" 2>/dev/full', "-", *command], env=docker.env
    )  # fmt: skip

    def served() -> bool:
        try:
            inside(docker, exchange, 80)
        except (ConnectionError, AssertionError):
            return False
        return True

    wait_until(served)
    docker.up("plain")
    for _ in range(20):
        inside(docker, exchange, 80)
    assert program.end() == 0
