"""The figures of one run: latencies, rates, ratios, and the counters that grow over all runs."""

from __future__ import annotations

from kojuto.common.plugin.follow import Totals
from kojuto.common.plugin.metrics import Group, name_part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import AccessScan, AccessTally
    from kojuto.common.cli import Values
    from kojuto.common.plugin.metrics import Metrics

CLASSES = ("1xx", "2xx", "3xx", "4xx", "499", "5xx")
# Where each class stands in AccessTally.classes; the last, any other status, has no metric.
CLASS_INDEX = {"1xx": 0, "2xx": 1, "3xx": 2, "4xx": 3, "499": 4, "5xx": 5}
COUNTED = {**CLASS_INDEX, "unknown": 6}
RESERVED = {"missing": "none", "other": "other"}
"""What the lines without a value of --by, and the pool, are called."""
FAMILIES = {
    "axslog_latency_average_seconds": ("gauge", "Mean time taken by the requests of this run.", 1),
    "axslog_latency_seconds": ("summary", "Quantiles of the time taken in this run.", 1),
    "axslog_access_per_second": ("gauge", "Requests a second since the previous run, by class.", 1),
    "axslog_access_total_per_second": ("gauge", "Requests a second since the previous run.", 1),
    "axslog_access_ratio": ("gauge", "Share of each status class, 0 to 1.", 100),
    "axslog_requests_total": ("counter", "Requests by class of status, over all runs.", 1),
    "axslog_timed_requests_total": ("counter", "Requests with a time taken, over all runs.", 1),
    "axslog_time_taken_seconds_total": ("counter", "Time taken by them, over all runs.", 1),
    "axslog_group_requests_total": (
        "counter", "Requests by group and class of status, over all runs.", 1),
    "axslog_group_timed_requests_total": (
        "counter", "Requests with a time taken by group, over all runs.", 1),
    "axslog_group_time_taken_seconds_total": (
        "counter", "Time taken by them by group, over all runs.", 1),
    "axslog_skipped_bytes_total": ("counter", "Bytes that were passed over, over all runs.", 1),
}  # fmt: skip


class Rates:
    """Counts by class, or their sums over several logs, per second."""

    __slots__ = ("classes", "total")

    def __init__(self) -> None:
        self.classes = [0.0] * 7
        self.total = 0.0

    def add(self, tally: AccessTally, divisor: float) -> None:
        """Add a log's counts, each divided by `divisor`."""
        for index, number in enumerate(tally.classes):
            self.classes[index] += number / divisor
        self.total += tally.total / divisor


class Writer:
    """Adds the metrics of one set of lines: all of them, or a group of `--by`."""

    def __init__(self, out: Metrics, prefix: str, percentiles: Sequence[tuple[str, float]]) -> None:
        self.out = out
        self.prefix = prefix
        self.percentiles = percentiles

    def latency(self, tally: AccessTally, end: str = "", **labels: str) -> None:
        """The average and the percentiles, if there were lines with a time."""
        if not tally.latency_count:
            return
        name = f"axslog.latency_{self.prefix}{end}"
        labels["prefix"] = self.prefix
        mean = tally.latency_mean
        self.out.add(f"{name}.average", mean, "axslog_latency_average_seconds", **labels)
        values = tally.quantiles([fraction for _, fraction in self.percentiles])
        for (label, fraction), value in zip(self.percentiles, values, strict=True):
            self.out.add(
                f"{name}.{name_part(label)}_percentile",
                value,
                "axslog_latency_seconds",
                **labels,
                quantile=repr(float(f"{fraction:.12g}")),
            )

    def counts(self, rates: Rates | None, ratios: Rates, end: str = "", **labels: str) -> None:
        """What happened a second (when the previous run is known) and the share of each class."""
        labels["prefix"] = self.prefix
        if rates is not None:
            for name, index in CLASS_INDEX.items():
                self.out.add(
                    f"axslog.access_num_{self.prefix}{end}.{name}_count",
                    rates.classes[index],
                    "axslog_access_per_second",
                    **labels,
                    status=name,
                )
            self.out.add(
                f"axslog.access_total_{self.prefix}{end}.count",
                rates.total,
                "axslog_access_total_per_second",
                **labels,
            )
        if ratios.total > 0:
            for name, index in CLASS_INDEX.items():
                self.out.add(
                    f"axslog.access_ratio_{self.prefix}{end}.{name}_percentage",
                    ratios.classes[index] * 100 / ratios.total,
                    "axslog_access_ratio",
                    **labels,
                    status=name,
                )


