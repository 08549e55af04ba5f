"""motarei where Docker says no: what was refused is said, and what is left serves."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, script, wait_until
from tests.peers.engine import Front, exchange, inside, newest

if TYPE_CHECKING:
    from tests.peers.engine import Docker
    from tests.peers.servers import Program, Stage

LIST, DETAILS, EVENTS = "/containers/json", "/containers/[0-9a-f]{64}/json", "/events"


def through(stage: Stage, docker: Docker, refused: dict[str, str]) -> tuple[Front, Program]:
    path = str(stage.folder / "front.sock")
    front = Front(path, docker.host.removeprefix("unix://"), refused)
    stage.later(front.sock.close)
    command = [*docker.inside, script("motarei"), "-l", "app=web"]
    return front, stage.program(command, env={"DOCKER_HOST": f"unix://{path}"})


@pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")
@pytest.mark.parametrize("status", ["403 Forbidden", "500 Internal Server Error"])
def test_the_list_serves_where_details_and_events_are_refused(
    stage: Stage, docker: Docker, status: str
) -> None:
    docker.up("plain")
    front, program = through(stage, docker, {DETAILS: status, EVENTS: status})
    program.wait_for("Start listen")
    inside(docker, exchange, 80)
    time.sleep(1.1)  # the list knows whole seconds, and of one second the greater id is the newest
    second = docker.up("plain", "--name", "second")
    wait_until(lambda: newest(program) == second[:12])
    details = program.wait_for_lines(
        1, msg="Docker refuses details, the list of containers serves", level="warn"
    )
    events = program.wait_for_lines(
        1, msg="Docker refuses its events, the list tells of changes every second", level="warn"
    )
    assert (len(details), len(events)) == (1, 1)
    assert f"/json: {status}" in details[0]["error"]
    assert "Docker refuses GET" in events[0]["error"]
    assert f"/events: {status}" in events[0]["error"]
    assert ("docker-socket-proxy" in events[0]["hint"]) == status.startswith("403")
    # Each container was asked for once, not at each look.
    asked = [path for path in front.paths if second in path]
    assert len(asked) == 1
    # The list, too: the last one is kept.
    front.refused[LIST] = status
    (line,) = program.wait_for_lines(
        1, msg="Docker refuses the list, the last known containers are kept"
    )
    assert status in line["error"]
    inside(docker, exchange, 80)
    del front.refused[LIST]
    program.wait_for("Docker answers again")


@pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")
@pytest.mark.parametrize("what", ["/version", LIST])
def test_a_refused_list_ends_the_start_with_what_was_refused(
    stage: Stage, docker: Docker, what: str
) -> None:
    docker.up("plain")
    _, program = through(stage, docker, {what: "403 Forbidden"})
    assert program.process.wait(30) == 1
    assert "motarei: error: Docker refuses GET" in program.text()
    assert f"{what}: 403 Forbidden" in program.text()
    assert "docker-socket-proxy does with CONTAINERS=1" in program.text()


@pytest.mark.parametrize("options", [[], ["--wait"]])
def test_an_engine_behind_ssh_is_refused_with_a_way_to_it(options: list[str]) -> None:
    env = {"DOCKER_HOST": "ssh://ops@far.example.com"}
    done = run("motarei", "-l", "a=b", *options, env=env)
    assert done.returncode == 1
    message, hint = done.stderr.decode().splitlines()
    assert message == (
        "motarei: error: DOCKER_HOST=ssh://ops@far.example.com: motarei does not log in by ssh"
    )
    assert "ssh -N -L" in hint
    assert "--proxy-connect-ip" in hint
