"""kojuto report --follow in a real terminal (tmux): logs that grow, rotation, keys, its ends."""

from __future__ import annotations

import gzip
import os
import re
import shlex
import signal
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, run, script, wait_until
from tests.io.test_report_live import numbered
from tests.peers.rotators import Clock, Logrotate, Writer
from tests.peers.tmux import Terminal
from tests.streams import full_ends, processes_end, start, wait_for_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["processes_end"]

KOJUTO = [script("kojuto"), "report", "--follow"]


@contextmanager
def following(
    folder: Path, *arguments: str | Path, width: int = 100, height: int = 24
) -> Iterator[Terminal]:
    terminal = Terminal(folder / "t", [*KOJUTO, *map(str, arguments)], width, height)
    try:
        yield terminal
    finally:
        terminal.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with 50 lines of now."""
    folder = tmp_path / "logs"
    folder.mkdir()
    Writer(folder / "access.log", numbered).write(50)
    return folder / "access.log"


def pid_of(log: Path) -> int:
    """The process that follows a log."""
    words = [(entry, cmdline(entry)) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    (found,) = [
        int(entry.name)
        for entry, line in words
        if b"--follow" in line and str(log).encode() in line and b"python" in line[0]
    ]
    return found


def cmdline(entry: Path) -> list[bytes]:
    try:
        return (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def is_left(terminal: Terminal) -> None:
    """The terminal is as it was found."""
    terminal.shows(" icanon ")
    terminal.shows(" echo ")
    assert terminal.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"


@pytest.mark.parametrize("body", ["rotate 50, create", "rotate 50, copytruncate"])
def test_the_first_picture_is_full_and_no_line_is_lost_beside_logrotate(
    body: str, log: Path, tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    logrotate = Logrotate(tmp_path, log, body, Clock(tmp_path, preload("shift_clock")))
    writer = Writer(log, numbered)
    with following(tmp_path, log, "--window", "1h") as terminal:
        terminal.shows("50 lines of")
        shown = terminal.shows("GET /item/{n}")
        assert shown.splitlines()[0] == "the last 1h00m, by sum"
        assert "q quit  s sort" in shown.splitlines()[-1]
        for _ in range(8):
            for _ in range(5):
                writer.write(11)
                time.sleep(0.05)
            logrotate.rotate()
        writer.write(3)
        terminal.shows(f"{50 + writer.written} lines of")
        # Each once: the sum of their numbers.
        sum_s = 50 * 51 / 2 + writer.written * (writer.written + 1) / 2
        minutes = int(sum_s // 60)
        terminal.shows(f"sum {minutes // 60}h{minutes % 60:02}m")
        terminal.press("q")
        terminal.shows("status=0")
        is_left(terminal)


def test_a_log_that_is_not_there_yet_and_one_that_is_gone_for_a_while(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with following(tmp_path, log) as terminal:
        terminal.shows("access.log: No such file or directory")
        Writer(log, numbered).write(5)
        terminal.shows("5 lines of")
        wait_until(lambda: "No such file" not in terminal.shown())
        log.rename(tmp_path / "access.log.1")
        time.sleep(1.5)
        Writer(log, numbered).write(7)
        terminal.shows("12 lines of")


def test_keys_sort_scroll_pause_and_help(log: Path, tmp_path: Path) -> None:
    with log.open("a") as file:
        for number in range(40):
            line = numbered(number).replace("/item/", f"/{'abcdefgh'[number % 8] * 3}{number}x/")
            file.write(f"{line}\n")
    with following(tmp_path, log, "--no-fold", height=16) as terminal:
        terminal.shows("90 lines")
        assert "1 to " in terminal.shown().splitlines()[-1]
        terminal.press("s")
        terminal.shows("by avg")
        terminal.press("S", "r")
        terminal.shows("by sum, reversed")
        terminal.press("r", "End")
        terminal.shows("GET /aaa0x")
        terminal.press("NPage", "PPage", "Home")
        terminal.shows("GET /item/50")
        terminal.press("p")
        terminal.shows("PAUSED")
        Writer(log, numbered).write(7)
        time.sleep(1.5)
        assert "90 lines" in terminal.shown()
        terminal.press("p")
        terminal.shows("97 lines")
        terminal.press("?")
        terminal.shows("sort by the next column")
        terminal.shows("read as ltsv; ")
        terminal.press("Escape")
        terminal.shows("97 lines")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)]
)
def test_a_signal_ends_it_and_leaves_the_terminal_as_found(
    number: signal.Signals, status: int, log: Path, tmp_path: Path
) -> None:
    with following(tmp_path, log) as terminal:
        terminal.shows("50 lines")
        os.kill(pid_of(log), number)
        terminal.shows(f"status={status}")
        is_left(terminal)


def test_a_fault_leaves_the_terminal_as_found_and_is_told(log: Path, tmp_path: Path) -> None:
    program = tmp_path / "broken.py"
    program.write_text(
        """
