"""mackerel-plugin-axslog: formats without keys, times with units, where the time is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run
from tests.peers.axslog import PROG, follow, write

if TYPE_CHECKING:
    from pathlib import Path

HEAD = '10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 12 "-" "ua"'
INGRESS = f"{HEAD} 412 0.003 [default-web-80] [] 10.0.0.2:80 12 0.004 200 8a1f"


def counted(log: Path, *options: str) -> tuple[int, str | None]:
    """How many lines count, and the average of the times taken."""
    done = run(PROG, "--logfile", log, "--key-prefix", "t", *options, "--output", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    average = document["metrics"].get("axslog.latency_t.average")
    return document["logs"][0]["counted_lines"], None if average is None else f"{average:.6f}"


@pytest.mark.parametrize(
    ("line", "options", "average"),
    [
        (f"{HEAD} 0.012", [], "0.012000"),
        (f'{HEAD} 1 "web@docker" "http://10.0.0.2:80" 12ms', [], "0.012000"),
        (f"{HEAD} 0/12345", [], "0.012345"),
        (f"{HEAD} 410 4096", [], None),
        (f"{HEAD} 4096", ["--time-field", "last", "--time-unit", "us"], "0.004096"),
        (f"{HEAD} 0.012", ["--time-field", "none"], None),
        (f"{HEAD} TLSv1.3", [], None),
        (INGRESS, [], None),
        (INGRESS, ["--time-field", "11"], "0.003000"),
        (INGRESS, ["--time-field", "-3"], "0.004000"),
        (f"{HEAD} rt=0.120 ut=0.110", ["--time-field", "rt"], "0.120000"),
        (f"{HEAD} 0.1, 0.2", [], None),
        (f"{HEAD} 0.1, 0.2", ["--time-list", "max"], "0.200000"),
        (HEAD[:-4], [], None),
    ],
)
def test_a_combined_line_counts_by_its_status_whatever_its_end_is(
    line: str, options: list[str], average: str | None, tmp_path: Path, workdir: Path
) -> None:
    log = write(tmp_path / "log", line)
    assert counted(log, "--format", "combined", *options) == (1, average)


@pytest.mark.parametrize(
    ("line", "options", "average"),
    [
        (
            '10.0.0.1 [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 rt=0.250',
            ['$remote_addr [$time_local] "$request" $status rt=$request_time'],
            "0.250000",
        ),
        ("200 0.3 0.1, 0.2", ["$status $request_time $upstream_response_time",
         "--time-field", "upstream_response_time", "--time-list", "sum"], "0.300000"),
        ('h - - [x y] "GET / HTTP/1.1" 200 5 2500', ['%h %l %u %t "%r" %>s %b %D'], "0.002500"),
        ("a.example 200 15", ['LogFormat "%v %>s %{ms}T" mine'], "0.015000"),
        ("a.example 200 0.5", ["'$host $status '\n   '$request_time';"], "0.500000"),
        ('"r" 200 15', [r"\"%r\" %>s %{ms}T"], "0.015000"),
        (HEAD, ["combined"], None),
    ],
)  # fmt: skip
def test_a_log_format_in_the_words_of_nginx_and_apache(
    line: str, options: list[str], average: str | None, tmp_path: Path, workdir: Path
) -> None:
    log = write(tmp_path / "log", line, "nothing of that format")
    assert counted(log, "--log-format", *options) == (1, average)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--log-format", "%s %Z"], "log format: %Z is not known; known are %a, %"),
        (["--log-format", "%h %b"], "log format: no status ($status, %>s) in"),
        (["--log-format", "$status", "--time-field", "rt"], "log format: no such field"),
        (["--log-format", "$status", "--format", "json"], "--log-format cannot go with --format"),
        (["--regex", "x", "--format", "ltsv"], "--regex cannot go with --format ltsv"),
        (["--regex", "x", "--log-format", "$status"], "--log-format cannot go with --format regex"),
        (["--regex", "(?P<ptime>x)"], "the regular expression has no group (?P<status>…)"),
        (["--time-field", "last"], "--time-field cannot go with --format ltsv"),
        (["--time-field", "0", "--format", "combined"], "--time-field 0: not a field"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    options: list[str], message: str, tmp_path: Path, workdir: Path
) -> None:
    log = write(tmp_path / "log", "x")
    done = run(PROG, "--logfile", log, "--key-prefix", "t", *options)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(f"{PROG}: error: {message}")


def test_a_regular_expression_needs_no_format_beside_it(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "took=12ms code=200", "ÜNÏ code=200")
    metrics = follow(log, "--regex", r"(took=(?P<ptime>\S+)|(?i:ünï)) code=(?P<status>\d+)")
    assert metrics["axslog.latency_t.average"] == "0.012000"


@pytest.mark.parametrize("unit", ["12ms", "0.012s", "12000us", "12000µs"])
def test_a_time_has_its_unit_with_it_in_every_format(
    unit: str, tmp_path: Path, workdir: Path
) -> None:
    for form, line in (
        ("ltsv", f"status:200\tptime:{unit}"),
        ("json", f'{{"status":200,"ptime":"{unit}"}}'),
        ("combined", f"{HEAD} {unit}"),
    ):
        log = write(tmp_path / form, line)
        done = run(
            PROG, "--logfile", log, "--key-prefix", form, "--format", form, "--time-unit", "ms"
        )
        assert f"axslog.latency_{form}.average\t0.012000".encode() in done.stdout


def test_what_a_container_runtime_puts_before_an_object_is_passed_over(
    tmp_path: Path, workdir: Path
) -> None:
    log = write(
        tmp_path / "log",
        '2026-01-01T00:00:00Z stdout F {"status":200,"ptime":1}',
        '\ufeff{"status":200,"ptime":3}',
    )
    assert counted(log, "--format", "json") == (2, "2.000000")
    log = write(tmp_path / "bom", "\ufeffstatus:200\tptime:5")
    done = run(PROG, "--logfile", log, "--key-prefix", "b")
    assert b"axslog.latency_b.average\t5.000000" in done.stdout


def test_a_hole_at_the_beginning_hides_no_line_and_is_not_shown(
    tmp_path: Path, workdir: Path
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\0" * 5000 + b"status:200\tptime:5\n")
    assert counted(log) == (1, "5.000000")
    log = tmp_path / "bad"
    log.write_bytes(b"\0" * 5000 + b"nothing of that format\n")
    done = run(PROG, "--logfile", log, "--key-prefix", "b")
    assert b"'nothing of that format'" in done.stderr
    assert b"x00" not in done.stderr


def test_lines_are_parted_by_a_key_that_is_read_anyway(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "status:200\tptime:1", "status:404\tptime:3")
    metrics = follow(log, "--by", "status")
    assert metrics["axslog.latency_t.404.average"] == "3.000000"


def test_a_key_with_dots_is_a_member_of_members(tmp_path: Path, workdir: Path) -> None:
    log = write(
        tmp_path / "log",
        '{"event":{"duration":1},"http":{"response":{"status_code":200}},"url":{"path":"top"}}',
        '{"event.duration":3,"http.response.status_code":200,"event":{"duration":9}}',
        '{"duration":5,"status_code":200}',
    )
    keys = ["--ptime-key", "event.duration", "--status-key", "http.response.status_code"]
    metrics = follow(log, "--format", "json", *keys, "--by", "url.path")
    assert metrics["axslog.latency_t.average"] == "2.000000"
    assert metrics["axslog.latency_t.top.average"] == "1.000000"
    assert metrics["axslog.latency_t.none.average"] == "3.000000"
    done = run("percentile", "--key", "event.duration", log)
    assert done.stdout.startswith(b"count: 2\nmax: 3.0000\n")


def test_a_hole_hides_no_line_wherever_it_is_and_a_mark_only_begins_a_file(
    tmp_path: Path, workdir: Path
) -> None:
    log = tmp_path / "log"
    line, hole = b"status:200\tptime:5\n", b"\0" * 300_000
    log.write_bytes(b"\xef\xbb\xbf" + line + hole + line + line + b"\0\0" + line)
    assert counted(log) == (4, "5.000000")
    # The position is behind the mark, and the log goes on.
    with open(log, "ab") as file:
        file.write(line + b"\xef\xbb\xbf" + line)
    assert counted(log) == (1, "5.000000")
    log.write_bytes(b"\xef\xbb\xbf" + line)
    assert counted(log) == (1, "5.000000")
