"""`report_scan` and `ReportData` as Python calls them."""

from __future__ import annotations

import gzip
import math
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from kojuto._native import ReportData, ReportProgress, report_envelope, report_scan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AT_S = 1_795_961_200
PERCENTILES = [50.0, 99.0, 99.9]


def line(n: int, *, status: int = 200, host: str = "a.example") -> str:
    """The n-th line: paths of three names, times that differ."""
    return (
        f"time:{AT_S + n // 10}\tvhost:{host}\tmethod:GET\turi:/{'abc'[n % 3]}/{n}?q={n}"
        f"\tstatus:{status}\tsize:10\treqtime:{n % 100 / 1000:.3f}\n"
    )


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., str]:
    """Writes a log of such lines and gives its path."""

    def write(count: int = 300, name: str = "access.log", **of: Any) -> str:
        path = tmp_path / name
        path.write_text("".join(line(n, **of) for n in range(count)))
        return str(path)

    return write


def test_columns_are_lists_of_one_length_the_costliest_first(log: Callable[..., str]) -> None:
    data = report_scan([log()])
    columns = data.columns(PERCENTILES)
    assert {len(column) for column in columns.values()} == {3}
    assert list(columns) == [
        "endpoint", "count", "timed", "1xx", "2xx", "3xx", "4xx", "499", "5xx", "other_status",
        "sum", "min", "max", "avg", "stddev", "bytes", "p50", "p99", "p99.9", "example",
    ]  # fmt: skip
    assert sorted(columns["endpoint"]) == [b"GET /a/{n}", b"GET /b/{n}", b"GET /c/{n}"]
    times = [n % 100 / 1000 for n in range(300)]
    for place, endpoint in enumerate(columns["endpoint"]):
        mine = [times[n] for n in range(300) if "abc"[n % 3] == chr(endpoint[5])]
        row = {name: column[place] for name, column in columns.items()}
        assert (row["count"], row["timed"], row["2xx"], row["bytes"]) == (100, 100, 100, 1000)
        assert (row["min"], row["max"]) == (min(mine), max(mine))
        assert row["sum"] == pytest.approx(math.fsum(mine), rel=1e-12)
        assert row["avg"] == pytest.approx(math.fsum(mine) / 100, rel=1e-12)
        mean = math.fsum(mine) / 100
        deviation = math.sqrt(math.fsum((time - mean) ** 2 for time in mine) / 100)
        assert row["stddev"] == pytest.approx(deviation, rel=1e-9)
        assert row["p50"] == pytest.approx(sorted(mine)[49], rel=0.01)
        assert row["example"].startswith(endpoint[4:7])
    assert columns["sum"] == sorted(columns["sum"], reverse=True)
    total = data.total(PERCENTILES)
    assert (total["count"], total["bytes"]) == (300, 3000)
    assert total["p50"] == pytest.approx(0.049, rel=0.01)


def test_facts_say_what_was_taken_as_what(log: Callable[..., str], tmp_path: Path) -> None:
    path = log(host="b.example")
    other = tmp_path / "other.log"
    other.write_text(line(1) + "no line\n")
    missing = str(tmp_path / "missing")
    facts = report_scan([path, str(other), path, missing]).facts()
    assert facts["keys"] == {
        "request_time": ("reqtime", "s"), "status": ("status", ""), "uri": ("uri", ""),
        "method": ("method", ""), "bytes": ("size", ""), "time": ("time", ""),
        "host": ("vhost", ""),
    }  # fmt: skip
    assert (facts["lines"], facts["format"], facts["envelope"]) == (302, "ltsv", None)
    assert facts["bad"] == {"not in the expected format": 1}
    assert facts["first_bad"] == b"no line"
    assert (facts["from_s"], facts["to_s"], facts["zone_s"]) == (AT_S, AT_S + 29, None)
    assert (facts["files"], facts["twice"]) == ([path, str(other)], [path])
    assert facts["failed"] == [(missing, "No such file or directory")]
    assert facts["hosts"] == [b"a.example", b"b.example"]
    assert facts["other"] == {"count": 0, "sum": 0.0, "off_by": 0}
    assert facts["resolution_s"] == 0.001


def test_maps_and_the_timeline_hold_every_line(log: Callable[..., str]) -> None:
    data = report_scan([log()])
    for slices, count in ((data.timeline(), 300), (data.map("GET /a/{n}"), 100)):
        assert slices
        assert sum(part["count"] for part in slices) == count
        assert sum(part["2xx"] for part in slices) == count
        assert sum(sum(part["steps"].values()) for part in slices) == count
        starts = [part["start_s"] for part in slices]
        assert starts == sorted(starts)
        assert all(start % part["width_s"] == 0 for start, part in zip(starts, slices, strict=True))
    assert data.map(b"GET /nowhere") is None
    steps = {step for part in data.timeline() for step in part["steps"]}
    assert -1 in steps  # the times that are 0
    assert max(steps) == math.floor(math.log(0.099e6) / math.log(1.25))


def test_the_slowest_lines_have_their_endpoint(log: Callable[..., str]) -> None:
    slowest = report_scan([log()], slowest=2).slowest()
    assert slowest == [
        {"time_s": 0.099, "at_s": AT_S + n // 10, "method": b"GET",
         "target": f"/{'abc'[n % 3]}/{n}?q={n}".encode(), "status": 200,
         "endpoint": f"GET /{'abc'[n % 3]}/{{n}}".encode()}
        for n in (99, 199)
    ]  # fmt: skip


