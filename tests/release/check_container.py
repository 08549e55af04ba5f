"""``release/Containerfile`` builds an image from wheels alone, without a network, and it works.

There is no registry: the image that it begins with is made of Debian's packages by debootstrap.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kojuto.commands import COMMANDS
from release.targets import TARGETS, version
from tests.conftest import ROOT, need_program
from tests.peers.engine import Docker
from tests.release.dist import wheel_of
from tests.release.pythons import ROOM

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "kojuto-check/debian-python"
pytestmark = pytest.mark.timeout(1800)


def root_of_debian() -> Path:
    """Debian with its Python, as a tar that is made once."""
    archive = ROOM / "debian-python.tar"
    if not archive.exists():
        ROOM.mkdir(parents=True, exist_ok=True)
        suite = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.M)
        assert suite, "debootstrap makes the Debian that this machine has"
        with tempfile.TemporaryDirectory(dir=ROOM) as folder:
            Path(folder).chmod(0o755)  # it is the root of the image, and not for root alone
            subprocess.run(
                [need_program("debootstrap"), "--variant=minbase",
                 "--include=python3,python3-venv", suite[1], folder],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            part = archive.with_suffix(".part")
            subprocess.run(["tar", "-C", folder, "--exclude=./var/cache/apt/*", "-cf", part, "."],
                           check=True)  # fmt: skip
            part.rename(archive)
    return archive


class Engine(Docker):
    """The engine of the tests, with the base image."""

    # By its storage driver, vfs, each container and layer is a copy of the whole root.
    timeout_s = 900

    def build(self) -> None:
        self.docker("import", str(root_of_debian()), BASE)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("docker"))
    try:
        engine.build()
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module", params=["whole", "lean"])
def image(
    request: pytest.FixtureRequest, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """kojuto with all that it needs, and without."""
    folder = tmp_path_factory.mktemp(request.param)
    for target in TARGETS:  # pip takes the one that fits
        shutil.copy(wheel_of(target), folder)
    options = "--no-deps"
    if request.param == "whole":
        options = ""
        python = engine.docker("run", "--rm", BASE, "python3", "-c",
                               "import sys; print('%d.%d' % sys.version_info[:2])")  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest",
             folder / "packages", "--python-version", python.stdout.decode().strip(),
             *(f"--platform=manylinux_2_{minor}_x86_64" for minor in range(17, 37)),
             wheel_of(TARGETS[0])],
            check=True,
        )  # fmt: skip
    engine.docker("build", "--network", "none", "--build-arg", f"BASE={BASE}",
                "--build-arg", f"OPTIONS={options}", "--file", str(ROOT / "release/Containerfile"),
                "--tag", f"kojuto:{request.param}", str(folder))  # fmt: skip
    return f"kojuto:{request.param}"


def test_its_commands_run_as_nobody_without_a_network(engine: Engine, image: str) -> None:
    alone = ["run", "--rm", "--interactive", "--network", "none", "--read-only", image]
    told = engine.docker(*alone, "--version").stdout.decode()
    assert told.startswith(f"kojuto {version()} ")
    numbers = "".join(f"{number}\n" for number in range(1, 101)).encode()
    assert b"100" in engine.docker(*alone, "percentile", stdin=numbers).stdout
    who = engine.docker("run", "--rm", "--entrypoint", "id", image, "-u").stdout
    assert who == b"65534\n"
    listed = engine.docker(*alone).stdout.decode()
    for name in COMMANDS:
        assert name in listed
    missing = engine.docker(*alone, "motarei", "-l", "a=b", check=False).stderr.decode()
    assert ("the package docker is missing" in missing) == image.endswith(":lean")


def test_a_plugin_is_a_program_of_its_own_in_it(engine: Engine, image: str) -> None:
    done = engine.docker("run", "--rm", "--entrypoint", "mackerel-plugin-pinging", image,
                         "--host", "127.0.0.1=a", "--count", "1", "--key-prefix", "t")  # fmt: skip
    assert b"pinging.a_rtt_count.success\t1.000000\t" in done.stdout
