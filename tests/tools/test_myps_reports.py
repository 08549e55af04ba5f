"""myps kill whose report cannot be written: the kills go on and the end tells of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import script, wait_until
from tests.disks import fill
from tests.peers.myps import Thread, no_settings_of_ours, shop, threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers.mariadb import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shop() as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)


SLEEPERS = 10


@contextlib.contextmanager
def sleepers(server: Server) -> Iterator[list[Thread]]:
    """Ten threads that sleep, their statements in kanji."""
    sql = "SELECT SLEEP(600), '全件検索'"
    with threads(server, *[(sql, {"user": "app1"})] * SLEEPERS) as found:
        yield found


def kill_all(server: Server, *more: str, **how: Any) -> tuple[int, str]:
    """``myps kill -y`` of the sleepers; its status and what it says."""
    where = ["--mysql-socket", server.socket, "--mysql-user", "root"]
    command = [script("myps"), "kill", "--yes", *where, "--user", "app1", *more]
    how.setdefault("stdout", subprocess.DEVNULL)
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=False, **how)
    return done.returncode, done.stderr.decode()


def gone(found: list[Thread]) -> None:
    wait_until(lambda: not any(thread.alive() for thread in found), what="all are killed")


def unreported(where: str, words: str) -> str:
    return f"{where}: {words}: {SLEEPERS} of {SLEEPERS} kills could not be reported"


def test_a_report_that_nobody_takes_stops_no_kill(server: Server) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full:
        for words, how in (
            ("Broken pipe", {"stdout": writer}),
            ("No space left on device", {"stdout": full}),
            ("Bad file descriptor", {"stdout": None, "preexec_fn": lambda: os.close(1)}),
        ):
            with sleepers(server) as found:
                status, told = kill_all(server, **how)
                gone(found)
            assert status == 1
            assert told.splitlines()[0] == "myps kill: error: " + unreported(
                "standard output", words
            )
            assert len(told.splitlines()) == 2
    os.close(writer)


def test_a_log_on_a_full_disk_stops_no_kill_and_keeps_whole_lines(
    server: Server, tiny_disk: Path
) -> None:
    log = tiny_disk / "kills"
    log.write_bytes(b"")
    filler = fill(tiny_disk)
    with open(filler, "r+b") as file:
        file.truncate(filler.stat().st_size - 4096)  # room for one page
    log.write_bytes(b"x" * 3900 + b"\n")
    with sleepers(server) as found:
        status, told = kill_all(server, "--log", str(log), stdout=subprocess.PIPE)
        gone(found)
    assert status == 1
    text = log.read_bytes()
    assert text.endswith(b"\n")
    kept = text.count(b"\n") - 1
    assert 0 <= kept < SLEEPERS
    assert f"{log}: No space left on device: {SLEEPERS - kept} of {SLEEPERS} kills" in told
    assert "standard output" not in told


def test_in_a_watch_a_full_disk_is_no_trouble_of_the_server(
    server: Server, tiny_disk: Path
) -> None:
    log = tiny_disk / "kills"
    log.write_bytes(b"")
    fill(tiny_disk)
    with sleepers(server) as found:
        status, told = kill_all(server, "--log", str(log), "--interval", "1s", "--run-time", "2s")
        gone(found)
    assert status == 1
    assert told.splitlines()[:2] == [
        f"myps: warning: {log}: No space left on device; killing goes on",
        "myps kill: error: " + unreported(str(log), "No space left on device"),
    ]
    assert server.socket not in told


def test_a_log_that_cannot_be_opened_stops_no_kill(server: Server, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # nobody reads it
    for log, why in (
        ("/no/such/folder/log", "No such file or directory"),
        (str(fifo), "No such device or address"),
    ):
        with sleepers(server) as found:
            status, told = kill_all(server, "--log", log)
            gone(found)
        assert status == 1
        assert told.startswith(f"myps: warning: {log}: {why}; killing goes on\n")
        assert unreported(log, why) in told


def test_a_statement_in_kanji_is_reported_in_any_locale(server: Server) -> None:
    with sleepers(server) as found:
        where = ["--mysql-socket", server.socket, "--mysql-user", "root"]
        done = subprocess.run(
            [script("myps"), "kill", "--yes", *where, "--user", "app1"],
            capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        )  # fmt: skip
        gone(found)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"KILLED:") == SLEEPERS
    assert done.stdout.count(rb"\u5168\u4ef6\u691c\u7d22") == SLEEPERS


def test_a_list_that_nobody_takes_kills_nothing(server: Server) -> None:
    where = ["--mysql-socket", server.socket, "--mysql-user", "root", "--user", "app1"]
    with threads(server, ("SELECT SLEEP(600)", {"user": "app1"})) as [found]:
        for more, status in (([], 1), (["--dry-run"], 0), (["--dry-run", "--interval", "1s"], 0)):
            reader, writer = os.pipe()
            os.close(reader)
            done = subprocess.run(
                [script("myps"), "kill", *where, *more], input=b"y\n", stdout=writer,
                stderr=subprocess.PIPE, timeout=60, check=False,
            )  # fmt: skip
            os.close(writer)
            assert done.returncode == status
            assert (b"Broken pipe, nothing was killed" in done.stderr) == (status == 1)
        assert found.alive()
