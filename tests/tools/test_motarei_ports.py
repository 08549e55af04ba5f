"""motarei beside a real Docker engine: each port goes its own way."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, script, wait_until
from tests.peers.engine import Load, exchange, inside, motarei, newest

if TYPE_CHECKING:
    from tests.peers.engine import Docker
    from tests.peers.servers import Program, Stage

TIMES = int(os.environ.get("KOJUTO_GENERATIONS", "3"))
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")


def test_a_port_on_which_nothing_listens_holds_up_no_other(stage: Stage, docker: Docker) -> None:
    """443 is exposed and silent: 80 is served all the same, beside an older container too."""
    first = docker.up("half", "--name", "first")
    program = motarei(stage, docker)
    wait_until(lambda: newest(program) == first[:12])
    inside(docker, exchange, 80)
    second = docker.up("half", "--name", "second")
    wait_until(lambda: newest(program) == second[:12])
    inside(docker, exchange, 80)
    (line,) = program.wait_for_lines(1, msg="Waiting for a port", container=second[:12], port=443)
    assert line["name"] == "second"
    assert "nothing accepts on its port 443" in line["reason"]
    assert program.lines(msg="Start listen", port=443) == []
    # Each round would say it again: two more of them.
    docker.docker("kill", first)
    wait_until(lambda: program.lines(msg="Upstreams", port=80)[-1]["names"] == ["second"])
    docker.docker("start", first)
    wait_until(lambda: program.lines(msg="Upstreams", port=80)[-1]["names"] == ["second", "first"])
    assert len(program.lines(msg="Waiting for a port", container=second[:12], port=443)) == 1


def bound(port: int) -> socket.socket:
    return socket.create_server(("0.0.0.0", port))


def test_a_port_that_is_busy_keeps_no_other_from_switching(stage: Stage, docker: Docker) -> None:
    """The new image has one port more, which another program has; it is opened when that ends."""
    docker.up("plain")
    program = motarei(stage, docker)
    program.wait_for("Start listen")
    with inside(docker, bound, 81):
        second = docker.up("two")
        wait_until(lambda: newest(program) == second[:12])
        inside(docker, exchange, 80)
        (line,) = program.wait_for_lines(1, msg="A port cannot be opened, trying again")
        assert line["port"] == 81
        assert "Address already in use" in line["error"]
    program.wait_for_lines(1, msg="Start listen", port=81)
    inside(docker, exchange, 81)


def test_a_busy_port_at_the_start_ends_it_only_when_there_is_no_other(
    stage: Stage, docker: Docker
) -> None:
    docker.up("two")
    with inside(docker, bound, 81):
        program = motarei(stage, docker)
        program.wait_for("Start listen")
        inside(docker, exchange, 80)
        lost = motarei(stage, docker, "--publish", "81=81", "--only-published")
        assert lost.process.wait(20) == 1
        assert "cannot listen on" in lost.text()


def test_only_the_published_ports_are_relayed(stage: Stage, docker: Docker) -> None:
    docker.up("two")
    program = motarei(stage, docker, "--publish", "81=8081", "--only-published")
    program.wait_for_lines(1, msg="Start listen", port=81)
    inside(docker, exchange, 8081)
    first = docker.up("two")
    wait_until(lambda: newest(program, 81) == first[:12])
    assert program.lines(msg="Start listen", port=80) == []
    with pytest.raises(ConnectionRefusedError):
        inside(docker, exchange, 80)
    lost = motarei(stage, docker, "--publish", "9=9", "--only-published")
    assert lost.process.wait(20) == 1
    assert "no running container with the label app=web has a published port 9" in lost.text()


def under_starter(stage: Stage, docker: Docker, ports: list[str], *options: str) -> Program:
    at = [part for port in ports for part in ("--port", port)]
    command = [need_program("start_server"), *at, "--", script("motarei"), "-l", "app=web"]
    return stage.program([*docker.inside, *command, *options], env=docker.env)


def test_the_connection_that_comes_before_the_relay_is_served(stage: Stage, docker: Docker) -> None:
    """The socket is there before motarei is, as with systemd's: all who came meanwhile wait."""
    docker.up("plain")
    with inside(docker, bound, 8085) as listener:
        for _ in range(5):
            clients = [inside(docker, socket.create_connection, ("127.0.0.1", 8085), 30)
                       for _ in range(8)]  # fmt: skip
            for client in clients:
                client.sendall(b"hello")
            fd = listener.fileno()
            text = f'exec 3<&{fd}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@"'
            program = stage.program(
                [*docker.inside, "bash", "-c", text, script("motarei"), "-l", "app=web",
                 "--publish", "80=8085"],
                env=docker.env, pass_fds=[fd],
            )  # fmt: skip
            for client in clients:
                with client:
                    assert client.recv(5) == b"hello"
            assert program.end() == 0


