"""myps kill --interval: a watch that kills what comes, and lives through what its server does."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import script, wait_until
from tests.peers.mariadb import Server, mariadb
from tests.peers.myps import ids, myps, no_settings_of_ours, shop, threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shop() as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)


@contextlib.contextmanager
def watching(server: Server, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    where = ["--mysql-socket", server.socket, "--mysql-user", "root"]
    process = subprocess.Popen(
        [script("myps"), "kill", *where, "--yes", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_watch_kills_what_comes_and_logs_it(server: Server, tmp_path: Path) -> None:
    log = tmp_path / "kills.ltsv"
    line = ["--info", "%watched%", "--interval", "100ms", "--run-time", "1m", "--log", str(log)]
    with watching(server, *line) as process:
        for number in range(3):
            sql = f"SELECT SLEEP(600), 'watched {number}'"
            with threads(server, (sql, {"user": "app1"})) as (thread,):
                thread.join(20)
                assert thread.error in (1317, 2013)
        wait_until(lambda: log.read_text().count("\n") == 3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert len(ids(out, "KILLED")) == 3
    entries = [
        dict(f.split(":", 1) for f in row.split("\t")) for row in log.read_text().splitlines()
    ]
    assert [entry["INFO"][-10:-1] for entry in entries] == ["watched 0", "watched 1", "watched 2"]
    assert all(entry["kind"] == "CONNECTION" and entry["USER"] == "app1" for entry in entries)
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", e["time"]) for e in entries)
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_does_not_end_a_watch(server: Server) -> None:
    line = ["--info", "%watched%", "--interval", "100ms", "--log", "/dev/full"]
    wanted = ("SELECT SLEEP(600), 'watched'", {"user": "app1"})
    with watching(server, *line) as process:
        for _ in range(2):
            with threads(server, wanted) as (thread,):
                thread.join(20)
                assert not thread.is_alive()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert err.count(b"warning: /dev/full: No space left on device; killing goes on") == 1
    assert b"No space left on device: 2 of 2 kills could not be reported" in err
    assert b"trying again" not in err
    done = myps(server, "kill", "--yes", "--user", "app1", "--log", "/no/such/folder/log")
    assert done.returncode == 1
    assert b"/no/such/folder/log" in done.stderr


def test_a_watch_ends_with_its_run_time(server: Server) -> None:
    start = time.monotonic()
    done = myps(server, "kill", "-y", "-u", "nobody", "--interval", "0.2", "--run-time", "1s")
    assert done.returncode == 0
    assert 1 <= time.monotonic() - start < 5


def test_a_watch_lives_through_a_restart_of_the_server() -> None:
    with mariadb() as own:
        line = ["--info", "%watched%", "--interval", "100ms", "--query-only"]
        with watching(own, *line) as process:
            for how in (signal.SIGKILL, signal.SIGTERM):
                with threads(own, ("SELECT SLEEP(600), 'watched'", {})) as (thread,):
                    thread.join(20)
                    assert thread.error == 1317 or thread.rows is not None
                own.stop(how)
                time.sleep(0.3)
                assert process.poll() is None
                own.start()
            with threads(own, ("SELECT SLEEP(600), 'watched'", {})) as (thread,):
                thread.join(20)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    assert out.count(b"KILLED:") == 3
    assert err.count(b"trying again every interval") == 2
    assert err.count(b": back") == 2
