"""A wheel that is built from the same source elsewhere, with another home, is the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from release.targets import TARGETS, Target, output
from tests.conftest import ROOT
from tests.release.dist import wheel_of


def built_elsewhere(target: Target, folder: Path) -> Path:
    """The wheel of a copy of the source, with a home, a cargo and caches that are not there yet."""
    source, home = folder / "a" / "longer-way" / "sources", folder / "home"
    for name in output(
        "git", "ls-files", "--cached", "--others", "--exclude-standard"
    ).splitlines():
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    (home / "cargo").mkdir(parents=True)
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    for settings in cargo.glob("config*"):
        shutil.copy(settings, home / "cargo")
    env = {
        **os.environ,
        "HOME": str(home),
        "CARGO_HOME": str(home / "cargo"),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME") or str(Path.home() / ".rustup"),
        "TMPDIR": str(folder),
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
    }
    subprocess.run(
        [sys.executable, "-m", "release.wheels", target.triple], cwd=source, env=env, check=True
    )
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


@pytest.mark.timeout(3600)
def test_a_wheel_is_the_same_wherever_it_is_built(tmp_path: Path) -> None:
    """One platform stands for all: each takes minutes, and all are built by the same lines."""
    ours, theirs = wheel_of(TARGETS[0]), built_elsewhere(TARGETS[0], tmp_path)
    assert ours.name == theirs.name
    with zipfile.ZipFile(ours) as one, zipfile.ZipFile(theirs) as other:
        assert one.namelist() == other.namelist()
        different = [name for name in one.namelist() if one.read(name) != other.read(name)]
    assert different == []
    assert ours.read_bytes() == theirs.read_bytes()
