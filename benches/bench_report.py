"""`kojuto report` beside what else counts the requests of a log: CPU, wall, memory, growth.

The others get the fields by their places and keep raw URLs apart, without their queries; nobody but
us folds ids.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import statistics
import sys
from typing import TYPE_CHECKING

import pytest

from benches.harness import BIN, RUNS, Row, cost, growth
from benches.logs import report_log, slug_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benches.harness import Cost, Table

LINES = 1_200_000
FORMS = ("ltsv", "json")
LARGE = 10_000_000
MIB = 1 << 20
NAMES = ("time", "host", "method", "uri", "status", "size", "referer", "ua", "ptime", "apptime",
         "vhost")  # fmt: skip
WANTED = ("method", "uri", "status", "ptime")

POLARS = f"""
import sys, polars as pl
form, path = sys.argv[1:]
names = {NAMES!r}
if form == "ltsv":
    lines = pl.scan_csv(path, separator="\\t", has_header=False, quote_char=None,
                        schema=dict.fromkeys(names, pl.String))
    lines = lines.select(pl.col(n).str.slice(len(n) + 1) for n in {WANTED!r})
else:
    lines = pl.scan_ndjson(path).select({WANTED!r})
time, status = pl.col("ptime").cast(pl.Float64), pl.col("status").cast(pl.Int32)
path = pl.col("uri").str.split_exact("?", 1).struct.field("field_0")
print(lines.group_by("method", path.alias("path"))
      .agg(pl.len(), time.sum().alias("sum"), time.mean().alias("avg"), time.min().alias("min"),
           time.quantile(0.5).alias("p50"), time.quantile(0.99).alias("p99"),
           time.max().alias("max"), (status >= 500).sum().alias("5xx"))
      .sort("sum", descending=True).head(20).collect(engine="streaming"))
"""
DUCKDB = f"""
import sys, duckdb
form, path = sys.argv[1:]
names = {NAMES!r}
if form == "ltsv":
    columns = ", ".join(f"'{{n}}': 'VARCHAR'" for n in names)
    source = (f"read_csv('{{path}}', delim='\\t', header=false, quote='', escape='', "
              f"auto_detect=false, columns={{{{{{columns}}}}}})")
    cut = {{n: f"substr({{n}}, {{len(n) + 2}})" for n in names}}
else:
    columns = "uri: 'VARCHAR', method: 'VARCHAR', status: 'INTEGER', ptime: 'VARCHAR'"
    source = f"read_json('{{path}}', format='newline_delimited', columns={{{{{{columns}}}}}})"
    cut = {{n: n for n in names}}
