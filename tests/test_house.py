"""The house agrees with itself: every command is listed, installed, documented and tested."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import tomllib  # type: ignore[import-not-found]  # the tests need 3.11, the package 3.10

from kojuto import __version__
from kojuto.commands import COMMANDS
from kojuto.start import HELD
from tests.conftest import ROOT, run

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAMES = [*COMMANDS, "kojuto"]


LAUNCHER = (ROOT / "kojuto.data/scripts/mackerel-plugin-axslog").read_text()


def test_scripts_launchers_and_registry_agree() -> None:
    """The plugins, which start every minute, have launchers of their own, all others entry
    points.
    """
    scripts = dict(PYPROJECT["project"]["scripts"])
    assert scripts.pop("kojuto") == "kojuto.start:kojuto"
    launchers = {path.name: path for path in (ROOT / "kojuto.data/scripts").iterdir()}
    assert launchers.keys() == {name for name in COMMANDS if name.startswith("mackerel-plugin-")}
    for name, path in launchers.items():
        module = COMMANDS[name][0]
        assert path.read_text() == LAUNCHER.replace("kojuto.tools.axslog", module)
        assert path.stat().st_mode & 0o777 == 0o755
    assert scripts == {
        name: f"kojuto.start:{name.replace('-', '_')}" if name in HELD else f"{module}:main"
        for name, (module, _) in COMMANDS.items()
        if name not in launchers
    }


def test_readme_has_a_row_for_each_command() -> None:
    readme = (ROOT / "README.md").read_text()
    missing = [name for name in NAMES if f"| `{name}` |" not in readme]
    assert not missing


def test_every_command_has_its_test_file() -> None:
    modules = [module.split(".")[2] for module, _ in COMMANDS.values()]
    missing = [name for name in modules if not (ROOT / f"tests/tools/test_{name}.py").exists()]
    assert not missing


def test_versions_agree() -> None:
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert cargo["workspace"]["package"]["version"] == __version__


def test_hooks_and_continuous_integration_run_targets_of_the_makefile() -> None:
    """What is checked before a commit is what everybody else checks."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    hooks = re.findall(r"^ +entry: (.+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.M)
    runs = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line.startswith("make")]
    assert hooks
    assert runs
    for line in [*hooks, *runs]:
        program, *asked = line.split()
        assert program == "make"
        assert set(asked) <= targets


@pytest.mark.parametrize("name", NAMES)
def test_help_and_version(name: str) -> None:
    shown = run(name, "--help")
    assert shown.returncode == 0
    assert shown.stderr == b""
    assert f"Usage: {name} ".encode() in shown.stdout
    version = run(name, "--version")
    assert version.returncode == 0
    assert version.stdout.startswith(f"{name} {__version__} (Python ".encode())


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_option_is_one_line_with_a_hint_and_status_2(name: str) -> None:
    done = run(name, "--no-such-option-at-all")
    assert done.returncode == 2
    assert done.stdout == b""
    error, hint = done.stderr.decode().splitlines()
    assert error == f"{name}: error: --no-such-option-at-all: no such option"
    assert hint.startswith("hint: ")


HEAVY = {
    "argparse", "asyncio", "dataclasses", "enum", "inspect", "json", "logging", "pathlib", "re",
    "socket", "subprocess", "tempfile", "threading", "typing", "typing_extensions",
}  # fmt: skip

SERVERS = {
    "consul-service-has-ip", "deteco", "motarei", "ppdp", "wsgate-client", "wsgate-server",
}  # fmt: skip
"""They start once and run on; their sockets need `socket`, which needs `enum`."""

RARE = {
    "kojuto.common.failures", "kojuto.common.helptext", "kojuto.common.histogram",
    "kojuto.common.plugin.buckets", "kojuto.common.plugin.textfile", "kojuto.common.prometheus",
    "kojuto.tools.axslog.graphs", "kojuto.tools.percentile.documents",
}  # fmt: skip
"""Of the house's own, what only some runs need: each file that is read costs 1 % of a start."""

LOADED = """
import sys
from kojuto.commands import load
try:
    sys.exit(load(sys.argv[1])(["--version"]))
finally:
    sys.stderr.write(" ".join(sys.modules))
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_heavy_is_loaded_before_the_work_begins(name: str) -> None:
    """Start-up imports nothing that the command does not need (plugins run every minute)."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOADED, name], capture_output=True, check=True, text=True
    )
    assert done.stdout.startswith(f"{name} {__version__} ")
    loaded = set(done.stderr.split())
    assert f"{COMMANDS[name][0]}" in loaded
    assert not loaded & (HEAVY - {"enum", "socket"} if name in SERVERS else HEAVY)
    if name not in SERVERS:
        assert not loaded & RARE
    if name == "percentile":  # no plugin, but it has an option of theirs
        assert "kojuto.common.plugin" not in loaded


def test_what_is_rare_has_the_names_that_are_looked_for() -> None:
    for name in RARE:
        assert (ROOT / "python" / name.replace(".", "/")).with_suffix(".py").exists(), name
