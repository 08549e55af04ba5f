"""``mackerel-plugin-postfix-log``: Postfix delivery delays and outcomes from the mail log."""

from __future__ import annotations

from kojuto.common import cli
from kojuto.common.cli import Command, Option, Values
from kojuto.common.plugin import follow, metrics
from kojuto.common.plugin.follow import FollowOptions, Log, Totals
from kojuto.common.plugin.metrics import Graph, Group, Metrics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import PostfixFigures, PostfixScan

PROG = "mackerel-plugin-postfix-log"


def _program(text: str) -> str:
    if not text or not text.isprintable() or set(" []:") & set(text):
        raise ValueError("not a program (write smtp, lmtp, or a whole name as postfix/relay/smtp)")
    return text


def _syslog_name(text: str) -> str | None:
    if text == "postfix":
        return None  # what the scan takes without an expression
    from kojuto._native import check_syslog_name

    check_syslog_name(text)
    return text


COMMAND = Command(
    PROG,
    "Reads what was added to a Postfix log since the last run and prints how long deliveries took "
    "(average and percentiles) and how they ended (2xx, 4xx, 5xx, per second and in per cent).",
    [
        Option(
            "--logfile",
            metavar="PATH",
            default="/var/log/maillog",
            help="the mail log (or - for standard input, read once), with syslog or RFC 3339 time "
            "stamps",
        ),
        Option(
            "--posfile-prefix",
            metavar="NAME",
            default="maillog",
            help="the position is kept in the work directory as NAME-postfixlog-UID; two set-ups "
            "that read the same log need two names",
        ),
        *metrics.OPTIONS,
        Option(
            "--program",
            metavar="NAME",
            read=_program,
            default=("smtp",),
            offers=(
                "smtp",
                "lmtp",
                "local",
                "virtual",
                "pipe",
                "error",
                "discard",
                "smtpd",
                "cleanup",
                "qmgr",
                "pickup",
                "postscreen",
            ),
            repeat=True,
            group="What is counted",
            help="a delivery agent (smtp, lmtp, local, virtual, pipe, error, discard), or one of "
            "smtpd, cleanup, qmgr, pickup, postscreen, which have no delays and are counted as "
            "--activity does; with a slash the whole name, such as postfix/relay/smtp",
        ),
        Option(
            "--syslog-name",
            metavar="REGEX",
            read=_syslog_name,
            default="postfix",
            group="What is counted",
            help="the syslog tag up to the program's name: a regular expression that has to match "
            "all of it, 'postfix(-out)?(/submission)?'",
        ),
        Option(
            "--activity",
            group="What is counted",
            help="also count what smtpd, cleanup and qmgr report: mail received, rejected, "
            "queued, active, removed, expired, per second",
        ),
        Option(
            "--by-relay",
            group="What is counted",
            help="also print all figures for each relay host, the busiest first",
        ),
        Option(
            "--by-dsn",
            group="What is counted",
            help="also count each whole status code (2.0.0, 4.7.1)",
        ),
        cli.max_groups(
            "the most relays and the most status codes to print",
            most=1000,
            default="10",
            group="What is counted",
        ),
        follow.buckets_option(
            "the deliveries for Prometheus in a histogram of each delay too",
            group="What is counted",
        ),
        follow.max_read_size(),
        *follow.OPTIONS,
        follow.ONCE,
    ],
    passes_over=True,
    epilog="""\
Examples:
  mackerel-plugin-postfix-log --logfile /var/log/mail.log
  mackerel-plugin-postfix-log --program smtp --program lmtp --program error --by-dsn
  mackerel-plugin-postfix-log --syslog-name 'postfix(-out)?' --by-relay --max-groups 5
  journalctl -u 'postfix*' -o short | mackerel-plugin-postfix-log --logfile -
  mackerel-plugin-postfix-log --buckets 1,10,60,600 --textfile /var/lib/node/postfix.prom""",
)

DELAYS = (
    ("total", "Total"),
    ("recving", "Receiving"),
    ("queuing", "Queuing"),
    ("connection", "Connection"),
    ("transmission", "Transmission"),
)
STATISTICS = (
    ("average", "Average"),
    ("99_percentile", "99 Percentile"),
    ("95_percentile", "95 Percentile"),
    ("90_percentile", "90 Percentile"),
)
CLASSES = ("2xx", "4xx", "5xx")
ACTIVITY = ("received", "rejected", "queued", "active", "removed", "expired")
ACTIVITY_PROGRAMS = ["smtpd", "cleanup", "qmgr"]

FAMILIES = {
    "postfixlog_delay_seconds": ("gauge", "Delay of the deliveries since the last run.", 1),
    "postfixlog_transfers_per_second": ("gauge", "Deliveries per second by DSN class.", 1),
    "postfixlog_transfer_ratio": ("gauge", "Share of each DSN class in the deliveries.", 100),
    "postfixlog_dsn_per_second": ("gauge", "Deliveries per second by whole DSN.", 1),
    "postfixlog_dsn_ratio": ("gauge", "Share of each whole DSN in the deliveries.", 100),
    "postfixlog_activity_per_second": ("gauge", "Mail at each station of Postfix per second.", 1),
    "postfixlog_transfers_total": ("counter", "Deliveries by DSN class, over all runs.", 1),
    "postfixlog_activity_total": ("counter", "Mail at each station of Postfix, over all runs.", 1),
    "postfixlog_skipped_bytes_total": ("counter", "Bytes passed over, over all runs.", 1),
}


