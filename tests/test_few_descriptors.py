"""The log plugins where a process may have few files open."""

from __future__ import annotations

import resource
import subprocess
from typing import TYPE_CHECKING

from kojuto.common.failures import MORE_FILES
from tests.conftest import read_metrics, script

if TYPE_CHECKING:
    from pathlib import Path

LINE = "status:200\tptime:0.1\n"


def limited(files: int, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    command = [script("mackerel-plugin-axslog"), "--key-prefix", "t", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60, preexec_fn=limit)


def test_the_hard_limit_has_a_way_out(tmp_path: Path, workdir: Path) -> None:
    logs = [tmp_path / f"log-{number}" for number in range(200)]
    for log in logs:
        log.write_text(LINE)
    done = limited(64, "--logfile", ",".join(map(str, logs)))
    assert (done.returncode, done.stdout) == (1, b"")
    assert "Too many open files" in done.stderr.decode()
    assert f"hint: {MORE_FILES}" in done.stderr.decode()


def test_a_position_that_cannot_be_opened_is_no_first_run(tmp_path: Path, workdir: Path) -> None:
    logs = [tmp_path / f"log-{number}" for number in range(4)]
    for log in logs:
        log.write_text(LINE * 100)
    names = ",".join(map(str, logs))
    assert limited(64, "--logfile", names).returncode == 0
    statuses = set()
    for limit in range(16, 5, -1):
        for log in logs:
            with log.open("a") as file:
                file.write(LINE.replace("0.1", "0.2"))
        done = limited(limit, "--logfile", names)
        statuses.add(done.returncode)
        assert b"starting afresh" not in done.stderr, limit
        if done.returncode == 0:
            # A log that could not be read waits for the next run.
            assert read_metrics(done.stdout)["axslog.latency_t.average"] == "0.200000", limit
    assert statuses == {0, 1}


def test_relaxlogs_tells_what_it_waits_for_with_no_descriptor_left(tmp_path: Path) -> None:
    """Not even one to load a module with."""
    command = ["prlimit", "--nofile=8:8", script("relaxlogs"), "--log-dir", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--stop-timeout", "1s"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("a line\n")
        process.stdin.close()
        told = process.stderr.readline()
        process.terminate()
        rest = process.stderr.read()
    assert told.startswith(f"relaxlogs: warning: {tmp_path}: Too many open files; keeping up")
    assert rest == "relaxlogs: error: 7 bytes of lines could not be written before the end\n"
    assert process.returncode == 1
