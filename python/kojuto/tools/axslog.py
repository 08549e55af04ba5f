"""``mackerel-plugin-axslog``: latencies and status classes of access logs."""

from __future__ import annotations

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.plugin import buckets, follow, metrics
from kojuto.common.plugin.follow import FollowOptions, Log, Totals
from kojuto.common.plugin.metrics import Graph, Group, Metrics, name_part
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import AccessScan, AccessTally

PROG = "mackerel-plugin-axslog"
CLASSES = ("1xx", "2xx", "3xx", "4xx", "499", "5xx")
# Where each class stands in AccessTally.classes; the last, any other status, has no metric.
CLASS_INDEX = {"1xx": 0, "2xx": 1, "3xx": 2, "4xx": 3, "499": 4, "5xx": 5}
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MAX_READ_BYTES = {"ltsv": 1_000_000_000, "auto": 1_000_000_000}
MAX_READ_BYTES_OTHERS = 500_000_000
RESERVED = {"missing": "none", "other": "other"}
"""What the lines without a value of --by, and the pool, are called."""


def percentile_set(text: str) -> list[tuple[str, float]]:
    """``99,99.9`` as [(label, fraction)], each once: 99 and 99.0 are the same.

    Raises:
        ValueError: one of them is no number above 0 and up to 100.
    """
    wanted: dict[float, str] = {}
    for part in text.split(","):
        label = part.strip()
        try:
            percent = float(label)
        except ValueError:
            percent = 0.0
        if not 0 < percent <= 100 or not label.isascii() or "_" in label:
            raise ValueError(f"{label!r} is no percentile (a number above 0 and up to 100)")
        # As the originals do: first a fraction of one, then times the count.
        wanted.setdefault(percent / 100, label)
    return [(label, fraction) for fraction, label in wanted.items()]


COMMAND = Command(
    PROG,
    "Reads what was added to access logs since its last run and prints latency percentiles and "
    "the rate and ratio of each status class.",
    [
        Option("--logfile", metavar="FILE[,FILE…]", required=True, help="access logs to follow"),
        Option("--key-prefix", metavar="NAME", required=True, help="the part of the metric names"),
        Option(
            "--format",
            metavar="FORMAT",
            default="ltsv",
            choices=("ltsv", "json", "combined", "regex", "auto"),
            help="ltsv, json, combined (Apache and nginx, with the time as an optional last "
            "field), regex (see --regex) or auto",
        ),
        Option("--ptime-key", metavar="KEY", default="ptime", help="key of the time taken"),
        Option(
            "--status-key",
            metavar="KEY",
            default=("status",),
            repeat=True,
            help="key of the status; the first listed that a line has wins",
        ),
        Option("--filter", metavar="TEXT", help="count only lines with this text"),
        Option("--invert-filter", help="count only lines without the text of --filter"),
        Option("--skip-until-json", help="skip to the first { of each line"),
        Option(
            "--max-read-size",
            metavar="SIZE",
            read=units.sized("1B", zero=True),
            help="skip to the end when more was added; 0, or left out: 1GB for ltsv and auto, "
            "500MB for the others",
        ),
        *metrics.OPTIONS,
        Option(
            "--percentiles",
            metavar="P,…",
            read=percentile_set,
            default="99,95,90",
            help="latency percentiles to print",
            group="Going further",
        ),
        buckets.option(
            "the requests for Prometheus in a histogram of the time taken too",
            group="Going further",
        ),
        Option(
            "--by",
            metavar="KEY",
            help="print a set of metrics for each value of this key too",
            group="Going further",
        ),
        Option(
            "--max-groups",
            metavar="N",
            read=units.integer(1, 10_000),
            default="20",
            help="values of --by to keep apart, the largest; the rest is pooled as 'other'",
            group="Going further",
        ),
        metrics.VERBOSE,
        Option(
            "--regex",
            metavar="PATTERN",
            help="lines for --format regex: named groups (?P<ptime>…), (?P<status>…) are the keys",
            group="Going further",
        ),
        Option(
            "--time-unit",
            metavar="UNIT",
            default="s",
            choices=tuple(TIME_UNITS),
            help="unit of the time in the log (s, ms, us, ns); it is printed in seconds",
            group="Going further",
        ),
        Option(
            "--time-list",
            metavar="HOW",
            default="refuse",
            choices=("refuse", "sum", "last", "max"),
            help="a time such as nginx's '0.1, 0.2 : 0.3': refuse, sum, last or max",
            group="Going further",
        ),
        *follow.OPTIONS,
    ],
    passes_over=True,
    epilog="""
Examples:
  mackerel-plugin-axslog --logfile /var/log/nginx/access.log --key-prefix web
  mackerel-plugin-axslog --logfile a.json,b.json --format json --key-prefix api \\
      --ptime-key request_time --percentiles 50,99,99.9 --by host

A line counts when it has a time taken and a status; in combined logs, and with a --regex without
the time's group, the status is enough. The first field of a name that has a value wins, '-' and
nothing are as if absent. What was read is remembered in MACKEREL_PLUGIN_WORKDIR, else TMPDIR or
/tmp. Several logs are pooled.
""",
)


