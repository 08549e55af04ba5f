"""More files and sockets than a process may have open, at first or ever: all are served."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import script, wait_until
from tests.machine import free_port
from tests.peers.servers import accepts

if TYPE_CHECKING:
    from pathlib import Path

FILES = 200
FEW = "--nofile=64:64"
LINE = "time:2026-11-29T12:48:00Z\tmethod:GET\turi:/\tstatus:200\tptime:0.5\treqtime:0.5\n"
SCAN = """
import sys, pyarrow
from kojuto import logs
print(pyarrow.RecordBatchReader.from_stream(logs.scan(sys.argv[1:])).read_all().num_rows, "rows")
"""


def limited(limits: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command with prlimit(1)'s limits."""
    words = ["prlimit", limits, *map(str, command)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{number:03}.log" for number in range(FILES)]
    for log in found:
        log.write_text(LINE * 2)
    return found


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("kojuto", ("report", "--output", "csv"), f"GET /,{2 * FILES},"),
        ("percentile", ("--key", "ptime", "--output", "json"), f'"count": {2 * FILES}'),
    ],
)
def test_a_command_that_is_given_many(
    logs: list[Path], name: str, options: tuple[str, ...], told: str
) -> None:
    done = limited(FEW, script(name), *options, *logs)
    assert (done.returncode, told in done.stdout) == (0, True), done.stdout + done.stderr


def test_many_saved_reports(logs: list[Path], tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    limited(FEW, script("kojuto"), "report", "--save", saved, logs[0])
    for log in logs:
        log.write_bytes(saved.read_bytes())
    done = limited(FEW, script("kojuto"), "report", "--merge", "--output", "csv", *logs)
    assert (done.returncode, f"GET /,{2 * FILES}," in done.stdout) == (0, True), done.stderr


def test_many_scanned_in_python(logs: list[Path]) -> None:
    done = limited(FEW, sys.executable, "-c", SCAN, *logs)
    assert done.stdout == f"{2 * FILES} rows\n", done.stderr


def test_a_plugin_of_many_logs_raises_the_soft_limit(logs: list[Path]) -> None:
    """Each has its lock and itself open until all are read."""
    command = (script("mackerel-plugin-axslog"), "--key-prefix", "t", "--format", "ltsv",
               "--logfile", ",".join(map(str, logs)))  # fmt: skip
    for _ in range(2):
        done = limited("--nofile=64:", *command)
        assert done.returncode == 0, done.stderr
        for log in logs:
            with log.open("a") as file:
                file.write(LINE)
    assert "axslog.latency_t.average\t0.500000\t" in done.stdout


@pytest.mark.parametrize("name", ["ppdp", "wsgate-client"])
def test_a_server_of_many_listeners_raises_the_soft_limit(name: str, tmp_path: Path) -> None:
    port = free_port()
    hosts = [f"127.0.1.{number}" for number in range(1, 101)]
    lines = [f"{host}:{port},http://127.0.0.1:1/proxy/a\n" for host in hosts]
    (tmp_path / "map").write_text("".join(lines))
    options = {
        "ppdp": ["--upstream=127.0.0.1:1", *(f"--listen={host}:{port}" for host in hosts)],
        "wsgate-client": [f"--map={tmp_path}/map"],
    }
    command = ["prlimit", "--nofile=64:", script(name), *options[name]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        wait_until(lambda: accepts(port, hosts[-1]) or server.poll() is not None)
        serves = server.poll() is None
        server.terminate()
        _, said = server.communicate(timeout=60)
    assert serves, said
