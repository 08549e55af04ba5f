"""motarei status, explain and wait: by the running server, and by Docker alone."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, script, wait_until
from tests.peers.engine import motarei, newest

if TYPE_CHECKING:
    from tests.peers.engine import Docker
    from tests.peers.servers import Stage

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")
METRICS = ["--metrics-listen", "127.0.0.1:9100"]
ALONE = "motarei: judged by Docker alone"


def told(docker: Docker, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*docker.inside, script("motarei"), *arguments],
        env={**os.environ, **docker.env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_wrong_call_names_the_way_out() -> None:
    for arguments, message in {
        ("-l", "a=b", "stats"): "stats: no such command",
        ("status",): "--label is required",
        ("status", "-l", "a=b", "http"): "PORT http: not a whole number",
        ("explain", "--metrics-listen", "127.0.0.1:1"): "127.0.0.1:1 does not answer",
    }.items():
        done = run("motarei", *arguments)
        assert message in done.stderr.decode(), arguments
        assert done.returncode == (1 if "explain" in arguments else 2)


@needs_root
def test_the_running_server_says_why_traffic_is_where_it_is(stage: Stage, docker: Docker) -> None:
    """443 is exposed, and nothing listens there."""
    docker.up("half", "--name", "first")
    second = docker.up("half", "--name", "second")
    program = motarei(stage, docker, "--publish", "80=8080", *METRICS)
    wait_until(lambda: newest(program) == second[:12])
    wait_until(lambda: len(program.lines(msg="Upstreams", port=80)[-1]["containers"]) == 2)
    done = told(docker, "status", "--json", *METRICS)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["by"], found["labels"], found["docker"]) == ("server", ["app=web"], "")
    assert found["newest"] == {"id": second[:12], "name": "second"}
    http, https = found["ports"]
    assert (http["port"], http["listeners"], http["error"]) == (80, ["[::]:8080"], "")
    assert [(one["name"], one["state"]) for one in http["containers"]] == [
        ("second", "serves"), ("first", "next")
    ]  # fmt: skip
    assert (https["port"], https["listeners"]) == (443, [])
    assert [(one["name"], one["state"]) for one in https["containers"]] == [
        ("second", "awaited"), ("first", "awaited")
    ]  # fmt: skip
    table = told(docker, *METRICS, "status", "80")
    assert [line.split()[:3] for line in table.stdout.splitlines()] == [
        ["PORT", "LISTENER", "CONTAINER"],
        ["80", "[::]:8080", "second"],
        ["80", "[::]:8080", "first"],
    ]
    assert told(docker, *METRICS, "status", "443").returncode == 1
    text = told(docker, "explain", *METRICS).stdout
    assert "port 80, accepted on [::]:8080\n  new connections go to second (" in text
    assert "the newest that is ready for this port (its port accepts)" in text
    assert "\n  then to first (" in text
    assert "\n  waits for second (" in text
    assert "nothing accepts on its port 443" in text
    assert "port 443, not open\n" in text
    assert "no container takes its connections: new connections wait" in text


@needs_root
def test_without_a_server_docker_alone_is_asked_and_it_is_said(docker: Docker) -> None:
    nobody = told(docker, "status", "-l", "app=web")
    assert nobody.returncode == 1
    assert nobody.stdout == (
        "no running container with the label app=web has a published TCP port\n"
    )
    docker.up("half", "--name", "only")
    wait = told(docker, "wait", "--healthy", "-l", "app=web", "80")
    assert (wait.returncode, wait.stdout) == (0, "only takes the connections of port 80\n")
    for command in ("status", "explain"):
        done = told(docker, command, "-l", "app=web", "--publish", "80=8080")
        assert done.returncode == 0
        assert done.stderr.startswith(ALONE)
        assert "only" in done.stdout
        assert ("to be accepted on port 8080" in done.stdout) == (command == "explain")
        assert "nothing accepts on its port 443" in done.stdout
    late = told(docker, "wait", "--healthy", "-l", "app=web", "--timeout", "1s")
    assert late.returncode == 1
    assert "not within the time: port 443, only: nothing accepts on its port 443" in late.stderr
    chosen = ("-l", "app=web", "--publish", "80=80", "--only-published")
    assert told(docker, "wait", "--healthy", *chosen).returncode == 0


@needs_root
@pytest.mark.parametrize("by", ["server", "docker"])
def test_wait_healthy_waits_for_the_newest(stage: Stage, docker: Docker, by: str) -> None:
    docker.up("plain", "--name", "old")
    program = motarei(stage, docker, *METRICS)
    wait_until(lambda: newest(program))
    docker.up("plain", "--name", "new", "--health-cmd", "test -e /healthy",
              "--health-interval", "300ms", "--health-retries", "1000")  # fmt: skip
    ask = METRICS if by == "server" else ["-l", "app=web"]
    serving = told(docker, "wait", *ask)
    assert (serving.returncode, serving.stdout) == (0, "old takes the connections of port 80\n")
    if by == "server":
        wait_until(lambda: program.lines(msg="Waiting for a port", name="new"))
    late = told(docker, "wait", "--healthy", "--timeout", "500ms", *ask)
    assert late.returncode == 1
    assert "port 80, new: its health check says starting" in late.stderr
    waiting = stage.program(
        [*docker.inside, script("motarei"), "wait", "--healthy", *ask], env=docker.env
    )
    docker.docker("exec", "new", "touch", "/healthy")
    assert waiting.process.wait(30) == 0
    assert "new takes the connections of port 80" in waiting.text()


@needs_root
def test_a_port_that_is_busy_and_an_engine_that_is_gone_are_told(
    stage: Stage, docker: Docker
) -> None:
    docker.up("two", "--name", "only")
    program = motarei(stage, docker, "--publish", "81=80", *METRICS)
    program.wait_for("A port cannot be opened, trying again")
    done = told(docker, "explain", "81", *METRICS)
    error = "cannot listen on 0.0.0.0:80: Address already in use"
    assert done.stdout.startswith(f"port 81, closed: {error}; this is tried again\n")
    late = told(docker, "wait", "81", "--timeout", "300ms", *METRICS)
    assert f"port 81: {error}" in late.stderr
    docker.stop()
    try:
        program.wait_for("Docker does not answer, the last known containers are kept")
        text = told(docker, "explain", *METRICS).stdout
    finally:
        docker.start()
    assert text.startswith("Docker does not answer: ")
    assert ": the last known containers are kept\n" in text
