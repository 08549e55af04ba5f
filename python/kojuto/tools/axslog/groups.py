"""The counters of each group of ``--by``, which grow over all runs, for Prometheus."""

from __future__ import annotations

from kojuto.common.plugin import buckets
from kojuto.common.plugin.groups import GroupTotals
from kojuto.common.plugin.metrics import Group, short_hash
from kojuto.common.prometheus import whole
from kojuto.tools.axslog.figures import COUNTED, RESERVED, taken_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kojuto._native import AccessScan, _GroupOf
    from kojuto.common.cli import Values
    from kojuto.common.plugin.follow import Totals
    from kojuto.common.plugin.metrics import Metrics

PLAIN = len(COUNTED) + 2
"""So many numbers a group has without buckets: requests by class, timed ones, and their time."""


def count_on(
    out: Metrics,
    values: Values,
    scan: AccessScan,
    totals: Totals,
    labels: Mapping[str, str],
    *,
    now_s: float,
) -> None:
    """Add a log's counters by group to `out`, and to what is kept with its position."""
    bounds = values.buckets or []
    size = PLAIN + (len(bounds) + 1 if bounds else 0)
    key = float(int(short_hash(values.by.encode(errors="surrogateescape")), 16))
    same_key = totals.begin("by", key)
    same_bounds = totals.begin("group le", buckets.mark_of(bounds))
    kept = (size if same_bounds else PLAIN) if same_key else 0
    grown = GroupTotals(scan.report, values.max_groups, size, kept, now_s)
    grown.grow(_counted(scan, bounds))
    totals.sets = grown.sets()
    if values.textfile is not None or values.output in ("prometheus", "openmetrics"):
        for name, numbers in grown:
            group = Group(values.by, *name, RESERVED).labels("group")
            _show(out, {**labels, **group}, [whole(number) for number in numbers], bounds)


def _counted(
    scan: AccessScan, bounds: Sequence[float]
) -> Iterator[tuple[_GroupOf, Sequence[float]]]:
    edges = buckets.edges_of(bounds)
    for name, tally in scan.groups:
        timed = [*tally.classes, tally.latency_count, taken_s(tally)]
        yield name, [*timed, *(tally.histogram(edges) if bounds else [])]


def _show(
    out: Metrics, labels: dict[str, str], numbers: Sequence[float], bounds: Sequence[float]
) -> None:
    for status, index in COUNTED.items():
        if numbers[index] or status != "unknown":
            out.total("axslog_group_requests_total", numbers[index], {**labels, "status": status})
    timed, time_s = numbers[PLAIN - 2 : PLAIN]
    out.total("axslog_group_timed_requests_total", timed, labels)
    out.total("axslog_group_time_taken_seconds_total", time_s, labels)
    if bounds:
        family = out.histogram(
            "axslog_group_request_duration_seconds",
            "Requests by group and time taken, over all runs.",
        )
        family.add_histogram(bounds, numbers[PLAIN:], time_s, labels)