class AccessOptions:
    """What the native scan reads from each line."""

    __slots__ = (
        "by", "filter", "format", "invert_filter", "max_groups", "ptime_key", "regex",
        "skip_until_json", "status_keys", "time_list", "time_scale",
    )  # fmt: skip

    def __init__(self, values: Values) -> None:
        self.format: str = values.format
        self.regex: str | None = values.regex
        self.ptime_key: str = values.ptime_key
        self.status_keys: list[str] = values.status_key
        self.by: str | None = values.by
        self.max_groups: int = values.max_groups
        self.filter: str | None = values.filter
        self.invert_filter: bool = values.invert_filter
        self.skip_until_json: bool = values.skip_until_json
        self.time_scale = TIME_UNITS[values.time_unit]
        self.time_list: str = values.time_list


FAMILIES = {
    "axslog_latency_average_seconds": ("gauge", "Mean time taken by the requests of this run.", 1),
    "axslog_latency_seconds": ("summary", "Quantiles of the time taken in this run.", 1),
    "axslog_access_per_second": ("gauge", "Requests a second since the previous run, by class.", 1),
    "axslog_access_total_per_second": ("gauge", "Requests a second since the previous run.", 1),
    "axslog_access_ratio": ("gauge", "Share of each status class, 0 to 1.", 100),
    "axslog_requests_total": ("counter", "Requests by class of status, over all runs.", 1),
    "axslog_timed_requests_total": ("counter", "Requests with a time taken, over all runs.", 1),
    "axslog_time_taken_seconds_total": ("counter", "Time taken by them, over all runs.", 1),
    "axslog_skipped_bytes_total": ("counter", "Bytes that were passed over, over all runs.", 1),
}


def graphs(prefix: str, percentiles: Sequence[tuple[str, float]], by: bool) -> list[Graph]:
    """The graph definition; with `by` the same graphs once more for any group."""
    found = []
    for end, title in (("", prefix), (".#", f"{prefix} by group")) if by else (("", prefix),):
        latency = [("average", "average")]
        latency += [(f"{name_part(label)}_percentile", f"{label} %") for label, _ in percentiles]
        found += [
            Graph(f"axslog.latency_{prefix}{end}", f"Latency: {title}", "seconds", latency),
            Graph(
                f"axslog.access_num_{prefix}{end}",
                f"Requests a second by status: {title}",
                "float",
                [(f"{name}_count", name) for name in CLASSES],
                stacked=True,
            ),
            Graph(
                f"axslog.access_total_{prefix}{end}",
                f"Requests a second: {title}",
                "float",
                [("count", "requests")],
            ),
            Graph(
                f"axslog.access_ratio_{prefix}{end}",
                f"Share of each status: {title}",
                "percentage",
                [(f"{name}_percentage", name) for name in CLASSES],
                stacked=True,
            ),
        ]
    found.append(
        Graph(f"axslog.skipped_{prefix}", f"Skipped: {prefix}", "bytes", [("bytes", "bytes")])
    )
    return found


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
    for name, index in (*CLASS_INDEX.items(), ("unknown", 6)):
        total = totals.grow(f"requests {name}", tally.classes[index])
        if total or name != "unknown":
            out.total("axslog_requests_total", total, {**labels, "status": name})
    taken_s = tally.latency_mean * tally.latency_count if tally.latency_count else 0.0
    for name, by in (
        ("timed_requests", tally.latency_count),
        ("time_taken_seconds", taken_s),
        ("skipped_bytes", scan.report.skipped_bytes),
    ):
        out.total(f"axslog_{name}_total", totals.grow(name, by), labels)
    if values.buckets:
        histogram = buckets.Histogram(
            totals,
            values.buckets,
            "axslog_request_duration_seconds",
            "Requests by time taken, over all runs.",
        )
        histogram.add(tally.histogram(buckets.edges_of(values.buckets)), taken_s, labels)
        out.histograms.append(histogram.family)
    return totals


