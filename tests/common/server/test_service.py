"""The life of a server: its end."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from kojuto.common.server import service


class Told:
    """A signal that came, as sigtimedwait(2) tells it."""

    def __init__(self, number: int, pid: int) -> None:
        self.si_signo, self.si_pid = number, pid


@pytest.mark.parametrize(
    ("generation", "sender", "goes_on"),
    [("2", "supervisor", True), ("2", "another", False), (None, "supervisor", False)],
)
def test_a_second_sigterm_ends_the_drain_unless_it_is_the_supervisors(
    monkeypatch: pytest.MonkeyPatch, generation: str | None, sender: str, goes_on: bool
) -> None:
    if generation is None:
        monkeypatch.delenv("SERVER_STARTER_GENERATION", raising=False)
    else:
        monkeypatch.setenv("SERVER_STARTER_GENERATION", generation)
    pid = os.getppid() if sender == "supervisor" else os.getpid()
    told = [Told(signal.SIGTERM, pid)]
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: told.pop() if told else None)

    class Server:
        waits = 0

        def wait(self, _: float) -> bool:
            self.waits += 1
            return self.waits == 3

    server: Any = Server()
    assert service._drain(server, 60, service.Watchdog()) is goes_on
