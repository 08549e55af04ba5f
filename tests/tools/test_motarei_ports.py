"""motarei beside a real Docker engine: each port goes its own way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.peers.engine import exchange, inside, motarei, newest

if TYPE_CHECKING:
    from tests.peers.engine import Docker
    from tests.peers.servers import Stage

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
    docker.docker("pause", first)
    wait_until(lambda: program.lines(msg="Upstreams", port=80)[-1]["names"] == ["second"])
    docker.docker("unpause", first)
    wait_until(lambda: program.lines(msg="Upstreams", port=80)[-1]["names"] == ["second", "first"])
    assert len(program.lines(msg="Waiting for a port", container=second[:12], port=443)) == 1
