"""percentile: what is read: odd lines, files, compressed and damaged ones, any numbers."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import random
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto._native import packed_by
from tests.conftest import need_program, run, script
from tests.peers.percentile import (
    GOLDEN,
    SAMPLE,
    by_rule,
    figures,
    finite,
    in_process,
    peak,
    sane,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_what_people_pipe_is_read_and_the_rest_is_counted_in_one_line() -> None:
    stdin = b"\xef\xbb\xbf1\r\n  2 \n\n+3\n.5\n1e-3\nnan\n\x1b[31m\n-4\t\n0x10\ninf\n5."
    done = run("percentile", stdin=stdin)
    assert done.stdout.decode() == by_rule([1, 2, 3, 0.5, 1e-3, -4, 5], ["99", "95", "90", "75"])
    assert done.stderr.decode() == (
        "percentile: 4 of 12 lines are not numbers and were skipped; "
        "the first: line 7 of standard input: 'nan'\n"
    )
    done = run("percentile", stdin=b"\x1b[31m\xff\n1\n")
    assert b"\x1b" not in done.stderr
    assert b"1 of 2 lines is not a number and was skipped" in done.stderr


@pytest.mark.parametrize(
    "lines",
    [
        ("ptime:0.5\tstatus:200", "ptime:1.5\tstatus:404"),
        ('{"status":200,"ptime":0.5}', 'web_1  | {"status":404,"ptime":1.5}'),
        ('h - - [t] "GET / HTTP/1.1" 200 12 "-" "ua" 0.5',
         'h - - [t] "GET / HTTP/1.1" 404 12 "-" "ua" 1500ms'),
    ],
    ids=["ltsv", "json", "combined"],
)  # fmt: skip
def test_a_field_is_read_however_odd_the_first_lines_are(lines: tuple[str, str]) -> None:
    stdin = "\n".join(["=== 2026-11-29 ===", "", "note: none", *lines]).encode()
    done = run("percentile", "--key", "ptime", "--by", "status", stdin=stdin)
    assert done.returncode == 0
    assert b"max: 0.5000" in done.stdout
    assert b"max: 1.5000" in done.stdout
    assert done.stderr.decode() == (
        "percentile: 2 of 5 lines are not numbers and were skipped; "
        "the first: line 1 of standard input: '=== 2026-11-29 ==='\n"
    )


def test_the_format_of_a_field_may_be_given() -> None:
    line = b'h - - [t] "GET / HTTP/1.1" 200 12 "-" "ua" rt=0.25\n'
    for key, value in (("size", "12.0000"), ("rt", "0.2500"), ("status", "200.0000")):
        done = run("percentile", "--key", key, "--format", "combined", stdin=line)
        assert f"max: {value}\n" in done.stdout.decode()


def test_strict_names_the_line_and_prints_no_figures(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("1\n2\n")
    bad.write_text("1\n\n3\noops\n5\n")
    done = run("percentile", "--strict", good, bad)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines()[0] == (
        f"percentile: error: {bad}: line 4 is not a number: 'oops'"
    )
    assert run("percentile", "--strict", good).returncode == 0


def test_strict_does_not_wait_for_the_end_of_the_input() -> None:
    process = subprocess.Popen(
        [script("percentile"), "--strict"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"1\nx\n")
    process.stdin.flush()
    assert process.wait(10) == 1
    process.communicate()


@pytest.mark.parametrize("length", [64 << 10, 1 << 20, 30 << 20])
def test_a_line_of_any_length_is_one_bad_line(length: int) -> None:
    done = run("percentile", stdin=b"1\n" + b"9" * length + b"\n3\n")
    assert figures(done.stdout)["count"] == 2
    assert done.stderr.startswith(b"percentile: 1 of 3 lines is not a number")
    assert len(done.stderr) < 300


def test_an_endless_line_needs_no_memory() -> None:
    feed = "import os\nfor _ in range(200): os.write(1, b'7' * (1 << 20))"
    status, peak_bytes = peak([], feed)
    assert status == 0
    assert peak_bytes < 40 << 20


def test_files_and_dash_are_read_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1\n2")  # no newline at its end: the next file begins a new line all the same
    two.write_text("3\nx\n")
    done = run("percentile", one, "-", two, stdin=b"10\n")
    assert done.stdout.decode() == by_rule([1, 2, 3, 10], ["99", "95", "90", "75"])
    assert f"line 2 of {two}: 'x'".encode() in done.stderr


def test_a_file_that_is_named_twice_is_read_once_and_told(tmp_path: Path) -> None:
    """As by `percentile logs/*`, where relaxlogs keeps a link to the newest."""
    numbers, link, hard = tmp_path / "log.1", tmp_path / "current", tmp_path / "hard"
    numbers.write_text("1\n2\n3\n")
    link.symlink_to(numbers)
    hard.hardlink_to(numbers)
    with numbers.open("rb") as stdin:
        done = subprocess.run(
            [script("percentile"), link, numbers, "-", link, hard],
            stdin=stdin, capture_output=True, check=True, timeout=60,
        )  # fmt: skip
    assert done.stdout.startswith(b"count: 3\n")
    assert done.stderr.decode().splitlines() == [
        f"percentile: {numbers} is named twice, as {link}, and read once",
        f"percentile: standard input is named twice, as {link}, and read once",
        f"percentile: {link} is named twice and read once",
        f"percentile: {hard} is named twice, as {link}, and read once",
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, text in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        done = run("percentile", path)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.decode() == f"percentile: error: {path}: {text}\n"


def test_gzip_files_are_read_and_damaged_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "numbers.gz"
    path.write_bytes(gzip.compress(SAMPLE))
    assert run("percentile", path).stdout.decode() == GOLDEN
    path.write_bytes(gzip.compress(SAMPLE)[:-12])
    done = run("percentile", path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"{path}: damaged gzip file".encode() in done.stderr


def zstd(data: bytes) -> bytes:
    done = subprocess.run(
        [need_program("zstd"), "-qc"], input=data, capture_output=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("program", "pack"),
    [("gzip", gzip.compress), ("xz", lzma.compress), ("zstd", zstd), ("bzip2", bz2.compress)],
)
def test_what_is_compressed_is_unpacked_from_files_and_pipes(
    program: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(pack(SAMPLE) + pack(b"1\n"))
    numbers = [*map(float, SAMPLE.split()), 1.0]
    expected = by_rule(numbers, ["99", "95", "90", "75"])
    assert run("percentile", path).stdout.decode() == expected
    assert run("percentile", stdin=path.read_bytes()).stdout.decode() == expected
    with path.open("rb") as file:
        done = subprocess.run(
            [script("percentile")], stdin=file, capture_output=True, check=True, timeout=60
        )
    assert done.stdout.decode() == expected
    path.write_bytes(pack(b"1\nx\n" + SAMPLE))
    done = run("percentile", "--strict", path)
    assert done.stderr.startswith(f"percentile: error: {path}: line 2 is not a number".encode())
    damaged = pack(SAMPLE)[:-12]
    done = run("percentile", stdin=damaged)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(f"percentile: error: standard input: damaged {program}".encode())


@pytest.mark.parametrize(
    ("pack", "padding"), [(gzip.compress, 1), (gzip.compress, 100_000), (lzma.compress, 4096)]
)
def test_the_zeros_of_a_tape_behind_a_compressed_file_are_no_damage(
    pack: Callable[[bytes], bytes], padding: int
) -> None:
    done = run("percentile", stdin=pack(SAMPLE) + bytes(padding))
    assert (done.stdout.decode(), done.stderr) == (GOLDEN, b"")
    done = run("percentile", stdin=pack(SAMPLE) + bytes(padding) + b"x" * 20)
    assert (done.returncode, done.stdout) == (1, b"")


def test_bytes_that_come_one_by_one_are_known_as_compressed_all_the_same() -> None:
    process = subprocess.Popen(
        [script("percentile")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    for byte in lzma.compress(SAMPLE):
        process.stdin.write(bytes([byte]))
    assert process.communicate(timeout=60)[0].decode() == GOLDEN


def test_an_xz_file_that_asks_for_too_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}]
    done = run("percentile", stdin=lzma.compress(SAMPLE, filters=filters))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == (
        b"percentile: error: standard input: xz file: it takes more than 129 MiB to unpack\n"
    )


def test_what_cannot_be_unpacked_is_named(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"\x04\x22\x4d\x180000\n1\n")
    done = run("percentile", path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"{path}: compressed with lz4\nhint: lz4 -dc {path} |" in done.stderr.decode()
    done = run("percentile", stdin=path.read_bytes())
    assert (done.returncode, done.stdout) == (1, b"")
    assert "standard input: compressed with lz4\nhint: lz4 -dc |" in done.stderr.decode()


@pytest.mark.parametrize(
    "stdin", [b"B", b"BZ", b"BZh\n", b"BZh91AY&S\n", b"\x1f", b"\x1f\x8b\n", b"\xfd7zX\n1\n"]
)
def test_what_begins_like_a_compressed_file_and_is_none(stdin: bytes) -> None:
    done = run("percentile", stdin=stdin + b"\n2\n")
    assert (done.returncode, figures(done.stdout)["max"]) == (0, 2)


wanted_sets = st.lists(
    st.integers(0, 100).map(str) | st.floats(0, 100).map(lambda p: f"{p:.2f}"),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(sane | finite, max_size=60), wanted_sets)
def test_any_numbers_by_the_rule(numbers: list[float], wanted: list[str]) -> None:
    assert in_process(["--percentile-set", ",".join(wanted)], text_of(numbers))[1] == by_rule(
        numbers, wanted
    )


def test_the_average_of_common_numbers_is_that_of_a_careful_sum() -> None:
    source = random.Random(11)
    for scale in (0.001, 1, 1e6):
        numbers = [round(source.random() * scale, 6) for _ in range(20_000)]
        shown = in_process([], text_of(numbers))[1].splitlines()[2]
        assert shown == f"avg: {math.fsum(numbers) / len(numbers):.4f}"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400) | st.text("0123456789.eE+-\r\n x", max_size=200).map(str.encode))
def test_any_bytes_end_in_order(data: bytes) -> None:
    if packed_by(data)[0] is not None or data.strip().startswith((b"KJSKETCH", b"KJREPORT")):
        return
    for arguments in ([], ["--key", "a", "--by", "b"], ["--key", "a", "--format", "json"]):
        assert in_process(arguments, data)[0] == 0
    number = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    texts = [line.strip(b" \t\r\f") for line in lines]
    numbers = [float(text) for text in texts if number.fullmatch(text)]
    numbers = [value for value in numbers if math.isfinite(value)]
    assert in_process([], data)[1] == by_rule(numbers, ["99", "95", "90", "75"])
