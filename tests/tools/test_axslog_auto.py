"""mackerel-plugin-axslog --format auto: every row of docs/formats.md with its sample."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import DATA, ROOT, corpus, run
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
    if envelope in ("docker", "journald") or form not in ("json", "ltsv", "combined"):
        # One of them is in pieces, or in bytes; or the log has no names.
        times = [n / UNITS[unit] for n in (0.5, 1.5)]
    assert mean == pytest.approx(sum(times) / len(times) * UNITS[unit], rel=1e-6)


def test_the_table_has_every_kind() -> None:
    assert len({row[-1] for row in ROWS}) == len(ROWS) == 47


def test_a_line_of_a_known_form_counts_without_its_time(workdir: Path) -> None:
    about, metrics = report(DATA / "formats/aws-alb.log", "--by", "method")
    assert (about["lines"], about["counted_lines"]) == (3, 3)
    assert metrics["axslog.access_ratio_t.5xx_percentage"] == pytest.approx(100 / 3)
    assert metrics["axslog.latency_t.GET.average"] == 1.0


@pytest.mark.parametrize("name", ["aws-alb.log", "haproxy-lnav.log", "istio-envoy-text.log"])
def test_real_logs_without_keys_are_read(name: str, workdir: Path) -> None:
    log = corpus(f"accesslog/other/{name}")
    about, metrics = report(log)
    requests = [line for line in log.read_text().splitlines() if '"' in line]
    assert about["counted_lines"] in (len(requests), len(requests) - 1)
    assert metrics["axslog.latency_t.average"] > 0


def test_a_log_that_turns_into_another_format_is_read_on(tmp_path: Path, workdir: Path) -> None:
    morgan = (DATA / "formats/morgan.log").read_text()
    combined = (DATA / "formats/ingress-nginx.log").read_text()
    log = tmp_path / "log"
    log.write_text(morgan * 5000 + combined * 5000 + morgan * 5000)
    about, metrics = report(log)
    # A block has one format: what is in another one where they meet does not count.
    assert about["lines"] == 30_000
    assert about["counted_lines"] > 26_000
    assert metrics["axslog.latency_t.average"] == pytest.approx(1.0, abs=0.01)


def test_a_log_of_no_known_format_is_said_with_what_was_tried(
    tmp_path: Path, workdir: Path
) -> None:
    log = write(tmp_path / "log", "just some words", "and more")
    done = run(PROG, "--once", "--logfile", log, "--key-prefix", "t", "--format", "auto")
    assert done.returncode == 0
    message = done.stderr.decode()
    assert "the first (not in the expected format): 'just some words'" in message
    assert "hint: tried: JSON, LTSV, combined and the forms of docs/formats.md" in message
    assert "--log-format" in message
    assert "--regex" in message


def test_what_is_given_holds(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", '{"DownstreamStatus":200,"Duration":2000000,"ptime":7}')
    about, metrics = report(log)
    assert metrics["axslog.latency_t.average"] == 0.002
    about, metrics = report(log, "--status-key", "DownstreamStatus")
    assert metrics["axslog.latency_t.average"] == 7
    assert "found" not in about


def test_what_was_found_is_said(workdir: Path) -> None:
    log = DATA / "formats/envoy-cri.log"
    done = run(PROG, "--once", "--logfile", log, "--key-prefix", "t", "--format", "auto",
               "--verbose")  # fmt: skip
    assert f"{log}: json in cri: response_code, duration in ms\n" in done.stderr.decode()


def test_a_group_is_found_beside_the_keys_that_were(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", '{"host":"a","status":200,"request_time":3}')
    _, metrics = report(log, "--by", "host")
    assert metrics["axslog.latency_t.a.average"] == 3


def test_what_a_server_says_at_its_start_does_not_hide_its_requests(workdir: Path) -> None:
    """A log of uWSGI begins with 38 lines that are no requests."""
    log = workdir / "uwsgi.log"
    start = [f"*** Operational MODE: {n} of 38 ***" for n in range(38)]
    requests = (DATA / "formats/uwsgi.log").read_text().splitlines() * 20
    write(log, *start, *requests)
    about, metrics = report(log)
    assert (about["format"], about["lines"], about["counted_lines"]) == ("uwsgi", 78, 40)
    assert metrics["axslog.latency_t.average"] == 1.0
    done = run("kojuto", "report", "--output", "json", log, env={"TZ": "UTC"})
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["format"], document["lines"]) == ("uwsgi", 40)
    assert document["from"] == "2014-05-06T10:13:11+00:00"


def test_a_line_that_counts_without_its_list_of_times_is_told_of(workdir: Path) -> None:
    """nginx's `"$upstream_response_time"` at the end, of a request for which two were asked."""
    log = workdir / "access.log"
    request = '::1 - - [06/May/2014:10:13:11 +0000] "GET / HTTP/1.1" 200 5 "-" "-"'
    write(log, f'{request} "0.100"', f'{request} "0.300, 0.400"', f'{request} "-"')
    options = ("--once", "--logfile", log, "--key-prefix", "t", "--format", "combined")
    done = run(PROG, *options)
    assert b"latency_t.average\t0.100000" in done.stdout
    assert done.stderr.decode() == (
        f"{PROG}: {log}: 1 line counted by status only: the time taken is a list\n"
        "hint: --time-list sum, last or max takes lists of times\n"
    )
    done = run(PROG, *options, "--time-list", "sum")
    assert b"latency_t.average\t0.400000" in done.stdout
    assert done.stderr == b""
