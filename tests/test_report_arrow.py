"""Reports as Arrow: for other programs, and `--output arrow`; the columns those of CSV."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pytest

from kojuto import report
from tests.conftest import DATA, run, script
from tests.frames import asked, pandas_of

if TYPE_CHECKING:
    from pathlib import Path

ALP = DATA / "accesslog/ltsv/alp-example.log"
COUNTS = {"count", "1xx", "2xx", "3xx", "4xx", "499", "5xx", "bytes"}


def test_a_report_is_a_table_of_its_rows() -> None:
    found = report.scan(ALP)
    table = pa.table(found)
    rows = found.rows()
    assert table.to_pylist() == [{name: row[name] for name in table.column_names} for row in rows]
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds.pop("endpoint") == "string"
    assert {name for name, kind in kinds.items() if kind == "int64"} == COUNTS
    assert set(kinds.values()) == {"int64", "double"}
    assert pl.DataFrame(found)["count"].sum() == 14
    assert asked("select sum(count) from found", found=found) == [(14,)]
    assert pandas_of(found)["endpoint"][0] == rows[0]["endpoint"]


def test_what_the_rows_are_of_are_columns() -> None:
    table = pa.table(report.scan(ALP, group_by=["method", "status"]))
    assert table.column_names[:3] == ["method", "status", "count"]
    assert ("GET", "504", 1) in {
        (row["method"], row["status"], row["count"]) for row in table.to_pylist()
    }


def test_a_log_without_times_has_nulls(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("uri:/a\tstatus:200\n")
    table = pa.table(report.scan(log))
    assert table["p99"].to_pylist() == [None]
    assert table["share"].type == pa.float64()
    assert table["count"].to_pylist() == [1]


@pytest.mark.parametrize("options", [[], ["--columns=endpoint,p99.9,count,example"]])
def test_the_stream_of_the_command_has_the_columns_and_rows_of_csv(options: list[str]) -> None:
    command = ["kojuto", "report", "--percentiles=50,99", "--sort=count", *options]
    shown = run(*command, "--output=csv", ALP).stdout.decode()
    header, *lines = csv.reader(io.StringIO(shown))
    done = run(*command, "--output=arrow", ALP)
    assert done.returncode == 0
    table = pa.ipc.open_stream(done.stdout).read_all()
    assert table.column_names == header
    for row, cells in zip(table.to_pylist(), lines, strict=True):
        assert ["" if v is None else str(v) for v in row.values()] == cells
    frame = pl.read_ipc_stream(done.stdout)
    assert frame.columns == header


def test_a_terminal_is_not_filled_with_bytes_and_no_plot_is_drawn() -> None:
    done = run("kojuto", "report", "--output=arrow", "--plot", ALP)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--plot cannot go with --output arrow" in done.stderr
    terminal, inside = os.openpty()
    try:
        command = [script("kojuto"), "report", "--output=arrow", str(ALP)]
        shown = subprocess.run(command, stdout=inside, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(terminal)
        os.close(inside)
    assert shown.returncode == 2
    assert b"--output arrow would fill the terminal with bytes" in shown.stderr
