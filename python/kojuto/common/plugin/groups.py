"""Counters by group over all runs of a log plugin, for Prometheus."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kojuto._native import FollowReport, _GroupOf

UNSEEN_S = 24 * 60 * 60
"""A group without a line for so long is one of the pool."""

MOST_NUMBERS = 100_000
"""So many numbers of all groups together are kept with a position."""

OTHER: _GroupOf = ("other", b"")
_MARKS = {"value": b"=", "other": b"+", "missing": b"-"}
_KINDS = {mark: kind for kind, mark in _MARKS.items()}


class GroupTotals:
    """The counts of one log by group, which grow from run to run and are kept with its position.

    At most so many groups are kept apart, those that came first; a place is free once its group has
    had no line for 24 hours. The pool takes over what such a group has counted, and all lines of
    groups that have no place: together they never fall. The lines without a value have a set of
    their own.

    Args:
        report: what following the log gave.
        most: how many groups are kept apart.
        size: how many numbers each has.
        kept: how many of them, from the first on, are the same ones as in the last run.
        now_s: seconds since the epoch.
    """

    __slots__ = ("_most", "_now_s", "_sets", "_size")

    def __init__(self, report: FollowReport, most: int, size: int, kept: int, now_s: float) -> None:
        # The pool and the lines without a value have their sets beside the groups.
        self._most = max(0, min(most, MOST_NUMBERS // size - 2))
        self._size = size
        self._now_s = now_s
        self._sets: dict[_GroupOf, tuple[float, list[float]]] = {}
        for name, seen_s, numbers in report.position.sets:
            kind = _KINDS.get(name[:1])
            if kind is not None and kept:
                mine = [*numbers[:kept], *[0.0] * size][:size]
                # A clock that was set back makes no group older or younger than now.
                self._sets[kind, name[1:]] = (min(seen_s, now_s), mine)
        self._shrink()

    def _values(self) -> list[_GroupOf]:
        return [name for name in self._sets if name[0] == "value"]

    def _shrink(self) -> None:
        """Pool the smallest where fewer are asked for than in the last run."""
        values = self._values()
        if len(values) > self._most:
            values.sort(key=lambda name: sum(self._sets[name][1]))
            for name in values[: len(values) - self._most]:
                self._pool(name)

    def _pool(self, name: _GroupOf) -> None:
        seen_s, numbers = self._sets.pop(name)
        self._add(OTHER, numbers, seen_s)

    def _add(self, name: _GroupOf, numbers: Sequence[float], seen_s: float) -> None:
        before_s, old = self._sets.get(name, (seen_s, [0.0] * self._size))
        # As for any total: it never falls, and none that no float can hold stops the log.
        grown = [
            total + more if 0 <= more < float("inf") and total + more < float("inf") else total
            for total, more in zip(old, numbers)  # noqa: B905
        ]
        self._sets[name] = (max(before_s, seen_s), grown)

    def grow(self, counted: Iterable[tuple[_GroupOf, Sequence[float]]]) -> None:
        """Add what this run has counted of each group, the largest first."""
        late = []
        for name, numbers in counted:
            if name[0] != "value" or name in self._sets:
                self._add(name, numbers, self._now_s)
            else:
                late.append((name, numbers))
        for name in self._values():
            if self._sets[name][0] < self._now_s - UNSEEN_S:
                self._pool(name)
        room = self._most - len(self._values())
        for at, (name, numbers) in enumerate(late):
            self._add(name if at < room else OTHER, numbers, self._now_s)

    def __iter__(self) -> Iterator[tuple[_GroupOf, list[float]]]:
        """The groups and their totals, the pool last."""
        for name in sorted(self._sets, key=lambda name: name[0] == "other"):
            yield name, self._sets[name][1]

    def sets(self) -> list[tuple[bytes, float, list[float]]]:
        """What the next run is to find, for `PendingPosition.stage`."""
        return [
            (_MARKS[kind] + value, seen_s, numbers)
            for (kind, value), (seen_s, numbers) in self._sets.items()
        ]
