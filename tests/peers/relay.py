"""What a relay holds and has logged."""

from __future__ import annotations

import socket
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
