"""How the relay waits: awake for those who answer at once, asleep for all others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peers.servers import echo, read_exactly

if TYPE_CHECKING:
    import socket

    from tests.peers.servers import Ppdp, Stage


def tasks(ppdp: Ppdp) -> list[Path]:
    """The relay's threads, by their files in /proc."""
    return list(Path(f"/proc/{ppdp.process.pid}/task").iterdir())


def cpu_s(ppdp: Ppdp) -> float:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks(ppdp)) / 1e9


def sleeps(ppdp: Ppdp) -> int:
    """How often a thread of the relay has gone to sleep of its own accord."""
    rows = [row for task in tasks(ppdp) for row in (task / "status").read_text().splitlines()]
    return sum(int(row.split()[1]) for row in rows if row.startswith("voluntary_ctxt_switches"))


def play(conn: socket.socket, rounds: int, pause_s: float = 0) -> None:
    for number in range(rounds):
        ball = number.to_bytes(8, "big")
        conn.sendall(ball)
        assert read_exactly(conn, 8) == ball
        time.sleep(pause_s)


@pytest.mark.parametrize("polls", [False, True])
def test_it_does_not_sleep_while_answers_come_at_once(stage: Stage, polls: bool) -> None:
    rounds = 500
    ppdp = stage.ppdp(stage.peer(echo).port, "--busy-poll", "20ms" if polls else "0")
    with ppdp.connect() as conn:
        play(conn, 200)  # the thread that only saw the listener is asleep by then
        before = sleeps(ppdp)
        play(conn, rounds)
        slept = sleeps(ppdp) - before
    # Both the client's and the server's bytes are waited for.
    assert (slept < rounds / 2) == polls, slept


def test_an_open_connection_that_says_nothing_costs_nothing(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    with ppdp.connect() as conn:
        play(conn, 500)
        time.sleep(0.1)
        before = cpu_s(ppdp)
        time.sleep(1)
        assert cpu_s(ppdp) - before < 0.02


def test_a_connection_that_speaks_now_and_then_does_not_keep_it_awake(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port)
    with ppdp.connect() as conn:
        play(conn, 20)
        before, began = cpu_s(ppdp), time.monotonic()
        play(conn, 200, pause_s=0.005)
        # A poll of 80 us and what the messages cost, out of 5 ms each.
        assert cpu_s(ppdp) - before < 0.15 * (time.monotonic() - began)
