"""What kojuto report makes endpoints of, judged by the table of well-known services."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run
from tests.endpoints import table

if TYPE_CHECKING:
    from pathlib import Path

LEAST = 0.98
"""Of the rows of a kind."""


@pytest.mark.parametrize("form", ["ltsv", "combined"])
def test_the_endpoints_are_those_of_the_table(form: str, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    found = {}
    for log in table.logs():
        path.write_bytes(table.log_bytes(log, form))
        done = run("kojuto", "report", "--output", "json", *log.options, path)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["lines"] == len(table.lines(log.name))
        found[log.name] = {row["endpoint"]: row["count"] for row in report["endpoints"]}
    score = table.judge(found)
    shares = {kind: score.share(kind) for kind in ("shape", "tree", "stays")}
    assert min(shares.values()) >= LEAST, (shares, score.missed)
