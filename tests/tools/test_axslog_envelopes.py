"""mackerel-plugin-axslog: lines that a container runtime, the journal or a syslog has wrapped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run
from tests.peers.axslog import PROG, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LTSV = 'host:10.0.0.1\tua:<a "b" \\ é>\tstatus:200\tptime:0.25'
JSON = '{"ua":"<a \\"b\\" é>","status":200,"ptime":0.25}'
COMBINED = '10.0.0.1 - - [29/Nov/2026:14:06:41 +0000] "GET / HTTP/1.1" 200 12 "-" "u a" 0.25'
INNER = {
    "ltsv": (LTSV, []),
    "json": (JSON, []),
    "combined": (COMBINED, []),
    "regex": ("took 0.25 gave 200", ["--regex", r"took (?P<ptime>\S+) gave (?P<status>\d+)"]),
}


def docker(line: str, stream: str = "stdout", end: str = "\n") -> str:
    entry = {"log": line + end, "stream": stream, "time": "2026-11-29T14:06:41.1Z"}
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False)


def cri(line: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"2026-11-29T14:06:41.123456789+09:00 {stream} {tag} {line}"


def journald(line: str, *, as_bytes: bool = False) -> str:
    message = list(line.encode()) if as_bytes else line
    entry = {"__REALTIME_TIMESTAMP": "1795961201000000", "_PID": "7", "MESSAGE": message}
    return json.dumps(entry, separators=(",", ":"))


ENVELOPES: dict[str, Callable[[str], str]] = {
    "docker": docker,
    "cri": cri,
    "journald": journald,
    "syslog": lambda line: f"<190>Nov 29 14:06:41 web1 nginx: {line}",
}


def counted(log: Path, *options: str) -> tuple[int, int, float | None]:
    """How many lines were seen, how many count, and the average of the times taken."""
    done = run(PROG, "--logfile", log, "--key-prefix", "t", *options, "--output", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (about,) = document["logs"]
    return (
        about["lines"],
        about["counted_lines"],
        document["metrics"].get("axslog.latency_t.average"),
    )


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_the_line_inside_is_read_in_its_own_format(
    envelope: str, inner: str, tmp_path: Path, workdir: Path
) -> None:
    line, options = INNER[inner]
    wrapped = ENVELOPES[envelope](line)
    log = write(tmp_path / "log", wrapped, wrapped, "nothing")
    form = options or ["--format", inner]
    assert counted(log, "--envelope", envelope, *form) == (3, 2, 0.25)
    log = write(tmp_path / "found", wrapped, wrapped, "nothing")
    assert counted(log, "--envelope", "auto", *form) == (3, 2, 0.25)
    if not options:
        log = write(tmp_path / "all found", wrapped, wrapped, "nothing")
        assert counted(log, "--format", "auto") == (3, 2, 0.25)


@pytest.mark.parametrize(
    "head",
    [
        "<165>1 2026-11-29T14:06:41.003Z web1 nginx 8710 - - ",
        '<165>1 2026-11-29T14:06:41.003Z web1 nginx - - [x@1 a="]"] \ufeff',
        "Nov  9 14:06:41 web1 nginx[12]: ",
        "2026-11-29T14:06:41.123456+00:00 web1 nginx: ",
    ],
)
def test_every_syslog_head_is_taken_off(head: str, tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", head.replace('"]"', r'"\]"') + LTSV)
    assert counted(log, "--envelope", "syslog") == (1, 1, 0.25)


def test_a_message_of_bytes_is_a_line(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", journald(LTSV, as_bytes=True))
    assert counted(log, "--envelope", "journald") == (1, 1, 0.25)


def pieces(envelope: str, *parts: tuple[str, str]) -> list[str]:
    """The entries of lines that were split; a part that ends in a newline ends its line."""
    return [
        docker(text, stream, end="")
        if envelope == "docker"
        else cri(text.removesuffix("\n"), stream, "F" if text.endswith("\n") else "P")
        for stream, text in parts
    ]


@pytest.mark.parametrize("envelope", ["docker", "cri"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_pieces_of_a_line_are_put_together_for_each_stream(
    envelope: str, threads: str, tmp_path: Path, workdir: Path
) -> None:
    long = "x" * 16_000
    parts = [
        ("stdout", f"status:200\tua:{long}"),
        ("stderr", f"status:500\tua:{long}"),
        ("stdout", long),
        ("stdout", "\tptime:1\n"),
        ("stderr", "\tptime:3\n"),
    ]
    # Enough for many blocks, whose ends fall anywhere in a line.
    log = write(tmp_path / "log", *pieces(envelope, *parts) * 100)
    found = counted(log, "--envelope", envelope, "--threads", threads)
    assert found == (200, 200, 2.0)


@pytest.mark.parametrize("envelope", ["docker", "cri"])
def test_a_line_whose_rest_comes_after_the_run_is_left_for_the_next(
    envelope: str, tmp_path: Path, workdir: Path
) -> None:
    first, rest = pieces(envelope, ("stdout", "status:200\tua:x"), ("stdout", "\tptime:1\n"))
    (other,) = pieces(envelope, ("stderr", "status:200\tptime:3\n"))
    log = write(tmp_path / "log", other, first, other)
    assert counted(log, "--envelope", envelope) == (1, 1, 3.0)
    assert counted(log, "--envelope", envelope) == (0, 0, None)
    write(log, rest)
    assert counted(log, "--envelope", envelope) == (2, 2, 2.0)


@pytest.mark.parametrize("envelope", ["docker", "cri"])
def test_a_line_that_a_rotation_splits_is_one(envelope: str, tmp_path: Path, workdir: Path) -> None:
    first, middle, rest = pieces(
        envelope, ("stdout", "status:200\tua:x"), ("stdout", "y"), ("stdout", "z\tptime:1\n")
    )
    (other,) = pieces(envelope, ("stdout", "status:200\tptime:3\n"))
    log = write(tmp_path / "log", other, first)
    assert counted(log, "--envelope", envelope) == (1, 1, 3.0)
    log.rename(tmp_path / "log.1")
    write(log, rest, other)
    assert counted(log, "--envelope", envelope) == (2, 2, 2.0)
    # Over more than one file, and with the rest in a later run.
    write(log, first)
    (tmp_path / "log.1").rename(tmp_path / "log.2")
    log.rename(tmp_path / "log.1")
    write(log, middle)
    for _ in range(2):
        assert counted(log, "--envelope", envelope) == (0, 0, None)
    for number in (2, 1):
        (tmp_path / f"log.{number}").rename(tmp_path / f"log.{number + 1}")
    log.rename(tmp_path / "log.1")
    log.touch()
    assert counted(log, "--envelope", envelope) == (0, 0, None)
    write(log, rest)
    assert counted(log, "--envelope", envelope) == (1, 1, 1.0)
    write(log, other)
    assert counted(log, "--envelope", envelope) == (1, 1, 3.0)


def test_what_is_filtered_and_shown_is_the_line_inside(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", docker("status:200\tptime:1"), docker("no \ttime"))
    done = run(PROG, "--logfile", log, "--key-prefix", "t", "--envelope", "docker",
               "--filter", "\t")  # fmt: skip
    assert done.returncode == 0
    assert b"the first (not in the expected format): 'no \\ttime'" in done.stderr


def test_an_unknown_envelope_is_refused(tmp_path: Path, workdir: Path) -> None:
    done = run(PROG, "--logfile", tmp_path / "log", "--key-prefix", "t", "--envelope", "rail")
    assert done.returncode == 2
    assert b"--envelope rail" in done.stderr
