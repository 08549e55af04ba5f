"""Totals by group: which stay apart, what the pool takes over; together they never fall."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kojuto.common.plugin.groups import MOST_NUMBERS, UNSEEN_S, GroupTotals

if TYPE_CHECKING:
    from collections.abc import Sequence

OTHER = ("other", b"")


def value(text: str) -> tuple[str, bytes]:
    return "value", text.encode()


def report(sets: Sequence[tuple[bytes, float, Sequence[float]]]) -> Any:
    return SimpleNamespace(position=SimpleNamespace(sets=list(sets)))


class Runs:
    """Runs of a plugin, each of which finds what the last one left."""

    def __init__(self, most: int, size: int = 1) -> None:
        self.most = most
        self.size = size
        self.sets: list[tuple[bytes, float, list[float]]] = []

    def run(
        self, now_s: float, kept: int | None = None, **counted: float
    ) -> dict[tuple[str, bytes], list[float]]:
        kept = self.size if kept is None else kept
        totals = GroupTotals(report(self.sets), self.most, self.size, kept, now_s)
        special = {"other": OTHER, "missing": ("missing", b"")}
        totals.grow(
            (special.get(name, value(name)), [number] * self.size)
            for name, number in counted.items()
        )
        self.sets = totals.sets()
        return dict(totals)


def test_groups_grow_and_those_without_a_place_are_pooled() -> None:
    runs = Runs(2)
    assert runs.run(0, a=5, b=3, c=2, missing=1) == {
        value("a"): [5], value("b"): [3], ("missing", b""): [1], OTHER: [2],
    }  # fmt: skip
    # A later one has no place however much it has, so that no series comes and goes.
    found = runs.run(60, c=90, b=1, other=4)
    assert found == {value("a"): [5], value("b"): [4], ("missing", b""): [1], OTHER: [96]}
    assert list(found)[-1] == OTHER


def test_a_group_without_a_line_for_a_day_is_pooled_and_its_place_is_free() -> None:
    runs = Runs(2)
    runs.run(1000, a=5, b=3)
    runs.run(1000 + UNSEEN_S, b=1)
    assert runs.run(1000 + UNSEEN_S, b=1, c=7)[OTHER] == [7], "not longer than a day"
    found = runs.run(1001 + UNSEEN_S, b=1, c=2, d=1)
    assert found == {value("b"): [6], value("c"): [2], OTHER: [13]}
    # Nobody looked for a week: what has lines now has not been away.
    assert runs.run(1001 + 9 * UNSEEN_S, b=1) == {value("b"): [7], OTHER: [15]}


def test_a_clock_that_was_set_back_makes_no_group_last_longer() -> None:
    runs = Runs(2)
    runs.run(10 * UNSEEN_S, a=5)
    runs.run(UNSEEN_S, b=3)
    assert runs.run(2 * UNSEEN_S + 1, c=1) == {value("c"): [1], OTHER: [8]}


def test_fewer_groups_than_in_the_last_run_keep_the_largest() -> None:
    runs = Runs(3)
    runs.run(0, a=1, b=9, c=5)
    runs.most = 1
    assert runs.run(1, a=1) == {value("b"): [9], OTHER: [7]}
    runs.most = 0
    assert runs.run(1, b=1) == {OTHER: [17]}


def test_numbers_of_another_kind_begin_afresh_and_the_others_stay() -> None:
    runs = Runs(2, size=3)
    runs.run(0, a=1, b=2)
    assert runs.run(1, kept=1, a=1) == {value("a"): [2, 1, 1], value("b"): [2, 0, 0]}
    assert runs.run(2, kept=0, b=4) == {value("b"): [4, 4, 4]}


def test_what_is_no_count_takes_none_down() -> None:
    runs = Runs(1)
    for number in (2, -3, float("nan"), float("inf"), 1e308, 1e308):
        found = runs.run(0, a=number)
    assert found == {value("a"): [1e308]}
    # What others have written into the position file.
    runs.sets = [(b"", 0, [1]), (b"?x", 0, [1]), (b"=a", 0, []), (b"=b", 0, [1, 2, 3])]
    runs.most = 5
    assert runs.run(0, a=1) == {value("a"): [1], value("b"): [1]}


def test_all_numbers_together_have_a_bound() -> None:
    runs = Runs(10_000, size=110)
    groups = {f"g{number}": 1.0 for number in range(2000)}
    for now_s in (0, 1):
        found = runs.run(now_s, None, **groups)
        assert sum(len(numbers) for _, _, numbers in runs.sets) <= MOST_NUMBERS
        assert sum(numbers[0] for numbers in found.values()) == 2000 * (now_s + 1)
    assert found[OTHER][0] > 0


def test_the_sum_of_all_groups_never_falls() -> None:
    rng = random.Random(4)
    runs, now_s = Runs(3), 0.0
    for _ in range(300):
        now_s += rng.choice([60, 3600, -60, UNSEEN_S])
        runs.most = rng.randrange(5)
        names = rng.sample(["a", "b", "c", "d", "e", "other", "missing"], rng.randrange(5))
        before = {name: numbers for name, _, numbers in runs.sets}
        runs.run(now_s, **{name: rng.randrange(9) for name in names})
        after = {name: numbers for name, _, numbers in runs.sets}
        assert all(after[name] >= before[name] for name in before if name in after)
        assert sum(n[0] for n in after.values()) >= sum(n[0] for n in before.values())
        assert len([name for name in after if name[:1] == b"="]) <= runs.most
        assert b"+" in after or b"+" not in before
