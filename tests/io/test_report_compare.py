"""report_compare: two logs, or saved reports of them, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kojuto._native import ReportData, report_compare, report_scan
from kojuto.tools.report import compare
from kojuto.tools.report.compare import Comparison

if TYPE_CHECKING:
    from pathlib import Path


def scanned(
    path: Path, search_s: float, *, begin: int = 1_700_000_000, side: str = ""
) -> ReportData:
    """A log of 320 seconds: /search, and users whose names are many only on both sides together."""
    lines = []
    for n in range(2560):
        spread = 0.5 + n * 7919 % 100 / 100
        uri = (
            f"/users/{side}{'abcdefghij'[n // 4 % 10]}{'klm'[n // 40 % 3]}" if n % 4 else "/search"
        )
        time = 0.2 * spread if n % 4 else search_s * spread
        lines.append(
            f"time:{begin + n // 8}\tmethod:GET\turi:{uri}\tstatus:200\treqtime:{time:.4f}\n"
        )
    path.write_text("".join(lines))
    return report_scan([str(path)])


@pytest.fixture
def sides(tmp_path: Path) -> tuple[ReportData, ReportData]:
    old = scanned(tmp_path / "old.log", 0.1, side="old")
    return old, scanned(tmp_path / "new.log", 0.13, begin=1_700_009_000, side="new")


def verdicts(found: dict[str, Any]) -> dict[bytes, str]:
    return {row["endpoint"]: row["verdict"] for row in found["endpoints"]}


def test_what_is_slower_is_told_under_one_name(sides: tuple[ReportData, ReportData]) -> None:
    old, new = sides
    found = report_compare([old], [new], [50.0, 99.0], 0.1)
    assert verdicts(found) == {b"GET /search": "slower", b"GET /users/*": "same"}
    search = next(row for row in found["endpoints"] if row["endpoint"] == b"GET /search")
    assert (search["moved"], search["above"]) == ("median", True)
    assert search["new"]["p50"] / search["old"]["p50"] == pytest.approx(1.3, rel=0.03)
    assert (search["old"]["count"], found["all"]["new"]["count"]) == (640, 2560)
    assert found["old"]["length_s"] == 319.0
    assert [len(found[side]["files"]) for side in ("old", "new")] == [1, 1]
    assert not report_compare([old], [new], [50.0])["endpoints"][0]["above"], "without a bound"


def test_saved_reports_are_compared_as_their_logs(sides: tuple[ReportData, ReportData]) -> None:
    old, new = (ReportData.from_bytes(side.to_bytes()) for side in sides)
    fresh, saved = (
        report_compare([sides[0]], [sides[1]], [50.0]),
        report_compare([old], [new], [50.0]),
    )
    assert saved["endpoints"] == fresh["endpoints"]
    assert saved["unknown_share"] == fresh["unknown_share"] == 0


def test_runs_of_a_side_are_counted_together(tmp_path: Path) -> None:
    old = [scanned(tmp_path / f"{n}.log", 0.1, begin=1_700_000_000 + 5000 * n) for n in range(2)]
    new = scanned(tmp_path / "new.log", 0.1, begin=1_700_100_000)
    found = report_compare(old, [new], [50.0])
    assert set(verdicts(found).values()) == {"same"}
    assert (found["all"]["old"]["count"], found["old"]["length_s"]) == (5120, 638.0)


def test_what_was_found_can_be_shown(sides: tuple[ReportData, ReportData]) -> None:
    both = Comparison(report_compare([sides[0]], [sides[1]], [50.0, 99.0], 0.1), 0.1)
    assert both.status() == 1
    assert compare.table(both)[2].startswith("slower")
    assert compare.words(both) == "over --fail-above: 1 endpoint (GET /search)"
    document = compare.document(both, [50.0, 99.0])
    assert [row["verdict"] for row in document["endpoints"]] == ["slower", "same"]


def test_sides_that_were_counted_in_different_ways_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    one = scanned(path, 0.1)
    with pytest.raises(ValueError, match=r"."):
        report_compare([one], [report_scan([str(path)], fold=False)], [50.0])
