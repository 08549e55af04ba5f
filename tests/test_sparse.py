"""Logs with a hole, as a truncation leaves it under a writer that does not append."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from kojuto import logs
from tests.conftest import script

if TYPE_CHECKING:
    from pathlib import Path

FAR = (1 << 40) + 1234
"""Nobody reads so much while a test waits."""
LINE = "time:2026-12-01T00:00:00Z\tmethod:GET\turi:/{}\tstatus:200\tptime:0.5\n"
LINES = "".join(map(LINE.format, "abcdefghij"))


@pytest.fixture(params=["at its begin", "between", "at its end"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Twenty lines and a hole."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        if request.param != "at its begin":
            file.write(LINES.encode())
        if request.param == "at its end":
            file.write(LINES.encode())
            file.truncate(FAR)
        else:
            file.seek(FAR)
            file.write(LINES.encode())
        if request.param == "at its begin":
            file.write(LINES.encode())
    return path


def run(name: str, *arguments: str | Path, stdin: str | Path = "/dev/null") -> bytes:
    command = [script(name), *map(str, arguments)]
    with open(stdin, "rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, timeout=60, check=True)
    return done.stdout


def test_percentile(log: Path) -> None:
    for done in (
        run("percentile", "--key", "ptime", log),
        run("percentile", "--key", "ptime", stdin=log),
    ):
        assert done.startswith(b"count: 20\n")


def test_report(log: Path) -> None:
    for done in (
        run("kojuto", "report", "--output", "json", log),
        run("kojuto", "report", "--output", "json", "--jobs", "3", log),
        run("kojuto", "report", "--output", "json", "-", stdin=log),
    ):
        assert json.loads(done)["total"]["count"] == 20


def test_the_lines_of_kojuto_logs(log: Path) -> None:
    assert pa.table(logs.scan(log, columns=["uri"])).num_rows == 20


def test_axslog_once(log: Path) -> None:
    command = ["mackerel-plugin-axslog", "--once", "--key-prefix", "t", "--output", "json"]
    [told] = json.loads(run(*command, "--logfile", log))["logs"]
    assert told["counted_lines"] == 20
