"""The options of ``kojuto report``."""

from __future__ import annotations

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option
from kojuto.tools.report import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import tzinfo

PROG = "kojuto report"
OUTPUTS = ("table", "markdown", "csv", "tsv", "json")
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
TABLE_ROWS = 20
LINES, ENDPOINTS, SHOWN, KEPT = "Reading lines", "Endpoints", "What is shown", "Reports as files"


def _percentiles(text: str) -> list[float]:
    """Each percentile once: 99 and 99.0 are the same."""
    return list(dict.fromkeys(value for _, value in units.percentiles(text)))


def _column(text: str) -> str:
    return columns.canonical(text)


def _zone(text: str) -> tzinfo | None:
    from kojuto.tools.report.times import read_zone

    return read_zone(text)


def _key(name: str, what: str) -> Option:
    return Option(name, metavar="KEY", help=f"key of {what}; found when left out", group=LINES)


COMMAND = Command(
    PROG,
    "Tells which endpoints of an access log cost the most time, and how slow and how broken they "
    "are. It finds the format and the keys by itself, and says what it has found; ids in paths are "
    "folded.",
    [
        Option("--output", metavar="FORM", default="table", choices=OUTPUTS, group=SHOWN,
               help="how to print: table, markdown, csv, tsv or json (the last three have every "
               "endpoint and plain numbers, times in seconds)"),
        Option("--sort", metavar="COLUMN", default="sum", read=_column, group=SHOWN,
               help="the column to sort by, the largest first; a log without times is sorted by "
               "count"),
        Option("--reverse", help="the smallest first", group=SHOWN),
        Option("--limit", metavar="N", read=units.integer(0, 100_000_000), group=SHOWN,
               help="so many rows, 0 for all; left out, 20 in a table or in markdown, else all"),
        Option("--columns", metavar="NAME,…", read=columns.read_columns, group=SHOWN,
               help="the columns, in this order: " + ", ".join((*columns.BEFORE, *columns.BEHIND,
               *columns.MORE)) + ", and any percentile as p99.9"),
        Option("--percentiles", metavar="P,…", read=_percentiles, group=SHOWN,
               help="percentiles of the time taken in place of 50 and 99 in a table, of 50, 90, "
               "95, 99 and 99.9 elsewhere"),
        Option("--slowest", metavar="N", read=units.integer(0, 100), group=SHOWN,
               help="show the N slowest lines below the table; json has 10 when left out"),
        Option("--plot", group=SHOWN,
               help="draw the times taken over time below the table, as a heat map"),
        Option("--tz", metavar="ZONE", read=_zone, group=SHOWN,
               help="the zone of the times that are shown: UTC, local, +09:00 or Asia/Tokyo; the "
               "log's own when left out"),
        Option("--format", metavar="FORMAT", default="auto", group=LINES,
               choices=("auto", "ltsv", "json", "combined", "regex"),
               help="ltsv, json, combined (Apache and nginx), regex (see --regex) or auto, which "
               "finds the format, the keys, the unit of the time and what stands around the lines"),
        cli.envelope(LINES),
        cli.log_format(LINES),
        Option("--regex", metavar="PATTERN", group=LINES,
               help="lines as a regular expression, whose named groups are the keys: "
               "(?P<method>…), (?P<uri>…), (?P<status>…), (?P<request_time>…)"),
        _key("--time-key", "the time taken"),
        Option("--time-unit", metavar="UNIT", choices=tuple(TIME_UNITS), group=LINES,
               help="unit of a time taken that has none with it (s, ms, us, ns); found when left "
               "out"),
        _key("--status-key", "the status"),
        _key("--method-key", "the method"),
        _key("--uri-key", "the path, the URL or the request line"),
        _key("--bytes-key", "the bytes sent"),
        _key("--when-key", "the time at which a line was written"),
        Option("--jobs", metavar="N", read=units.integer(1, 1024), group=LINES,
               help="so many threads; as many as there are processors when left out"),
        Option("--no-fold", help="leave every path as it is", group=ENDPOINTS),
        Option("--fold-above", metavar="N", read=units.integer(1, 1_000_000), default="50",
               group=ENDPOINTS,
               help="a place of a path in which there are more different names than this is one *"),
        Option("--match", metavar="REGEX", repeat=True, group=ENDPOINTS,
               help="requests whose path matches are one endpoint; REGEX=>NAME names it; several "
               "are split at commas, the first that matches wins"),
        Option("--routes", metavar="FILE", group=ENDPOINTS,
               help="a file of routes as frameworks print them, one a line: /users/:id, {id}, "
               "<int:id>"),
        Option("--query", metavar="HOW", default="drop", choices=("drop", "keys", "keep"),
               group=ENDPOINTS,
               help="what becomes of the query: drop, keys (the names of its parameters, sorted), "
               "keep"),
        Option("--query-keep", metavar="NAME,…", group=ENDPOINTS,
               help="keep these parameters of the query with their values: operationName, action"),
        Option("--save", metavar="FILE", group=KEPT,
               help="write the report to FILE too ('-': to standard output and nothing else), for "
               "--merge here or elsewhere"),
        Option("--merge", group=KEPT,
               help="the files are saved reports: show the report of all of them together"),
    ],
    positional="LOG …",
    epilog="""
LOG is a file, a pattern as 'old/*.gz' or - for standard input; gzip, zstd and xz are unpacked.

Examples:
  kojuto report /var/log/nginx/access.log
  zcat old/*.gz | kojuto report - --sort p99 --limit 50
  kojuto report --output csv 'access.log*' >endpoints.csv
  for h in web1 web2; do ssh $h kojuto report --save - /var/log/nginx/access.log; done |
      kojuto report --merge -
""",
)  # fmt: skip
