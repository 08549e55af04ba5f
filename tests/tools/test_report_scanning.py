"""The options of a scan as the scan calls them, and its progress on a terminal."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import threading
from fcntl import ioctl
from termios import TIOCSWINSZ
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.common import streams
from kojuto.errors import UsageError
from kojuto.tools.report import scanning
from tests.conftest import run, script

if TYPE_CHECKING:
    from pathlib import Path


def test_options_have_the_names_of_the_scan(tmp_path: Path) -> None:
    routes = tmp_path / "routes"
    routes.write_bytes(b"/users/:id\n/\xff\n")
    found = scanning._line_options({
        "format": "json", "time_key": "took", "uri_key": "u", "status_key": None, "no_fold": True,
        "match": ["a", "b"], "query_keep": ["op"], "routes": str(routes), "jobs": 3,
    })  # fmt: skip
    assert found.pop("zone")  # the changes of this machine's clock
    assert found == {
        "format": "json", "keys": {"request_time": "took", "uri": "u"}, "fold": False,
        "matches": ["a", "b"], "query_values": ["op"], "routes": ["/users/:id", "/\ufffd"],
        "jobs": 3,
    }  # fmt: skip
    routes.write_bytes(bytes(scanning.MAX_ROUTES_BYTES + 1))
    with pytest.raises(UsageError, match="over 1,048,576 bytes"):
        scanning._line_options({"routes": str(routes)})


def test_the_rate_and_what_is_left_are_told() -> None:
    assert scanning.how_far(120_000_000, 1_200_000_000, 2) == (
        "120 MB of 1.2 GB, 10 %, 60 MB/s, 18 s left"
    )
    assert scanning.how_far(5_000_000, 0, 1) == "5 MB, 5 MB/s"
    assert scanning.how_far(0, 100, 1) == "0 B of 100 B, 0 %, 0 B/s"
    assert scanning.how_far(100, 100, 1) == "100 B of 100 B, 100 %, 100 B/s"


def test_progress_is_shown_until_it_is_over_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Progress:
        bytes, total_bytes, lines = 10, 100, 1

    over, told = threading.Event(), []

    def show(line: str) -> None:
        told.append(line)
        if len(told) == 2:
            over.set()

    monkeypatch.setattr(streams, "progress", show)
    monkeypatch.setattr(scanning, "PROGRESS_EVERY_S", 0.001)
    progress: Any = Progress()
    scanning._show("kojuto report", progress, over)
    assert len(told) == 3
    assert told[0].startswith("kojuto report: 10 B of 100 B, 10 %, ")
    assert told[-1] == ""


def on_terminal(columns: int, *arguments: str | Path, env: dict[str, str]) -> list[str]:
    """What the command shows on a terminal so wide."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    environment: dict[str, Any] = {**os.environ, "TERM": "xterm-256color", **env}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [script("kojuto"), "report", *map(str, arguments)], stdin=subprocess.DEVNULL,
        stdout=theirs, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # its last holder has ended
        pass
    os.close(ours)
    process.communicate()
    assert process.returncode == 0
    return shown.decode().splitlines()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.write_text("".join(
        f"time:2026-11-29T12:{n % 60:02}:00Z\tmethod:GET\turi:/a/quite/long/path/{n % 7}x/{n}"
        f"\tstatus:{500 if n % 9 else 200}\treqtime:{n / 1000}\n"
        for n in range(200)
    ))  # fmt: skip
    return path


def test_on_a_terminal_it_fits_and_faults_are_coloured(log: Path) -> None:
    for columns in (30, 60, 100, 160):
        lines = on_terminal(columns, log, env={"NO_COLOR": ""})
        bare = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]
        assert max(map(len, bare)) <= columns
        assert "\x1b[1mendpoint" in "".join(lines)
        if columns >= 60:
            assert "\x1b[31m" in "".join(lines)
    plain = on_terminal(100, "--plot", log, env={"NO_COLOR": "1"})
    assert "\x1b" not in "".join(plain)
    assert "\x1b[38;5;" in "".join(on_terminal(100, "--plot", log, env={"NO_COLOR": ""}))


def test_a_pipe_has_no_colour_and_nothing_is_cut(log: Path) -> None:
    done = subprocess.run(
        [script("kojuto"), "report", "--plot", "--slowest", "5", log], capture_output=True,
        env={**os.environ, "COLUMNS": "20"}, check=True,
    )  # fmt: skip
    assert b"\x1b" not in done.stdout
    assert "…" not in done.stdout.decode().replace("from … up", "")
    assert b"/a/quite/long/path/" in done.stdout


def test_a_disk_without_room_for_the_last_lines_of_a_log_is_named(
    tiny_disk: Path, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(b"time:22/Nov/2026:21:00:00 +0000\tstatus:200\turi:/\tptime:0.5\n" * 5_000)
    done = run("kojuto", "report", "--since", "end-1m", log, env={"TMPDIR": str(tiny_disk)})
    said = done.stderr.decode()
    assert re.fullmatch(rf"kojuto report: error: {tiny_disk}/\S+: No space left on device\n", said)
    assert done.returncode == 1
