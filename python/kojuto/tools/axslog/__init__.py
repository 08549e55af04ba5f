"""``mackerel-plugin-axslog``: latencies and status classes of access logs."""

from __future__ import annotations

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.plugin import follow, metrics
from kojuto.common.plugin.follow import FollowOptions, Log
from kojuto.common.plugin.metrics import Metrics
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.axslog import figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import AccessScan
    from kojuto.common.plugin.follow import Totals

PROG = "mackerel-plugin-axslog"
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MAX_READ_BYTES = {"ltsv": 1_000_000_000, "auto": 1_000_000_000}
MAX_READ_BYTES_OTHERS = 500_000_000


def percentile_set(text: str) -> list[tuple[str, float]]:
    """``99,99.9`` as [(label, fraction)], each once: 99 and 99.0 are the same.

    Raises:
        ValueError: one of them is not a number above 0 and up to 100.
    """
    wanted: dict[float, str] = {}
    for label, percent in units.percentiles(text, zero=False):
        # As the originals do: first a fraction of one, then times the count.
        wanted.setdefault(percent / 100, label)
    return [(label, fraction) for fraction, label in wanted.items()]


def time_field(text: str) -> str:
    """Which field of a line is the time taken, as it was written.

    Raises:
        ValueError: it is none.
    """
    try:
        wrong = not text or int(text) == 0
    except ValueError:
        wrong = False
    if wrong:
        raise ValueError("not a field (write last, none, 11, -1 or a name)")
    return text