def test_restarts_and_deploys_under_load_reset_no_connection(stage: Stage, docker: Docker) -> None:
    """A deploy before each restart: the next generation begins with what the old one learnt."""
    docker.up("plain")
    starter = under_starter(stage, docker, ["127.0.0.1:8085"], "--publish", "80=8085")
    starter.wait_for("Start listen")
    load = Load(docker, 8085)
    try:
        for restarts in range(1, TIMES + 1):
            deployed = docker.up("plain")[:12]
            if restarts % 2:
                wait_until(lambda: newest(starter) == deployed)  # noqa: B023
            starter.kill(signal.SIGHUP)
            wait_until(lambda: len(starter.lines(msg="Start listen")) > restarts)  # noqa: B023
            wait_until(lambda: starter.text().count("Go shutdown") >= restarts)  # noqa: B023
            wait_until(lambda: newest(starter) == deployed)  # noqa: B023
    finally:
        load.end()
    assert load.failures == []
    assert load.done > 50
    assert starter.end() == 0


def test_a_port_that_no_container_offers_any_more_is_refused_after_5_seconds(
    stage: Stage, docker: Docker
) -> None:
    """By itself: the new image still has 80."""
    first = docker.up("two")
    program = motarei(stage, docker)
    program.wait_for_lines(2, msg="Start listen")
    second = docker.up("plain")
    wait_until(lambda: newest(program) == second[:12])
    docker.docker("rm", "-f", first)
    wait_until(lambda: program.lines(msg="Upstreams", port=81)[-1]["containers"] == [])
    with pytest.raises(ConnectionError):
        inside(docker, exchange, 81, "127.0.0.1", 30)
    inside(docker, exchange, 80)
    program.wait_for_lines(1, msg="Stop listen", port=81)
    wait_until(lambda: inside(docker, is_refused, 81))
    with inside(docker, bound, 81):  # nothing of it is left open
        third = docker.up("two")
        program.wait_for_lines(1, msg="A port cannot be opened, trying again", port=81)
        inside(docker, exchange, 80)
    wait_until(lambda: newest(program, 81) == third[:12])
    program.wait_for_lines(2, msg="Start listen", port=81)
    inside(docker, exchange, 81)
    assert program.lines(msg="Stop listen", port=80) == []


def is_refused(port: int) -> bool:
    try:
        exchange(port)
    except ConnectionRefusedError:
        return True
    except ConnectionError:
        pass
    return False


def test_an_inherited_socket_that_nobody_serves_any_more_stays_and_resets(
    stage: Stage, docker: Docker
) -> None:
    first = docker.up("two")
    starter = under_starter(stage, docker, ["127.0.0.1:80", "127.0.0.1:81"])
    starter.wait_for_lines(2, msg="Start listen")
    second = docker.up("plain")
    wait_until(lambda: newest(starter) == second[:12])
    docker.docker("rm", "-f", first)
    wait_until(lambda: starter.lines(msg="Upstreams", port=81)[-1]["containers"] == [])
    # The first one waits for the 5 s, the second does not.
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            inside(docker, exchange, 81, "127.0.0.1", 30)
    third = docker.up("two")
    wait_until(lambda: newest(starter, 81) == third[:12])
    inside(docker, exchange, 81)
    assert starter.lines(msg="Stop listen") == []
    assert starter.end() == 0


