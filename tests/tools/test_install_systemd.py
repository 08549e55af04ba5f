"""The units of kojuto install, by systemd's own judgement.

`tests/release/check_units.py` has a real systemd start them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kojuto.commands import COMMANDS
from kojuto.start import HELD
from kojuto.tools import install
from kojuto.tools.install import systemd, tree
from tests.conftest import need_program, run, script

SERVERS = sorted(systemd.SERVERS)
EXPOSURE = "15"
"""The most that systemd-analyze security may find, in tenths: sockets of all families but raw ones,
users of the host, and what they need to serve."""


def written(folder: Path, *, notify_reload: bool) -> Path:
    programs = tree.programs()
    for file in systemd.units(
        programs, os.path.dirname(need_program("true")), notify_reload=notify_reload
    ):
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content.replace("/bin/" + path.stem + " ", "/bin/true "))
    return folder / systemd.FOLDER


def analyze(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = need_program("systemd-analyze")
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_every_server_has_units() -> None:
    assert set(SERVERS) == HELD.keys() - {"relaxlogs", "sabo"}


def test_systemd_finds_nothing_wrong_and_little_exposed(tmp_path: Path) -> None:
    folder = written(tmp_path, notify_reload=False)
    units = sorted(path.name for path in folder.iterdir())
    assert len(units) == 2 * len(SERVERS)
    done = analyze("verify", "--man=no", *(f"./{unit}" for unit in units), cwd=folder)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    services = [unit for unit in units if unit.endswith(".service")]
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", *services, cwd=folder)
    assert done.returncode == 0, done.stdout


def test_a_reload_is_waited_for_where_systemd_can(tmp_path: Path) -> None:
    """Debian 12 has 252, which cannot: there the drop-in is not written."""
    folder = written(tmp_path, notify_reload=True)
    for name in SERVERS:
        text = (folder / f"{name}.service.d/notify-reload.conf").read_text()
        assert "\n[Service]\nType=notify-reload\nExecReload=\n" in text
    told = {}
    for version in (252, 253):
        program = tmp_path / f"{version}/systemctl"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho 'systemd {version} ({version}.1-1)'\n")
        program.chmod(0o755)
        env = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
        done = run("kojuto", "install", "--systemd", "--dry-run", tmp_path / "usr", env=env)
        told[version] = done.stdout.count(b"notify-reload.conf\n")
    assert told == {252: 0, 253: len(SERVERS)}


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of all programs, whose modules are elsewhere."""
    folder = tmp_path / "kojuto/bin"
    folder.mkdir(parents=True)
    for name in ["kojuto", *COMMANDS]:
        (folder / name).touch(0o755)
    for each in (folder, folder.parent):
        each.chmod(0o755)
    return folder


def warned(programs: Path, capsys: pytest.CaptureFixture[str], hidden: tuple[str, ...]) -> str:
    """What is said of programs where the units hide these folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [str(programs / "kojuto")])
        patch.setattr(systemd, "HIDDEN", hidden)
        files = install._systemd("/usr/local")
    assert f"\nExecStart={programs}/ppdp " in files[0].content
    return capsys.readouterr().err


def test_programs_that_no_service_can_see_are_warned_of(
    programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = warned(programs, capsys, (str(tmp_path), sys.base_prefix))
    assert f"programs are in {programs}, and the units let no service look into {tmp_path}" in told
    assert f"their Python is in {sys.base_prefix}, and the units let no service look into" in told
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in programs.iterdir():
        (elsewhere / path.name).symlink_to(path)
    told = warned(elsewhere, capsys, (str(programs.parent),))
    assert f"programs are in {elsewhere}, and the units let no service look into" in told


def test_programs_that_only_root_may_see_are_warned_of(
    programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As pip installs them where the umask is 077."""
    programs.parent.chmod(0o700)
    told = warned(programs, capsys, ())
    assert f"{programs.parent} is closed to the users that services run as\nhint: open it" in told
    programs.parent.chmod(0o755)
    (programs / "ppdp").chmod(0o700)
    assert f"and {programs}/ppdp is closed to the users" in warned(programs, capsys, ())


def test_a_folder_with_links_to_some_of_the_programs_is_not_that_of_all(tmp_path: Path) -> None:
    for name in ("kojuto", "ppdp"):
        (tmp_path / name).symlink_to(script(name))
    done = subprocess.run(
        [tmp_path / "kojuto", "install", "--systemd", tmp_path], capture_output=True, check=True
    )
    units = [Path(os.fsdecode(p)) for p in done.stdout.splitlines() if p.endswith(b".service")]
    assert len(units) == len(SERVERS)
    for path in units:
        assert f"\nExecStart={script(path.stem)} " in path.read_text()


def test_programs_that_are_not_there_are_warned_of(tmp_path: Path) -> None:
    """As of a kojuto that is a single file, whose Python has none of the commands."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    single = tmp_path / "kojuto.pyz"
    single.write_text("import sys\nfrom kojuto.__main__ import main\nsys.exit(main())\n")
    for option in ("--systemd", "--mackerel"):
        done = subprocess.run(
            [tmp_path / "venv/bin/python", single, "install", "--dry-run", option, tmp_path],
            env={"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, check=True,
        )  # fmt: skip
        words = f"kojuto install: warning: the programs are not in {tmp_path}/venv/bin, which the"
        assert words in done.stderr.decode()
        done = subprocess.run(
            [sys.executable, single, "install", "--dry-run", option, tmp_path],
            capture_output=True, check=True,
        )  # fmt: skip
        assert b"the programs are not in" not in done.stderr


def test_a_path_with_anything_in_it_is_one_word() -> None:
    assert systemd._quoted("/opt/kojuto/bin/ppdp") == "/opt/kojuto/bin/ppdp"
    assert systemd._quoted('/o p/%"$') == '"/o p/%%\\"$$"'
