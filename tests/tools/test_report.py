"""kojuto report on real logs: what it finds, says and prints, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import DATA, ROOT, corpus, run

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

LTSV = (
    "time:29/Nov/2026:12:{minute:02}:00 +0900\tmethod:{method}\turi:{uri}\tstatus:{status}"
    "\tsize:100\treqtime:{time}\n"
)


def line(uri: str, time: object, *, method: str = "GET", status: int = 200, minute: int = 0) -> str:
    return LTSV.format(uri=uri, time=time, method=method, status=status, minute=minute)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.write_text(
        "".join(
            [
                *(line(f"/users/{n}?page=2", 0.1, minute=n // 2) for n in range(100)),
                *(line("/search", 2.5, minute=n, status=500 if n < 2 else 200) for n in range(10)),
                *(line("/login", 0.01, method="POST", status=499, minute=59) for n in range(3)),
            ]
        )
    )
    return path


def report(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    done = run("kojuto", "report", *arguments, stdin=stdin, env={"TZ": "UTC"})
    assert b"Traceback" not in done.stderr, done.stderr
    return done


def as_json(*arguments: str | Path, stdin: bytes = b"") -> dict[str, Any]:
    done = report("--output", "json", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {row["endpoint"]: row["count"] for row in found["endpoints"]}


# -- what it prints ------------------------------------------------------------------------------


def test_without_configuration_it_finds_all_and_says_what(log: Path) -> None:
    done = report(log)
    assert done.returncode == 0
    assert done.stderr.decode() == (
        "kojuto report: read as ltsv; time taken: reqtime in s, status: status, path: uri, "
        "method: method, bytes: size, when: time\n"
    )
    summary, table = done.stdout.decode().split("\n\n")
    assert summary.startswith(
        f"113 lines of {log}\n2026-11-29 12:00:00 to 12:59:00 +09:00 (59m00s)"
    )
    rows = [row.split() for row in table.splitlines()]
    assert rows[0][:4] == ["endpoint", "count", "share", "sum"]
    assert rows[1][:5] == ["GET", "/search", "10", "71.4%", "25.0s"]
    assert rows[2][:5] == ["GET", "/users/{n}", "100", "28.5%", "10.0s"]
    assert rows[3][:3] == ["POST", "/login", "3"]


def test_the_figures_are_those_of_the_lines(log: Path) -> None:
    found = as_json(log)
    assert (found["lines"], found["bad"], found["format"]) == (113, {}, "ltsv")
    assert found["from"] == "2026-11-29T12:00:00+09:00"
    assert found["to"] == "2026-11-29T12:59:00+09:00"
    assert counts(found) == {"GET /search": 10, "GET /users/{n}": 100, "POST /login": 3}
    search, users, login = found["endpoints"]
    assert (search["2xx"], search["5xx"], search["bytes"]) == (8, 2, 1000)
    assert (login["499"], login["4xx"]) == (3, 0)
    assert search["sum"] == pytest.approx(25)
    assert (search["min"], search["max"]) == (2.5, 2.5)
    assert users["p50"] == pytest.approx(0.1, rel=0.01)
    assert users["example"].startswith("/users/")
    assert users["example"].endswith("?page=2")
    assert sum(row["share"] for row in found["endpoints"]) == pytest.approx(1)
    assert [each["time"] for each in found["slowest"]] == [2.5] * 10
    assert found["slowest"][0]["target"] == "/search"
    assert found["other"] == {"count": 0, "sum": 0, "off_by": 0}


def test_rows_may_be_of_any_field(log: Path) -> None:
    done = report("--group-by", "status", "--output", "csv", log)
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert {row["status"]: row["count"] for row in rows} == {"200": "108", "499": "3", "500": "2"}
    found = as_json("--group-by", "method,path", log)["endpoints"]
    assert [(row["method"], row["path"]) for row in found] == [
        ("GET", "/search"), ("GET", "/users/{n}"), ("POST", "/login"),
    ]  # fmt: skip
    found = as_json("--group-by", "status,path", log)["endpoints"]
    assert [(row["status"], row["path"], row["count"]) for row in found] == [
        ("200", "/search", 8), ("200", "/users/{n}", 100), ("500", "/search", 2),
        ("499", "/login", 3),
    ]  # fmt: skip
    wrong = report("--group-by", "status", "--sort", "endpoint", log)
    assert wrong.returncode == 2
    assert b"--sort: 'endpoint' is not a column" in wrong.stderr


def test_a_key_of_no_line_is_told_of(log: Path) -> None:
    done = report("--group-by", "status,hots", log)
    assert done.returncode == 0
    assert b"no line has a value for 'hots' of --group-by" in done.stderr
    assert b"'status'" not in done.stderr
    assert b"--group-by" not in report("--group-by", "status,path", log).stderr


def test_a_condition_and_a_window_leave_lines_out(log: Path) -> None:
    assert counts(as_json("--where", "status >= 499", log)) == {"GET /search": 2, "POST /login": 3}
    for since in ("12:50", "end-9m", "2026-11-29T12:50:00+09:00", "29/Nov/2026:03:50:00 +0000"):
        assert counts(as_json("--since", since, log)) == {"POST /login": 3}, since
    assert counts(as_json("--until", "12:05", log)) == {"GET /search": 5, "GET /users/{n}": 10}
    none = as_json("--since", "-15m", "--until", "-14m", log)
    assert (none["lines"], none["endpoints"]) == (0, [])
    for wrong in ("status >>= 5", "status >= x", "reqtime > 200ms"):
        assert report("--where", wrong, log).returncode == 2, wrong
    slow = [counts(as_json("--where", f"request_time > {at}", log)) for at in ("0.25", "250ms")]
    assert slow[0] == slow[1] != {}
    piped = report("--since", "end-9m", "-", stdin=log.read_bytes())
    assert piped.returncode == 2
    assert b"a time before now is written as -15m" in piped.stderr


def test_the_zone_of_the_machine_is_for_clocks_that_tell_none(tmp_path: Path) -> None:
    rest = '"method":"GET","uri":"/","status":200,"request_time":0.1}\n'
    for line, shown in (
        ('{"ts":1764511200,' + rest, "2025-11-30T23:00:00+09:00"),
        ("1764511200.000 5 10.0.0.1 TCP_MISS/200 1 GET http://a/ - NONE/- -\n",
         "2025-11-30T23:00:00+09:00"),
        ("2025-11-30 14:00:00 10.0.0.1 GET / - 80 - 10.0.0.2 ua - 200 0 0 5\n",
         "2025-11-30T23:00:00+09:00"),
        ("2025-11-30\t14:00:00\tL\t3\t10.0.0.1\tGET\ta.example\t/\t200" + "\t-" * 9 + "\t0.1\n",
         "2025-11-30T23:00:00+09:00"),
        ('{"time":"2025-11-30T14:00:00Z",' + rest, "2025-11-30T14:00:00+00:00"),
        ('{"time":"2025-11-30 14:00:00",' + rest, "2025-11-30T14:00:00+09:00"),
    ):  # fmt: skip
        log = tmp_path / "log"
        log.write_text(line)
        for option, found in (("--since", shown), ("--until", None)):
            done = run("kojuto", "report", "--output", "json", option, shown, log,
                       env={"TZ": "JST-9"})  # fmt: skip
            assert json.loads(done.stdout)["from"] == found, line


def test_what_becomes_of_ids_and_queries(log: Path) -> None:
    assert len(as_json("--no-fold", log)["endpoints"]) == 102
    assert "GET /users/{n}?page=2" in counts(as_json("--query", "keep", log))
    matched = counts(as_json("--match", "^/(users|search)=>mine", log))
    assert sorted(matched.values()) == [3, 110]


# -- reports as files ----------------------------------------------------------------------------


def test_a_log_without_a_line_has_a_report_for_a_merge(log: Path, tmp_path: Path) -> None:
    quiet, busy, empty = tmp_path / "quiet.kjr", tmp_path / "busy.kjr", tmp_path / "empty.log"
    empty.touch()
    assert report("--save", busy, log).returncode == 0
    quiet.write_bytes(busy.read_bytes())  # of yesterday: it would count again
    done = report("--save", quiet, empty)
    assert done.returncode == 0
    assert done.stderr == f"kojuto report: {empty}: no lines\n".encode()
    assert done.stdout.startswith(b"0 lines")
    assert as_json("--merge", quiet, busy)["total"] == as_json("--merge", busy)["total"]
    piped = report("--save", "-", empty)
    assert (piped.returncode, piped.stdout) == (0, quiet.read_bytes())
    # Who wants no file was told by the status, and is.
    assert report(empty).returncode == 2


def test_parts_that_are_saved_and_merged_are_the_whole(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    saved = []
    for at in range(3):
        part = tmp_path / f"part{at}"
        part.write_bytes(b"".join(lines[at::3]))
        saved.append(tmp_path / f"part{at}.kjr")
        done = report("--save", saved[-1], part)
        assert done.returncode == 0
        assert b"endpoint" in done.stdout
    whole, merged = as_json(log), as_json("--merge", *reversed(saved))
    piped = as_json("--merge", "-", stdin=b"".join(path.read_bytes() for path in saved))
    for found in (merged, piped):
        assert found["endpoints"] == [
            {**row, "example": each["example"], "sum": pytest.approx(row["sum"]),
             "avg": pytest.approx(row["avg"]), "share": pytest.approx(row["share"]),
             "stddev": pytest.approx(row["stddev"])}
            for row, each in zip(whole["endpoints"], found["endpoints"], strict=True)
        ]  # fmt: skip
        assert (found["from"], found["to"], found["lines"]) == (whole["from"], whole["to"], 113)


def test_a_report_on_standard_output_is_nothing_else(log: Path) -> None:
    done = report("--save", "-", log)
    assert done.returncode == 0
    merged = report("--merge", "-", "--output", "csv", stdin=done.stdout)
    assert len(merged.stdout.splitlines()) == 4


def test_what_is_no_report_is_named(log: Path, tmp_path: Path) -> None:
    done = report("--merge", log)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"kojuto report: error: {log}: ")
    assert b"hint: reports are written by --save" in done.stderr
    saved = tmp_path / "a.kjr"
    report("--save", saved, log)
    cut = tmp_path / "cut.kjr"
    cut.write_bytes(saved.read_bytes()[:-5])
    assert report("--merge", cut).returncode == 1
    other = tmp_path / "other.kjr"
    report("--no-fold", "--save", other, log)
    done = report("--merge", saved, other)
    assert done.returncode == 1
    assert f"kojuto report: error: {other}: ".encode() in done.stderr
    assert b"hint: make all reports with the same options" in done.stderr


@pytest.mark.parametrize("option", ["--save", "--html"])
def test_a_log_that_was_named_for_a_result_stays(option: str, log: Path) -> None:
    before = log.read_bytes()
    done = report(option, log, log)  # as the shell makes it of `--save *.log`
    assert (done.returncode, done.stdout, log.read_bytes()) == (2, b"", before)
    assert done.stderr.decode().startswith(f"kojuto report: error: {option} {log}: it is there")
    result = log.parent / "result"
    assert report(option, result, log).returncode == 0
    assert report(option, result, log).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--columns", "count,nope"], "--columns: 'nope' is not a column (write any of endpoint, "),
        (["--sort", "nope"], "--sort: 'nope' is not a column"),
        (["--group-by", "uri", "--sort", "endpoint"], "--sort: 'endpoint' is not a column"),
        (["--save", "/no/such/folder/a.kjr"], "/no/such/folder: No such file or directory"),
    ],
)
def test_what_cannot_be_is_told_before_a_long_log_is_read(
    options: list[str], message: str, log: Path
) -> None:
    done = report(*options, log)
    assert done.stderr.decode().startswith(f"kojuto report: error: {message}")
    assert done.returncode in (1, 2)


# -- what it is given ----------------------------------------------------------------------------


def test_files_patterns_and_standard_input_are_one_report(log: Path, tmp_path: Path) -> None:
    import gzip

    (tmp_path / "access.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    assert as_json(tmp_path / "access.log*")["lines"] == 226
    assert as_json("-", stdin=log.read_bytes())["lines"] == 113
    assert as_json(stdin=log.read_bytes())["lines"] == 113
    twice = report(log, "-", log, stdin=log.read_bytes())
    assert f"kojuto report: {log} is named twice and read once\n".encode() in twice.stderr
    assert b"226 lines of 2 files" in twice.stdout


def test_bad_lines_are_counted_with_the_first(log: Path) -> None:
    with log.open("ab") as file:
        file.write(b"nonsense \x1b[31m\n" + line("/x", 1).replace("200", "oops").encode())
    done = report(log)
    assert done.returncode == 0
    assert b"kojuto report: 2 lines not counted (" in done.stderr
    assert b"; the first: 'nonsense \\x1b[31m'" in done.stderr
    assert b"\x1b" not in done.stderr
    assert b", 2 bad ones beside" in done.stdout


def test_a_line_of_100_mb_is_passed_over(log: Path) -> None:
    before = report(log).stdout
    with log.open("ab") as file:
        file.write(b"x" * 100_000_000 + b"\n")
    done = report(log)
    assert done.returncode == 0
    assert b"1 line not counted (longer than 64 MiB: 1)" in done.stderr
    assert done.stdout.replace(b", 1 bad one beside", b"") == before


def test_without_a_line_it_is_2_with_the_first_and_what_was_tried(tmp_path: Path) -> None:
    path = tmp_path / "prose"
    path.write_text("It was a dark and stormy night.\nThe rain fell in torrents.\n")
    done = report(path)
    assert (done.returncode, done.stdout) == (2, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith(f"kojuto report: error: {path}: none of 2 lines can be read")
    assert error.endswith("; the first: 'It was a dark and stormy night.'")
    assert hint.startswith("hint: tried: JSON, LTSV, combined")
    path.write_text("")
    assert report(path).returncode == 2


def test_a_log_without_times_is_sorted_by_count_and_told_what_to_add(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    form = '192.0.2.1 - - [29/Nov/2026:12:00:00 +0900] "GET {} HTTP/1.1" 200 5 "-" "-"'
    paths = ["/a"] * 2 + ["/b"] * 5
    path.write_text("".join(form.format(uri) + "\n" for uri in paths))
    done = report(path)
    assert done.returncode == 0
    assert b"has the time taken; sorted by count\nhint: nginx: put rt=$request_time" in done.stderr
    table = done.stdout.decode().split("\n\n")[1].splitlines()
    assert [row.split()[:3] for row in table[1:]] == [["GET", "/b", "5"], ["GET", "/a", "2"]]
    # What it says to add is found.
    for time, seconds in (("rt=0.250", 0.25), ("rt=250000us", 0.25)):
        path.write_text("".join(f"{form.format(uri)} {time}\n" for uri in paths))
        assert as_json(path)["total"]["p50"] == pytest.approx(seconds, rel=0.01), time


def test_a_log_that_is_not_there_fails_and_one_that_cannot_be_read_is_told(
    log: Path, tmp_path: Path
) -> None:
    done = report(tmp_path / "no.log")
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"kojuto report: error: {tmp_path}/no.log: No such file or directory\n"
    )
    broken = tmp_path / "broken.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00" + bytes(60))
    done = report(log, broken)
    assert done.returncode == 1
    assert b"broken.gz" in done.stderr
    assert b"; the others are reported" in done.stderr
    assert b"113 lines" in done.stdout


def test_a_path_called_request_is_the_path(tmp_path: Path) -> None:
    log = tmp_path / "apache.jsonl"
    line = '{"request":"%s","method":"%s","status":"200","process":"77"}\n'
    log.write_text(line % ("/a%20b", "GET") + line % ("/a b", "GET") + line % ("-", "-"))
    found = as_json(log)
    assert {row["endpoint"] for row in found["endpoints"]} == {
        "GET /a%20b", "GET /a b", "(no request)"
    }  # fmt: skip


def test_an_error_log_is_no_log_of_requests(tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    log.write_text(
        "2026/11/30 20:11:00 [error] 7#7: *1 directory index is forbidden, client: 127.0.0.1, "
        'server: , request: "GET / HTTP/1.1", host: "a"\n' * 3
    )
    done = report(log)
    assert done.returncode == 2
    assert b"none of 3 lines can be read" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "endpoint,nothing"], "--columns: 'nothing' is not a column"),
        (["--sort", "p101"], "--sort: 'p101' is not a column"),
        (["--merge", "--format", "ltsv"], "--format cannot go with --merge"),
        (["--merge", "--since", "-15m"], "--since cannot go with --merge"),
        (["--no-fold", "--fold-above", "9"], "--fold-above cannot go with --no-fold"),
        (["--plot", "--output", "csv"], "--plot cannot go with --output csv"),
        (["--save", "-", "--output", "csv"], "--save - writes the report and nothing else"),
        (["--format", "regex"], "--format regex needs --regex PATTERN"),
        (["--regex", "(?P<x>.)", "--format", "ltsv"], "--regex cannot go with --format ltsv"),
        (["--regex", "("], ""),
        (["--match", "("], ""),
        (["--tz", "No/Where"], "--tz No/Where: not a time zone"),
        (["--since", "yesterday"], "--since yesterday: not a time"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments: list[str], message: str, log: Path) -> None:
    done = report(*arguments, log)
    assert (done.returncode, done.stdout) == (2, b""), done.stderr
    assert message in done.stderr.decode()


# -- real logs -----------------------------------------------------------------------------------

REAL = sorted((DATA / "formats").iterdir())
EXPECTED = json.loads((DATA / "accesslog/expected.json").read_text())


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_each_form_that_is_recognised_makes_a_report(path: Path) -> None:
    found = as_json(path)
    assert found["lines"] > 0
    assert re.match(r"\S", found["endpoints"][0]["endpoint"])


def test_the_documentation_has_each_column_and_no_option_that_is_not_there() -> None:
    text = (ROOT / "docs/report.md").read_text()
    help_text = report("--help").stdout.decode()
    for option in set(re.findall(r"--[a-z][a-z-]*", text)):
        assert option in help_text, option
    columns = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    named = {name for cell in columns for name in re.findall(r"`([^`]+)`", cell)}
    header = report("--output", "csv", corpus("accesslog/ltsv/alp-example.log")).stdout.decode()
    assert set(header.splitlines()[0].split(",")) - {"p90", "p95", "p99"} <= named
    assert os.path.exists(ROOT / "docs/formats.md")
