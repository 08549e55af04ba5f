"""Two generations of a server under Server::Starter that share more than the inherited socket."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, script, wait_until
from tests.io.test_listen import Load, has_done, restarted
from tests.peers.servers import LOOPBACK, echo, free_port

if TYPE_CHECKING:
    from tests.peers.servers import Program, Stage

TAKEN = "The metrics port is in use, trying again until it is free"
PAGE = Path(__file__).parents[2] / "docs/commands/ppdp.md"


def starter(stage: Stage, port: int, *command: str) -> Program:
    words = [need_program("start_server"), "--port", f"{LOOPBACK}:{port}", "--interval=1", "--"]
    program = stage.program([*words, script(command[0]), *command[1:]])
    program.wait_for("Start listen")
    return program


def alive(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/live", timeout=20) as answer:
            return bool(answer.read() == b"OK\n")
    except OSError:
        return False


def renew(program: Program, generation: int, metrics: int) -> None:
    """HUP, and the new generation has the metrics port once the old one was told to end."""
    program.kill(signal.SIGHUP)
    wait_until(partial(restarted, program, generation), within_s=30, what=program.text)
    program.wait_for_lines(generation, msg="Start metrics")
    assert alive(metrics)
    # None from one that is slower to start than the old one to end.
    assert len(program.lines(msg=TAKEN)) <= generation - 1, "at most one warning each"


def shown_command() -> list[str]:
    """The page's ppdp under start_server, without PROXY headers: the load does not speak them."""
    text = PAGE.read_text().replace("\\\n", " ")
    line = re.search(r"^ *start_server --port 3306 -- (ppdp .*--metrics-listen .*)$", text, re.M)
    assert line is not None
    words = shlex.split(line[1])
    headers = ("--proxy-protocol", "--trusted-proxies", "--send-proxy", "10.0.0.0/8", "v2")
    return [word for word in words if not word.startswith(headers)]


def test_the_command_of_the_page_is_renewed_under_load(stage: Stage) -> None:
    port, metrics, upstream = free_port(), free_port(), stage.peer(echo)
    command = shown_command()
    command[command.index("--upstream") + 1] = f"{LOOPBACK}:{upstream.port}"
    command[command.index("--metrics-listen") + 1] = f"{LOOPBACK}:{metrics}"
    program = starter(stage, port, *command)
    load = Load(port)
    try:
        for generation in (2, 3):
            before = load.done
            renew(program, generation, metrics)
            wait_until(partial(has_done, load, before + 50), within_s=30)
    finally:
        load.stop()
    assert load.failures == []
    wait_until(lambda: program.text().count("Complete shutdown") == 2)
    assert program.end() == 0


@pytest.mark.parametrize("name", ["consul-service-has-ip", "wsgate-server", "wsgate-client"])
def test_every_server_leaves_its_metrics_port_to_the_next(stage: Stage, name: str) -> None:
    port, metrics = free_port(), free_port()
    (stage.folder / "map").write_text(
        f"{LOOPBACK}:{port},http://{LOOPBACK}:1/proxy/a\n"
        if "client" in name
        else "a,127.0.0.1:1\n"
    )
    options = {"consul-service-has-ip": ["--consul-api-endpoint=127.0.0.1:1"]}
    command = [name, *options.get(name, ["--map", f"{stage.folder}/map"])]
    program = starter(stage, port, *command, "--metrics-listen", f"{LOOPBACK}:{metrics}")
    renew(program, 2, metrics)
    assert program.end() == 0


def test_a_taken_metrics_port_is_told_once_and_waited_for(stage: Stage) -> None:
    metrics = free_port()
    command = ["ppdp", "--upstream", f"{LOOPBACK}:1", "--metrics-listen", f"{LOOPBACK}:{metrics}"]
    with socket.create_server((LOOPBACK, metrics)):
        program = starter(stage, free_port(), *command)
        program.wait_for_line(msg=TAKEN)
        assert not program.lines(msg="Start metrics")
    program.wait_for_line(msg="Start metrics")
    assert alive(metrics)
    program.wait_for_line(msg=TAKEN)
    assert program.end() == 0


def test_without_a_supervisor_a_taken_metrics_port_ends_the_start(stage: Stage) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        where = f"{LOOPBACK}:{taken.getsockname()[1]}"
        command = [script("ppdp"), "-l", f"{LOOPBACK}:{free_port()}", "--upstream", "127.0.0.1:1"]
        program = stage.program([*command, "--metrics-listen", where])
        assert program.process.wait(30) == 1
    assert f"ppdp: error: cannot listen on {where}: Address already in use" in program.text()
