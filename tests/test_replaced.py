"""A command that stays for long, whose package is replaced under it, ends as it should.

The servers read all that they use before they are ready (`service.preload`); the pipes and the
launcher of logrotate have their words for the end (`cli.stay`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Process = subprocess.Popen[bytes]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Process]:
    """Starts a command from a copy of the package, and takes that away once it passes lines on."""
    copy = tmp_path / "replaced"
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "python/kojuto", copy / "kojuto", ignore=without)

    def start(*words: str) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-m", "kojuto", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one\n")
        assert process.stdout.read(4) == b"one\n"
        shutil.rmtree(copy)
        return process

    return start


@pytest.mark.parametrize("words", [("sabo", "--max-bandwidth", "1M", "--work-dir"), ("relaxlogs",)])
def test_a_pipe_says_why_it_fails(
    words: tuple[str, ...], start: Callable[..., Process], tmp_path: Path
) -> None:
    folder = [str(tmp_path)] if words[0] == "sabo" else []
    with start(*words, *folder) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, said = process.communicate(b"two\n", timeout=60)
    assert process.returncode == 1
    assert said.startswith(f"{words[0]}: error: standard output: Broken pipe".encode())


def test_the_launcher_passes_the_status_on_and_warns(start: Callable[..., Process]) -> None:
    with start("no-excl-open", "--", "sh", "-c", "cat; exit 5") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 5
    assert b"warning: the shim was never loaded into logrotate: the shim " in said
