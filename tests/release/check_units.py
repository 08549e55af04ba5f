"""The units of kojuto install, started by a real systemd: confined, reloaded, killed and hung."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kojuto.tools.install import systemd
from tests.conftest import wait_until
from tests.peers.deteco import Pair, service
from tests.peers.systemd import Systemd

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = sorted(systemd.SERVERS)

each_server = pytest.mark.parametrize("name", SERVERS)


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
