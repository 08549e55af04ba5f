"""kojuto demo: two runs over a log, its speed and its histogram."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.conftest import DATA, run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_written_log_is_followed_in_two_runs() -> None:
    done = run("kojuto", "demo", "--lines", "30001")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    lines = [int(n.replace(",", "")) for n in re.findall(r"^([\d,]+) lines,", text, re.M)]
    assert len(lines) == 2
    assert sum(lines) == 30001
    assert text.count("axslog.latency_demo.99_percentile\t") == 2
    (rate,) = re.findall(r"axslog\.access_total_demo\.count\t([\d.]+)\t", text)
    assert rate == f"{lines[1] / 60:f}"
    assert len(re.findall(r"\d\.\d\d GB/s", text)) == 3
    assert text.count("│") > 5
    assert "(30,001 requests)" in text
    rows = re.findall(r"│.*? ([\d,]+) +[\d.]+ %$", text, re.M)
    assert sum(int(row.replace(",", "")) for row in rows) == 30001
    _, reported = text.split("kojuto report of the whole log, in ")
    summary, table = reported.split("\n\n")[1:]
    assert summary.startswith("30,001 lines of ")
    assert [row.split()[1] for row in table.splitlines()[1:]] == [
        "/items/{n}", "/search", "/users/{n}/orders", "/orders", "/login",
    ]  # fmt: skip


def test_a_log_of_ones_own() -> None:
    log = DATA / "accesslog" / "json" / "privateisu-task4233.20220610-124723.jsonl"
    done = run("kojuto", "demo", "--logfile", log)
    assert done.returncode == 0, done.stderr
    counts = re.findall(rb"^(\d+) lines,", done.stdout, re.M)
    assert sum(map(int, counts)) == len(log.read_bytes().splitlines())
    assert b"(25 requests)" in done.stdout


def test_a_missing_or_empty_log_is_an_error() -> None:
    done = run("kojuto", "demo", "--logfile", "/no/such")
    assert done.returncode == 1
    assert done.stderr == b"kojuto demo: error: /no/such: No such file or directory\n"
    assert run("kojuto", "demo", "--logfile", "/dev/null").returncode == 1


@pytest.mark.parametrize("own", [False, True])
def test_a_disk_without_room_for_the_log_is_named(
    own: bool, tiny_disk: Path, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(b"status:200\tptime:0.5\n" * 20_000)
    given = ["--logfile", str(log)] if own else ["--lines", "20000"]
    done = run("kojuto", "demo", *given, env={"TMPDIR": str(tiny_disk)})
    said, hint = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert said.startswith(f"kojuto demo: error: {tiny_disk}/kojuto-demo-")
    assert said.endswith(": No space left on device")
    assert "TMPDIR" in hint
    assert not list(tiny_disk.iterdir())
