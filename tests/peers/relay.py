"""What a relay holds and has logged."""

from __future__ import annotations

import socket
import urllib.request
from typing import TYPE_CHECKING

from tests.conftest import wait_until
from tests.peers.servers import (
    read_all,
)

if TYPE_CHECKING:
    from tests.peers.servers import Ppdp


def settled(ppdp: Ppdp, descriptors: int) -> None:
    """Nothing is left behind: no descriptor more than before, every connection logged twice."""
    wait_until(
        lambda: ppdp.descriptors() <= descriptors,
        what=f"{ppdp.descriptors()} descriptors, {descriptors} expected",
    )


def idle_descriptors(ppdp: Ppdp) -> int:
    """What the relay holds when it has worked once and rests (its pooled pipes too)."""
    with ppdp.connect() as conn:
        conn.shutdown(socket.SHUT_WR)
        read_all(conn)
    wait_until(lambda: ppdp.lines(status="Suceeded"))
    return ppdp.descriptors()


def ends(ppdp: Ppdp) -> int:
    return len(ppdp.lines(status="Suceeded")) + len(ppdp.lines(status="Failed"))


def open_connections(metrics: int) -> int:
    """How many connections the relay whose metrics port this is has open."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=20) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("kojuto_relay_connections_open "):
                return int(line.split()[1])
    raise AssertionError("no such metric")
