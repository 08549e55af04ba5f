"""kojuto.logs: lines as Arrow's batches, the values those that the log has, read by everyone."""

from __future__ import annotations

import contextlib
import doctest
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kojuto import logs, report
from tests.conftest import DATA, ROOT
from tests.frames import asked, pandas_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALP = DATA / "accesslog/ltsv/alp-example.log"
CADDY = DATA / "accesslog/json/caddy-access.jsonl"
EVERYTHING = ("time", "method", "path", "uri", "status", "request_time", "bytes")


def nanos(text: str) -> int:
    """A moment of RFC 3339, or of a common log, to the microsecond, in nanoseconds."""
    common = re.fullmatch(r"(\d+)/(\w+)/(\d+):(.*) ([+-]\d+)", text)
    if common is not None:
        moment = datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z")
    else:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    whole = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (whole.days * 86_400 + whole.seconds) * 10**9 + whole.microseconds * 1000


def rows_of(lines: logs.Lines) -> list[dict[str, Any]]:
    """The rows as pyarrow reads them, moments in nanoseconds."""
    table = pa.table(lines)
    if "time" in table.column_names:
        at = table.schema.get_field_index("time")
        table = table.set_column(at, "time", table["time"].cast(pa.int64()))
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def of_target(target: str) -> dict[str, str]:
    return {"uri": target, "path": re.split(r"[?#]", target)[0]}


def test_the_lines_of_ltsv_are_what_splitting_them_gives() -> None:
    expected = []
    for line in ALP.read_text().splitlines():
        fields = dict(part.split(":", 1) for part in line.split("\t"))
        taken = fields["apptime"] if fields["apptime"] != "-" else None
        expected.append(
            {
                "time": nanos(fields["time"]),
                "method": fields["method"],
                **of_target(fields["uri"]),
                "status": int(fields["status"]),
                "request_time": taken and float(taken),
                "bytes": int(fields["size"]),
                "apptime": taken,
                "nothing": None,
            }
        )
    found = rows_of(logs.scan(ALP, (*EVERYTHING, "apptime", "nothing")))
    assert found == expected
    assert len(found) == report.scan(ALP).lines


def test_the_lines_of_json_are_what_json_loads_gives() -> None:
    expected = []
    for line in CADDY.read_text().splitlines():
        entry = json.loads(line or "{}")
        if "request" not in entry or "status" not in entry:
            continue
        expected.append(
            {
                "time": pytest.approx(entry["ts"] * 1e9, abs=1000),
                "method": entry["request"]["method"],
                **of_target(entry["request"]["uri"]),
                "status": entry["status"],
                "request_time": pytest.approx(entry["duration"], abs=1e-9),
                "bytes": entry["size"],
                "request.proto": entry["request"]["proto"],
            }
        )
    found = rows_of(logs.scan(CADDY, (*EVERYTHING, "request.proto")))
    assert len(found) == report.scan(CADDY).lines > 3
    assert found == expected


