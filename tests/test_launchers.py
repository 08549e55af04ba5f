"""The plugins' launchers: what a start loads, how it ends, and that Debian's pip installs them.

By every other installer, and into other paths: tests/release/check_installers.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kojuto.commands import COMMANDS
from tests.conftest import ROOT, script
from tests.wheels import environment, fetched_pip

if TYPE_CHECKING:
    from collections.abc import Mapping

PLUGINS = [name for name in COMMANDS if name.startswith("mackerel-plugin-")]


def arguments(name: str, folder: Path) -> list[str]:
    """A call that has next to nothing to do."""
    (folder / "empty").touch()
    (folder / "base").touch()
    empty = str(folder / "empty")
    return {
        "mackerel-plugin-axslog": ["--logfile", empty, "--key-prefix", "p"],
        "mackerel-plugin-log-incr-rate": [
            "--log-file", empty, "--base-log-file", str(folder / "base"), "--key-prefix", "p",
        ],
        "mackerel-plugin-postfix-log": ["--logfile", empty],
        "mackerel-plugin-pinging": ["--host", "127.0.0.1=p", "--count", "1"],
        "mackerel-plugin-linux-process-status": ["--pid", str(os.getpid()), "--key-prefix", "p"],
    }[name]  # fmt: skip


def started(
    command: list[str], folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A run in an environment without anything of the tests'."""
    clean = {"PATH": "/usr/bin:/bin", "MACKEREL_PLUGIN_WORKDIR": str(folder), **(env or {})}
    return subprocess.run(command, env=clean, capture_output=True, text=True, check=False)


def loaded(command: list[str], folder: Path) -> set[str]:
    """The modules that a command imports, by the interpreter's own report."""
    done = started(command, folder, {"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {row.rpartition("|")[2].strip() for row in rows}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_start_loads_a_known_small_set_of_modules(name: str, tmp_path: Path) -> None:
    command = [script(name), *arguments(name, tmp_path)]
    started(command, tmp_path)  # the first run tells that it is the first, another way
    more = loaded(command, tmp_path) - loaded([sys.executable, "-c", "pass"], tmp_path)
    ours = {module for module in more if module.partition(".")[0] == "kojuto"}
    assert COMMANDS[name][0] in ours
    assert more - ours == {"__future__"}
    # A module costs about a hundredth of a bare interpreter's start (0.1 ms of 9 ms): the command
    # line in three rooms (command, parser, cli), the wing of the plugins, the command in three.
    assert len(ours) <= 17, sorted(ours)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_start_ends_without_the_interpreters_teardown(name: str, tmp_path: Path) -> None:
    done = started([script(name), *arguments(name, tmp_path)], tmp_path, {"PYTHONVERBOSE": "1"})
    assert done.returncode == 0
    assert "kojuto.common.cli" in done.stderr
    assert "# cleanup" not in done.stderr
    assert "# cleanup" in started([sys.executable, "-v", "-c", "pass"], tmp_path).stderr


END = "import sys; from kojuto.common.cli import end; {}; end({})"


@pytest.mark.parametrize(
    ("before", "status", "stdout", "stderr"),
    [
        ("print('a', end='')", 0, "a", ""),
        ("print('a', end=''); sys.stderr.write('b')", 3, "a", "b"),
        ("import atexit; atexit.register(print, 'z'); print('a')", 2, "a\nz\n", ""),
        (
            "import threading, time; "
            "threading.Thread(target=lambda: (time.sleep(0.2), print('z'))).start()",
            0, "z\n", "",
        ),
    ],
)  # fmt: skip
def test_an_end_loses_nothing(
    before: str, status: int, stdout: str, stderr: str, tmp_path: Path
) -> None:
    done = started([sys.executable, "-c", END.format(before, status)], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (status, stdout, stderr)


@pytest.mark.parametrize(("given", "status"), [(0, 1), (2, 2)])
def test_what_cannot_be_flushed_at_the_end_is_a_failure(given: int, status: int) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", END.format("print('a')", given)],
            stdout=full, stderr=subprocess.PIPE, env={}, check=False,
        )  # fmt: skip
    assert done.returncode == status
    assert done.stderr == b"-c: error: standard output: No space left on device\n"


def test_the_editable_install_of_these_tests_has_the_launchers() -> None:
    for name in PLUGINS:
        first, rest = (ROOT / "kojuto.data/scripts" / name).read_bytes().split(b"\n", 1)
        assert first == b"#!python"
        assert Path(script(name)).read_bytes().split(b"\n", 1)[1] == rest
        assert os.access(script(name), os.X_OK)


# -- installed from the wheel -----------------------------------------------------------------


def works(bin_: Path, folder: Path) -> None:
    """Every plugin starts: by its name alone and as a shell (mackerel-agent's way) finds it."""
    for name in PLUGINS:
        version = started(["/bin/sh", "-c", '"$0" --version', str(bin_ / name)], folder)
        assert version.stdout.startswith(f"{name} "), version.stderr
    axslog = [str(bin_ / "mackerel-plugin-axslog"), *arguments("mackerel-plugin-axslog", folder)]
    (folder / "empty").write_text("status:200\tptime:0.25\n")
    shown = started(["/bin/sh", "-c", '"$0" "$@"', *axslog], folder)
    assert shown.returncode == 0, shown.stderr
    assert "axslog.latency_p.average\t0.250000\t" in shown.stdout


@pytest.mark.timeout(900)
def test_the_pip_of_debian_installs_plugins_that_start(wheel: Path, tmp_path: Path) -> None:
    """Into a path that the kernel's first line has no room for."""
    home = tmp_path.joinpath("x" * 100, "y" * 100, "z" * 71)
    works(environment(home, fetched_pip("pip==23.0.1", tmp_path), wheel), tmp_path)
