"""An hour of everything side by side: nothing is lost, nothing fails unasked, nothing grows.

    make soak                    an hour; SOAK_SECONDS=300 makes it five minutes
    SOAK_SEED=…                  the dice of a run again

What was done and found is in target/soak: `result.md`, and `result.json` for programs.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.soak.result import Result
from tests.soak.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = float(os.environ.get("SOAK_SECONDS", "3600"))
SEED = int(os.environ.get("SOAK_SEED", str(int(time.time()))))
RESULT = ROOT / "target/soak"
SAMPLE_EACH_S = 1.0
PAUSE_S = 0.6
"""At most between two events."""


@contextlib.contextmanager
def sampled(world: World) -> Iterator[None]:
    """What the steady ones hold, again and again."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE_EACH_S):
            for each in (*world.steady, world.lines, world.stream):
                each.sample()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="disks and dockerd need root")
@pytest.mark.timeout(SECONDS + 900)
def test_everything_side_by_side(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    result = Result(SEED, SECONDS)
    with contextlib.ExitStack() as stack:
        world = World(tmp_path, stack, dice)
        try:
            with sampled(world):
                go_wrong(world, dice, result)
            world.stop()
        finally:
            result.take(world)
            result.write(RESULT)
            sys.stderr.write(f"\nsoak: {RESULT}/result.md, SOAK_SEED={SEED}\n")
    assert result.failures == []
    assert result.idle == []
    assert result.growing == []


def go_wrong(world: World, dice: random.Random, result: Result) -> None:
    """One event after another, until the time is over."""
    events = world.events()
    weights = [weight for weight, _ in events.values()]
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        (name,) = dice.choices(list(events), weights)
        events[name][1]()
        result.events[name] = result.events.get(name, 0) + 1
        for each in (*world.steady, *world.victims):
            each.look_at_log()
        for pipe in (world.lines, world.lines_killed):
            pipe.check()
        time.sleep(dice.random() * PAUSE_S)
