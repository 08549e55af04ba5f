"""Histograms over all runs of a log plugin, for Prometheus: ``--buckets``."""

from __future__ import annotations

from kojuto.common.cli import Option
from kojuto.common.plugin.metrics import short_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kojuto.common.plugin.follow import Totals
    from kojuto.common.prometheus import Family

MAX_BUCKETS = 100


def option(what: str, *, group: str) -> Option:
    """The option ``--buckets``: `what` is counted."""
    return Option(
        "--buckets",
        metavar="S,…",
        read=bounds_of,
        help=f"count {what}, with these upper bounds in seconds: 0.1,0.5,1",
        group=group,
    )


def bounds_of(text: str) -> list[float]:
    """The upper bounds of a histogram, seconds.

    Raises:
        ValueError: they are no ascending numbers above 0, or too many.
    """
    wanted: list[float] = []
    for part in text.split(","):
        label = part.strip()
        try:
            bound = float(label) if label.isascii() and "_" not in label else 0.0
        except ValueError:
            bound = 0.0
        if not 0 < bound < 1e9 or (wanted and bound <= wanted[-1]):
            raise ValueError(f"{label!r} is no bound (ascending seconds above 0: 0.1,0.5,1)")
        wanted.append(bound)
    if len(wanted) > MAX_BUCKETS:
        raise ValueError(f"{len(wanted)} bounds: above the maximum of {MAX_BUCKETS}")
    return wanted


def edges_of(bounds: Sequence[float] | None) -> list[float]:
    """The edges that the native scans count between; none without bounds.

    A bound belongs to its bucket in Prometheus, and an edge to the next one there.
    """
    from math import inf, nextafter

    return [nextafter(bound, inf) for bound in bounds or ()]


class Histogram:
    """A histogram that grows from run to run, kept with the position of the log.

    Args:
        totals: those of the log; other bounds than in the run before begin afresh.
        bounds: the upper bounds, seconds.
        name: the name of the Prometheus family.
        about: its help.
    """

    __slots__ = ("bounds", "family", "totals")

    def __init__(self, totals: Totals, bounds: Sequence[float], name: str, about: str) -> None:
        from kojuto.common.prometheus import Family

        totals.begin("le", float(int(short_hash(repr([*bounds]).encode()), 16)))
        self.totals = totals
        self.bounds = bounds
        self.family: Family = Family(name, "histogram", about)

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
