"""Sockets of this machine are not paced."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kojuto.common.server import listen, pacing
from tests.conftest import need_program, wait_until
from tests.peers.servers import echo, read_exactly

if TYPE_CHECKING:
    from tests.peers.servers import Stage


def control(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A congestion control other than Reno that takes BBR's place where the kernel has no BBR."""
    available = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_bytes().split()
    chosen = min(set(available) - {pacing.PLAIN}, key=lambda name: (name != b"bbr", name))
    monkeypatch.setattr(pacing, "PACED", chosen)
    return chosen


@pytest.mark.parametrize(
    ("host", "spared"),
    [
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("::", False),
        ("0.0.0.0", False),
        (None, False),
    ],
)
def test_only_what_stays_on_this_machine_is_spared_the_pacing(
    host: str | None, spared: bool, paced: bytes
) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, paced)
        assert control(sock) == paced
        pacing.unpace(sock, host)
        assert control(sock) == (pacing.PLAIN if spared else paced)


def test_other_congestion_controls_and_sockets_stay_as_they_are() -> None:
    with socket.socket() as sock, socket.socket(socket.AF_UNIX) as unix:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, pacing.PLAIN)
        pacing.unpace(sock, "127.0.0.1")
        pacing.unpace(unix, "127.0.0.1")
        assert control(sock) == pacing.PLAIN


def test_what_a_listener_of_this_machine_accepts_is_not_paced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        default = control(server)
    # As if the kernel's own choice were one that paces.
    assert default != pacing.PLAIN
    monkeypatch.setattr(pacing, "PACED", default)
    with (
        listen.bind("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as conn,
    ):
        assert control(conn) == pacing.PLAIN
    with socket.create_server(("127.0.0.1", 0)) as server:
        # So it is with one that a supervisor hands down.
        handed = f"{server.getsockname()[1]}={os.dup(server.fileno())}"
        monkeypatch.setenv("SERVER_STARTER_PORT", handed)
        (inherited,) = listen.inherited()
        with (
            inherited,
            socket.create_connection(server.getsockname()),
            inherited.accept()[0] as conn,
        ):
            assert control(conn) == pacing.PLAIN
    with listen.bind("", 0) as listener:
        assert control(listener) == default


def test_neither_side_of_a_relayed_connection_is_paced(stage: Stage) -> None:
    need_program("ss")
    ppdp = stage.ppdp(stage.peer(echo).port)
    with ppdp.connect() as conn:
        conn.sendall(b"x")
        assert read_exactly(conn, 1) == b"x"

        def sockets() -> list[str]:
            """What ss(8) says of the relay's connections, a line for each."""
            command = ["ss", "-tinpHO", "state", "established"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            return [line for line in done.stdout.splitlines() if f"pid={ppdp.pid}," in line]

        wait_until(lambda: len(sockets()) == 2)
        for line in sockets():
            assert " bbr " not in line
            assert "cwnd:" in line