def test_an_inherited_socket_without_a_port_keeps_no_client_waiting(
    stage: Stage, docker: Docker
) -> None:
    """Until a container offers the port."""
    docker.up("plain")
    starter = under_starter(stage, docker, ["127.0.0.1:80", "127.0.0.1:81"])
    warned = "No container has a port for an inherited socket, its clients are turned away"
    (line,) = starter.wait_for_lines(1, msg=warned)
    assert (line["level"], line["listener"]) == ("warn", "127.0.0.1:81")
    inside(docker, exchange, 80)
    with pytest.raises(ConnectionError):
        inside(docker, exchange, 81)
    second = docker.up("two")
    wait_until(lambda: newest(starter, 81) == second[:12])
    inside(docker, exchange, 81)
    assert starter.end() == 0


def test_a_lone_container_that_ignores_its_end_is_waited_for_only_within_its_time_out(
    stage: Stage, docker: Docker
) -> None:
    """Its first process has no handler for SIGUSR1: the kernel passes it over."""
    lone = docker.up("plain", "--stop-signal", "SIGUSR1", "--stop-timeout", "3")
    program = motarei(stage, docker)
    program.wait_for("Start listen")
    inside(docker, exchange, 80)
    told = time.monotonic()
    docker.docker("kill", "--signal", "USR1", lone)

    def took_s() -> float:
        began = time.monotonic()
        exchange(80)
        return time.monotonic() - began

    wait_until(lambda: inside(docker, took_s) >= 0.3 or time.monotonic() > told + 3)
    wait_until(lambda: inside(docker, took_s) < 0.25)
    assert time.monotonic() > told + 2.5
    assert newest(program) == lone[:12]


def test_a_container_that_starts_anew_has_to_accept_anew(stage: Stage, docker: Docker) -> None:
    """A crash under --restart: nobody is sent to the next run before it listens, but elsewhere."""
    first = docker.up("plain")
    program = motarei(stage, docker)
    wait_until(lambda: newest(program) == first[:12])
    again = "test -e /x && sleep 4; touch /x; echo-server 80 & sleep 2; kill -9 $!; exit 1"
    done = docker.docker("run", "-d", "-P", "-l", "app=web", "--restart", "always",
                         "kojuto:plain", "sh", "-c", again)  # fmt: skip
    second = done.stdout.decode().strip()
    wait_until(lambda: newest(program) == second[:12])
    load = Load(docker, 80)
    try:
        wait_until(lambda: "1" in restarts(docker, second))
        time.sleep(0.5)
        before, served = len(load.failures), load.done
        time.sleep(2)
        assert load.failures[before:] == []
        assert load.done > served
        wait_until(lambda: newest(program) == first[:12])
        wait_until(lambda: newest(program) == second[:12])
    finally:
        load.end()


def restarts(docker: Docker, container: str) -> str:
    done = docker.docker("inspect", "--format", "{{.RestartCount}}", container)
    return str(done.stdout.decode())


def test_a_container_that_enters_a_network_is_followed_at_once(
    stage: Stage, docker: Docker
) -> None:
    """Its way out changes with a network whose name comes first, and with that its ports."""
    only = docker.up("plain")
    docker.docker("network", "create", "aaa")
    program = motarei(stage, docker)
    program.wait_for("Start listen")
    took_s = []
    try:
        for _ in range(3):
            for change in ("connect", "disconnect"):
                seen = len(program.lines(msg="Upstreams"))
                docker.docker("network", change, "aaa", only)
                began = time.monotonic()
                program.wait_for_lines(seen + 1, msg="Upstreams")
                took_s.append(time.monotonic() - began)
                inside(docker, exchange, 80)
    finally:
        docker.remove_all()
        docker.docker("network", "rm", "aaa")
    # The list of every second alone tells half of them so soon.
    assert sorted(took_s)[-2] < 0.5, took_s
