"""kojuto.report for other programs: scan, rows, merging, files, pickle; its examples run."""

from __future__ import annotations

import doctest
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from kojuto import report
from tests.conftest import DATA, ROOT

if TYPE_CHECKING:
    from pathlib import Path

ALP = DATA / "accesslog/ltsv/alp-example.log"


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert doctest.testmod(report) == (0, 5)
    failed, tried = doctest.testfile(str(ROOT / "docs/report.md"), module_relative=False)
    assert (failed, tried > 5) == (0, True)
    # Its processes are started anew, from a program that is nothing but the page.
    page = [sys.executable, "-m", "doctest", "-v", "docs/report-many.md"]
    done = subprocess.run(page, check=False, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "7 passed" in done.stdout


def test_rows_have_the_columns_of_the_command() -> None:
    found = report.scan(ALP)
    rows = found.rows([50, 99.9], sort="count", reverse=True)
    assert {"endpoint", "count", "share", "499", "p50", "p99.9", "stddev", "example"} <= set(
        rows[0]
    )
    counts = [row["count"] for row in rows]
    assert counts == sorted(counts)
    assert sum(counts) == found.lines == found.total([])["count"]
    by_p95 = found.rows([50], sort="p95")
    assert "p95" not in by_p95[0]
    assert [row["endpoint"] for row in by_p95] == [
        row["endpoint"] for row in found.rows([95], sort="p95")
    ]
    for wrong in ({"sort": "nothing"}, {"percentiles": [101]}):
        with pytest.raises(ValueError, match="is not a"):
            found.rows(**wrong)


def test_reports_merge_in_any_order_and_add_up_to_a_new_one() -> None:
    one, other = report.scan(ALP), report.scan(str(ALP), where="method == POST")
    both = one + other
    assert both.lines == one.lines + other.lines
    assert (other + one).rows() == both.rows()
    one.merge(other)
    assert one.rows() == both.rows()
    with pytest.raises(TypeError):
        _ = one + 1  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"\w"):
        one.merge(report.scan(ALP, no_fold=True))


def test_a_report_is_the_same_after_any_journey(tmp_path: Path) -> None:
    found = report.scan([ALP])
    found.save(tmp_path / "a.kjr")
    journeys = [
        report.Report.load(tmp_path / "a.kjr"),
        report.Report.from_bytes(bytes(found)),
        pickle.loads(pickle.dumps(found)),
    ]
    for other in journeys:
        assert other.rows() == found.rows()
        assert other.lines == found.lines
    assert repr(found) == "<kojuto.report.Report of 14 lines>"
    for wrong in (b"", b"nothing of the kind", bytes(found)[:-1]):
        with pytest.raises(ValueError, match=r"\w"):
            report.Report.from_bytes(wrong)


def test_threads_share_a_report_and_it_may_be_merged_with_itself() -> None:
    whole, part = report.scan(ALP), report.scan(ALP)

    def work(at: int) -> None:
        for _ in range(100):
            if at % 3 == 0:
                whole.merge(part)
            elif at % 3 == 1:
                part.rows()
            else:
                bytes(whole), whole.rows(), whole.to_json(), whole.total()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert (whole.lines, part.lines) == (201 * 14, 14)
    part.merge(part)
    assert part.lines == 28


def test_it_is_json() -> None:
    found = json.loads(report.scan(ALP).to_json([50], tz=timezone.utc))
    assert found["lines"] == 14
    assert found["from"].endswith("+00:00")
    assert [name for name in found["total"] if name.startswith("p")] == ["p50"]


def test_a_window_is_given_in_words_as_a_moment_or_in_seconds() -> None:
    moment = datetime(2015, 9, 6, 6, 0, tzinfo=timezone.utc).astimezone(timezone.utc)
    start = datetime.fromisoformat("2015-09-06T06:00:00+09:00")
    assert moment > start
    found = [
        report.scan(ALP, since=since).lines
        for since in ("2015-09-06T06:00:00+09:00", "06:00", start, start.timestamp())
    ]
    assert len(set(found)) == 1
    assert 0 < found[0] < 14


def test_what_cannot_be_is_an_exception(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        report.scan(tmp_path / "no.log")
    with pytest.raises(TypeError, match="no option nothing"):
        report.scan(ALP, nothing=1)  # type: ignore[call-arg]
    prose = tmp_path / "prose"
    prose.write_text("It was a dark and stormy night.\n")
    with pytest.raises(ValueError, match=r"the first: 'It was a dark.*tried: JSON"):
        report.scan(prose)
    for options in ({"regex": "("}, {"query": "some"}, {"since": "yesterday"}, {"where": "x"}):
        with pytest.raises(ValueError, match=r"\w"):
            report.scan(ALP, **options)  # type: ignore[arg-type]
    broken = tmp_path / "broken.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00" + bytes(60))
    with pytest.raises(OSError, match=r"broken\.gz"):
        report.scan([ALP, broken])
