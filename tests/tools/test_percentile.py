"""percentile: the original's output, what is refused, bad days, memory."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, script, wait_until
from tests.peers.percentile import GOLDEN, SAMPLE, by_rule, figures, peak, text_of

if TYPE_CHECKING:
    from pathlib import Path


# -- the original's behaviour -------------------------------------------------------------------


def test_the_originals_own_example() -> None:
    done = run("percentile", stdin=SAMPLE)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, GOLDEN, b"")


@pytest.mark.parametrize(
    "form", ["-percentile-set=", "--percentile-set=", "-percentile-set ", "--percentile-set "]
)
def test_percentiles_are_named_as_they_were_written(form: str) -> None:
    done = run("percentile", *f"{form}99.90,50,1e1,+5,0,100".split(), stdin=SAMPLE)
    assert [line.split(":")[0] for line in done.stdout.decode().splitlines()[4:]] == [
        "99.90pt", "50pt", "1e1pt", "+5pt", "0pt", "100pt",
    ]  # fmt: skip
    assert done.stdout.decode() == by_rule(
        [float(x) for x in SAMPLE.split()], ["99.90", "50", "1e1", "+5", "0", "100"]
    )


@pytest.mark.parametrize("stdin", [b"", b"\n\n \r\n", b"x\n"])
@pytest.mark.parametrize("form", ["text", "json", "prometheus"])
def test_no_numbers_print_nothing_and_succeed(stdin: bytes, form: str) -> None:
    done = run("percentile", "--output", form, stdin=stdin)
    assert (done.returncode, done.stdout) == (0, b"")


def test_one_sample_and_a_low_percentile_gives_it_where_the_original_crashed() -> None:
    done = run("percentile", "--percentile-set", "25,1,0.01", stdin=b"7\n")
    assert done.returncode == 0
    assert figures(done.stdout) == dict.fromkeys(
        ["max", "avg", "min", "25pt", "1pt", "0.01pt"], 7
    ) | {"count": 1}


@pytest.mark.parametrize(
    "wanted", ["101", "-1", "x", " ", "99,,1", "nan", "inf", "1_0", "100.0001"]
)
def test_a_percentile_out_of_range_is_a_usage_error(wanted: str) -> None:
    done = run("percentile", f"--percentile-set={wanted}", stdin=SAMPLE)
    assert (done.returncode, done.stdout) == (2, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith(f"percentile: error: --percentile-set {wanted}: ")
    assert hint.startswith("hint: ")


def test_version_in_the_originals_spelling() -> None:
    assert run("percentile", "-version").stdout.startswith(b"percentile ")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--by", "a"], "--by"),
        (["--format", "json"], "--format"),
        (["--max-groups", "5"], "--max-groups"),
        (["--key", "a", "--max-groups", "5"], "--max-groups"),
        (["--max-groups", "0"], "--max-groups"),
        (["--key", ""], "--key"),
        (["--accuracy", "1%"], "--accuracy"),
        (["--accuracy", "30%", "--sketch", "x"], "--accuracy"),
        (["--accuracy", "1", "--sketch", "x"], "--accuracy"),
        (["--merge", "--by", "b", "x"], "--by"),
        (["--merge", "--format", "json", "x"], "--format"),
        (["--merge", "--strict", "x"], "--strict"),
        (["--plot", "--output", "json"], "--plot"),
        (["--sketch", "-", "--output", "json"], "--sketch"),
        (["--output", "xml"], "--output"),
    ],
)
def test_options_without_meaning_are_refused(
    arguments: list[str], name: str, tmp_path: Path
) -> None:
    done = run("percentile", *arguments, stdin=SAMPLE, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith(f"percentile: error: {name} ")
    assert hint.startswith("hint: ")
    assert not list(tmp_path.iterdir())


# -- bad days -----------------------------------------------------------------------------------


def test_a_full_disk_is_an_error_and_a_closed_pipe_is_not() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([script("percentile")], input=SAMPLE, stdout=full,
                              stderr=subprocess.PIPE, check=False)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == b"percentile: error: standard output: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([script("percentile")], input=SAMPLE, stdout=writer,
                          stderr=subprocess.PIPE, check=False)  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("busy", [True, False])
def test_an_interrupt_ends_it_at_once(busy: bool) -> None:
    process = subprocess.Popen(
        [script("percentile"), "/dev/zero" if busy else "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def reading() -> bool:
        with open(f"/proc/{process.pid}/maps") as maps:
            return "_native" in maps.read()

    wait_until(reading)
    time.sleep(0.1)  # from the loaded module into the read; either way it must end
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(10) == 130
        assert time.monotonic() - start < 8
    finally:
        process.kill()
        out, err = process.communicate()
    assert (out, err) == (b"", b"")


def test_memory_is_eight_bytes_a_number_and_little_more(tmp_path: Path) -> None:
    """Peak memory of 6 million numbers (far over what any buffer of a fixed size would hide)."""
    path = tmp_path / "numbers"
    block = text_of([random.Random(at).random() * 100 for at in range(100_000)])
    with open(path, "wb") as file:
        for _ in range(60):
            file.write(block)
    for options, bound in ([], 6_000_000 * 8 + (64 << 20)), (["--sketch", "/dev/null/x"], 64 << 20):
        status, peak_bytes = peak([*options, str(path)])
        assert status == (1 if options else 0)
        assert peak_bytes < bound, options
