"""Standard streams that do not wait (O_NONBLOCK), as a neighbour may set them, and no buffer."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import read_metrics, run, script

if TYPE_CHECKING:
    from pathlib import Path

LINES = 20_000
NUMBERS = "".join(f"{number}\n" for number in range(LINES)).encode()
BUFFERS = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An access log whose every line has another user."""
    path = tmp_path_factory.mktemp("log") / "access.log"
    path.write_text("".join(f"status:200\tptime:0.5\tuser:u{number}\n" for number in range(LINES)))
    return path


def commands(log: Path) -> list[tuple[str, ...]]:
    by = ("percentile", "--key", "ptime", "--by", "user", "--max-groups", str(LINES), str(log))
    report = ("kojuto", "report", str(log), "--group-by", "user", "--limit", "0", "--output")
    return [by, (*by, "--output", "json"), *[(*report, form) for form in ("csv", "json", "arrow")]]


def environment(unbuffered: str) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": unbuffered}


@BUFFERS
@pytest.mark.parametrize("which", range(5))
def test_a_pipe_that_does_not_wait_gets_all(which: int, unbuffered: str, log: Path) -> None:
    name, *arguments = commands(log)[which]
    command = [script(name), *arguments]
    whole = subprocess.run(
        command, capture_output=True, env=environment(unbuffered), check=True
    ).stdout
    assert len(whole) > 1 << 17
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen(command, stdout=writer, env=environment(unbuffered)) as process:
        os.close(writer)
        time.sleep(0.5)
        with open(reader, "rb") as file:
            got = file.read()
    assert process.returncode == 0
    assert got == whole


@BUFFERS
@pytest.mark.parametrize("which", range(5))
def test_a_file_that_takes_no_more_is_an_error(which: int, unbuffered: str, log: Path) -> None:
    """Of one write a part is taken, as a disk does on which there is a little room left."""
    name, *arguments = commands(log)[which]
    limit = 'ulimit -f 64; exec "$@" > out.file'
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; {limit}", "-", script(name), *arguments],
        stderr=subprocess.PIPE, cwd=log.parent, env=environment(unbuffered), check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"error: standard output: File too large\n" in done.stderr
    assert (log.parent / "out.file").stat().st_size == 64 << 10


def fed(data: bytes, *command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command to which standard input comes in two parts, late, and which does not wait."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    process = subprocess.Popen(
        [script(command[0]), *command[1:]],
        stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(reader)

    def feed() -> None:
        with open(writer, "wb", buffering=0) as file:
            time.sleep(0.5)
            half = len(data) // 2
            file.write(data[:half])
            time.sleep(0.2)
            file.write(data[half:])

    thread = threading.Thread(target=feed)
    thread.start()
    out, err = process.communicate(timeout=60)
    thread.join()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_standard_input_that_does_not_wait_is_read_whole(tmp_path: Path, log: Path) -> None:
    sketch, saved = tmp_path / "a.sketch", tmp_path / "a.kjr"
    plain = [script("percentile"), "--sketch", str(sketch)]
    expected = subprocess.run(plain, input=NUMBERS, capture_output=True, check=True).stdout
    subprocess.run(
        [script("kojuto"), "report", str(log), "--group-by", "user", "--save", str(saved)],
        capture_output=True, check=True,
    )  # fmt: skip
    done = fed(NUMBERS, "percentile", "--sketch", str(tmp_path / "b.sketch"))
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")
    done = fed(sketch.read_bytes(), "percentile", "--merge", "-")
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")
    for command in (("percentile",), ("kojuto", "report")):
        done = fed(saved.read_bytes(), *command, "--merge", "-")
        assert (done.returncode, done.stderr) == (0, b"")


def test_lines_to_be_explained_are_read_whole() -> None:
    done = fed(
        b"status:200\tptime:0.5\n", "mackerel-plugin-axslog", "--key-prefix", "a", "--explain", "-"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"ptime" in done.stdout


def test_a_plugin_reads_all_of_it(log: Path) -> None:
    name = "mackerel-plugin-axslog"
    reading = [name, "--key-prefix", "a", "--logfile", "-", "--once", "--format", "ltsv"]
    done = fed(log.read_bytes(), *reading)
    assert (done.returncode, done.stderr) == (0, b"")
    plain = run(*reading, stdin=log.read_bytes())
    assert plain.stdout
    assert read_metrics(done.stdout) == read_metrics(plain.stdout)
