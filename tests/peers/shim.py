"""Programs under the shim of no-excl-open, preloaded by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.no_excl_open import shim_path
from tests.conftest import ROOT, need_program

if TYPE_CHECKING:
    from pathlib import Path

SHIM = os.environ.get("KOJUTO_TESTS_SHIM") or shim_path()
"""What is preloaded; tests/sanitize has one of its own."""
OPEN = "import os, sys; os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_RDWR)"


@pytest.fixture(scope="module")
def exclusive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The C program of tests/programs, compiled as distributions compile: fortified."""
    out = tmp_path_factory.mktemp("programs") / "exclusive"
    source = ROOT / "tests/programs/exclusive.c"
    flags = ["-O2", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-pthread", "-w", "-Wl,-z,now"]
    subprocess.run([need_program("cc"), *flags, "-o", str(out), str(source)], check=True)
    return str(out)


def preloaded(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LD_PRELOAD": SHIM, **more}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def opens(path: Path, **more: str) -> bool:
    """Whether an existing file is opened under the shim."""
    done = preloaded(sys.executable, "-c", OPEN, str(path), **more)
    assert done.returncode == 0 or "FileExistsError" in done.stderr, done.stderr
    return done.returncode == 0
