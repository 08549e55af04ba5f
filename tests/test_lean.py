"""``pip install --no-deps kojuto``: what works without other packages, and what the rest says."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from kojuto.commands import COMMANDS
from tests.conftest import ROOT
from tests.jobs import Jobs, jobs
from tests.test_breath import Running
from tests.wheels import environment, fetched_pip

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jobs import Job

__all__ = ["jobs"]
pytestmark = pytest.mark.timeout(900)

# What the others look for first, as pip calls it.
NEEDS = {
    "deteco": "cryptography",
    "motarei": "docker",
    "myps": "pymysql",
    "wsgate-client": "cryptography",
    "wsgate-server": "websockets",
}


@pytest.fixture(scope="module")
def lean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands in an environment that has nothing else."""
    folder = tmp_path_factory.mktemp("lean")
    home = environment(folder / "venv", fetched_pip("pip", folder), wheel)
    packages = [path.name for path in home.parent.glob("lib/python*/site-packages/*")]
    assert {re.split(r"[-.]", name)[0] for name in packages} == {"kojuto"}
    return home


def moved(job: Job, bin_: Path) -> Job:
    job.command[0] = str(bin_ / job.name)
    return job


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_is_there(lean: Path, name: str) -> None:
    done = subprocess.run([lean / name, "--help"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NEEDS])
def test_eleven_commands_need_nothing(lean: Path, jobs: Jobs, name: str) -> None:
    job = moved(jobs.make(name), lean)
    if job.port:
        assert Running(job).end() == 0
        return
    done = job.run()
    assert done.returncode == 0, done.stderr
    assert b"missing" not in done.stderr
    assert bool(done.stdout) == job.prints


@pytest.mark.parametrize("name", NEEDS)
def test_the_others_name_what_they_miss_and_how_to_get_it(
    lean: Path, jobs: Jobs, name: str
) -> None:
    done = moved(jobs.make(name), lean).run()
    assert (done.returncode, done.stdout) == (1, b"")
    error, hint = done.stderr.decode().splitlines()
    assert f"error: the package {NEEDS[name]} is missing" in error
    assert re.fullmatch(rf"hint: pip install '{NEEDS[name]}>=\d.*'", hint)


def test_the_page_that_tells_of_it_names_the_same() -> None:
    page = (ROOT / "docs/install.md").read_text()
    section = page[page.index("## Without other packages") :].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", section, re.MULTILINE))
    assert set(rows) >= set(NEEDS)
    for name, package in NEEDS.items():
        assert f"`{package}`" in rows[name]
    listed = re.search(r"Eleven commands need nothing else: (.+?)\.\n", section, re.DOTALL)
    assert listed
    assert set(re.findall(r"`([\w-]+)`", listed[1])) == set(COMMANDS) - set(NEEDS)
