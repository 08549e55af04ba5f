"""The state of the plugins survives the loss of power: it is written as the commands write it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.conftest import script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_state_is_durable_before_it_takes_its_name_and_its_name_then(
    tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    """rename(2) alone may leave an empty file behind; so the content first, then the directory."""
    log, counts = tmp_path / "log", tmp_path / "counts"
    log.write_text("one\n")
    (tmp_path / "base").write_text("one\n")
    counts.write_text("")
    env = {
        **os.environ,
        **preload("count_sync"),
        "SYNC_LOG": str(counts),
        "MACKEREL_PLUGIN_WORKDIR": str(tmp_path),
    }
    command = [script("mackerel-plugin-log-incr-rate"), "--key-prefix", "x", "--log-file", str(log)]
    command += ["--base-log-file", str(tmp_path / "base")]
    subprocess.run(command, env=env, check=True, capture_output=True)
    assert counts.read_text() == 2 * "fsync\nfsync\n", "a state for each log"
