"""mackerel-plugin-axslog: predecessors that are compressed, some of which a program unpacks."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, run, script, wait_until
from tests.machine import process as process_of
from tests.peers.axslog import PROG, write
from tests.sandbox import as_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def lines(first: int, last: int) -> list[str]:
    return [f"time:{n}\tstatus:200\tptime:0.1\turi:/{n}" for n in range(first, last)]


def counted(log: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """How many lines a run counts, and what it says."""
    done = run(PROG, "--logfile", log, "--key-prefix", "t", "--output", "json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["logs"][0]["counted_lines"], done.stderr.decode()


def rotated(log: Path, name: str, pack: Callable[[bytes], bytes]) -> Path:
    """Rename the log to `name` and pack it."""
    to = log.with_name(name)
    to.write_bytes(pack(log.read_bytes()))
    log.unlink()
    return to


@pytest.fixture
def log(tmp_path: Path, workdir: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "access.log"


def lz4(data: bytes) -> bytes:
    done = subprocess.run([need_program("lz4"), "-c"], input=data, capture_output=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("ending", "pack"),
    [("gz", gzip.compress), ("xz", lzma.compress), ("bz2", bz2.compress), ("lz4", lz4)],
)
def test_a_compressed_predecessor_is_read(
    ending: str, pack: Callable[[bytes], bytes], log: Path
) -> None:
    need_program("bzip2")
    write(log, *lines(0, 100))
    assert counted(log)[0] == 100
    write(log, *lines(100, 110))
    rotated(log, f"access.log.2.{ending}", pack)
    write(log, *lines(110, 210))
    rotated(log, f"access.log.1.{ending}", pack)
    write(log, *lines(210, 220))
    assert counted(log)[0] == 120
    assert counted(log) == (0, "")


def test_without_the_program_the_file_is_named_once_with_the_way_out(
    log: Path, tmp_path: Path
) -> None:
    nothing = {"PATH": str(tmp_path / "nothing")}
    write(log, *lines(0, 100))
    counted(log)
    log.rename(log.with_name("access.log.2"))
    write(log, *lines(100, 200))
    packed = rotated(log, "access.log.1.bz2", bz2.compress)
    write(log, *lines(200, 210))
    count, said = counted(log, nothing)
    assert count == 10
    assert (
        f"{packed} cannot be read, passed over: bzip2 is not installed; install it, or have gzip, "
        "xz or zstd compress\n"
    ) in said
    for first in (210, 220):
        log.rename(log.with_name(f"access.log-{first}000"))
        write(log, *lines(first, first + 10))
        count, said = counted(log, nothing)
        assert count == 10
        assert "bzip2" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="a limit of processes is not for root")
def test_a_lack_of_processes_loses_no_line(log: Path, workdir: Path) -> None:
    """The program cannot be started now: the run fails and does not count, the next one does."""
    workdir.chmod(0o777)
    command = [script(PROG), "--logfile", str(log), "--key-prefix", "t", "--output", "json"]
    write(log, *lines(0, 100))
    subprocess.run([*as_user(4242), *command], check=True, capture_output=True)
    log.rename(log.with_name("access.log.2"))
    write(log, *lines(100, 200))
    rotated(log, "access.log.1.bz2", bz2.compress)
    write(log, *lines(200, 210))
    done = subprocess.run([*as_user(4242, threads=1), *command], check=False, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"{PROG}: error: {log}: Resource temporarily unavailable\n"
    done = subprocess.run([*as_user(4242), *command], check=True, capture_output=True)
    assert json.loads(done.stdout)["logs"][0]["counted_lines"] == 110


STAND_IN = """#!/bin/sh
# In place of bzip2: tells what it was given, then does what it is asked for.
readlink /proc/$$/fd/* >"$0.descriptors"
env >"$0.environment"
echo $$ >"$0.process"
{go_on}
"""


def stand_in(folder: Path, go_on: str) -> tuple[Path, dict[str, str]]:
    folder.mkdir()
    program = folder / "bzip2"
    program.write_text(STAND_IN.format(go_on=go_on))
    program.chmod(0o755)
    return program, {"PATH": f"{folder}:{os.environ['PATH']}"}


def packed_by_bzip2(log: Path) -> None:
    write(log, *lines(0, 100))
    counted(log)
    write(log, *lines(100, 110))
    rotated(log, "access.log.1.bz2", bz2.compress)
    write(log, *lines(110, 120))


def test_the_program_inherits_neither_descriptors_nor_options(log: Path, tmp_path: Path) -> None:
    real = need_program("bzip2")
    program, env = stand_in(tmp_path / "bin", f'exec {real} "$@"')
    packed_by_bzip2(log)
    command = [script(PROG), "--logfile", str(log), "--key-prefix", "t"]
    with open(tmp_path / "ours", "w", encoding="utf-8") as ours:
        done = subprocess.run(
            command,
            env={**os.environ, **env, "BZIP2": "--no-such-option"},
            pass_fds=[ours.fileno()],
            capture_output=True,
            check=False,
        )
    assert (done.returncode, b"axslog.latency_t" in done.stdout) == (0, True), done.stderr
    given = (program.parent / "bzip2.descriptors").read_text().split()
    assert str(tmp_path / "ours") not in given
    assert not [path for path in given if path.endswith(".lock")]
    assert "BZIP2" not in (program.parent / "bzip2.environment").read_text()


def test_the_program_ends_with_the_run_that_is_killed(log: Path, tmp_path: Path) -> None:
    program, env = stand_in(tmp_path / "bin", "exec sleep 600")
    packed_by_bzip2(log)
    command = [script(PROG), "--logfile", str(log), "--key-prefix", "t"]
    told = program.parent / "bzip2.process"
    with subprocess.Popen(command, env={**os.environ, **env}) as process:
        wait_until(lambda: told.exists() and told.read_text().endswith("\n"))
        child = int(told.read_text())
        os.kill(child, 0)
        process.send_signal(signal.SIGKILL)
    # Dead, even if nobody has asked for its status yet.
    wait_until(
        lambda: (left := process_of(child)) is None or left.zombie, what="the program to end"
    )


def test_a_program_that_fails_is_told_and_the_run_goes_on(log: Path, tmp_path: Path) -> None:
    _, env = stand_in(tmp_path / "bin", "exit 3")
    packed_by_bzip2(log)
    count, said = counted(log, env)
    assert count == 10
    assert "bzip2 -dc failed: exit status: 3" in said
    assert counted(log, env) == (0, "")


@pytest.mark.parametrize(
    ("packer", "pack"),
    [("gzip", gzip.compress), ("xz", lzma.compress), ("bzip2", bz2.compress), ("lz4", lz4)],
)
def test_a_live_log_that_is_packed_is_refused_and_not_read_as_lines(
    packer: str, pack: Callable[[bytes], bytes], log: Path
) -> None:
    write(log, *lines(0, 100))
    assert counted(log)[0] == 100
    plain = log.with_name("plain")
    log.rename(plain)
    # As nginx does with `access_log … gzip`, and rsyslog with zipLevel.
    log.write_bytes(pack(plain.read_bytes()))
    both: list[str | Path] = ["--log-file", log, "--base-log-file", plain, "--key-prefix", "t"]
    commands: dict[str, list[str | Path]] = {
        PROG: ["--logfile", log, "--key-prefix", "t"],
        "mackerel-plugin-log-incr-rate": both,
        "mackerel-plugin-postfix-log": ["--logfile", log],
    }
    for prog, options in commands.items():
        done = run(prog, *options)
        text = f"{prog}: error: {log}: packed by {packer}; only plain lines can be followed\n"
        assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", text)
    # The position is kept: nothing is lost once the log is plain.
    plain.rename(log)
    write(log, *lines(100, 107))
    assert counted(log)[0] == 7
