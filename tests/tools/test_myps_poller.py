"""myps top where the server or the terminal stands still, goes away or is too small."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, run, script, wait_until
from tests.peers.mariadb import mariadb
from tests.peers.myps import no_settings_of_ours, shop, threads
from tests.peers.tmux import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers.mariadb import Server

SLEEP = "SELECT SLEEP(600), 'slow one'"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shop() as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)


def command(server: Server) -> list[str]:
    where = ["--mysql-socket", server.socket, "--mysql-user", "root", "--refresh", "0.2"]
    return [script("myps"), "top", *where]


def test_a_server_that_stands_still_holds_up_no_key_and_the_age_is_told(tmp_path: Path) -> None:
    with mariadb() as own, threads(own, (SLEEP, {})):
        terminal = Terminal(tmp_path / "t", command(own))
        assert own.process is not None
        try:
            terminal.shows("slow one")
            own.process.send_signal(signal.SIGSTOP)
            terminal.shows(" s OLD")
            terminal.press("/")
            terminal.press("-l", "nowhere")
            terminal.shows("0 shown  filter: nowhere")
            terminal.press("Escape")
            terminal.shows("1 shown")
            own.process.send_signal(signal.SIGCONT)
            wait_until(lambda: " OLD" not in terminal.shown())
            own.process.send_signal(signal.SIGSTOP)
            terminal.shows(" s OLD")
            terminal.press("q")
            terminal.shows("status=0")
        finally:
            own.process.send_signal(signal.SIGCONT)
            terminal.close()


def test_the_head_tells_how_busy_the_server_is(server: Server, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "t", command(server))
    try:
        with threads(server, *[(SLEEP, {"user": "app1"})] * 3):
            seen = 0.0

            def busy() -> bool:
                nonlocal seen
                for _ in range(200):
                    server.execute("SELECT 1")
                found = re.search(r"  (\d+) queries/s, (\d+) running", terminal.shown())
                seen = max(seen, int(found[1])) if found else seen
                return found is not None and int(found[2]) >= 4 and seen >= 20

            wait_until(busy)
    finally:
        terminal.close()


def test_after_a_restart_the_line_of_the_error_goes(tmp_path: Path) -> None:
    with mariadb() as own:
        terminal = Terminal(tmp_path / "t", command(own))
        try:
            terminal.shows("threads")
            own.stop()
            terminal.shows("trying again")
            own.start()
            wait_until(lambda: "trying again" not in terminal.shown())
            terminal.shows("q quit")
        finally:
            terminal.close()


@pytest.mark.parametrize("kind", ["dumb", "unknown"])
def test_where_nothing_can_be_drawn_it_does_not_start(kind: str, server: Server) -> None:
    lead, follow = pty.openpty()
    done = subprocess.run(
        command(server), stdin=follow, stdout=follow, stderr=subprocess.PIPE, timeout=30,
        check=False, env={**os.environ, "TERM": kind},
    )  # fmt: skip
    os.close(lead)
    os.close(follow)
    assert done.returncode == 1
    assert f"top cannot draw on a terminal of TERM={kind}".encode() in done.stderr


def test_a_yes_typed_before_the_question_could_be_read_kills_nobody(
    server: Server, tmp_path: Path
) -> None:
    with threads(server, (SLEEP, {"user": "app1"})) as (thread,):
        terminal = Terminal(tmp_path / "t", command(server))
        try:
            terminal.shows("slow one")
            terminal.press("-l", "/slow")
            terminal.press("Enter")
            terminal.press("-l", "Xy")  # in one write
            terminal.shows("[y/N]")
            assert thread.alive()
            terminal.press("n")
            terminal.shows("nothing was killed")
            terminal.tmux("resize-window", "-x", "30", "-y", "4")
            terminal.press("X")
            wait_until(lambda: "the terminal is too small" in terminal.shown())
            terminal.press("y")
            terminal.tmux("resize-window", "-x", "80", "-y", "24")
            terminal.shows("slow one")
            assert thread.alive()
            terminal.press("X")
            terminal.shows("[y/N]")
            terminal.press("y")
            terminal.shows(f"KILLED {thread.id}")
        finally:
            terminal.close()


def test_it_is_stopped_by_the_shell_and_goes_on(server: Server, tmp_path: Path) -> None:
    bash = need_program("bash")
    terminal = Terminal(tmp_path / "t", [bash, "--norc", "-i"], 80, 24)
    try:
        with threads(server, (SLEEP, {"user": "app1"})):
            terminal.press("-l", " ".join(command(server)))
            terminal.press("Enter")
            terminal.shows("SELECT SLEEP")
            for _ in range(2):
                terminal.press("C-z")
                terminal.shows("Stopped")
                terminal.press("-l", "clear; stty -a")
                terminal.press("Enter")
                terminal.shows(" icanon ")
                assert terminal.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"
                terminal.press("-l", "clear; fg")
                terminal.press("Enter")
                terminal.shows("SELECT SLEEP")
                wait_until(lambda: terminal.tmux("display", "-p", "#{alternate_on}") == "1\n")
                terminal.press("a")
                terminal.press("a")
            terminal.press("/")
            terminal.shows("filter: ")
            terminal.press("Escape")
            terminal.press("q")
            wait_until(lambda: terminal.tmux("display", "-p", "#{alternate_on}") == "0\n")
    finally:
        terminal.close()


def test_it_is_asked_five_times_a_second_at_most() -> None:
    done = run("myps", "top", "--refresh", "0.1")
    assert done.returncode == 2
    assert b"--refresh 0.1: below the minimum of 200ms" in done.stderr