def _rates(
    parts: Sequence[tuple[AccessTally, float | None]], *, pooled: bool
) -> tuple[Rates | None, Rates]:
    """Per-second figures, None before the second run, and the figures that the ratios are of.

    One log's ratios are of its counts; those of several logs are of their summed per-second
    figures, as in the original, where a log without a previous run adds nothing.
    """
    per_second = Rates()
    timed = [(tally, seconds) for tally, seconds in parts if seconds is not None and seconds > 0]
    for tally, seconds in timed:
        per_second.add(tally, seconds)
    if pooled:
        return (per_second if timed else None), per_second
    counts = Rates()
    for tally, _ in parts:
        counts.add(tally, 1)
    return (per_second if timed else None), counts


def count_on(out: Metrics, values: Values, path: str, scan: AccessScan) -> Totals:
    """Add the counters of one log to `out`, and its histogram if there are ``--buckets``."""
    totals, tally = Totals(scan.report), scan.tally
    labels = {"prefix": values.key_prefix, "log": path}
    for name, index in COUNTED.items():
        total = totals.grow(f"requests {name}", tally.classes[index])
        if total or name != "unknown":
            out.total("axslog_requests_total", total, {**labels, "status": name})
    for name, by in (
        ("timed_requests", tally.latency_count),
        ("time_taken_seconds", taken_s(tally)),
        ("skipped_bytes", scan.report.skipped_bytes),
    ):
        out.total(f"axslog_{name}_total", totals.grow(name, by), labels)
    if values.buckets:
        from kojuto.common.plugin import buckets

        family = out.histogram(
            "axslog_request_duration_seconds", "Requests by time taken, over all runs."
        )
        histogram = buckets.Histogram(totals, values.buckets, family)
        counts = tally.histogram(buckets.edges_of(values.buckets))
        histogram.add(counts, taken_s(tally), labels)
    return totals


def taken_s(tally: AccessTally) -> float:
    """The time that all its requests took, seconds."""
    return tally.latency_mean * tally.latency_count if tally.latency_count else 0.0


def _pool(tallies: Sequence[AccessTally]) -> AccessTally:
    first, *others = tallies
    for other in others:
        first.merge(other)
    return first


def collect(out: Metrics, values: Values, scans: Sequence[AccessScan], *, pooled: bool) -> None:
    """Add the metrics of the scanned logs to `out`; `pooled` where several were asked for."""
    percentiles = values.percentiles
    writer = Writer(out, values.key_prefix, percentiles)

    def write(parts: list[tuple[AccessTally, float | None]], end: str, **labels: str) -> None:
        rates, ratios = _rates(parts, pooled=pooled)
        writer.latency(_pool([tally for tally, _ in parts]), end, **labels)
        writer.counts(rates, ratios, end, **labels)

    write([(scan.tally, scan.report.duration_s) for scan in scans], "")
    parts: dict[tuple[str, bytes], list[tuple[AccessTally, float | None]]] = {}
    for scan in scans:
        for name, tally in scan.groups:
            parts.setdefault(name, []).append((tally, scan.report.duration_s))
    # The pool comes last, however many logs have one.
    for name in sorted(parts, key=lambda name: name[0] == "other"):
        group = Group(values.by, *name, RESERVED)
        out.groups.append(group)
        write(parts[name], f".{group.part}", **group.labels("group"))
    skipped = sum(scan.report.skipped_bytes for scan in scans)
    if skipped:
        out.add(f"axslog.skipped_{values.key_prefix}.bytes", skipped, None)
