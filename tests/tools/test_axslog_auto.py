"""mackerel-plugin-axslog --format auto: every row of docs/formats.md with its sample."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import DATA, ROOT, run
from tests.peers.axslog import PROG, write

if TYPE_CHECKING:
    from pathlib import Path

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
ROWS = [
    [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
    for line in (ROOT / "docs/formats.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| written by"))
]


def report(log: Path, *options: str) -> tuple[dict[str, Any], dict[str, float]]:
    done = run(PROG, "--once", "--logfile", log, "--key-prefix", "t", "--format", "auto",
               "--output", "json", *options)  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    return document["logs"][0], document["metrics"]


def times_of(text: str, key: str) -> list[float]:
    """The times of a sample, found by nothing but their name; journald's are partly bytes."""
    name = re.escape(key.rpartition(".")[2])
    return [float(n) for n in re.findall(rf'(?<!\w){name}[\\"]*[:=][\\" ]*(\d[\d.e-]*)', text)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[-1]}")
def test_every_row_of_the_table_is_recognised(row: list[str], workdir: Path) -> None:
    _, envelope, form, status, time, unit, sample = row
    log = DATA / sample
    about, metrics = report(log)
    assert about["format"] == form
    assert about["counted_lines"] > 0
    mean = metrics["axslog.latency_t.average"]
    if not time:
        assert "found" not in about
        assert mean == 0.5
        return
    assert about["found"] == {
        "envelope": envelope or None,
        "status_key": status,
        "ptime_key": time,
        "time_unit": unit,
    }
    times = times_of(log.read_text(errors="replace"), time)
    if envelope in ("docker", "journald"):
        times = [0.5, 1.5]  # one of them is in pieces, or in bytes
    assert mean == pytest.approx(sum(times) / len(times) * UNITS[unit], rel=1e-6)


def test_the_table_has_every_kind() -> None:
    assert len({row[-1] for row in ROWS}) == len(ROWS) == 25


def test_what_is_given_holds(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", '{"DownstreamStatus":200,"Duration":2000000,"ptime":7}')
    about, metrics = report(log)
    assert metrics["axslog.latency_t.average"] == 0.002
    about, metrics = report(log, "--status-key", "DownstreamStatus")
    assert metrics["axslog.latency_t.average"] == 7
    assert "found" not in about


def test_what_was_found_is_said(workdir: Path) -> None:
    log = DATA / "accesslog/json/envoy-gateway-cri.log"
    done = run(PROG, "--once", "--logfile", log, "--key-prefix", "t", "--format", "auto",
               "--verbose")  # fmt: skip
    assert f"{log}: json in cri: response_code, duration in ms\n" in done.stderr.decode()


def test_a_group_is_found_beside_the_keys_that_were(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", '{"host":"a","status":200,"request_time":3}')
    _, metrics = report(log, "--by", "host")
    assert metrics["axslog.latency_t.a.average"] == 3
