"""``mackerel-plugin-log-incr-rate``: growth of one log against another."""

from __future__ import annotations

from kojuto.common import cli
from kojuto.common.cli import Command, Option, Values
from kojuto.common.plugin import follow, metrics
from kojuto.common.plugin.follow import FollowOptions, Log, Totals
from kojuto.common.plugin.metrics import Graph, Metrics
from kojuto.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import FollowReport
    from kojuto.common.plugin.follow import Kept

PROG = "mackerel-plugin-log-incr-rate"

COMMAND = Command(
    PROG,
    "Counts the lines that were added to two logs since its last run and prints both rates and "
    "their ratio.",
    [
        Option("--log-file", metavar="FILE", required=True, help="the log whose growth matters"),
        Option("--base-log-file", metavar="FILE", required=True, help="the log to compare it with"),
        follow.KEY_PREFIX,
        Option("--pattern", metavar="REGEX", help="count only lines of --log-file that match this"),
        Option(
            "--exclude", metavar="REGEX", help="count only lines of --log-file that do not match"
        ),
        Option("--base-pattern", metavar="REGEX", help="--pattern for --base-log-file"),
        Option("--base-exclude", metavar="REGEX", help="--exclude for --base-log-file"),
        follow.max_read_size(),
        *metrics.OPTIONS,
        *follow.OPTIONS,
    ],
    passes_over=True,
    epilog="""
Example:
  mackerel-plugin-log-incr-rate --log-file error.log --base-log-file access.log --key-prefix web

The first run only remembers where the logs end. The ratio is left out while the base log does not
grow. What was read is remembered in MACKEREL_PLUGIN_WORKDIR, else TMPDIR or /tmp.
""",
)

FAMILIES = {
    "log_incr_rate_lines_per_second": ("gauge", "Lines a second since the previous run.", 1),
    "log_incr_rate_ratio": ("gauge", "Lines of the log for each line of the base log.", 1),
    "log_incr_rate_lines_total": ("counter", "Lines, over all runs.", 1),
    "log_incr_rate_skipped_bytes_total": ("counter", "Bytes passed over, over all runs.", 1),
}


def graphs(prefix: str) -> list[Graph]:
    """The graph definition."""
    name = f"log-incr-rate.{prefix}"
    return [
        Graph(
            f"{name}_count",
            f"Lines a second: {prefix}",
            "float",
            [("log", "log"), ("base", "base log")],
        ),
        Graph(f"{name}_rate", f"Lines for each base line: {prefix}", "float", [("log", "log")]),
        Graph(
            f"{name}_skipped",
            f"Skipped: {prefix}",
            "bytes",
            [("log", "log"), ("base", "base log")],
        ),
    ]


def _work(values: Values, _: list[str]) -> int:
    cli.check_textfile(values)
    prefix = values.key_prefix
    if metrics.meta_requested():
        metrics.print_meta(graphs(prefix))
        return cli.DONE
    from kojuto import _native

    paths = {"log": values.log_file, "base": values.base_log_file}
    logs = [
        Log(path, f"incr-rate-{side}-{prefix}", legacy_name=f"incr-rate-{side}")
        for side, path in paths.items()
    ]
    patterns = [(values.pattern, values.exclude), (values.base_pattern, values.base_exclude)]
    options = FollowOptions(values, values.max_read_size)
    try:
        outcomes = _native.follow_line_counts(logs, patterns, options)
    except BlockingIOError:
        return follow.busy(PROG)
    except ValueError as error:
        raise UsageError(str(error)) from None
    out = Metrics(FAMILIES)
    about: list[object] = []
    kept: list[Kept] = []
    rates: dict[str, float] = {}
    for (side, path), outcome in zip(paths.items(), outcomes, strict=True):
        if isinstance(outcome, OSError):
            raise follow.explained(outcome, logs)
        lines, report = outcome
        kept.append((report, _count(out, prefix, side, lines, report), None))
        follow.tell(PROG, path, report)
        follow.tell_sum(PROG, path, report)
        if report.duration_s is not None and report.duration_s > 0:
            rates[side] = lines / report.duration_s
            out.add(
                f"log-incr-rate.{prefix}_count.{side}",
                rates[side],
                "log_incr_rate_lines_per_second",
                prefix=prefix,
                log=side,
            )
        about.append(_account(path, lines, report))
    if "log" in rates and rates.get("base", 0) > 0:
        ratio = rates["log"] / rates["base"]
        out.add(f"log-incr-rate.{prefix}_rate.log", ratio, "log_incr_rate_ratio", prefix=prefix)
    for side, each in zip(paths, kept, strict=True):
        report = each[0]
        if report.skipped_bytes:
            out.add(f"log-incr-rate.{prefix}_skipped.{side}", report.skipped_bytes, None)
    follow.deliver(
        lambda: out.write(values.output, int(options.now_s), {"logs": about}, values.textfile),
        kept,
    )
    return cli.DONE


def _count(
    out: Metrics, prefix: str, side: str, lines: int, report: FollowReport
) -> dict[str, float]:
    """Let the counters of one log grow; returns what they are now, to be kept with the position."""
    totals = Totals(report)
    for family, by in (
        ("log_incr_rate_lines_total", lines),
        ("log_incr_rate_skipped_bytes_total", report.skipped_bytes),
    ):
        out.total(family, totals.grow(family, by), {"prefix": prefix, "log": side})
    return totals.now


def _account(path: str, lines: int, report: FollowReport) -> dict[str, object]:
    """What was read of one log, for ``--output json``."""
    return {
        "log": path,
        "duration_s": report.duration_s,
        "lines": lines,
        "bytes": report.bytes,
        "skipped_bytes": report.skipped_bytes,
        "overlong_lines": report.overlong_lines,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plugin and return its exit status."""
    return cli.run(COMMAND, _work, argv)
