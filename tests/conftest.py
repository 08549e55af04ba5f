"""What the tests share: running commands, waiting with a deadline, finding servers and corpora."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# A shell that starts the tests in the background, or nohup, ignores these for them and for all they
# start; what they start is to be interruptible.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
SHARED_CORPORA = ROOT.parent / "shared" / "corpora"


def script(name: str) -> str:
    """The installed console script, so that entry points are tested too."""
    path = Path(sys.executable).parent / name
    assert path.exists(), f"{name} is not installed: run 'make build'"
    return str(path)


def run(
    name: str,
    *arguments: str | Path,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run an installed command to its end, whatever its exit status."""
    return subprocess.run(
        [script(name), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env={**os.environ, **(env or {})},
        timeout=timeout_s,
        cwd=cwd,
        check=False,
    )


def wait_until(
    condition: Callable[[], object], *, within_s: float = 30, what: str | Callable[[], str] = ""
) -> None:
    """Poll until `condition` answers something true; fail the test after the deadline, with what
    was waited for (a function tells what is there by then).

    The deadline is no promise of the program, which is what an assertion on a time is for: it
    only ends a test that would wait for ever, and leaves room for a busy machine.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(
                f"not within {within_s} s: {what() if callable(what) else what or condition}"
            )
        time.sleep(0.01)


def need_program(name: str, *directories: str) -> str:
    """The path of a real program; without it the test fails under CI and is skipped elsewhere."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *directories]))
    path = path or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed; 'make servers' installs it")
        pytest.skip(f"{name} is not installed; 'make servers' installs it")
    return path


def corpus(relative: str) -> Path:
    """A file of the shared corpora, or its copy in tests/data."""
    shared = SHARED_CORPORA / relative
    if shared.exists():
        return shared
    return DATA / relative


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty plugin work directory, set in the environment."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.setenv("MACKEREL_PLUGIN_WORKDIR", str(path))
    monkeypatch.delenv("MACKEREL_AGENT_PLUGIN_META", raising=False)
    return path


@pytest.fixture
def preload(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Build a C program of ``tests/programs`` that changes what the C library does; answers the
    environment in which a command has it.
    """

    def build(name: str) -> dict[str, str]:
        shim = tmp_path / f"{name}.so"
        source = ROOT / "tests/programs" / f"{name}.c"
        command = [need_program("cc"), "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"]
        subprocess.run(command, check=True)
        return {"LD_PRELOAD": str(shim)}

    return build


def read_metrics(output: bytes) -> dict[str, str]:
    """The lines of a metric plugin as name to value, their shape checked."""
    metrics = {}
    for line in output.decode().splitlines():
        name, value, epoch = line.split("\t")
        assert abs(int(epoch) - time.time()) < 120
        assert name not in metrics
        metrics[name] = value
    return metrics


def chunks_of(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """`data` cut into pieces of the given sizes, the last one what is left."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


pytest_plugins = [
    "tests.leftovers",
    "tests.disks",
    "tests.peers.servers",
    "tests.peers.engine",
    "tests.wheels",
    "tests.jobs",
]
