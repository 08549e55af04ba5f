"""mackerel-plugin-axslog --explain: what is made of a line, and why it counts or does not."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from tests.conftest import DATA, corpus, run
from tests.peers.axslog import PROG, write

if TYPE_CHECKING:
    from pathlib import Path


def explained(*options: str, line: str = "-", stdin: bytes = b"") -> str:
    done = run(PROG, "--explain", line, *options, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def test_each_field_is_shown_with_what_it_was_taken_as(workdir: Path) -> None:
    text = explained(line="host:a\tstatus:499\tptime:0.25\turi:/x")
    assert [line.split() for line in text.splitlines()] == [
        ["line", r"host:a\tstatus:499\tptime:0.25\turi:/x"],
        ["format", "ltsv"],
        ["host", "a"],
        ["status", "499", "<-", "the", "status"],
        ["ptime", "0.25", "<-", "the", "time", "taken,", "unit:", "s"],
        ["uri", "/x"],
        ["counts", "as", "499,", "with", "0.25", "s"],
    ]


@pytest.mark.parametrize(
    ("options", "line", "words"),
    [
        ([], "ptime:1", "no status: no field is called status (--status-key)"),
        (["--ptime-key", "rt"], "status:200", "no time taken: no field is called rt (--ptime-key)"),
        ([], "status:200\tptime:x", "time taken is not a number"),
        ([], "status:OK\tptime:1", "status is not an integer"),
        ([], "words", "not in the expected format"),
        ([], "", "not in the expected format"),
        (["--filter", "x"], "status:200\tptime:1", "--filter leaves out lines without 'x'"),
        (["--filter", "s", "--invert-filter"], "status:200\tptime:1", "lines with 's'"),
        (["--format", "combined"], 'h - - [t] "GET /" 200 1 "-" "-" 7', "as 2xx, without a time"),
        (["--time-unit", "ms"], "status:200\tptime:7", "as 2xx, with 0.007 s"),
        (["--time-list", "sum"], "status:200\tptime:0.5, 0.25", "as 2xx, with 0.75 s"),
        (["--log-format", "%>s %D"], "503 1500", "as 5xx, with 0.0015 s"),
        (["--regex", "(?P<status>.+)/(?P<ptime>.+)"], "999/1", "as any other status, with 1 s"),
    ],
)  # fmt: skip
def test_the_last_line_says_whether_it_counts(
    options: list[str], line: str, words: str, workdir: Path
) -> None:
    assert words in explained(*options, line=line).splitlines()[-1]


def test_a_log_of_one_line_gives_what_is_explained(tmp_path: Path, workdir: Path) -> None:
    """Of every sample of docs/formats.md and of the real logs, hostile changes of them too."""
    rng = random.Random(5)
    samples = sorted((DATA / "formats").iterdir())
    samples += [corpus(f"accesslog/other/{name}") for name in ("aws-alb.log", "haproxy-lnav.log")]
    for sample in samples:
        lines = sample.read_bytes().splitlines()[:2]
        broken = [bytes(b for b in line if rng.random() < 0.95) for line in lines]
        for line in [*lines, *broken]:
            log = tmp_path / "log"
            log.write_bytes(line + b"\n")
            done = run(PROG, "--once", "--logfile", log, "--key-prefix", "t", "--format", "auto",
                       "--output", "json")  # fmt: skip
            about = json.loads(done.stdout)["logs"][0]
            text = explained("--format", "auto", stdin=line + b"\n")
            last = [part for part in text.splitlines() if part][-1]
            assert last.startswith("counts") is (about["counted_lines"] == 1), text
            if about["bad_lines"]:
                assert next(iter(about["bad_lines"])) in last
            assert f"{about['format']} (found)" in text


def test_lines_of_standard_input_are_explained_as_one_log(workdir: Path) -> None:
    log = DATA / "formats/docker.log"
    text = explained("--format", "auto", stdin=log.read_bytes())
    parts = text.split("\n\n")
    assert len(parts) >= 2
    assert all(
        ["taken", "out", "of", "docker"] in [x.split() for x in p.splitlines()] for p in parts
    )
    assert sum("request_time" in part for part in parts) == 2


def test_hostile_lines_do_no_harm_to_a_terminal(workdir: Path) -> None:
    text = explained(stdin=b"status:200\tptime:1\tua:\x1b[31m\xff\r\0" + b"x" * 1000 + b"\n")
    assert "\x1b" not in text
    assert "…" in text
    assert max(map(len, text.splitlines())) < 300
    assert text.splitlines()[-1].split() == ["counts", "as", "2xx,", "with", "1", "s"]


def test_without_it_what_is_required_is_required(workdir: Path, tmp_path: Path) -> None:
    write(tmp_path / "log", "x")
    done = run(PROG, "--logfile", tmp_path / "log")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--key-prefix is required" in done.stderr
    done = run(PROG, "--explain", "x", "--regex", "(")
    assert done.returncode == 2
