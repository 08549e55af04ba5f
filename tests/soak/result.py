"""What a soak has found, as a file for people and one for programs."""

from __future__ import annotations

import json
import platform
import time
from typing import TYPE_CHECKING, Any

from tests.soak.usage import MIB, Course, courses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.soak.world import World


MOST_TOLD = 10
"""Failures of one client or process; of the others the number."""


class Result:
    """All that is told of one.

    Attributes:
        events: how often each thing went wrong.
        done: the right steps of each client, and those that were excused; of a pipe its lines or
            runs, of sabo the bytes.
        failures: what nobody had broken.
        growing: the figures of processes that were not flat.
        idle: who has done nothing, which proves nothing.
    """

    def __init__(self, seed: int, seconds: float) -> None:
        self.seed, self.seconds = seed, seconds
        self.begun = time.strftime("%Y-%m-%d %H:%M:%S %z")
        self.events: dict[str, int] = {}
        self.done: dict[str, tuple[int, int]] = {}
        self.ends: dict[str, dict[str, int]] = {}
        self.courses: dict[str, list[Course]] = {}
        self.failures: list[str] = []

    def take(self, world: World) -> None:
        """Ask everybody."""
        for load in world.loads:
            self.done[load.name] = (load.done, load.excused)
            self._failed(load.name, load.failures)
        pipes = (world.lines, world.lines_killed, world.stream, world.followed, world.sketches)
        for pipe in pipes:
            self.done[pipe.name] = (pipe.done, 0)
            self._failed(pipe.name, pipe.failures)
        for each in (*world.steady, *world.victims):
            self.ends[each.name] = each.ends
            self._failed(each.name, [f"{each.name}: {line[:300]}" for line in each.found])
        for one in (*world.steady, world.lines, world.stream):
            try:
                self.courses[one.name] = courses(one.samples)
            except ValueError as error:  # noqa: PERF203
                self.failures.append(f"{one.name}: {error}")

    def _failed(self, name: str, failures: list[str]) -> None:
        self.failures += failures[:MOST_TOLD]
        if len(failures) > MOST_TOLD:
            self.failures.append(f"{name}: and {len(failures) - MOST_TOLD} more")

    @property
    def growing(self) -> list[str]:
        return [
            f"{name}: {course.what} from {course.first} to {course.last}"
            for name, found in self.courses.items()
            for course in found
            if not course.is_flat
        ]

    @property
    def idle(self) -> list[str]:
        return [name for name, (done, _) in self.done.items() if not done]

    def write(self, folder: Path) -> None:
        """Write ``result.json`` and ``result.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        told: dict[str, Any] = {
            **vars(self), "growing": self.growing, "idle": self.idle,
            "machine": f"{platform.machine()}, Linux {platform.release()}",
            "python": platform.python_version(),
            "courses": {n: [c._asdict() for c in found] for n, found in self.courses.items()},
        }  # fmt: skip
        (folder / "result.json").write_text(json.dumps(told, indent=1) + "\n")
        (folder / "result.md").write_text("\n".join(self._lines()) + "\n")

    def _lines(self) -> list[str]:
        good = not (self.failures or self.growing or self.idle)
        lines = [
            f"# Soak of {self.begun}: {'nothing found' if good else 'FAILED'}", "",
            f"{self.seconds:g} seconds, SOAK_SEED={self.seed}, {platform.machine()}, "
            f"Linux {platform.release()}, Python {platform.python_version()}.", "",
            "| what went wrong | times |", "| --- | ---: |",
        ]  # fmt: skip
        lines += [f"| {name} | {times:,} |" for name, times in sorted(self.events.items())]
        lines += [
            "",
            "| client or pipe | steps, lines, bytes | cut by what went wrong |",
            "| --- | ---: | ---: |",
        ]
        lines += [f"| {n} | {done:,} | {cut:,} |" for n, (done, cut) in self.done.items()]
        lines += ["", "| process | descriptors | threads | MiB |", "| --- | ---: | ---: | ---: |"]
        for name, found in self.courses.items():
            cells = [
                f"{c.first / MIB:.1f} to {c.last / MIB:.1f}" if c.what == "memory"
                else f"{c.first} to {c.last}"
                for c in found
            ]  # fmt: skip
            lines.append(f"| {name} | {' | '.join(cells)} |")
        told = [*self.failures, *self.growing, *(f"{name} has done nothing" for name in self.idle)]
        return [*lines, "", *(f"- {each}" for each in told)]
