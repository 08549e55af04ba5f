"""The wheel: one file that installs into an empty environment and works there; and the sdist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from kojuto.commands import COMMANDS
from tests.conftest import ROOT
from tests.wheels import sources

# The first one may have to compile everything, beside other tests.
pytestmark = pytest.mark.timeout(900)


def test_its_tag_says_any_python_from_3_10_and_the_oldest_glibc_that_it_needs(
    wheel: Path, tmp_path: Path
) -> None:
    """PEP 600: ``manylinux_2_17`` is for every Linux with glibc 2.17 or later."""
    assert "-cp310-abi3-" in wheel.name
    tags = [(2, int(minor)) for minor in re.findall(r"manylinux_2_(\d+)_x86_64", wheel.name)]
    with zipfile.ZipFile(wheel) as archive:
        archive.extract("kojuto/_native.abi3.so", tmp_path)
    listed = subprocess.run(
        ["readelf", "--version-info", str(tmp_path / "kojuto/_native.abi3.so")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    needed = {(int(a), int(b)) for a, b in re.findall(r"Name: GLIBC_(\d+)\.(\d+)", listed.stdout)}
    assert needed
    assert max(needed) <= min(tags)
    if wheel.parent.name == "dist":
        assert min(tags) == (2, 17)


def test_it_holds_what_is_needed_and_nothing_of_the_machine(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert "kojuto/_native.abi3.so" in names
        assert "kojuto/no_excl_open.so" in names
        assert "kojuto/py.typed" in names
        assert "kojuto/_native.pyi" in names
        for path in (ROOT / "python/kojuto/tools/report/page").iterdir():
            assert f"kojuto/tools/report/page/{path.name}" in names or path.name == "__pycache__"
        for path in (ROOT / "python/kojuto/manual").iterdir():
            assert f"kojuto/manual/{path.name}" in names
        assert not [name for name in names if "__pycache__" in name or "tests/" in name]
        assert str(ROOT).encode() not in archive.read("kojuto/_native.abi3.so")


@pytest.mark.timeout(900)
def test_every_command_starts_and_one_does_its_job_in_an_empty_environment(
    wheel: Path, tmp_path: Path
) -> None:
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    subprocess.run(
        [str(home / "bin/python"), "-m", "pip", "install", "--quiet", str(wheel)], check=True
    )
    clean = {"PATH": "/usr/bin:/bin", "MACKEREL_PLUGIN_WORKDIR": str(tmp_path)}
    for name in [*COMMANDS, "kojuto"]:
        done = subprocess.run(
            [str(home / "bin" / name), "--help"], env=clean, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"Usage: {name} ".encode() in done.stdout
    shim = subprocess.run(
        [str(home / "bin/no-excl-open"), "--path"], env=clean, capture_output=True, check=True
    ).stdout.decode().strip()  # fmt: skip
    preloaded = subprocess.run(
        ["/bin/sh", "-c", "echo works"], env={**clean, "LD_PRELOAD": shim},
        capture_output=True, check=True,
    )  # fmt: skip
    assert (preloaded.stdout, preloaded.stderr) == (b"works\n", b"")
    log = tmp_path / "log"
    log.write_text("status:200\tptime:0.25\n")
    done = subprocess.run(
        [str(home / "bin/mackerel-plugin-axslog"), "--logfile", str(log), "--key-prefix", "w"],
        env=clean, capture_output=True, check=False,
    )  # fmt: skip
    assert b"axslog.latency_w.average\t0.250000\t" in done.stdout


def test_the_sdist_holds_all_that_a_build_reads(tmp_path: Path) -> None:
    bin_ = Path(sys.executable).parent
    subprocess.run(
        [str(bin_ / "maturin"), "sdist", "--out", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"}, check=True,
        capture_output=True,
    )  # fmt: skip
    (path,) = tmp_path.iterdir()
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    source = [str(path.relative_to(ROOT)) for path in sources()]
    assert len(source) > 200
    files = ["Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "LICENSE"]
    assert not {*source, *files} - names