import sys
from kojuto.tools import report
from kojuto.tools.report.live import Live

def broken(self, width, height):
    raise RuntimeError("it is broken")

Live.draw = broken
sys.exit(report.main(sys.argv[1:]))
"""
    )
    command = [sys.executable, str(program), "--follow", str(log)]
    terminal = Terminal(tmp_path / "t", command)
    try:
        assert "it is broken" in terminal.shows("status=1")
        is_left(terminal)
    finally:
        terminal.close()


def test_a_terminal_that_stands_still_holds_up_no_end(log: Path, tmp_path: Path) -> None:
    reader, terminal = full_ends("tty", tmp_path / "none")
    before = termios.tcgetattr(terminal)
    running = start("kojuto", "report", "--follow", log, stdin=terminal, stdout=terminal)
    wait_for_handler(running.pid, signal.SIGTERM)
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0
    assert termios.tcgetattr(terminal) == before
    os.close(reader)
    os.close(terminal)


def test_control_z_and_fg_leave_and_restore_the_screen(log: Path, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "t", [need_program("bash"), "--norc", "-i"])
    try:
        terminal.shows("bash-")
        terminal.press("-l", shlex.join([*KOJUTO, str(log)]))
        terminal.press("Enter")
        terminal.shows("50 lines")
        terminal.press("C-z")
        terminal.shows("Stopped")
        assert terminal.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"
        Writer(log, numbered).write(9)
        terminal.press("-l", "clear; fg")
        terminal.press("Enter")
        terminal.shows("59 lines")
        terminal.press("q")
        wait_until(lambda: terminal.tmux("display", "-p", "#{alternate_on}") == "0\n")
        assert terminal.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"
    finally:
        terminal.close()


def test_a_pipe_is_followed_and_the_keys_come_from_the_terminal(log: Path, tmp_path: Path) -> None:
    command = f"tail -n 3 -F {shlex.quote(str(log))} | {shlex.join(KOJUTO)} -"
    terminal = Terminal(tmp_path / "t", ["sh", "-c", command])
    try:
        terminal.shows("3 lines of standard input")
        Writer(log, numbered).write(4)
        terminal.shows("7 lines of standard input")
        terminal.press("q")
        terminal.shows("status=0")
        is_left(terminal)
    finally:
        terminal.close()


def test_a_pipe_that_ends_leaves_its_last_picture(log: Path, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "t", ["sh", "-c", f"cat {log} | {shlex.join(KOJUTO)}"])
    try:
        terminal.shows("standard input has ended")
        terminal.shows("50 lines of standard input")
        terminal.press("q")
        terminal.shows("status=0")
    finally:
        terminal.close()


def test_what_is_shown_can_be_chosen(log: Path, tmp_path: Path) -> None:
    second = log.with_name("second.log")
    with second.open("a") as file:
        for number, path in enumerate(("/a/1?x=1", "/b/2?x=2", "/a/3?x=1")):
            line = re.sub(r"uri:\S+", f"uri:{path}", numbered(number)).replace(":200", ":503")
            file.write(line + "\n")
    arguments = ("--where", "status >= 500", "--query", "keep", "--sort", "count", "--limit",
                 "1", "--columns", "endpoint,count,p90", "--match", "^/a/")  # fmt: skip
    with following(tmp_path, log, second, *arguments) as terminal:
        shown = terminal.shows("3 lines of 2 files")
        assert shown.splitlines()[0].endswith("by count")
        head = next(n for n, text in enumerate(shown.splitlines()) if text.startswith("endpoint"))
        rows = [text.split() for text in shown.splitlines()[head : head + 3]]
        assert rows[0] == ["endpoint", "count", "p90"]
        assert rows[1][-2:] == ["2", "2.00s"]
        assert rows[2][:2] == ["other", "(1"]
    folder = tmp_path / "groups"
    folder.mkdir()
    with following(folder, second, "--group-by", "status") as terminal:
        terminal.shows("503")
        assert "status" in terminal.shows("by sum")


def test_a_resized_terminal_is_filled_anew_at_once(log: Path, tmp_path: Path) -> None:
    with following(tmp_path, log) as terminal:
        terminal.shows("50 lines")
        for width, height in ((60, 10), (30, 5), (160, 30)):
            terminal.tmux("resize-window", "-x", str(width), "-y", str(height))

            def is_full(height: int = height) -> bool:
                lines = terminal.shown().rstrip("\n").split("\n")
                is_drawn = any(line.startswith("GET /item/{n}") for line in lines)
                return is_drawn and len(lines) == height and lines[-1].startswith("q quit")

            wait_until(is_full)


@pytest.mark.parametrize("setting", ["NO_COLOR=1", "KOJUTO=plain"])
def test_colours_are_left_out_where_they_are_not_wanted(
    setting: str, log: Path, tmp_path: Path
) -> None:
    with log.open("a") as file:
        file.write(numbered(1).replace(":200", ":503") + "\n")
    terminal = Terminal(tmp_path / "t", ["env", setting, *KOJUTO, str(log)])
    try:
        terminal.shows("51 lines")
        assert ("\x1b[31m" in terminal.shown(colours=True)) == ("NO_COLOR" not in setting)
    finally:
        terminal.close()


def test_without_a_terminal_it_says_so_and_what_to_do(log: Path) -> None:
    done = run("kojuto", "report", "--follow", log)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "kojuto report: error: --follow needs a terminal",
        "hint: kojuto report --since -5m prints a table anywhere",
    ]


def test_a_dumb_terminal_is_told(log: Path, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "t", ["env", "TERM=dumb", *KOJUTO, str(log)])
    try:
        terminal.shows("--follow cannot draw on a terminal of TERM=dumb")
        terminal.shows("status=1")
    finally:
        terminal.close()


def test_what_is_for_a_whole_report_is_refused(log: Path) -> None:
    for words in (
        ["--since", "-5m"], ["--until", "12:00"], ["--save", "x"], ["--compare"], ["--html", "x"],
        ["--merge"], ["--output", "json"], ["--slowest", "3"], ["--plot"], ["--jobs", "2"],
    ):  # fmt: skip
        done = run("kojuto", "report", "--follow", *words, log)
        assert done.returncode == 2, words
        assert f"{words[0]} cannot go with --follow".encode() in done.stderr
    packed = log.with_name("access.log.1.gz")
    packed.write_bytes(gzip.compress(log.read_bytes()))
    done = run("kojuto", "report", "--follow", packed)
    assert (done.returncode, b"it is packed by gzip" in done.stderr) == (2, True)
    done = run("kojuto", "report", "--window", "5m", log)
    assert (done.returncode, b"--window needs --follow" in done.stderr) == (2, True)
    for words in (["--window", "1s"], ["--where", "status"], ["--sort", "nope"]):
        done = run("kojuto", "report", "--follow", *words, log)
        assert done.returncode == 2, words


def test_lines_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with following(tmp_path, log) as terminal:
        terminal.shows("No such file")
        log.write_text("nothing that is known\n" * 3)
        shown = " ".join(terminal.shows("the first: ").split())
        assert "none of 3 lines can be read" in shown
        assert "tried: JSON, LTSV, combined" in shown
