"""kojuto.logs beside Polars' own readers: five columns of an access log in a Polars frame."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benches.harness import RUNS, cost
from benches.logs import access_log

if TYPE_CHECKING:
    from pathlib import Path

    from benches.harness import Table

LINES = 1_200_000
OURS = """
import sys, polars
from kojuto import logs
frame = polars.DataFrame(logs.scan(sys.argv[1]))
assert frame.height == int(sys.argv[2]) and frame["request_time"].sum() > 0
"""
BEGIN = """
import sys, polars as pl
from polars import col
"""
# What Polars has for each: columns by their place, a schema, a pattern. All are lazy, so that it
# reads no more than it needs and on all threads.
THEIRS = {
    "ltsv": """
frame = pl.scan_csv(sys.argv[1], separator="\\t", has_header=False, quote_char=None).select(
    time=col("column_0").str.strip_prefix("time:").str.to_datetime("%Y-%m-%dT%H:%M:%S%z"),
    method=col("column_2").str.strip_prefix("method:"),
    path=col("column_3").str.strip_prefix("uri:").str.split_exact("?", 1).struct.field("field_0"),
    status=col("column_4").str.strip_prefix("status:").cast(pl.Int64),
    request_time=col("column_8").str.strip_prefix("ptime:").cast(pl.Float64),
).collect()
""",
    "json": """
kinds = {"time": pl.String, "method": pl.String, "uri": pl.String, "status": pl.Int64,
         "ptime": pl.String}
frame = pl.scan_ndjson(sys.argv[1], schema=kinds).select(
    time=col("time").str.to_datetime("%Y-%m-%dT%H:%M:%S%z"),
    method="method",
    path=col("uri").str.split_exact("?", 1).struct.field("field_0"),
    status="status",
    request_time=col("ptime").cast(pl.Float64),
).collect()
""",
    "combined": """
pattern = (r'\\[(?<time>[^]]+)\\] "(?<method>[^ "]+) (?<path>[^ ?"]+)[^"]*" (?<status>[0-9]+) '
           r'.* (?<taken>[0-9.]+)$')
frame = pl.scan_csv(
    sys.argv[1], separator="\\x01", has_header=False, quote_char=None
).select(col("column_0").str.extract_groups(pattern)).unnest("column_0").select(
    time=col("time").str.to_datetime("%d/%b/%Y:%H:%M:%S %z"),
    method="method",
    path="path",
    status=col("status").cast(pl.Int64),
    request_time=col("taken").cast(pl.Float64),
).collect()
""",
}
END = """
assert frame.height == int(sys.argv[2]) and frame["request_time"].sum() > 0
assert not frame.null_count().transpose().sum().item()
"""


@pytest.mark.parametrize("form", THEIRS)
def test_a_log_in_polars(table: Table, inputs: Path, form: str) -> None:
    """CPU of whole processes that end with the same five columns of 1.2 million lines."""
    log = access_log(inputs / f"logs-{form}", form, LINES)
    ours: list[str | Path] = [sys.executable, "-c", OURS, log, str(LINES)]
    theirs: list[str | Path] = [sys.executable, "-c", BEGIN + THEIRS[form] + END, log, str(LINES)]
    row = table.compare(
        f"kojuto.logs, {form}",
        "CPU of `polars.DataFrame(logs.scan(log))` / Polars' own reader, 5 columns of 1.2 million",
        lambda: cost(ours).cpu_s,
        lambda: cost(theirs).cpu_s,
        bound=1 / 2,
        runs=min(RUNS, 5),
    )
    assert row.ok
