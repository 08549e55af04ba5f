"""System calls that a signal interrupts (EINTR) are made again: nothing is lost or said.

Each third read and write of what a command works on is interrupted, by strace. Of the servers:
`tests/io/test_generations_servers.py`; of pinging: `tests/tools/test_pinging.py`.
"""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, script
from tests.peers.relaxlogs import content
from tests.test_delivery import LOG_PLUGINS, Plugin

if TYPE_CHECKING:
    from pathlib import Path

CALLS = (
    "read",
    "pread64",
    "readv",
    "write",
    "pwrite64",
    "writev",
    "splice",
    "tee",
    "copy_file_range",
)
NUMBERS = b"".join(b"%d\n" % number for number in range(300_000))


def interrupted(folder: Path, *paths: Path) -> list[str]:
    """Words before a command whose calls on these files are interrupted."""
    calls = ",".join(f"?{name}" for name in CALLS)
    words = [need_program("strace"), "-f", "-qq", "-o", str(folder / "calls")]
    words += ["-e", f"inject={calls}:error=EINTR:when=1+3"]
    return [*words, *(word for path in paths for word in ("-P", str(path)))]


def count_interrupted(folder: Path) -> int:
    return (folder / "calls").read_text().count("EINTR")


@pytest.mark.parametrize("name", LOG_PLUGINS)
def test_a_plugin_counts_each_line_once(name: str, tmp_path: Path) -> None:
    plugin = Plugin(name, tmp_path)
    positions = [plugin.work / each for each in plugin.before]
    plugin.command[:0] = interrupted(tmp_path, plugin.log, plugin.base, *positions)
    logs = len(plugin.before)
    assert plugin.counted() == [5 * len(plugin.line)] * logs
    assert count_interrupted(tmp_path) > 0
    assert plugin.counted() == [0] * logs


@pytest.mark.parametrize("name", ["percentile", "sabo", "relaxlogs"])
def test_a_pipe_passes_each_byte_once(name: str, tmp_path: Path) -> None:
    source, sink, logs = tmp_path / "source", tmp_path / "sink", tmp_path / "logs"
    os.mkfifo(source)
    arguments = {
        "percentile": [],
        "sabo": ["--max-bandwidth", "1G", "--work-dir", str(tmp_path)],
        "relaxlogs": ["--log-dir", str(logs), "--rotation-time", "1440"],
    }[name]
    feeding = threading.Thread(target=source.write_bytes, args=(NUMBERS,))
    feeding.start()
    with open(source, "rb") as reading, open(sink, "wb") as writing:
        command = [*interrupted(tmp_path, source, sink), script(name), *arguments]
        done = subprocess.run(
            command, stdin=reading, stdout=writing, stderr=subprocess.PIPE, timeout=100, check=False
        )
    feeding.join()
    assert (done.returncode, done.stderr) == (0, b"")
    assert count_interrupted(tmp_path) > 0
    if name == "percentile":
        assert {"count: 300000", "avg: 149999.5000"} < set(sink.read_text().splitlines())
    else:
        assert (sink.read_bytes() if name == "sabo" else content(logs)) == NUMBERS


def test_a_report_has_every_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("status:200\turi:/a\tptime:0.5\n" * 50_000)
    command = [*interrupted(tmp_path, log), script("kojuto"), "report", "--output", "csv"]
    done = subprocess.run(
        [*command, "--columns", "endpoint,count", str(log)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert count_interrupted(tmp_path) > 0
    assert done.stdout.splitlines()[1].endswith(b",50000")
