"""The options of ``kojuto report``."""

from __future__ import annotations

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option
from kojuto.tools.report import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import tzinfo

    from kojuto.tools.report.times import Bound

PROG = "kojuto report"
OUTPUTS = ("table", "markdown", "csv", "tsv", "json", "html", "arrow")
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
TABLE_ROWS = 20
LINES, ENDPOINTS, SHOWN, KEPT, SIDES, GROWING = (
    "Reading lines",
    "Endpoints",
    "What is shown",
    "Reports as files",
    "Two sides",
    "Logs that grow",
)


def _percentiles(text: str) -> list[float]:
    """Each percentile once: 99 and 99.0 are the same."""
    return list(dict.fromkeys(value for _, value in units.percentiles(text)))


def _list(text: str) -> list[str]:
    """The parts of ``a,b``, without blanks around them."""
    return [part.strip() for part in text.split(",")]


def _zone(text: str) -> tzinfo | None:
    from kojuto.tools.report.times import read_zone

    return read_zone(text)


def _bound(text: str) -> Bound:
    from kojuto.tools.report.times import read_bound

    return read_bound(text)


def _bound_of_change(text: str) -> float:
    """``10%`` as 0.1.

    Raises:
        ValueError: it is no percentage above 0.
    """
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 10_000:
        raise ValueError("not a percentage above 0 (write 10%)")
    return percent / 100


def _key(name: str, what: str) -> Option:
    return Option(name, metavar="KEY", help=f"key of {what}; found when left out", group=LINES)


COMMAND = Command(
    PROG,
    "Tells which endpoints of an access log cost the most time, and how slow and how broken they "
    "are. It finds the format and the keys by itself, and says what it has found; ids in paths are "
    "folded.",
    [
        Option("--output", metavar="FORM", default="table", choices=OUTPUTS, group=SHOWN,
               help="how to print: table, markdown, csv, tsv, json or arrow, an IPC stream (the "
               "last four have every endpoint and plain numbers, times in seconds), or html, the "
               "page of --html"),
        Option("--sort", metavar="COLUMN", group=SHOWN,
               offers=(*columns.BEFORE, "p50", "p90", "p99", *columns.BEHIND),
               help="the column to sort by, the largest first; left out, sum, or count where a log "
               "has no times"),
        Option("--reverse", help="the smallest first", group=SHOWN),
        Option("--limit", metavar="N", read=units.integer(0, 100_000_000), group=SHOWN,
               help="so many rows, 0 for all; left out, 20 in a table or in markdown, else all"),
        Option("--columns", metavar="NAME,…", read=_list, group=SHOWN,
               help="the columns, in this order: " + ", ".join((*columns.NAMES, *columns.BEFORE,
               *columns.BEHIND, *columns.MORE)) + ", and any percentile as p99.9"),
        Option("--group-by", metavar="KEY,…", read=_list, group=SHOWN,
               help="rows by any fields of the log instead of method and path: path (folded), "
               "method, status, host, upstream, user-agent, file (the log's name), or a key as it "
               "stands in the log"),
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
        Option("--since", metavar="TIME", read=_bound, group=LINES,
               help="only lines written from then on: 2026-11-29T12:48:00+09:00, the log's own "
               "notation, 12:48, -15m (before now) or end-15m (before the last line), in the zone "
               "of the log"),
        Option("--until", metavar="TIME", read=_bound, group=LINES,
               help="only lines written before then"),
        Option("--where", metavar="CONDITION", group=LINES,
               help="only lines for which this holds: 'status >= 500', 'request_time > 200ms', "
               "\"path ~ '^/api/' and method != GET\""),
        Option("--dask", metavar="ADDRESS", group=LINES,
               help="have a Dask cluster count the lines: parts of the logs go to its workers, "
               "which must be able to read them; tcp://scheduler:8786 (pip install "
               "'kojuto[dask]')"),
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
        Option("--query-keep", metavar="NAME,…", read=_list, group=ENDPOINTS,
               help="keep these parameters of the query with their values: operationName, action"),
        Option("--save", metavar="FILE", group=KEPT,
               help="write the report to FILE too ('-': to standard output and nothing else), for "
               "--merge here or elsewhere"),
        Option("--html", metavar="FILE", group=KEPT,
               help="write the report to FILE too as one page for a browser, which needs nothing "
               "beside it (pip install 'kojuto[report]'); it has every endpoint, whatever --sort, "
               "--limit and --columns make of what is printed"),
        Option("--merge", group=KEPT,
               help="the files are saved reports: show the report of all of them together"),
        Option("--compare", group=SIDES,
               help="LOG is OLD and NEW, each a log, a saved report or several runs with commas "
               "between them: which endpoints are slower or fail more, by more than noise "
               "(Mann-Whitney over 16 slices of time or the runs of each side, Holm over the "
               "endpoints)"),
        Option("--fail-above", metavar="PERCENT", read=_bound_of_change, group=SIDES,
               help="with --compare: exit with 1 when an endpoint is surely slower by more than "
               "this, with 3 when nothing can be told of endpoints with a tenth of the old time; "
               "errors are 2 then"),
        Option("--follow", group=GROWING,
               help="show the table of what the logs get, live, on the whole terminal, through "
               "every rotation (? tells the keys, q quits)"),
        Option("--window", metavar="TIME", read=units.timed("10s", "1d"), default="5m",
               group=GROWING, help="with --follow: lines of the last so much time are shown"),
    ],
    positional="LOG …",
    epilog="""
LOG is a file, a URL (s3://…, https://…, by fsspec: pip install 'kojuto[url]'), a pattern of those
as 'old/*.gz', or - for standard input; gzip, zstd and xz are unpacked.

Examples:
  kojuto report /var/log/nginx/access.log
  zcat old/*.gz | kojuto report - --sort p99 --limit 50
  kojuto report --output csv 'access.log*' >endpoints.csv
  kojuto report --dask tcp://scheduler:8786 's3://logs/2026-11-*/*.gz'
  kojuto report --compare before.kjr after.kjr --fail-above 10%
  kojuto report --follow /var/log/nginx/access.log
  for h in web1 web2; do ssh $h kojuto report --save - /var/log/nginx/access.log; done |
      kojuto report --merge -
""",
)  # fmt: skip