def _pool(tallies: Sequence[AccessTally]) -> AccessTally:
    first, *others = tallies
    for other in others:
        first.merge(other)
    return first


def collect(out: Metrics, values: Values, scans: Sequence[AccessScan], logs: int) -> None:
    """Add the metrics of the scanned logs to `out`."""
    percentiles = values.percentiles
    writer = Writer(out, values.key_prefix, percentiles)

    def write(parts: list[tuple[AccessTally, float | None]], end: str, **labels: str) -> None:
        rates, ratios = _rates(parts, pooled=logs > 1)
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


def _work(values: Values, _: list[str]) -> int:
    if values.format == "regex" and values.regex is None:
        raise UsageError("--format regex needs --regex PATTERN")
    metrics.check(values)
    prefix = values.key_prefix
    if metrics.meta_requested():
        wanted = values.percentiles
        metrics.print_meta(graphs(prefix, wanted, values.by is not None))
        return cli.DONE
    from os import getuid

    from kojuto import _native

    paths = [path for path in values.logfile.split(",") if path]
    name = f"{getuid()}-axslog-v5-{prefix}"
    logs = [Log(path, f"{name}{_path_hash(path) if len(paths) > 1 else ''}") for path in paths]
    limit = values.max_read_size or MAX_READ_BYTES.get(values.format, MAX_READ_BYTES_OTHERS)
    options = FollowOptions(values, limit)
    try:
        outcomes = _native.follow_access_logs(logs, options, AccessOptions(values))
    except BlockingIOError:
        return follow.busy(PROG)
    except ValueError as error:
        raise UsageError(str(error)) from None
    scanned = []
    for path, outcome in zip(paths, outcomes, strict=True):
        if isinstance(outcome, OSError):
            failure = follow.explained(outcome, logs)
            if len(paths) == 1 or isinstance(failure, KojutoError):
                raise failure
            cli.complain(PROG, f"warning: {cli.describe(outcome)}")
            continue
        follow.tell(PROG, path, outcome.report)
        follow.tell_bad_lines(
            PROG, path, outcome.bad_lines, outcome.bad_example, _hint(values, outcome)
        )
        scanned.append((path, outcome))
    if not scanned:
        raise KojutoError(f"none of the {len(paths)} logs could be read")
    out = Metrics(FAMILIES)
    totals = [count_on(out, values, path, scan) for path, scan in scanned]
    scans = [scan for _, scan in scanned]
    collect(out, values, scans, len(paths))
    if values.verbose:
        metrics.tell_names(PROG, out.groups)
    about = {"logs": _about(paths, outcomes)}
    follow.deliver(
        lambda: out.write(values.output, int(options.now_s), about, values.textfile),
        [(each.report, each.now) for each in totals],
    )
    return cli.DONE


def _path_hash(path: str) -> str:
    from hashlib import md5

    return "-" + md5(path.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()


def _hint(values: Values, scan: AccessScan) -> str | None:
    """What to try when not a single line could be counted."""
    if scan.tally.total or not scan.bad_lines:
        return None
    keys = f"--ptime-key {values.ptime_key} and --status-key {','.join(values.status_key)}"
    return f"is the log in --format {scan.format}, and are {keys} its names? try --format auto"


def _about(paths: Sequence[str], outcomes: Sequence[AccessScan | OSError]) -> list[object]:
    about: list[object] = []
    for path, outcome in zip(paths, outcomes, strict=True):
        if isinstance(outcome, OSError):
            about.append({"log": path, "error": cli.describe(outcome)})
            continue
        about.append(
            {
                "log": path,
                "format": outcome.format,
                "duration_s": outcome.report.duration_s,
                "lines": outcome.lines,
                "counted_lines": outcome.tally.total,
                "bytes": outcome.report.bytes,
                "skipped_bytes": outcome.report.skipped_bytes,
                "overlong_lines": outcome.report.overlong_lines,
                "bad_lines": dict(outcome.bad_lines),
            }
        )
    return about


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plugin and return its exit status."""
    return cli.run(COMMAND, _work, argv)