def test_the_lines_of_the_combined_format_are_what_a_pattern_gives(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    pattern = re.compile(
        r'(?P<host>\S+) \S+ \S+ \[(?P<time>[^]]+)\] "(?P<request>[^"]*)" (?P<status>\d+) '
        r'(?P<bytes>\S+) "[^"]*" "(?P<ua>[^"]*)" (?P<taken>\S+)'
    )
    text = "".join(
        f'10.0.0.{n % 250} - - [29/Nov/2026:12:{n % 60:02}:{n * 7 % 60:02} +0900] "'
        f'{"GET" if n % 3 else "POST"} /items/{n}?page={n} HTTP/1.1" {200 + n % 5 * 50} '
        f'{"-" if n % 7 == 0 else n} "-" "agent {n % 4}" 0.{n % 1000:03}\n'
        for n in range(2000)
    )
    log.write_text(text)
    expected = []
    for line in text.splitlines():
        match = pattern.fullmatch(line)
        assert match is not None
        method, target, _ = match["request"].split(" ")
        expected.append(
            {
                "time": nanos(match["time"]),
                "method": method,
                **of_target(target),
                "status": int(match["status"]),
                "request_time": float(match["taken"]),
                "bytes": None if match["bytes"] == "-" else int(match["bytes"]),
                "request": match["request"],
                "ua": match["ua"],
            }
        )
    assert rows_of(logs.scan(log, (*EVERYTHING, "request", "ua"))) == expected


def test_of_every_format_that_is_known_as_many_lines_come_as_a_report_counts() -> None:
    tried = 0
    for path in sorted([*(DATA / "formats").iterdir(), *(DATA / "accesslog").rglob("*.*")]):
        try:
            lines = report.scan(path).lines
        except (ValueError, OSError):
            continue
        table = pa.table(logs.scan(path, (*EVERYTHING, "host", "request")))
        assert table.num_rows == lines, path
        assert table["status"].null_count < lines, path
        tried += 1
    assert tried > 30


def test_polars_duckdb_pandas_and_pyarrow_read_the_same() -> None:
    lines = logs.scan(ALP)
    table = pa.table(lines)
    assert table.column_names == list(logs.COLUMNS) == list(lines.columns)
    assert [str(field.type) for field in table.schema] == [
        "timestamp[ns, tz=UTC]", "string", "string", "int64", "double",
    ]  # fmt: skip
    frame = pl.DataFrame(lines)
    structs = pl.from_arrow(lines)
    assert isinstance(structs, pl.Series)
    assert structs.struct.unnest().equals(frame)
    expected = table.to_pylist()
    assert [row["path"] for row in frame.to_dicts()] == [row["path"] for row in expected]
    assert frame["request_time"].sum() == sum(row["request_time"] or 0 for row in expected)
    slow = asked("select path, status from lines where request_time > 1", lines=lines)
    assert slow == [
        (row["path"], row["status"]) for row in expected if (row["request_time"] or 0) > 1
    ]
    assert asked("select count(*) from lines", lines=lines) == [(14,)]
    pandas = pandas_of(lines)
    assert list(pandas["status"]) == [row["status"] for row in expected]
    assert str(pandas["time"].dtype) == "datetime64[ns, UTC]"


def test_batches_come_in_the_order_of_the_logs_and_are_no_larger_than_asked(
    tmp_path: Path,
) -> None:
    plain, packed = tmp_path / "plain.log", tmp_path / "packed.log.gz"

    def text(start: int, end: int) -> str:
        return "".join(
            f"uri:/{n}\tstatus:200\treqtime:0.001\tpad:{'x' * (n % 150)}\n"
            for n in range(start, end)
        )

    plain.write_text(text(0, 200_000))
    packed.write_bytes(gzip.compress(text(200_000, 230_000).encode(), 1))
    for jobs in (1, 3):
        reader = pa.RecordBatchReader.from_stream(
            logs.scan([plain, packed], ["path"], batch_size=5000, jobs=jobs)
        )
        batches = list(reader)
        assert max(batch.num_rows for batch in batches) <= 5000
        found = [path for batch in batches for path in batch["path"].to_pylist()]
        assert found == [f"/{n}" for n in range(230_000)]


texts = st.binary(max_size=40).map(lambda text: re.sub(rb"[\t\r\n\0]", b"", text))


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=30))
def test_any_bytes_come_as_text(lines: list[tuple[bytes, bytes]]) -> None:
    read, write = os.pipe()
    text = b"".join(b"uri:/%s\tstatus:200\tua:%s\n" % line for line in lines)
    os.write(write, text)
    os.close(write)
    path = f"/dev/fd/{read}"
    try:
        found = pa.table(logs.scan(path, ["uri", "ua"], format="ltsv")).to_pylist()
    finally:
        os.close(read)

    def bare(value: bytes) -> str | None:
        shown = value.decode(errors="backslashreplace")
        return None if value in (b"", b"-") else shown

    for row, (uri, ua) in zip(found, lines, strict=True):
        assert row["uri"] == bare(b"/" + uri)
        if not ua.startswith((b'"', b" ")) and not ua.endswith((b'"', b" ")):
            assert row["ua"] == bare(ua)


def test_the_options_of_lines_are_those_of_a_report(tmp_path: Path) -> None:
    when = datetime.fromisoformat("2015-09-06T06:00:00+09:00")
    options: list[dict[str, Any]] = [
        {"where": "status >= 400"},
        {"since": "06:00"},
        {"since": when},
        {"until": when.timestamp()},
        {"status_key": "size"},
        {"time_unit": "ms"},
        {"format": "ltsv", "jobs": 1},
    ]
    for option in options:
        found = report.scan(ALP, **option)
        table = pa.table(logs.scan(ALP, **option))
        assert table.num_rows == found.lines
        whole = sum(time or 0 for time in table["request_time"].to_pylist())
        assert whole == pytest.approx(found.total()["sum"] or 0)
    log = tmp_path / "log"
    log.write_text("GET /a 200 5ms\nPOST /b 404 7ms\n")
    lines = logs.scan(
        log, ["verb", "path"], regex=r"^(?P<verb>\w+) (?P<uri>\S+) (?P<status>\d+) (?P<took>\S+)"
    )
    assert pa.table(lines).to_pylist() == [
        {"verb": "GET", "path": "/a"}, {"verb": "POST", "path": "/b"},
    ]  # fmt: skip


