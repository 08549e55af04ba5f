"""motarei while containers are replaced: no request fails, no connection is cut."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, wait_until
from tests.peers.engine import Load, exchange, inside, motarei, newest

if TYPE_CHECKING:
    from tests.peers.engine import Docker
    from tests.peers.servers import Stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")


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
    switched = program.wait_for_lines(1, msg="Upstreams")[-1]["ts"]
    assert switched - ready < 1.0


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
    assert not program.lines(msg="Giveup to connect backends")
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
    assert len(program.wait_for_lines(1, status="Failed", error=error)) == 1
