"""What processes hold while a soak goes on, and whether that stays as it is.

A leak lifts what a process holds in its quietest moments, whatever the load does in between: the
least of the last quarter of the samples is held against the least of the first one after the
warm-up.
"""

from __future__ import annotations

import os
from typing import NamedTuple

MIB = 1 << 20
WARM_UP = 0.2
"""The part of the samples that does not count: pools are filled and modules read."""
LEAST_SAMPLES = 20
MAY_GROW = {"descriptors": 2.0, "threads": 0.0, "memory": 0.0}
MAY_GROW_BY = {"descriptors": 0.0, "threads": 0.0, "memory": 0.05}
"""By how many, and by which part, the least of the end may be over that of the begin."""
MEMORY_GRAINS = 4 * MIB
"""What an allocator's arenas and pages of files move by, whatever is kept."""


class Use(NamedTuple):
    """What a process holds."""

    descriptors: int
    threads: int
    memory: int

    @classmethod
    def of(cls, pid: int) -> Use:
        """Of a running process, by /proc.

        Raises:
            OSError: there is no such process.
        """
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        threads = len(os.listdir(f"/proc/{pid}/task"))
        return cls(len(os.listdir(f"/proc/{pid}/fd")), threads, memory)


class Course(NamedTuple):
    """How one figure of a process went."""

    what: str
    first: int
    last: int
    most: int

    @property
    def is_flat(self) -> bool:
        """Whether it stayed within what may change."""
        may = MAY_GROW[self.what] + self.first * MAY_GROW_BY[self.what]
        return self.last - self.first <= may + (MEMORY_GRAINS if self.what == "memory" else 0)


def courses(samples: list[Use]) -> list[Course]:
    """The three figures of a process that lived through all of a soak.

    Raises:
        ValueError: there are too few samples to tell.
    """
    if len(samples) < LEAST_SAMPLES:
        raise ValueError(f"{len(samples)} samples are too few")
    warm = samples[int(len(samples) * WARM_UP) :]
    quarter = len(warm) // 4
    found = []
    for place, what in enumerate(Use._fields):
        values = [sample[place] for sample in warm]
        found.append(Course(what, min(values[:quarter]), min(values[-quarter:]), max(values)))
    return found