class ScanOptions:
    """What the native scan reads; see `kojuto._native.follow_postfix_log`."""

    __slots__ = ("by_dsn", "by_relay", "edges", "max_groups", "programs", "syslog_name")

    def __init__(self, values: Values) -> None:
        self.programs = values.program + (ACTIVITY_PROGRAMS if values.activity else [])
        self.syslog_name = values.syslog_name
        self.by_relay = values.by_relay
        self.by_dsn = values.by_dsn
        self.max_groups = values.max_groups
        self.edges: list[float] = []
        if values.buckets:
            from kojuto.common.plugin.buckets import edges_of

            self.edges = edges_of(values.buckets)


# -- graphs -----------------------------------------------------------------------------------


def _graphs(values: Values) -> list[Graph]:
    graphs = _delivery_graphs("postfixlog.", "", "Postfix ")
    if values.by_relay:
        graphs += _delivery_graphs("postfixlog.relay_", ".#", "Postfix by relay: ")
    if values.by_dsn:
        graphs += [
            Graph("postfixlog.dsn_num.#", "Postfix DSN per second", "float", [("count", "Count")]),
            Graph(
                "postfixlog.dsn_ratio.#",
                "Postfix DSN ratio",
                "percentage",
                [("percentage", "Percentage")],
            ),
        ]
    if values.activity or any(_is_activity(program) for program in values.program):
        lines = [(f"{event}_count", event.capitalize()) for event in ACTIVITY]
        graphs.append(
            Graph("postfixlog.activity_num", "Postfix activity per second", "float", lines)
        )
    return graphs


def _is_activity(program: str) -> bool:
    return program.rpartition("/")[2] in (*ACTIVITY_PROGRAMS, "pickup", "postscreen")


def _delivery_graphs(prefix: str, suffix: str, label: str) -> list[Graph]:
    graphs = [
        Graph(f"{prefix}{key}_delay{suffix}", f"{label}{name} Delay", "seconds", STATISTICS)
        for key, name in DELAYS
    ]
    counts = [(f"{digit}_count", digit) for digit in CLASSES]
    shares = [(f"{digit}_percentage", digit) for digit in CLASSES]
    return [
        *graphs,
        Graph(
            f"{prefix}transfer_num{suffix}", f"{label}Transfers per second", "float", counts,
            stacked=True,
        ),
        Graph(
            f"{prefix}transfer_total{suffix}", f"{label}Transfers per second, all", "float",
            [("count", "Count")],
        ),
        Graph(
            f"{prefix}transfer_ratio{suffix}", f"{label}Transfer ratio", "percentage", shares,
            stacked=True,
        ),
    ]  # fmt: skip


# -- work -------------------------------------------------------------------------------------


def _add_deliveries(
    out: Metrics,
    figures: PostfixFigures,
    duration_s: float,
    prefix: str = "postfixlog.",
    suffix: str = "",
    /,
    **labels: str,
) -> None:
    if figures.delays is not None:
        for (key, _), delay in zip(DELAYS, figures.delays):  # noqa: B905
            for (name, _), value in zip(STATISTICS, delay):  # noqa: B905
                out.add(
                    f"{prefix}{key}_delay{suffix}.{name}", value, "postfixlog_delay_seconds",
                    delay=key, statistic=name, **labels,
                )  # fmt: skip
    classes = list(zip(CLASSES, figures.classes))  # noqa: B905
    if duration_s > 0:
        family = "postfixlog_transfers_per_second"
        for name, count in classes:
            key = f"{prefix}transfer_num{suffix}.{name}_count"
            out.add(key, count / duration_s, family, **{"class": name}, **labels)
        key = f"{prefix}transfer_total{suffix}.count"
        out.add(key, figures.total / duration_s, family, **{"class": "all"}, **labels)
    if figures.total > 0:
        family = "postfixlog_transfer_ratio"
        for name, count in classes:
            key = f"{prefix}transfer_ratio{suffix}.{name}_percentage"
            out.add(key, count * 100 / figures.total, family, **{"class": name}, **labels)