COMMAND = Command(
    PROG,
    "Reads what was added to access logs since its last run and prints latency percentiles and "
    "the rate and ratio of each status class.",
    [
        Option(
            "--logfile",
            metavar="FILE[,FILE…]",
            required=True,
            help="access logs to follow; - is standard input, read once",
        ),
        follow.KEY_PREFIX,
        Option(
            "--format",
            metavar="FORMAT",
            default="ltsv",
            choices=("ltsv", "json", "combined", "regex", "auto"),
            help="ltsv, json, combined (Apache and nginx, with the time as an optional last "
            "field), regex (see --regex) or auto, which finds keys, unit and envelope too, unless "
            "they are given",
        ),
        cli.envelope(),
        Option("--ptime-key", metavar="KEY", default="ptime", help="key of the time taken"),
        Option(
            "--status-key",
            metavar="KEY",
            default=("status",),
            repeat=True,
            help="key of the status; the first listed that a line has wins",
        ),
        Option("--filter", metavar="TEXT", empty_ok=True, help="count only lines with this text"),
        Option("--invert-filter", help="count only lines without the text of --filter"),
        Option("--skip-until-json", help="skip to the first { of each line"),
        follow.max_read_size(None, "; 0, or left out: 1GB for ltsv and auto, 500MB for the others"),
        *metrics.OPTIONS,
        Option(
            "--percentiles",
            metavar="P,…",
            read=percentile_set,
            default="99,95,90",
            help="latency percentiles to print",
            group="Going further",
        ),
        follow.buckets_option(
            "the requests for Prometheus in a histogram of the time taken too",
            group="Going further",
        ),
        Option(
            "--by",
            metavar="KEY",
            help="print a set of metrics for each value of this key too",
            group="Going further",
        ),
        cli.max_groups(
            "values of --by to keep apart, the largest",
            most=10_000,
            default="20",
            group="Going further",
        ),
        Option(
            "--regex",
            metavar="PATTERN",
            help="lines as a regular expression: named groups (?P<ptime>…), (?P<status>…) are the "
            "keys",
            group="Going further",
        ),
        cli.log_format("Going further"),
        Option(
            "--time-field",
            metavar="FIELD",
            read=time_field,
            help="the time taken in combined lines and --log-format: last, none, a number from 1 "
            "(-1: the last), or a name, as rt in rt=0.1; left out, the last field if it has a "
            "fraction or a unit",
            group="Going further",
        ),
        Option(
            "--time-unit",
            metavar="UNIT",
            default="s",
            choices=tuple(TIME_UNITS),
            help="unit of a time in the log that has none (s, ms, us, ns); it is printed in "
            "seconds",
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
        follow.ONCE,
        Option(
            "--explain",
            metavar="LINE",
            alone=True,
            empty_ok=True,
            help="show what each field of this line is taken as, and whether the line counts, "
            "instead of reading logs; - reads lines from standard input",
        ),
    ],
    passes_over=True,
    epilog="""
Examples:
  mackerel-plugin-axslog --logfile /var/log/nginx/access.log --key-prefix web
  mackerel-plugin-axslog --logfile a.json,b.json --format json --key-prefix api \\
      --ptime-key request_time --percentiles 50,99,99.9 --by host
  zcat access.log.*.gz | mackerel-plugin-axslog --logfile - --key-prefix all
  tail -n 3 access.log | mackerel-plugin-axslog --format auto --explain -

A line counts when it has a time taken and a status; in combined logs, with --log-format, and with a
--regex without the time's group, the status is enough. A time may have its unit with it: 12ms,
0.123s, 1m2s. The first field of a name that has a value wins, '-' and
nothing are as if absent. What was read is remembered in MACKEREL_PLUGIN_WORKDIR, else TMPDIR or
/tmp. Several logs are pooled.
""",
)


class AccessOptions:
    """What the native scan reads from each line."""

    __slots__ = (
        "by", "envelope", "filter", "finds_keys", "format", "invert_filter", "log_format",
        "max_groups", "ptime_key", "regex", "skip_until_json", "status_keys", "time_field",
        "time_list", "time_scale",
    )  # fmt: skip

    def __init__(self, values: Values) -> None:
        self.format: str = values.format
        self.envelope: str | None = values.envelope
        if values.format == "auto" and self.envelope is None:
            self.envelope = "auto"
        keys = {"ptime_key", "status_key", "time_unit", "time_field"}
        self.finds_keys: bool = values.format == "auto" and not keys & values.given
        self.regex: str | None = values.regex
        self.log_format: str | None = values.log_format
        self.time_field: str | None = values.time_field
        self.ptime_key: str = values.ptime_key
        self.status_keys: list[str] = values.status_key
        self.by: str | None = values.by
        self.max_groups: int = values.max_groups
        self.filter: str | None = values.filter or None
        self.invert_filter: bool = values.invert_filter
        self.skip_until_json: bool = values.skip_until_json
        self.time_scale = TIME_UNITS[values.time_unit]
        self.time_list: str = values.time_list


def settle_format(values: Values) -> None:
    """Let --regex and --log-format be formats; refuse combinations that have no meaning."""
    for option, form in (("regex", "regex"), ("log_format", "log-format")):
        if getattr(values, option) is None:
            continue
        if "format" in values.given and values.format != form:
            raise UsageError(f"--{form} cannot go with --format {values.format}")
        setattr(values, "format", form)  # noqa: B010
        values.given.add("format")
    if values.format == "regex" and values.regex is None:
        raise UsageError("--format regex needs --regex PATTERN")
    if values.time_field is not None and values.format in ("ltsv", "json", "regex"):
        raise UsageError(
            f"--time-field cannot go with --format {values.format}",
            "--ptime-key KEY is the key of the time taken there",
        )


def _work(values: Values, _: list[str]) -> int:
    settle_format(values)
    cli.check_textfile(values)
    if values.explain is not None:
        from kojuto.tools.axslog.explain import explain

        return explain(values, AccessOptions(values))
    prefix = values.key_prefix
    if metrics.meta_requested():
        from kojuto.tools.axslog.graphs import graphs

        metrics.print_meta(graphs(prefix, values.percentiles, values.by is not None))
        return cli.DONE
    from os import getuid

    from kojuto import _native

    paths = [path for path in values.logfile.split(",") if path]
    if len(paths) > 1:
        from kojuto.common.infile import each_once

        paths = each_once(PROG, paths)
    logs = _logs(values.logfile, f"{getuid()}-axslog-v5-{prefix}", paths)
    limit = values.max_read_size or MAX_READ_BYTES.get(values.format, MAX_READ_BYTES_OTHERS)
    options = FollowOptions(values, limit, once=follow.is_once(values, paths))
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
        _tell_lines(values, path, outcome)
        if values.verbose and outcome.found:
            cli.complain(PROG, f"{path}: {found_in(outcome)}")
        follow.tell_sum(PROG, path, outcome.report)
        scanned.append((path, outcome))
    if not scanned:
        raise KojutoError(f"none of the {len(paths)} logs could be read")
    out = Metrics(figures.FAMILIES)
    totals = _count_on(out, values, scanned, options.now_s)
    scans = [scan for _, scan in scanned]
    # Before the logs are pooled, which moves the counts of all to the first.
    about = {"logs": _about(paths, outcomes)}
    figures.collect(out, values, scans, pooled="," in values.logfile)
    if values.verbose:
        metrics.tell_names(PROG, out.groups)
    follow.deliver(
        lambda: out.write(values.output, int(options.now_s), about, values.textfile),
        [each.kept for each in totals],
    )
    return cli.DONE


def _count_on(
    out: Metrics, values: Values, scanned: Sequence[tuple[str, AccessScan]], now_s: float
) -> list[Totals]:
    """Add the counters of each log, those by group with ``--by``."""
    totals = [figures.count_on(out, values, path, scan) for path, scan in scanned]
    if values.by is not None:
        from kojuto.tools.axslog import groups

        for each, (path, scan) in zip(totals, scanned, strict=True):
            labels = {"prefix": values.key_prefix, "log": path}
            groups.count_on(out, values, scan, each, labels, now_s=now_s)
    return totals


def _logs(logfile: str, name: str, paths: Sequence[str]) -> list[Log]:
    """The logs and their position files: a comma, even at the end, gives each a name of its own."""
    if "," not in logfile:
        return [Log(path, name) for path in paths]
    legacy = name if len(paths) == 1 else None
    return [Log(path, f"{name}{_path_hash(path)}", legacy) for path in paths]


def _path_hash(path: str) -> str:
    from hashlib import md5

    return "-" + md5(path.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()


def _tell_lines(values: Values, path: str, scan: AccessScan) -> None:
    """Tell of the lines that do not count, or not wholly."""
    follow.tell_bad_lines(PROG, path, scan.bad_lines, scan.bad_example, _hint(values, scan))
    if scan.refused_lists:
        lines = follow.count(scan.refused_lists, "line")
        cli.complain(
            PROG,
            f"{path}: {lines} counted by status only: the time taken is a list",
            "--time-list sum, last or max takes lists of times",
        )


def _hint(values: Values, scan: AccessScan) -> str | None:
    """What to try when not a single line could be counted."""
    if scan.tally.total or not scan.bad_lines:
        return None
    if values.format == "auto":
        return (
            "tried: JSON, LTSV, combined and the forms of docs/formats.md; --log-format and "
            "--regex tell of any other, --explain LINE shows how one is read"
        )
    keys = f"--ptime-key {values.ptime_key} and --status-key {','.join(values.status_key)}"
    return f"is the log in --format {scan.format}, and are {keys} its names? try --format auto"


def found_in(scan: AccessScan) -> str:
    """What ``--format auto`` has found in a log: ``json in docker: status, duration in ms``."""
    if scan.found is None:
        return scan.format
    envelope, status, time, unit = scan.found
    inside = f" in {envelope}" if envelope else ""
    return f"{scan.format}{inside}: {status}, {time} in {unit}"


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
                **_found(outcome),
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


def _found(scan: AccessScan) -> dict[str, object]:
    names = ("envelope", "status_key", "ptime_key", "time_unit")
    return {"found": dict(zip(names, scan.found, strict=True))} if scan.found else {}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plugin and return its exit status."""
    return cli.run(COMMAND, _work, argv)
