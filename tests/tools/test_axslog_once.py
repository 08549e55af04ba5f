"""A log read once: nothing is remembered, and standard input is a log."""

from __future__ import annotations

import gzip
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import read_metrics, run, script
from tests.peers.axslog import PROG, write

if TYPE_CHECKING:
    from pathlib import Path

LINES = ("status:200\tptime:1", "status:404\tptime:3")
MAIL = (
    "Nov 29 14:06:41 mx postfix/smtp[9]: 4F1: to=<a@b>, relay=x[1.2.3.4]:25, delay=2, "
    "delays=0.5/0.5/0.5/0.5, dsn=2.0.0, status=sent (ok)"
)


def once(log: Path | str, *options: str, stdin: bytes = b"") -> dict[str, str]:
    done = run(PROG, "--logfile", log, "--key-prefix", "t", *options, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    return read_metrics(done.stdout)


def test_all_of_a_log_is_read_again_and_nothing_is_remembered(
    tmp_path: Path, workdir: Path
) -> None:
    log = write(tmp_path / "log", *LINES)
    with open(log, "a") as file:
        file.write("status:200\tptime:5")  # nothing ends it
    for _ in range(2):
        metrics = once(log, "--once")
        assert metrics["axslog.latency_t.average"] == "3.000000"
        assert metrics["axslog.access_ratio_t.4xx_percentage"] == "33.333333"
        assert not [name for name in metrics if "num" in name or "total" in name]
    assert list(workdir.iterdir()) == []
    packed = tmp_path / "log.1.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert once(packed, "--once") == metrics


@pytest.mark.parametrize("threads", ["1", "2"])
def test_standard_input_is_a_log(threads: str, tmp_path: Path, workdir: Path) -> None:
    stdin = "".join(f"{line}\n" for line in LINES).encode() * 50_000
    metrics = once("-", "--threads", threads, stdin=stdin)
    assert metrics["axslog.latency_t.average"] == "2.000000"
    log = write(tmp_path / "log", "status:200\tptime:7", "status:200\tptime:7")
    metrics = once(f"{log},-", stdin="".join(f"{line}\n" for line in LINES).encode())
    assert metrics["axslog.latency_t.average"] == "4.500000"
    assert list(workdir.iterdir()) == []


def test_a_pipe_is_a_log(tmp_path: Path, workdir: Path) -> None:
    write(tmp_path / "log", *LINES)
    command = f"{script(PROG)} --once --key-prefix t --logfile <(cat {tmp_path / 'log'})"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert b"axslog.latency_t.average\t2.000000" in done.stdout


def test_the_counters_of_prometheus_are_those_of_the_log(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", *LINES)
    for _ in range(2):
        done = run(PROG, "--once", "--logfile", log, "--key-prefix", "t", "--output", "prometheus")
        assert b'status="4xx"} 1\n' in done.stdout


@pytest.mark.parametrize("options", [["--once"], []])
def test_each_log_has_its_own_count(options: list[str], tmp_path: Path, workdir: Path) -> None:
    logs = [write(tmp_path / str(count), *["status:200\tptime:1"] * count) for count in (3, 1, 2)]
    command = [PROG, "--key-prefix", "t", "--logfile", ",".join(map(str, logs)), *options]
    done = run(*command, "--output", "json")
    assert (done.returncode, done.stderr) == (0, b"")
    about = json.loads(done.stdout)["logs"]
    assert [(one["lines"], one["counted_lines"]) for one in about] == [(3, 3), (1, 1), (2, 2)]


def test_a_mail_log_is_read_once_too(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", MAIL)
    for options in (["--once", "--logfile", log], ["--logfile", "-"]):
        done = run("mackerel-plugin-postfix-log", *options, stdin=f"{MAIL}\n".encode())
        assert done.returncode == 0
        metrics = read_metrics(done.stdout)
        assert metrics["postfixlog.total_delay.average"] == "2.000000"
        assert "postfixlog.transfer_total.count" not in metrics
    assert list(workdir.iterdir()) == []


def test_what_has_no_meaning_then_or_cannot_be_read_is_said(tmp_path: Path, workdir: Path) -> None:
    for options, message in (
        (["-", "--max-read-size", "1GB"], "--max-read-size cannot go with standard input (-)"),
        (["x", "--once", "--archive-dir", "/"], "--archive-dir cannot go with --once"),
    ):
        done = run(PROG, "--key-prefix", "t", "--logfile", *options)
        assert done.returncode == 2
        assert message.encode() in done.stderr
    done = run(PROG, "--key-prefix", "t", "--once", "--logfile", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"none: No such file or directory" in done.stderr