def _collect(scan: PostfixScan, labels: dict[str, str]) -> Metrics:
    """The metrics of this run; `labels` tell two set-ups apart."""
    out = Metrics(FAMILIES)
    duration_s = scan.report.duration_s or 0.0
    if scan.deliveries is not None:
        _add_deliveries(out, scan.deliveries, duration_s, **labels)
        for name, figures in scan.relays:
            relay = Group("relay", *name, {"other": "other"})
            out.groups.append(relay)
            _add_deliveries(
                out, figures, duration_s, "postfixlog.relay_", f".{relay.part}",
                **relay.labels("relay"), **labels,
            )  # fmt: skip
        for dsn, count in scan.dsns:
            part = metrics.name_part(dsn)
            if duration_s > 0:
                out.add(
                    f"postfixlog.dsn_num.{part}.count", count / duration_s,
                    "postfixlog_dsn_per_second", dsn=dsn, **labels,
                )  # fmt: skip
            out.add(
                f"postfixlog.dsn_ratio.{part}.percentage", count * 100 / scan.deliveries.total,
                "postfixlog_dsn_ratio", dsn=dsn, **labels,
            )  # fmt: skip
    if scan.activity is not None and duration_s > 0:
        for event, count in scan.activity:
            out.add(
                f"postfixlog.activity_num.{event}_count", count / duration_s,
                "postfixlog_activity_per_second", event=event, **labels,
            )  # fmt: skip
    return out


def _count_on(
    out: Metrics, labels: dict[str, str], scan: PostfixScan, bounds: Sequence[float] | None
) -> Totals:
    """Add the counters that grow from run to run, and the histograms if there are `bounds`."""
    totals = Totals(scan.report)
    if scan.deliveries is not None:
        for name, count in zip(CLASSES, scan.deliveries.classes):  # noqa: B905
            total = totals.grow(f"transfers {name}", count)
            out.total("postfixlog_transfers_total", total, {**labels, "class": name})
        if bounds and scan.deliveries.histograms is not None:
            from kojuto.common.plugin.buckets import Histogram

            family = out.histogram(
                "postfixlog_delivery_delay_seconds",
                "Deliveries by each of their delays, over all runs.",
            )
            histogram = Histogram(totals, bounds, family)
            found = scan.deliveries.delays or [(0.0, 0.0, 0.0, 0.0)] * len(DELAYS)
            for (key, _), counts, (mean_s, *_) in zip(DELAYS, scan.deliveries.histograms, found):  # noqa: B905
                sum_s = mean_s * scan.deliveries.total
                histogram.add(counts, sum_s, {**labels, "delay": key}, key)
    for event, count in scan.activity or ():
        total = totals.grow(f"activity {event}", count)
        out.total("postfixlog_activity_total", total, {**labels, "event": event})
    skipped = totals.grow("skipped_bytes", scan.report.skipped_bytes)
    out.total("postfixlog_skipped_bytes_total", skipped, labels)
    return totals


def _tell_others(values: Values, scan: PostfixScan) -> None:
    """Say that all deliveries are those of other instances, and how they are counted."""
    if scan.deliveries is None or scan.deliveries.total or not scan.others:
        return
    shown = ", ".join(f"{name}: {follow.count(number, 'line')}" for name, number in scan.others[:3])
    more = len(scan.others) - 3
    from re import escape

    wanted = [name.rpartition("/")[0] for name, _ in scan.others[:3]]
    pattern = "|".join(dict.fromkeys(escape(name).replace("\\-", "-") for name in wanted))
    cli.complain(
        PROG,
        f"{values.logfile}: nothing is counted, all deliveries are of other instances ({shown}"
        + (f" and of {more} more)" if more > 0 else ")"),
        f"--syslog-name '{pattern}' counts them",
    )


def _work(values: Values, _: list[str]) -> int:
    cli.check_textfile(values)
    if metrics.meta_requested():
        metrics.print_meta(_graphs(values))
        return cli.DONE
    from kojuto._native import follow_postfix_log

    once = follow.is_once(values, [values.logfile])
    options = FollowOptions(values, values.max_read_size, once=once)
    name = f"{values.posfile_prefix}-postfixlog"
    log = Log(values.logfile, name, legacy_name=name)
    try:
        scan = follow_postfix_log(log, options, ScanOptions(values))
    except BlockingIOError:
        return follow.busy(PROG)
    except OSError as error:
        raise follow.explained(error, [log]) from None
    follow.tell(PROG, values.logfile, scan.report)
    follow.tell_bad_lines(PROG, values.logfile, scan.bad_lines, scan.bad_example)
    _tell_others(values, scan)
    follow.tell_sum(PROG, values.logfile, scan.report)
    about = {
        "log": values.logfile,
        "duration_s": scan.report.duration_s,
        "bytes": scan.report.bytes,
        "skipped_bytes": scan.report.skipped_bytes,
        "overlong_lines": scan.report.overlong_lines,
        "deliveries": scan.deliveries.total if scan.deliveries else 0,
        "bad_lines": dict(scan.bad_lines),
    }
    labels = {"prefix": values.posfile_prefix, "log": values.logfile}
    out = _collect(scan, labels)
    totals = _count_on(out, labels, scan, values.buckets)
    if values.verbose:
        metrics.tell_names(PROG, out.groups)
    follow.deliver(
        lambda: out.write(values.output, int(options.now_s), {"logs": [about]}, values.textfile),
        [totals.kept],
    )
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mackerel-plugin-postfix-log`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)