def test_a_saved_report_is_the_report_and_two_are_their_sum(log: Callable[..., str]) -> None:
    first, second = report_scan([log(250)]), report_scan([log(300, name="b.log", status=503)])
    saved = first.to_bytes()
    assert ReportData.from_bytes(saved).columns(PERCENTILES) == first.columns(PERCENTILES)
    both = ReportData.from_bytes(saved + second.to_bytes())
    second.merge(first)
    assert both.columns(PERCENTILES) == second.columns(PERCENTILES)
    assert both.to_bytes() == second.to_bytes()
    assert (both.total([])["2xx"], both.total([])["5xx"]) == (250, 300)
    other = report_scan([log(10)], fold=False)
    with pytest.raises(ValueError, match="named by other options"):
        both.merge(other)
    with pytest.raises(ValueError, match="not a report"):
        ReportData.from_bytes(b"something else")
    with pytest.raises(ValueError, match="cut short"):
        ReportData.from_bytes(saved[:-1])


def test_lines_are_chosen_and_grouped(log: Callable[..., str], tmp_path: Path) -> None:
    path = log()
    data = report_scan([path], where="uri ~ ^/a/ and request_time >= 0.05", since_s=AT_S + 10.0)
    wanted = [n for n in range(100, 300) if n % 3 == 0 and n % 100 >= 50]
    assert (data.total([])["count"], data.facts()["left_out"]) == (len(wanted), 300 - len(wanted))
    grouped = report_scan([path], group_by=["vhost", "status"]).columns([])
    assert (grouped["vhost"], grouped["status"]) == ([b"a.example"], [b"200"])
    assert grouped["endpoint"] == [b"a.example\x1f200"]
    json = tmp_path / "a.jsonl"
    json.write_text('{"s":200,"u":"/x","m":"PUT","t":7}\n')
    keys = {"status": "s", "uri": "u", "method": "m", "request_time": "t"}
    data = report_scan([str(json)], format="json", keys=keys, time_unit="us")
    assert data.columns([])["endpoint"] == [b"PUT /x"]
    assert data.total([])["sum"] == 7e-6


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"format": "xml"}, ValueError, "not a log format: xml"),
        ({"where": "status"}, ValueError, "expected one of =="),
        ({"keys": {"when": "x"}}, ValueError, "not what a key can be for: when"),
        ({"query": "all"}, ValueError, "not what may stay of a query: all"),
        ({"matches": ["("]}, ValueError, "regular expression"),
        ({"time_unit": "h"}, ValueError, "not a unit of time: h"),
        ({"envelope": "x"}, ValueError, "not an envelope"),
        ({"colour": "red"}, TypeError, "unknown option: colour"),
    ],
)
def test_a_wrong_option_is_refused(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        report_scan([], **options)


def test_nothing_gives_an_empty_report() -> None:
    data = report_scan([])
    assert data.columns([99.0])["p99"] == []
    assert data.total([50.0])["p50"] is None
    assert (data.timeline(), data.slowest(), data.facts()["from_s"]) == ([], [], None)
    assert ReportData.from_bytes(data.to_bytes()).total([]) == data.total([])


def test_compressed_files_and_all_threads_give_the_same(log: Callable[..., str]) -> None:
    plain = log(3000)
    packed = plain + ".gz"
    with open(plain, "rb") as file, gzip.open(packed, "wb") as out:
        out.write(file.read())
    progress = ReportProgress()
    one = report_scan([packed], jobs=1, progress=progress)
    assert one.to_bytes() == report_scan([plain], jobs=4).to_bytes()
    size = os.stat(packed).st_size
    assert (progress.lines, progress.bytes, progress.total_bytes) == (3000, size, size)


def test_a_signal_ends_a_scan_that_waits(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    end = os.open(fifo, os.O_RDWR)
    main = threading.main_thread().ident
    assert main is not None

    def opened() -> int:
        links = (os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
        return sum(link == os.path.realpath(fifo) for link in links)

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while opened() < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            report_scan([str(fifo)])
    finally:
        thread.join()
        os.close(end)


def test_parts_of_logs_and_descriptors_are_the_whole(log: Callable[..., str]) -> None:
    path = log(3000)
    whole = report_scan([path])
    parts = report_scan([(path, "a", 0, 70_001), (path, "a", 70_001, None)])
    assert parts.to_bytes() == whole.to_bytes()
    with open(path, "rb", buffering=0) as file:
        head = file.read(1000)
        file.seek(0)
        read = report_scan([(file.fileno(), "b", head)])
    assert read.to_bytes() == whole.to_bytes()
    assert (parts.facts()["files"], read.facts()["files"]) == (["a", "a"], ["b"])
    with pytest.raises(OSError, match="b"):
        report_scan([(9999, "b", b"")])


def test_the_logs_of_a_report_stay_known_when_it_is_put_together(log: Callable[..., str]) -> None:
    path = log(3)
    whole = report_scan([(path, "a", 0, 10)])
    whole.merge(report_scan([(path, "a", 10, None)]))
    whole.merge(ReportData.from_bytes(whole.to_bytes(), ["b", "c"]))
    whole.fail("d", "it is gone")
    facts = whole.facts()
    assert (facts["lines"], facts["files"]) == (6, ["a", "b", "c"])
    assert facts["failed"] == [("d", "it is gone")]
    progress = ReportProgress()
    report_scan([path], progress=progress)
    progress.add(1000, 2000)
    size = os.path.getsize(path)
    assert (progress.bytes, progress.total_bytes) == (size + 1000, size + 2000)


def test_what_stands_around_lines_is_told() -> None:
    line = b'{"status":200,"uri":"/a"}\n'
    assert report_envelope(line) is None
    assert report_envelope(b"2026-11-29T14:06:41.1Z stdout F " + line) == "cri"
    assert report_envelope(b"2026-11-29T14:06:41.1Z stdout F " + line, envelope="none") is None
    with pytest.raises(ValueError, match="envelope"):
        report_envelope(line, envelope="paper")