def test_lines_that_cannot_be_read_are_counted_and_a_log_of_none_fails(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("uri:/a\tstatus:200\nno line\nuri:/b\tstatus:x\n")
    lines = logs.scan(log, ["path"])
    assert lines.bad == {}
    assert pa.table(lines).num_rows == 1
    assert lines.bad == {"not in the expected format": 1, "status is not an integer": 1}
    log.write_text("It was a dark night.\n")
    with pytest.raises(OSError, match=r"none of 1 lines can be read.*dark night"):
        pa.table(logs.scan(log))
    log.write_text("")
    assert pa.table(logs.scan(log)).num_rows == 0
    assert pl.DataFrame(logs.scan([])).shape == (0, 5)
    assert repr(lines) == "<kojuto.logs.Lines of path>"


def test_what_cannot_be_is_an_exception(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        logs.scan(tmp_path / "no.log")
    with pytest.raises(TypeError, match="no option no_fold"):
        logs.scan(ALP, no_fold=True)  # type: ignore[call-arg]
    wrong: list[Callable[[], object]] = [
        lambda: logs.scan(ALP, []),
        lambda: logs.scan(ALP, ["a", "a"]),
        lambda: logs.scan(ALP, [""]),
        lambda: logs.scan(ALP, [f"key{n}" for n in range(9)]),
        lambda: logs.scan(ALP, batch_size=0),
        lambda: logs.scan(ALP, where="x"),
        lambda: logs.scan(ALP, regex="("),
        lambda: logs.scan(ALP, since="yesterday"),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match=r"\w"):
            call()
    broken = tmp_path / "broken.gz"
    whole = gzip.compress(ALP.read_bytes() * 100)
    broken.write_bytes(whole[:-20])
    with pytest.raises(OSError, match=r"broken\.gz"):
        pa.table(logs.scan([ALP, broken]))
    gone = tmp_path / "gone.log"
    gone.write_bytes(ALP.read_bytes())
    lines = logs.scan(gone)
    gone.unlink()
    with pytest.raises(OSError, match=r"gone\.log"):
        pa.table(lines)


def endless(tmp_path: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """A pipe without an end, and who writes to it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = (
        "import sys\nwith open(sys.argv[1], 'wb') as out:\n"
        "    while True: out.write(b'uri:/a\\tstatus:200\\treqtime:0.1\\n' * 1000)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(pipe)], stderr=subprocess.DEVNULL)
    return str(pipe), writer


def test_who_lets_go_of_a_stream_ends_its_threads_and_more_is_not_read(tmp_path: Path) -> None:
    pipe, writer = endless(tmp_path)
    try:
        reader = pa.RecordBatchReader.from_stream(logs.scan(pipe, batch_size=1000))
        assert reader.read_next_batch().num_rows == 1000
        del reader
        assert writer.wait(timeout=60) != 0  # its pipe has no reader any more
    finally:
        with contextlib.suppress(ProcessLookupError):
            writer.kill()
        writer.wait()


def test_other_threads_run_while_one_waits_for_lines(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    lines, found = logs.scan(str(pipe)), []
    thread = threading.Thread(target=lambda: found.append(pl.DataFrame(lines).height))
    thread.start()
    with pipe.open("wb") as out:
        # Had the reader the GIL, none of this would be written.
        for _ in range(10):
            out.write(b"uri:/a\tstatus:200\n")
            out.flush()
            time.sleep(0.01)
    thread.join()
    assert found == [10]


def test_an_interrupt_ends_a_stream_that_waits(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = (
        "import sys, polars\nfrom kojuto import logs\n"
        "print('ready', flush=True)\npolars.DataFrame(logs.scan(sys.argv[1]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(pipe)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    out = os.open(pipe, os.O_WRONLY)  # once it reads
    child.send_signal(signal.SIGINT)
    try:
        _, error = child.communicate(timeout=60)
    finally:
        os.close(out)
        child.kill()
    assert child.returncode != 0
    assert b"KeyboardInterrupt" in error


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    code = (
        "import resource, sys, pyarrow\nfrom kojuto import logs\n"
        "rows = sum(b.num_rows for b in pyarrow.RecordBatchReader.from_stream(\n"
        "    logs.scan(sys.argv[1], jobs=2)))\n"
        "print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    line = f"time:2026-11-29T12:48:00Z\tmethod:GET\turi:/{'a' * 80}\tstatus:200\treqtime:0.1\n"
    peaks = []
    for count in (400_000, 2_400_000):
        log = tmp_path / "log"
        with log.open("w") as out:
            for _ in range(count // 1000):
                out.write(line * 1000)
        done = subprocess.run(
            [sys.executable, "-c", code, str(log)], capture_output=True, check=True
        )
        rows, peak_kib = map(int, done.stdout.split())
        assert rows == count
        peaks.append(peak_kib)
    assert peaks[1] < peaks[0] + (32 << 10), peaks


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(logs)
    assert (failed, tried > 2) == (0, True)
