"""The wheels, installed and at work: with glibc on x86-64 with the oldest and the newest Python at
hand and the oldest and newest packages that pyproject.toml allows, and on AArch64 with Debian's
Python under qemu-user; with musl on both without other packages, with a CPython that was compiled
for it.

Every help and over twenty small jobs (``tests/jobs.py``), and each warning is an error.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from kojuto.commands import COMMANDS
from release.targets import TARGETS
from tests.jobs import Job, Jobs, jobs
from tests.peers.servers import LOOPBACK
from tests.release import pythons
from tests.release.dist import wheel_of
from tests.test_breath import Running
from tests.test_lean import NEEDS
from tests.wheels import lower_bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from release.targets import Target
    from tests.release.pythons import Foreign

__all__ = ["jobs"]
pytestmark = pytest.mark.timeout(900)


class Installed(NamedTuple):
    """kojuto where it was installed."""

    start: Callable[[str], list[str]]
    """The command line of a command."""
    env: dict[str, str]
    python: list[str]
    """How its Python is started."""
    libc: str = "gnu"

    @property
    def is_foreign(self) -> bool:
        """Whether what a command starts would need qemu-user itself."""
        return len(self.python) > 1

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
    return Installed(lambda name: [str(home / "bin" / name)], {}, [str(home / "bin/python")])


def _foreign(folder: Path, python: Foreign, target: Target, *options: str) -> Installed:
    python.install(folder / "site", wheel_of(target), *options)
    command = [*python.command, "-m", "kojuto"]
    return Installed(
        lambda name: [*command, *([] if name == "kojuto" else [name])],
        {"PYTHONPATH": str(folder / "site"), "PYTHONDONTWRITEBYTECODE": "1"},
        python.command,
        target.libc,
    )


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
    return _foreign(folder, pythons.aarch64(), TARGETS[1])


def musl_x86_64(folder: Path) -> Installed:
    """CPython with musl, which has neither zlib nor OpenSSL: without other packages."""
    return _foreign(folder, pythons.musl("x86_64"), TARGETS[2], "--no-deps")


def musl_aarch64(folder: Path) -> Installed:
    """The same on AArch64."""
    return _foreign(folder, pythons.musl("aarch64"), TARGETS[3], "--no-deps")


@pytest.fixture(
    scope="module",
    params=[oldest, newest, aarch64, musl_x86_64, musl_aarch64],
    ids=lambda make: make.__name__,
)
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    """Each of them."""
    found: Installed = request.param(tmp_path_factory.mktemp(request.param.__name__))
    return found


def python(installed: Installed, code: str, *options: str) -> str:
    """What a few lines print there."""
    done = subprocess.run(
        [*installed.python[:-1], *options, installed.python[-1], "-W", "error", "-c", code],
        env={**os.environ, **installed.env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_what_it_is_said_to_be(installed: Installed, request: pytest.FixtureRequest) -> None:
    """And each symbol of the extension is found: Python loads it with RTLD_NOW."""
    code = (
        "import os, sys, kojuto._native; from kojuto.tools.no_excl_open import _is_glibc;"
        "flags = sys.getdlopenflags();"
        "print(os.uname().machine, flags & os.RTLD_NOW == os.RTLD_NOW, _is_glibc())"
    )
    machine = "aarch64" if "aarch64" in request.node.name else "x86_64"
    assert python(installed, code).split() == [machine, "True", str(installed.libc == "gnu")]


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
    if name in NEEDS and installed.libc == "musl":
        done = job.run()
        assert done.returncode == 1
        assert b"is missing or broken" in done.stderr
    elif job.port:
        serves(job)
    elif name == "no-excl-open" and installed.libc == "musl":
        done = job.run()
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"error: this build of kojuto, for musl, has no shim" in done.stderr
    elif name == "no-excl-open" and installed.is_foreign:
        acts(installed, jobs)
    else:
        does(job)


def acts(installed: Installed, jobs: Jobs) -> None:
    """The shim in a Python that qemu-user runs: no program can be started from there."""
    shim = installed.moved(Job("no-excl-open", "--path")).run().stdout.decode().strip()
    own = jobs.folder / "own"  # the shim acts in no folder that everybody may write to
    own.mkdir()
    there = jobs.file("own/there", "")
    code = (
        f"import os; os.open({str(there)!r}, os.O_CREAT | os.O_EXCL | os.O_RDWR); print('opened')"
    )
    name = Path(installed.python[-1]).name
    with pytest.raises(AssertionError, match="FileExistsError"):
        python(installed, code)
    options = ("-E", f"LD_PRELOAD={shim}", "-E", f"NO_EXCL_OPEN_FOR={name}")
    assert python(installed, code, *options) == "opened\n"


def test_more_jobs(installed: Installed, jobs: Jobs) -> None:
    more = [job for job in jobs.more() if job.command[1:] not in (["--help"], ["--version"])]
    assert len(COMMANDS) + len(more) >= 20
    for job in more:
        if installed.libc == "gnu" or job.name not in {"no-excl-open", *NEEDS}:
            does(installed.moved(job))
