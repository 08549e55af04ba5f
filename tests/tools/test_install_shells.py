"""Completion in the real shells: all three offer the same."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.install import tree
from tests.conftest import need_program, run, script
from tests.peers.shells import Bash, Fish, Shell, Zsh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHORT = sorted(tree.behind_kojuto(tree.programs()))
MODES = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"]
CASES = [
    ("deteco --l", ["--leeway", "--listen"]),
    ("deteco ", ["check", "doctor", "jwtgen", "keygen"]),
    ("deteco --conf c.toml --no-log-allowed ch", ["check"]),
    ("deteco check --", ["--at", "--conf", "--help", "--jwt-freshness", "--leeway", "--version"]),
    ("deteco --conf check --d", ["--dry-run"]),  # check is the value of --conf
    ("ppdp --balancing ", ["fixed", "iphash", "leastconn", "remotehash"]),
    ("ppdp --balancing=i", ["iphash"]),
    ("ppdp -l :80 --balancing r", ["remotehash"]),
    ("ppdp --proxy-protocol=re", ["require"]),
    ("sabo --summary=", ["json", "text"]),
    ("sabo --summary s", ["set"]),  # the next word is not its value
    ("kojuto ", SHORT),
    ("kojuto axslog --out", ["--output"]),
    ("kojuto process-status --cpu-base c", ["cgroup", "compat", "core"]),
    ("kojuto deteco check --a", ["--at"]),
    ("kojuto report --sort p", ["p50", "p90", "p99"]),
    ("kojuto report --html ", ["conf.toml", "folder", "two words"]),
    ("kojuto install ", ["folder"]),
    ("percentile c", ["conf.toml"]),
    ("mackerel-plugin-axslog --logfile=c", ["conf.toml"]),
    ("relaxlogs --log-dir ", ["folder"]),
    ("myps grep --ssl-mode ", MODES),
    ("myps kill -i x --vic", ["--victims"]),
    ("no-excl-open doctor --d", ["--dir"]),
    ("no-excl-open kojuto-test-prog", ["kojuto-test-program"]),
    ("no-excl-open --only x -- kojuto-test-prog", ["kojuto-test-program"]),
    ("wsgate-client st", ["stdio"]),
    ("deteco --nothing-like-it", []),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is installed, and beside it a program that no other is called like."""
    folder: Path = tmp_path_factory.mktemp("installed")
    assert run("kojuto", "install", "--completion", folder / "usr").returncode == 0
    (folder / "bin").mkdir()
    shutil.copy(need_program("true"), folder / "bin/kojuto-test-program")
    return folder


@pytest.fixture(scope="module", params=[Bash, Zsh, Fish], ids=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, installed: Path) -> Iterator[Shell | Fish]:
    """A shell in a folder with a file, a folder and a name with a blank."""
    with pytest.MonkeyPatch.context() as changed:
        programs = script("kojuto").removesuffix("/kojuto")
        changed.setenv("PATH", f"{installed}/bin:{programs}:/usr/bin:/bin")
        where = installed / request.param.__name__
        (where / "here/folder").mkdir(parents=True)
        (where / "here/conf.toml").write_text("")
        (where / "here/two words").write_text("")
        shell = request.param(where, where / "here", installed / "usr")
        yield shell
        shell.close()


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_what_may_follow(shell: Shell | Fish, line: str, offered: list[str]) -> None:
    assert sorted(shell.offers(line)) == offered


def test_nothing_is_wrong_to_the_shells_own_parsers(installed: Path) -> None:
    share = installed / "usr/share"
    checks = [
        ["bash", "-n", str(share / "bash-completion/completions/kojuto")],
        ["zsh", "-n", str(share / "zsh/site-functions/_kojuto")],
        *(["fish", "--no-execute", str(path)] for path in share.glob("fish/*/*.fish")),
    ]
    assert len(checks) == 19
    for command in checks:
        done = subprocess.run(
            [need_program(command[0]), *command[1:]], capture_output=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), command


def test_bash_completion_finds_each_command_by_its_name(installed: Path, tmp_path: Path) -> None:
    """With the package of that name the files are read when they are needed."""
    library = "/usr/share/bash-completion/bash_completion"
    asked = f"""
        . {library} || exit 3
        for name in deteco kojuto mackerel-plugin-axslog; do
            _completion_loader "$name"
            complete -p "$name"
        done
    """
    env = {
        "XDG_DATA_DIRS": f"{installed}/usr/share",
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [need_program("bash"), "--norc", "-i", "-c", asked],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 3:
        pytest.skip("bash-completion is not installed; 'make servers' installs it")
    assert done.stdout.splitlines() == [
        f"complete -F _kojuto {name}" for name in ("deteco", "kojuto", "mackerel-plugin-axslog")
    ]
