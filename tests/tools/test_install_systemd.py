"""The units of kojuto install: right by systemd's own judgement, and started by a real systemd."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from kojuto.start import HELD
from kojuto.tools.install import systemd, tree
from tests.conftest import need_program, run, wait_until
from tests.peers.deteco import Pair, service
from tests.peers.systemd import Systemd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVERS = sorted(systemd.SERVERS)
EXPOSURE = "15"
"""The most that systemd-analyze security may find, in tenths: sockets of all families but raw ones,
users of the host, and what they need to serve."""

each_server = pytest.mark.parametrize("name", SERVERS)


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


# -- started for real --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """A systemd with the units, and what an administrator would add to them."""
    machine = Systemd(tmp_path_factory.mktemp("systemd"))
    try:
        machine.run("/opt/kojuto/bin/kojuto", "install", "--systemd")
        machine.write("/etc/kojuto/deteco.toml", service("echo", [Pair()]))
        machine.write("/etc/kojuto/wsgate-server.map", "gate,127.0.0.1:8080\n")
        machine.write(
            "/etc/kojuto/wsgate-client.map", "127.0.0.1:3306,http://127.0.0.1:8086/proxy/gate\n"
        )
        machine.write("/etc/kojuto/client.key", Pair().private_pem.decode())
        machine.run("chmod", "600", "/etc/kojuto/client.key")
        machine.write(
            "/etc/systemd/system/wsgate-client.service.d/key.conf",
            "[Service]\nLoadCredential=key:/etc/kojuto/client.key\n"
            'Environment="OPTIONS=--private-key %d/key"\n',
        )
        machine.write("/etc/default/ppdp", "OPTIONS=--upstream 127.0.0.1:8080\n")
        machine.write(
            "/etc/systemd/system/ppdp.socket.d/port.conf",
            "[Socket]\nListenStream=\nListenStream=127.0.0.1:3307\n",
        )
        machine.write("/etc/default/motarei", "OPTIONS=--label app=web\n")
        machine.run("groupadd", "--force", "--system", "docker")
        machine.run("systemctl", "daemon-reload")
        machine.run(
            "systemctl", "start", *(f"{name}.socket" for name in SERVERS if name != "motarei")
        )
        yield machine
    finally:
        machine.close()


def started(machine: Systemd, name: str) -> int:
    """The process of a service that is up."""
    machine.run("systemctl", "start", name)
    assert machine.show(name, "ActiveState") == "active", machine.log(name)
    return int(machine.show(name, "MainPID"))


@each_server
def test_it_starts_confined_reloads_and_ends(machine: Systemd, name: str) -> None:
    pid = started(machine, name)
    status = dict(
        line.split(":\t", 1) for line in machine.run("cat", f"/proc/{pid}/status").splitlines()
    )
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    assert {status[key] for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert int(status["Uid"].split()[0]) > 60_000  # DynamicUser
    mounts = machine.run("cat", f"/proc/{pid}/mountinfo")
    assert " / / ro" in mounts
    machine.run("systemctl", "reload", name)
    assert machine.show(name, "ActiveState") == "active"
    assert int(machine.show(name, "MainPID")) == pid
    machine.run("systemctl", "stop", f"{name}.service")
    assert machine.show(name, "Result") == "success", machine.log(name)
    log = machine.log(name)
    assert "Traceback" not in log
    assert "denied" not in log.lower()
    assert "not permitted" not in log


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://127.0.0.1:8080/auth", 401),  # deteco
        ("http://127.0.0.1:3000/live", 200),  # consul-service-has-ip
        ("http://127.0.0.1:8086/proxy/gate", 426),  # wsgate-server, to what is no WebSocket
        ("http://127.0.0.1:3307/auth", 401),  # deteco through ppdp
        ("http://127.0.0.1:3306/auth", 401),  # and through both gateways
    ],
)
def test_the_first_connection_starts_it(machine: Systemd, url: str, status: int) -> None:
    assert machine.get(url) == status


def test_what_is_killed_comes_again_and_the_socket_refuses_nobody(machine: Systemd) -> None:
    pid = started(machine, "deteco")
    for _ in range(2):
        machine.run("kill", "-KILL", str(pid))
        assert machine.get("http://127.0.0.1:8080/auth") == 401
        wait_until(lambda: machine.show("deteco", "ActiveState") == "active")
        before, pid = pid, int(machine.show("deteco", "MainPID"))
        assert pid != before
    machine.run("systemctl", "restart", "deteco")
    assert machine.get("http://127.0.0.1:8080/auth") == 401


def test_what_hangs_is_ended_by_the_watchdog(machine: Systemd) -> None:
    machine.write("/etc/systemd/system/deteco.service.d/soon.conf", "[Service]\nWatchdogSec=1s\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "deteco")
    pid = int(machine.show("deteco", "MainPID"))
    machine.run("kill", "-STOP", str(pid))
    wait_until(
        lambda: (
            machine.show("deteco", "MainPID") not in ("0", str(pid))
            and machine.show("deteco", "ActiveState") == "active"
        )
    )
    assert machine.get("http://127.0.0.1:8080/auth") == 401


def test_what_is_called_wrongly_is_not_started_again(machine: Systemd) -> None:
    machine.write("/etc/default/motarei", "OPTIONS=--no-such-option\n")
    machine.run("systemctl", "stop", "motarei")
    machine.run("systemctl", "start", "motarei", check=False)
    assert machine.show("motarei", "ActiveState") == "failed"
    assert machine.show("motarei", "NRestarts") == "0"
    assert "--no-such-option: no such option" in machine.log("motarei")
