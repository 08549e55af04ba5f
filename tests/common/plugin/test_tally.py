"""The histogram that a plugin keeps from run to run: no run loses what another one counted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kojuto._native import StateLock
from kojuto.common.plugin import tally
from kojuto.common.plugin.state import state_path
from kojuto.common.plugin.tally import Tally
from tests.conftest import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NAME = "mackerel-plugin-pinging"


def of(*series: str) -> Tally:
    """A run with a sample of half a second for each series."""
    made = Tally("test", "test_seconds", "A test.", [1.0])
    for name in series:
        made.add(name, [0.5], {"host": name})
    return made


def counted(run: Tally) -> dict[str, int]:
    """The samples of each series that the run prints."""
    return {
        dict(labels)["host"]: int(line.rsplit(" ", 1)[1])
        for (suffix, labels), line in run.family._series.items()
        if suffix == "_count"
    }


def test_a_run_that_ends_while_another_prints_adds_to_what_that_one_counted(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = of("a", "b"), of("b", "a")
    first.grow()
    waits: list[float] = []

    def while_it_waits(pause_s: float) -> None:
        waits.append(pause_s)
        first.keep()

    monkeypatch.setattr(tally, "sleep", while_it_waits)
    second.grow()
    second.keep()
    assert waits == [tally.PAUSE_S]
    assert counted(first) == {"a": 1, "b": 1}
    assert counted(second) == {"a": 2, "b": 2}
    assert not list(workdir.glob("*.tmp*"))


def test_a_series_that_is_held_for_long_is_left_out_and_said(workdir: Path) -> None:
    lock = StateLock(state_path(f"{os.getuid()}-pinging-buckets-held"))
    line = ["--host=127.0.0.1=held", "--host=127.0.0.2=free", "--count=2", "--output=prometheus"]
    done = run(NAME, *line, "--buckets=10")
    said, text = done.stderr.decode(), done.stdout.decode()
    assert done.returncode == 0
    assert "pinging-buckets-held: another run holds it; this one is not counted there" in said
    assert 'pinging_rtt_histogram_seconds_count{host="127.0.0.2",prefix="free"} 2' in text
    assert 'histogram_seconds_count{host="127.0.0.1"' not in text
    assert 'pinging_success{host="127.0.0.1",prefix="held"} 2' in text
    lock.release()
    done = run(NAME, *line, "--buckets=10")
    assert b'histogram_seconds_count{host="127.0.0.1",prefix="held"} 2' in done.stdout
    assert b'histogram_seconds_count{host="127.0.0.2",prefix="free"} 4' in done.stdout
