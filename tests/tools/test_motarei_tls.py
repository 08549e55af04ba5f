"""motarei and an engine behind TLS."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.conftest import script, wait_until
from tests.peers.certificates import authority, signed
from tests.peers.engine import exchange, inside, newest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.engine import Docker
    from tests.peers.servers import Stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dockerd needs root")


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
