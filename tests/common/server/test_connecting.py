"""A name of several addresses: the first that answers is taken, and a dead one costs a moment."""

from __future__ import annotations

import time

import pytest

from kojuto.common.server.connecting import connect
from tests.peers.hosts import several


def test_a_dead_address_costs_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not its share of the time-out, which here would be half a minute."""
    with several(monkeypatch, "dead", "refuses", "answers") as answers:
        began = time.monotonic()
        with connect("name.test", 1, began + 60) as sock:
            assert sock.getpeername() == answers
            assert sock.gettimeout() == pytest.approx(59, abs=15)
        assert time.monotonic() - began < 15


@pytest.mark.parametrize("kinds", ["dead", "dead dead", "dead refuses"])
def test_without_one_that_answers_the_time_is_over(
    kinds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with several(monkeypatch, *kinds.split()):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connect("name.test", 1, began + 1.5)
        assert time.monotonic() - began >= 1.5


def test_addresses_that_refuse_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with several(monkeypatch, "refuses", "refuses"), pytest.raises(ConnectionRefusedError):
        connect("name.test", 1, time.monotonic() + 60)


def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with several(monkeypatch), pytest.raises(OSError, match="no address"):
        connect("name.test", 1, time.monotonic() + 60)