print(duckdb.sql(f'''
select {{cut["method"]}} as method, split_part({{cut["uri"]}}, '?', 1) as path, count(*) as count,
       sum(t) as sum, avg(t) as avg, min(t) as min, approx_quantile(t, [0.5, 0.99]) as percentiles,
       max(t) as max, count(*) filter (s >= 500) as "5xx"
from (select *, {{cut["ptime"]}}::float as t, {{cut["status"]}}::int as s from {{source}})
group by all order by sum desc limit 20'''))
"""
AWK = r"""
{ split($4, u, "?"); p = substr($3, 8) " " substr(u[1], 5); t = substr($9, 7); n[p]++; s[p] += t }
END { for (p in n) print s[p], n[p], p | "sort -rn | head -20" }
"""
GOACCESS = ("--no-progress", "--no-global-config", "--date-format=%Y-%m-%d", "--time-format=%T",
            "--log-format=time:%dT%t+00:00\thost:%h\tmethod:%m\turi:%U\tstatus:%s\tsize:%b\t"
            "referer:%R\tua:%u\tptime:%T\tapptime:%^\tvhost:%v")  # fmt: skip


def report(*arguments: str | Path) -> Cost:
    return cost([BIN / "kojuto", "report", *arguments])


def beside(
    table: Table,
    log: Path,
    theirs: Sequence[str | Path],
    *,
    name: str,
    bound: float | None,
    runs: int = min(RUNS, 5),
) -> Row:
    """Add the row of our CPU seconds over theirs."""
    return table.compare(
        f"{log.name}, {name}",
        f"CPU over {LINES:,} lines, 500 endpoints, 100,000 URLs / `{name}`",
        lambda: report(log).cpu_s,
        lambda: cost(theirs).cpu_s,
        bound=bound,
        runs=runs,
    )


@pytest.mark.parametrize("form", FORMS)
def test_beside_wc(form: str, table: Table, inputs: Path) -> None:
    """CPU seconds; the bound is 6 x wc -l."""
    log = report_log(inputs / f"report-{form}", form, LINES)
    row = beside(table, log, ["wc", "-l", log], name="wc -l", bound=6.0, runs=RUNS)
    row.figures["GB/s of CPU"] = log.stat().st_size / row.figures["ours"] / 1e9


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["polars", "duckdb"])
def test_beside_frames(form: str, name: str, table: Table, inputs: Path) -> None:
    """CPU seconds beside a data frame and a database, each on as many cores as it likes."""
    script, bound = {"polars": (POLARS, 1 / 3), "duckdb": (DUCKDB, 1 / 5)}[name]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    log = report_log(inputs / f"report-{form}", form, LINES)
    theirs: list[str | Path] = [sys.executable, "-c", script, form, log]
    beside(table, log, theirs, name=name, bound=bound)


def test_beside_goaccess(table: Table, inputs: Path) -> None:
    """CPU seconds beside goaccess, which has no percentiles."""
    if shutil.which("goaccess") is None:
        pytest.skip("goaccess is not installed")
    log = report_log(inputs / "report-ltsv", "ltsv", LINES)
    theirs: list[str | Path] = ["goaccess", log, *GOACCESS, "-o", inputs / "goaccess.json"]
    beside(table, log, theirs, name="goaccess", bound=1 / 50, runs=3)


def test_beside_awk(table: Table, inputs: Path) -> None:
    """CPU seconds beside awk, which has counts and sums alone; there is no bound."""
    log = report_log(inputs / "report-ltsv", "ltsv", LINES)
    beside(table, log, ["awk", "-F", "\t", AWK, log], name="awk", bound=None, runs=3)


@pytest.mark.parametrize("form", FORMS)
def test_memory(form: str, table: Table, inputs: Path) -> None:
    """Peak memory with all cores: 64 MiB."""
    log = report_log(inputs / f"report-{form}", form, LINES)
    add_peak(table, f"report memory, {form}", 64, [log])


def test_memory_of_many_urls(table: Table, inputs: Path) -> None:
    """Peak memory where no URL comes twice: 256 MiB, whatever the number of threads."""
    log = slug_log(inputs / "slugs", LARGE)
    for jobs in (1, 2, 8):
        add_peak(table, f"report memory, {jobs} jobs", 256, ["--jobs", str(jobs), log], runs=1)
    log.unlink()


def add_peak(
    table: Table, name: str, bound_mib: int, arguments: Sequence[str | Path], runs: int = 3
) -> None:
    peaks = [report(*arguments).peak_bytes / MIB for _ in range(runs)]
    ratios = [peak / bound_mib for peak in peaks]
    table.add(
        Row(
            name,
            f"peak / {bound_mib} MiB",
            statistics.median(ratios),
            min(ratios),
            max(ratios),
            1.0,
            figures={"peak_mib": statistics.median(peaks)},
        )
    )


def test_ten_million_lines(table: Table, inputs: Path) -> None:
    """Growth of the cost of a line; wall time on two cores over that on one."""
    sizes = [100_000, 1_000_000, LARGE]
    logs = [report_log(inputs / f"report-{lines}", "ltsv", lines) for lines in sizes]
    empty = report_log(inputs / "report-1", "ltsv", 1)
    growth(table, "report growth, ltsv", sizes,
           lambda index: report("--jobs", "1", logs[index]).cpu_s,
           lambda: report(empty).cpu_s, bound=1.3)  # fmt: skip
    if (os.cpu_count() or 1) > 1:
        table.compare(
            "report, two cores",
            f"wall over {LARGE:,} lines, --jobs 2 / --jobs 1",
            lambda: report("--jobs", "2", logs[-1]).wall_s,
            lambda: report("--jobs", "1", logs[-1]).wall_s,
            bound=0.6,
            runs=3,
        )
    for log in logs:
        log.unlink()
