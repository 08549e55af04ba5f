"""The wheel of this source, built once, and environments that installers put it into."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kojuto import __version__
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path


OF_THE_BUILD = "target/wheels"
SUFFIXES = (".py", ".rs", ".c", ".pyi", ".toml", ".js", ".css", ".html", ".txt", ".md")


def sources() -> list[Path]:
    """The files that a build reads."""
    return [
        path
        for folder in ("python", "rust", "kojuto.data")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SUFFIXES or path.parent.name == "scripts"
        if not {"fuzz", "proptest-regressions"} & {*path.parts}
    ]


def current(folder: str) -> Path | None:
    """The wheel of this source and machine in a folder, if there is one that is not older than the
    source; `make wheels` puts those of others beside it.
    """
    newest = max(path.stat().st_mtime for path in sources())
    names = f"kojuto-{__version__}-*-manylinux*_{platform.machine()}.whl"
    built = sorted((ROOT / folder).glob(names), key=os.path.getmtime)
    return built[-1] if built and built[-1].stat().st_mtime >= newest else None


def lower_bounds() -> list[str]:
    """The oldest packages that pyproject.toml allows, as pip's constraints."""
    import tomllib  # type: ignore[import-not-found]  # not in Python 3.10

    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", need) for need in needs]
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound is not None]


def made(target: str, folder: str) -> Path:
    """What ``make`` builds there."""
    subprocess.run(["make", target], cwd=ROOT, check=True, timeout=900)
    built = current(folder)
    assert built is not None
    return built


@functools.cache
def built_wheel() -> Path:
    """What ``make wheel`` has built last; it is built when there is none of this source."""
    return current("dist") or made("wheel", "dist")


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel of this source: the one in ``dist``, else that of ``make build``."""
    return current("dist") or current(OF_THE_BUILD) or made("test-wheel", OF_THE_BUILD)


def fetched_pip(requirement: str, folder: Path) -> Path:
    """The wheel of a pip, which Python runs as it is: ``pip==23.0.1`` is Debian 12's."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "download", "--quiet", "--no-deps", "--dest", str(folder), requirement], check=True
    )
    (path,) = folder.glob("pip-*.whl")
    return path


def environment(home: Path, pip: Path, wheel: Path) -> Path:
    """Make an environment in `home`, let `pip` install the wheel there, without what it needs
    (the plugins need nothing), and return the folder of its commands.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    subprocess.run(
        [str(home / "bin/python"), f"{pip}/pip", "install", "--quiet", "--no-deps", str(wheel)],
        check=True,
        capture_output=True,
    )
    return home / "bin"
