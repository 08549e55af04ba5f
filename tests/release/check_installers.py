"""Every way to install the plugins, into paths of every kind, and that they start there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.test_launchers import PLUGINS, started, works
from tests.wheels import environment, fetched_pip

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=["pip==23.0.1", "pip"])
def pip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian 12's pip and the newest, each as a wheel that runs as it is."""
    return fetched_pip(request.param, tmp_path_factory.mktemp("pip"))


# The kernel takes 255 bytes of the first line, older ones 127; pip gives a longer path to all.
@pytest.mark.parametrize("length", [0, 127, 271])
def test_pip_installs_plugins_that_start(
    pip: Path, wheel: Path, tmp_path: Path, length: int
) -> None:
    home = tmp_path / "venv"
    while len(str(home)) < length:
        home /= "x" * min(100, length - len(str(home)))
    works(environment(home, pip, wheel), tmp_path)


def test_a_blank_in_the_path_is_for_kojuto_name(pip: Path, wheel: Path, tmp_path: Path) -> None:
    """The kernel ends the interpreter's name at the blank; what docs/install.md says comes."""
    bin_ = environment(tmp_path / "a b", pip, wheel)
    refused = started(["/bin/sh", "-c", '"$0" --version', f"{bin_}/{PLUGINS[0]}"], tmp_path)
    assert refused.returncode == 127
    assert "not found" in refused.stderr
    for name in PLUGINS:
        shown = started([str(bin_ / "kojuto"), name, "--version"], tmp_path)
        assert shown.stdout.startswith(f"{name} "), shown.stderr


@pytest.fixture(scope="module")
def installers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pipx and uv, the newest."""
    home = tmp_path_factory.mktemp("installers") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin/python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "pipx", "uv"], check=True)
    return home / "bin"


@pytest.mark.parametrize("folder", ["plain", "a b"])
def test_uv_installs_plugins_that_start(
    installers: Path, wheel: Path, tmp_path: Path, folder: str
) -> None:
    home = tmp_path / folder
    uv = [str(installers / "uv"), "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(home)], check=True)
    python = str(home / "bin/python")
    subprocess.run([*uv, "pip", "install", "--no-deps", "-p", python, str(wheel)], check=True)
    works(home / "bin", tmp_path)


@pytest.mark.parametrize("backend", ["pip", "uv"])
def test_pipx_installs_plugins_that_start(
    installers: Path, wheel: Path, tmp_path: Path, backend: str
) -> None:
    env = {
        **os.environ,
        "PIPX_HOME": str(tmp_path / "home"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
        "PIPX_DEFAULT_PYTHON": sys.executable,
        "PIPX_DEFAULT_BACKEND": backend,
    }
    pipx = str(installers / "pipx")
    subprocess.run([pipx, "install", str(wheel)], env=env, check=True, capture_output=True)
    assert (tmp_path / "bin" / PLUGINS[0]).is_symlink()
    works(tmp_path / "bin", tmp_path)
    shutil.rmtree(tmp_path / "home")
