"""`relaxlogs --on-rotate`: a command for each closed file, which holds up nothing."""

from __future__ import annotations

import gzip
import signal
import time
from typing import TYPE_CHECKING

from tests.conftest import run, wait_until
from tests.peers.relaxlogs import DAY, Running, content, logs, own
from tests.streams import processes_end

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["logs", "processes_end"]


def rotate(running: Running, logs: Path) -> None:
    """Have the next file begun, and wait for it."""
    before = len(own(logs))
    running.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: len(own(logs)) > before)


def test_a_command_has_each_closed_file_whole_before_it_is_compressed(
    logs: Path, tmp_path: Path
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    running = Running(logs, *DAY, "--compress", "gz",
                      "--on-rotate", f'sleep 0.3; cp "$1" "{copies}/" && echo copied')  # fmt: skip
    data = b"".join(b"line %d\n" % n for n in range(20_000))
    running.write(data)
    wait_until(lambda: content(logs) == data)
    (closed,) = own(logs)
    rotate(running, logs)
    running.write(b"next\n")
    assert running.told() == "copied\n", "what it prints goes to standard error"
    packed = logs / f"{closed.name}.gz"
    wait_until(lambda: packed.exists() and not closed.exists())
    assert gzip.decompress(packed.read_bytes()) == data
    assert running.end() == (0, "")
    assert [path.name for path in copies.iterdir()] == [closed.name]
    assert (copies / closed.name).read_bytes() == data


def test_a_command_that_stands_still_is_killed_and_holds_up_no_line(logs: Path) -> None:
    running = Running(logs, *DAY, "--on-rotate", "exec sleep 600", "--hook-timeout", "5s")
    running.write(b"first\n")
    wait_until(lambda: content(logs) == b"first\n")
    rotate(running, logs)
    begun = time.monotonic()
    for number in range(20):
        running.write(b"%d\n" % number)
    wait_until(lambda: content(logs).endswith(b"\n19\n"))
    assert time.monotonic() - begun < 5
    told = running.told()
    assert time.monotonic() - begun > 4.5
    assert "--on-rotate for " in told
    assert f"{own(logs)[0].name}: killed after 5 s" in told
    assert running.end() == (0, "")


def test_a_failure_is_told_and_the_end_waits_for_a_while(logs: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    running = Running(logs, *DAY, "--on-rotate", f'sleep 1; echo "$1" >> {done}; exit 3')
    running.write(b"first\n")
    wait_until(lambda: content(logs) == b"first\n")
    rotate(running, logs)
    status, told = running.end(number=signal.SIGTERM)
    assert status == 0
    assert told.endswith("ended with exit status: 3\n")
    assert done.read_text() == f"{own(logs)[0]}\n"
    running = Running(logs, *DAY, "--on-rotate", "sleep 600", "--stop-timeout", "300ms")
    running.write(b"second\n")  # it runs, and takes signals
    wait_until(lambda: content(logs).endswith(b"second\n"))
    rotate(running, logs)
    running.process.send_signal(signal.SIGUSR1)
    status, told = running.end()
    assert status == 0
    assert "killed at the end" in told


def test_the_bounds_of_a_command_are_checked() -> None:
    wrong = run("relaxlogs", "--hook-timeout", "1ms")
    assert wrong.returncode == 2
    assert "--hook-timeout 1ms: below the minimum of 100ms" in wrong.stderr.decode()
