"""Killed at any call that writes: what was on disk is whole, and the next run is as the first.

The log plugins: `rust/kojuto-io/tests/follow_killed.rs`; relaxlogs: `tests/tools`; the servers:
`tests/io/test_generations_servers.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, run, script

if TYPE_CHECKING:
    from pathlib import Path

CALLS = ("write", "fsync", "rename")
"""Of the last there are three, by kernel and library."""
MOST = 100
"""No run makes as many of them."""
LOG = "status:200\turi:/a\tptime:0.5\n"


def command(name: str, folder: Path) -> tuple[str, ...]:
    """A run that leaves files in `folder/kept`."""
    (folder / "log").write_text(LOG * 100)
    kept = f"{folder}/kept"
    return {
        "percentile": ("percentile", "--sketch", f"{kept}/s", "--key", "ptime", f"{folder}/log"),
        "report": ("kojuto", "report", "--save", f"{kept}/kjr", f"{folder}/log"),
        "process-status": (
            "mackerel-plugin-linux-process-status", "--pid", str(os.getpid()), "--key-prefix", "p",
        ),
    }[name]  # fmt: skip


def is_whole(name: str, folder: Path) -> bool:
    """Whether what is kept can be read to its end."""
    if name == "percentile":
        return b"count: 100\n" in run("percentile", "--merge", folder / "kept/s").stdout
    if name == "report":
        return run("kojuto", "report", "--merge", folder / "kept/kjr").returncode == 0
    (state,) = [path for path in (folder / "kept").iterdir() if path.suffix == ""]
    return state.read_bytes().strip().endswith(b"}")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["percentile", "report", "process-status"])
def test_what_is_on_disk_is_whole(name: str, call: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    env = {**os.environ, "MACKEREL_PLUGIN_WORKDIR": str(kept)}
    words = command(name, tmp_path)
    assert run(*words, env=env).returncode == 0
    assert is_whole(name, tmp_path)
    for nth in range(1, MOST):
        inject = f"inject=/^{call}(at2?)?$:signal=KILL:when={nth}"
        strace = [need_program("strace"), "-f", "-qq", "-o", os.devnull, "-e", inject]
        done = subprocess.run(
            [*strace, script(words[0]), *words[1:]], env=env, capture_output=True, check=False
        )
        assert is_whole(name, tmp_path), (call, nth)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.returncode == 0
    assert nth > 1, "it was never killed"
    assert run(*words, env=env).returncode == 0
