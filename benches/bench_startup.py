"""What starting a command costs beside a bare interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.wheels import built_wheel, environment, fetched_pip

from benches.harness import BIN, cost

if TYPE_CHECKING:
    from pathlib import Path

    from benches.harness import Table

TIMES = 20


def test_listing_the_commands(table: Table) -> None:
    """CPU of `kojuto` as a ratio to `python -c pass`, each the sum of 20 starts."""
    row = table.compare(
        "start-up, kojuto",
        "CPU of `kojuto` / bare `python -c pass`",
        lambda: sum(cost([BIN / "kojuto"]).cpu_s for _ in range(TIMES)),
        lambda: sum(cost([sys.executable, "-c", "pass"]).cpu_s for _ in range(TIMES)),
        bound=2.2,
    )
    assert row.ok


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands' folder of an environment that Debian 12's pip has put the wheel into."""
    pip = fetched_pip("pip==23.0.1", tmp_path_factory.mktemp("pip"))
    return environment(tmp_path_factory.mktemp("installed") / "venv", pip, built_wheel())


@pytest.mark.parametrize("plugin", ["axslog", "log-incr-rate", "postfix-log", "process-status"])
def test_a_plugin_with_nothing_to_do(
    table: Table, installed: Path, tmp_path: Path, plugin: str
) -> None:
    """CPU of a plugin on an empty log as a ratio to the same Python's `-c pass`."""
    log, base = tmp_path / "log", tmp_path / "base"
    log.touch()
    base.touch()
    calls: dict[str, list[str | Path]] = {
        "axslog": ["axslog", "--logfile", log, "--key-prefix", "p"],
        "log-incr-rate": [
            "log-incr-rate", "--log-file", log, "--base-log-file", base, "--key-prefix", "p",
        ],
        "postfix-log": ["postfix-log", "--logfile", log],
        "process-status": [
            "linux-process-status", "--pid", str(os.getpid()), "--key-prefix", "p",
        ],
    }  # fmt: skip
    arguments = calls[plugin]
    command = [installed / f"mackerel-plugin-{arguments[0]}", *arguments[1:]]
    env = {"MACKEREL_PLUGIN_WORKDIR": str(tmp_path)}
    subprocess.run([*map(str, command)], env={**os.environ, **env}, check=True, capture_output=True)
    row = table.compare(
        f"start-up, {plugin}",
        "CPU of the plugin on an empty log / bare `python -c pass`, installed by pip 23.0",
        lambda: sum(cost(command, env=env).cpu_s for _ in range(TIMES)),
        lambda: sum(cost([installed / "python", "-c", "pass"]).cpu_s for _ in range(TIMES)),
        bound=1.5,
    )
    assert row.ok
