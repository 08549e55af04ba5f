"""What a command says of a failure of its own."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from kojuto.common import failures
from tests.conftest import ROOT, script


@pytest.mark.parametrize(
    ("error", "text", "hint"),
    [
        (
            ImportError("no _ssl", name="ssl"),
            "this Python has no ssl: no _ssl",
            "take a Python that was built with it",
        ),
        (
            ImportError("cannot import name 'x'", name="kojuto.common.x"),
            "the installation is broken: cannot import name 'x'",
            "pip install --force-reinstall kojuto",
        ),
        (
            ImportError("gone", name="google.auth.transport"),
            "the package google-auth is missing or broken: gone",
            "pip install 'google-auth>=2.29,<3'",
        ),
        (
            ImportError("gone", name="pymysql"),
            "the package pymysql is missing or broken: gone",
            "pip install 'pymysql>=1.1'",
        ),
        (
            ImportError("gone", name="urllib3.util"),
            "the package urllib3 is missing or broken: gone",
            "pip install urllib3",
        ),
        (
            ImportError("gone", name="fsspec"),
            "the package fsspec is missing or broken: gone",
            "pip install fsspec",
        ),
        (
            ImportError("what"),
            "the installation is broken: what",
            "pip install --force-reinstall kojuto",
        ),
    ],
    ids=["standard", "own", "renamed", "other", "of another", "extra", "nameless"],
)
def test_a_module_that_cannot_be_imported_is_named_with_what_brings_it(
    error: ImportError, text: str, hint: str
) -> None:
    assert failures.explain(error, None) == (1, text, hint)


LIBRARY = sysconfig.get_path("platlib")


@pytest.mark.parametrize(
    ("path", "text", "hint"),
    [
        (
            "cryptography/hazmat/bindings/_rust.abi3.so",
            "the package cryptography is missing or broken",
            "pip install 'cryptography>=42'",
        ),
        (
            "_cffi_backend.cpython-311-x86_64-linux-gnu.so",
            "the package cffi is missing or broken",
            "pip install cffi",
        ),
        (
            "kojuto/_native.abi3.so",
            "the installation is broken",
            "pip install --force-reinstall kojuto",
        ),
    ],
)
def test_a_module_in_machine_code_that_cannot_be_loaded_is_its_packages(
    path: str, text: str, hint: str
) -> None:
    """The error has the last part of its name alone, and that may be a package of anybody."""
    error = ImportError("wrong ELF class", name=path.rpartition("/")[2].partition(".")[0])
    error.path = f"{LIBRARY}/{path}"
    assert failures.explain(error, None) == (1, f"{text}: wrong ELF class", hint)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the package, without its module in machine code."""
    without = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "python/kojuto", tmp_path / "copy/kojuto", ignore=without)
    return tmp_path / "copy"


def version(where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kojuto", "--version"], env={"PYTHONPATH": str(where)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_broken_core_is_the_installations(copied: Path) -> None:
    (copied / "kojuto/_native.abi3.so").write_bytes(b"no ELF")
    done = version(copied)
    said, hint = done.stderr.splitlines()
    assert said.startswith(f"kojuto: error: the installation is broken: {copied}/kojuto/_native.")
    assert hint == "hint: pip install --force-reinstall kojuto"
    assert done.returncode == 1


def test_an_archive_is_named_as_what_no_core_can_be_loaded_from(copied: Path) -> None:
    (copied / "kojuto/_native.abi3.so").write_bytes(b"as good as any")
    done = version(Path(shutil.make_archive(str(copied), "zip", copied)))
    assert done.stderr == (
        "kojuto: error: no module in machine code can be loaded out of an archive, which "
        f"{copied}.zip is\n"
        "hint: unpack it, or take pip, or pex or shiv, which unpack what they start\n"
    )
    assert done.returncode == 1


def test_a_package_is_named_where_the_installation_has_no_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def requires(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    explained = failures.explain(ImportError("gone", name="pymysql"), None)
    assert explained[2] == "pip install pymysql"


@pytest.mark.parametrize(
    "command", [("kojuto", "install", "./x"), ("no-excl-open", "--only", "./x*", "--", "true")]
)
def test_a_current_directory_that_was_removed_is_named(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    leaving = 'rmdir "$PWD"; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", leaving, "-", script(command[0]), *command[1:]],
        cwd=gone, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b": error: the current directory has been removed\nhint: cd to one" in done.stderr
