"""What every server tells systemd: that it is ready, lives, reloads and ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from socket import AF_UNIX, SOCK_DGRAM
from typing import TYPE_CHECKING

import pytest

from tests.jobs import SERVERS
from tests.peers.servers import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jobs import Job, Jobs


class Supervisor:
    """What stands for systemd: a server under it, and what it is told."""

    def __init__(self, name: str, job: Job, folder: Path, **more: str) -> None:
        self.told = socket.socket(AF_UNIX, SOCK_DGRAM)
        self.told.bind(f"{folder}/supervisor")
        self.told.settimeout(20)
        job.env |= {"NOTIFY_SOCKET": f"{folder}/supervisor", **more}
        if name == "motarei":  # it serves while it waits for an engine and a container
            job.command += ["--wait"]
            job.env["DOCKER_HOST"] = f"tcp://{LOOPBACK}:1"
        self.process = job.start(stdin=subprocess.DEVNULL)

    def __enter__(self) -> Supervisor:  # noqa: PYI034
        assert self.hear() == {"READY": "1"}
        return self

    def hear(self, *, but: tuple[str, ...] = ()) -> dict[str, str]:
        """The next message, as names and values; those that tell of `but` are passed over."""
        while True:
            lines = self.told.recv(200).decode().splitlines()
            found = dict(line.split("=", 1) for line in lines)
            if not set(but) & set(found):
                return found

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.told.close()


every_server_there_is = pytest.mark.parametrize("name", [*SERVERS, "motarei"])


@every_server_there_is
def test_a_reload_and_the_watchdog_are_told_to_systemd(
    name: str, jobs: Jobs, tmp_path: Path
) -> None:
    usec = 400_000
    with Supervisor(name, jobs.make(name), tmp_path, WATCHDOG_USEC=str(usec)) as systemd:
        before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        started_s = time.monotonic()
        for _ in range(4):
            assert systemd.hear() == {"WATCHDOG": "1"}
        # Three half intervals lie between four of them, whatever the machine does besides.
        assert time.monotonic() - started_s > 3 * usec / 2e6 - 0.2
        systemd.process.send_signal(signal.SIGHUP)
        reloading = systemd.hear(but=("WATCHDOG",))
        assert reloading.pop("RELOADING") == "1"
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert before_us < int(reloading.pop("MONOTONIC_USEC")) <= now_us
        assert not reloading
        assert systemd.hear(but=("WATCHDOG",)) == {"READY": "1"}
        systemd.process.send_signal(signal.SIGTERM)
        assert systemd.hear(but=("WATCHDOG",)) == {"STOPPING": "1"}
        assert systemd.process.wait(20) == 0


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"},
     {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)  # fmt: skip
def test_no_watchdog_is_fed_that_is_not_ours(
    environment: dict[str, str], jobs: Jobs, tmp_path: Path
) -> None:
    with Supervisor("ppdp", jobs.make("ppdp"), tmp_path, **environment) as systemd:
        systemd.process.send_signal(signal.SIGHUP)
        assert "RELOADING" in systemd.hear()
        assert systemd.hear() == {"READY": "1"}
        systemd.process.send_signal(signal.SIGTERM)
        assert systemd.hear() == {"STOPPING": "1"}


def test_the_watchdog_is_fed_while_connections_drain(jobs: Jobs, tmp_path: Path) -> None:
    job = jobs.make("ppdp")
    job.command += ["--shutdown-timeout", "1m"]
    with (
        Supervisor("ppdp", job, tmp_path, WATCHDOG_USEC="200000") as systemd,
        socket.create_connection((LOOPBACK, job.port), timeout=10),
    ):
        systemd.process.send_signal(signal.SIGTERM)
        assert systemd.hear(but=("WATCHDOG",)) == {"STOPPING": "1"}
        for _ in range(3):
            assert systemd.hear() == {"WATCHDOG": "1"}
        systemd.process.send_signal(signal.SIGTERM)
        assert systemd.process.wait(20) == 0
