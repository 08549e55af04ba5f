"""Histograms over all runs of a log plugin, for Prometheus: what ``--buckets`` asks for."""

from __future__ import annotations

from kojuto.common.plugin.metrics import short_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kojuto.common.plugin.follow import Totals
    from kojuto.common.prometheus import Family


def edges_of(bounds: Sequence[float]) -> list[float]:
    """The edges that the native scans count between.

    A bound belongs to its bucket in Prometheus, and an edge to the next one there.
    """
    from math import inf, nextafter

    return [nextafter(bound, inf) for bound in bounds]


def mark_of(bounds: Sequence[float]) -> float:
    """A number that other bounds do not have."""
    return float(int(short_hash(repr([*bounds]).encode()), 16))


class Histogram:
    """A histogram that grows from run to run, kept with the position of the log.

    Args:
        totals: those of the log; other bounds than in the run before begin afresh.
        bounds: the upper bounds, seconds.
        family: where its series are shown.
    """

    __slots__ = ("bounds", "family", "totals")

    def __init__(self, totals: Totals, bounds: Sequence[float], family: Family) -> None:
        totals.begin("le", mark_of(bounds))
        self.totals = totals
        self.bounds = bounds
        self.family = family

    def add(
        self, counts: Sequence[int], sum_s: float, labels: Mapping[str, str], part: str = ""
    ) -> None:
        """Add what one run has counted.

        Args:
            counts: how many lie between the edges of `edges_of`.
            sum_s: the sum of them all, seconds.
            labels: the labels of the series.
            part: what tells it from the other series of the family, in the position file.
        """
        key = f"le {part} " if part else "le "
        grown = [self.totals.grow(f"{key}{at}", count) for at, count in enumerate(counts)]
        total_s = self.totals.grow(f"{key}sum", sum_s)
        self.family.add_histogram(self.bounds, grown, total_s, labels)
