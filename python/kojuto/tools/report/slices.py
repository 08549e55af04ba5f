"""The slices of time of a report: the missing ones filled in, rates, percentiles by steps."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Slice = dict[str, Any]

STEP = 1.25
"""A latency step i holds the times from STEP ** i up to STEP ** (i + 1) microseconds."""


def step_low_s(step: int) -> float:
    """Where a step begins, seconds; a negative one holds what is below a microsecond."""
    return STEP**step * 1e-6 if step >= 0 else 0.0


def step_middle_s(step: int) -> float:
    """The time that stands for those of a step: its geometric middle, seconds."""
    return STEP ** (step + 0.5) * 1e-6 if step >= 0 else 0.0


def step_percentile_s(steps: Mapping[int, int], percent: float) -> float | None:
    """A percentile of times of which only the steps are known, by nearest rank; None of none."""
    total = sum(steps.values())
    rank = max(int(total * percent / 100 + 0.5), 1)
    for step in sorted(steps):
        rank -= steps[step]
        if rank <= 0:
            return step_middle_s(step)
    return None


def filled(slices: Sequence[Slice]) -> list[Slice]:
    """All slices from the first to the last, those without a line too."""
    if not slices:
        return []
    width_s = slices[0]["width_s"]
    known = {round(each["start_s"] / width_s): each for each in slices}
    return [
        known.get(place)
        or {"start_s": place * width_s, "width_s": width_s, "count": 0, "steps": {}}
        for place in range(min(known), max(known) + 1)
    ]


def rates(slices: Sequence[Slice], from_s: float, to_s: float) -> list[float]:
    """Lines a second of each slice.

    The first and the last are cut by the ends of the log, so that their lines came in less time;
    of a very small rest an eighth of the slice is taken, or a single line would be a peak.
    """
    found = []
    for each in slices:
        start_s, width_s = each["start_s"], each["width_s"]
        lasted_s = min(to_s, start_s + width_s) - max(from_s, start_s)
        found.append(each["count"] / min(max(lasted_s, width_s / 8), width_s))
    return found
