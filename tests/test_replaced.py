"""A command that stays for long, whose package is replaced under it, ends as it should.

The servers read all that they use before they are ready (`service.preload`); the pipes, the
launcher of logrotate and what counts a long input have what their end needs (`cli.stay`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import kojuto

if TYPE_CHECKING:
    from collections.abc import Callable

    Process = subprocess.Popen[bytes]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package, in a folder that may be taken away."""
    folder = tmp_path / "replaced"
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(kojuto.__file__).parent, folder / "kojuto", ignore=without)
    return folder


def run_from(copy: Path, *words: str) -> Process:
    return subprocess.Popen(
        [sys.executable, "-m", "kojuto", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


@pytest.fixture
def start(copy: Path) -> Callable[..., Process]:
    """Starts a command from a copy of the package, and takes that away once it passes lines on."""

    def start(*words: str) -> Process:
        process = run_from(copy, *words)
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


LINE = b'192.0.2.7 - - [30/Nov/2026:20:09:16 +0000] "GET /a HTTP/1.1" 200 5 "-" "-" 0.25\n'


@pytest.mark.parametrize(
    "words",
    [
        ("percentile", "--plot"),
        ("percentile", "--output", "json"),
        ("percentile", "--output", "openmetrics"),
        ("percentile", "--output", "prometheus", "--format", "ltsv", "--key", "t", "--by", "n"),
        ("percentile", "--textfile", "{folder}/x.prom"),
        ("percentile", "--sketch", "{folder}/x"),
        ("report", "--plot", "--slowest", "2"),
        ("report", "--output", "json"),
        ("report", "--output", "csv"),
        ("report", "--output", "markdown"),
        ("report", "--output", "html"),
        ("report", "--html", "{folder}/x", "--save", "{folder}/y"),
        ("report", "--compare", "/dev/stdin", "{folder}/new", "--output", "json"),
    ],
)
def test_what_has_counted_a_long_input_prints_it(
    words: tuple[str, ...], copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").write_bytes(LINE * 100)
    begin, more = {
        "percentile": (b"1\n" * 150_000, b"2\n"), "report": (LINE * 4_000, LINE)
    }[words[0]]  # fmt: skip
    if "ltsv" in words:
        begin, more = b"n:a\tt:1\n" * 40_000, b"n:a\tt:2\n"
    given = [word.format(folder=tmp_path) for word in words]
    with run_from(copy, *given) as process:
        assert process.stdin is not None
        view = memoryview(begin)  # more than a pipe holds: what is through is being counted
        while view:
            view = view[process.stdin.write(view) :]
        shutil.rmtree(copy)
        out, said = process.communicate(more, timeout=60)
    assert b"Traceback" not in said
    assert process.returncode == 0, said
    files = [path for path in (tmp_path / "x", tmp_path / "x.prom") if path.exists()]
    assert out or files
