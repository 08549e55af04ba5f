"""The units of kojuto install, by systemd's own judgement.

`tests/release/check_units.py` has a real systemd start them.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from kojuto.start import HELD
from kojuto.tools.install import systemd, tree
from tests.conftest import need_program, run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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


def test_programs_that_no_service_can_see_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kojuto.tools import install

    monkeypatch.setattr("sys.argv", ["/home/me/.venv/bin/kojuto"])
    monkeypatch.setattr("os.path.exists", lambda path: path == "/home/me/.venv/bin/ppdp")
    monkeypatch.setattr("sys.base_prefix", "/root/python")
    install._systemd("/usr/local")
    programs, _, python, _ = capsys.readouterr().err.splitlines()
    assert "programs are in /home/me/.venv/bin, and the units let no service look into" in programs
    assert "their Python is in /root/python, and the units let no service" in python


def test_a_path_with_anything_in_it_is_one_word() -> None:
    assert systemd._quoted("/opt/kojuto/bin/ppdp") == "/opt/kojuto/bin/ppdp"
    assert systemd._quoted('/o p/%"$') == '"/o p/%%\\"$$"'
