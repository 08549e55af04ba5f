"""The wheels of glibc, installed and at work: on x86-64 with the oldest and the newest Python at
hand and the oldest and newest packages that pyproject.toml allows, on AArch64 under qemu-user.

Every help and over twenty small jobs (``tests/jobs.py``), and each warning is an error.
"""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from kojuto.commands import COMMANDS
from release.targets import TARGETS
from tests.jobs import Jobs, jobs
from tests.peers.servers import LOOPBACK
from tests.release import pythons
from tests.release.dist import wheel_of
from tests.test_breath import Running
from tests.wheels import lower_bounds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.jobs import Job

__all__ = ["jobs"]
pytestmark = pytest.mark.timeout(900)


class Installed(NamedTuple):
    """kojuto where it was installed."""

    start: Callable[[str], list[str]]
    """The command line of a command."""
    env: dict[str, str]

    def moved(self, job: Job) -> Job:
        """The same job there."""
        job.command[:1] = self.start(job.name)
        # The package docker leaves the socket open on which no engine answered.
        spared = ",ignore::ResourceWarning" if job.name == "motarei" else ""
        job.env = {**job.env, **self.env, "PYTHONWARNINGS": f"error{spared}"}
        return job


def _native(folder: Path, python: str, *constraints: str) -> Installed:
    home = folder / "venv"
    (folder / "bounds.txt").write_text("".join(f"{line}\n" for line in constraints))
    subprocess.run([python, "-m", "venv", home], check=True)
    subprocess.run(
        [home / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--constraint", folder / "bounds.txt", wheel_of(TARGETS[0])],
        check=True,
    )  # fmt: skip
    return Installed(lambda name: [str(home / "bin" / name)], {})


def oldest(folder: Path) -> Installed:
    """The lowest of everything."""
    found = pythons.at_hand()
    return _native(folder, found[min(found)], *lower_bounds())


def newest(folder: Path) -> Installed:
    """The highest of everything."""
    found = pythons.at_hand()
    assert max(found) > min(found)
    return _native(folder, found[max(found)])


def aarch64(folder: Path) -> Installed:
    """Debian's Python for AArch64."""
    python = pythons.aarch64()
    python.install(folder / "site", wheel_of(TARGETS[1]))
    command = [*python.command, "-m", "kojuto"]
    return Installed(
        lambda name: [*command, *([] if name == "kojuto" else [name])],
        {"PYTHONPATH": str(folder / "site")},
    )


@pytest.fixture(scope="module", params=[oldest, newest, aarch64], ids=lambda make: make.__name__)
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    """Each of them."""
    found: Installed = request.param(tmp_path_factory.mktemp(request.param.__name__))
    return found


@pytest.mark.parametrize("name", [*COMMANDS, "kojuto"])
def test_help(installed: Installed, name: str) -> None:
    done = subprocess.run(
        [*installed.start(name), "--help"],
        env={**os.environ, **installed.env, "PYTHONWARNINGS": "error"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: {name} " in done.stdout


def serves(job: Job) -> None:
    """A server that is ready, answers the phone, and ends when it is told to."""
    server = Running(job, within_s=120)
    with socket.create_connection((LOOPBACK, job.port), timeout=60):
        pass
    assert server.end(within_s=120) == 0, server.told
    assert b"Warning" not in server.told


def does(job: Job) -> None:
    """A job that ends as it should, and prints what it should."""
    done = job.run()
    assert done.returncode == job.status, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Warning" not in done.stderr
    assert bool(done.stdout) == job.prints


@pytest.mark.parametrize("name", COMMANDS)
def test_job(installed: Installed, jobs: Jobs, name: str) -> None:
    job = installed.moved(jobs.make(name))
    if job.port:
        serves(job)
    else:
        does(job)


def test_more_jobs(installed: Installed, jobs: Jobs) -> None:
    more = [job for job in jobs.more() if job.command[1:] not in (["--help"], ["--version"])]
    assert len(COMMANDS) + len(more) >= 20
    for job in more:
        does(installed.moved(job))
