"""uPlot is read from the package that carries it, if it is the file of its release."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import tomli

from kojuto.errors import KojutoError
from kojuto.tools.report.page import library
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT, STYLE = library.SHA256


def test_the_release_is_read_and_the_carrier_is_not_imported() -> None:
    code = (
        "import sys; from kojuto.tools.report.page import library; found = library.read();"
        "print(found.script[:50].splitlines()[0], 'youplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "/*! https://github.com/leeoniya/uPlot (v1.6.31) */ False\n"
    found = library.read()
    assert found.script.startswith("/*!")
    assert found.style.startswith(".uplot")


def test_the_extra_is_pinned_to_the_version_that_was_looked_at() -> None:
    project = tomli.loads((ROOT / "pyproject.toml").read_text())
    pinned = f"{library.CARRIER}=={library.VERSION}"
    assert project["project"]["optional-dependencies"]["report"] == [pinned]
    assert pinned in project["dependency-groups"]["dev"]
    assert "kojuto[report]" in library.INSTALL


@pytest.fixture
def carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The carrier, a copy of its two files; it is all that is installed."""
    info = tmp_path / "youplot-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: youplot\nVersion: 1.0.0\n")
    (tmp_path / "youplot/vendor").mkdir(parents=True)
    real = importlib.metadata.distribution("youplot")
    for name in library.SHA256:
        (tmp_path / name).write_bytes((ROOT / str(real.locate_file(name))).read_bytes())
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def test_a_copy_of_the_files_will_do(carrier: Path) -> None:
    assert library.read().script == (carrier / SCRIPT).read_text()


def test_without_the_carrier_the_command_that_installs_it_is_named(
    carrier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(carrier / "youplot")])
    with pytest.raises(KojutoError, match=r"needs the package youplot, which has uPlot 1\.6\.31"):
        library.read()
    with pytest.raises(KojutoError) as raised:
        library.read()
    assert raised.value.hint == "pip install 'kojuto[report]'"


@pytest.mark.parametrize("name", [SCRIPT, STYLE])
def test_a_file_that_was_changed_by_a_byte_is_refused(carrier: Path, name: str) -> None:
    with open(carrier / name, "ab") as file:
        file.write(b"\n")
    with pytest.raises(KojutoError, match=r"is not the file of uPlot 1\.6\.31") as raised:
        library.read()
    assert str(carrier / name) in str(raised.value)
    assert raised.value.hint == "pip install --force-reinstall youplot==1.0.0"


def test_a_file_that_is_missing_is_named(carrier: Path) -> None:
    (carrier / SCRIPT).unlink()
    with pytest.raises(
        KojutoError, match=r"uplot\.iife\.min\.js of the package youplot is missing"
    ):
        library.read()
