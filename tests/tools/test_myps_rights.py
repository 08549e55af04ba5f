"""myps of a user who may not see or kill everything."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run, script
from tests.peers.myps import ids, no_settings_of_ours, shop, threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers.mariadb import Server

SLEEP = "SELECT SLEEP(600)"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shop() as started:
        started.execute("CREATE USER small@'%' IDENTIFIED BY 'pw'")
        started.execute("CREATE USER looks@'%' IDENTIFIED BY 'pw'")
        started.execute("GRANT PROCESS ON *.* TO looks@'%'")
        started.execute("CREATE ROLE seeing")
        started.execute("GRANT PROCESS ON *.* TO seeing")
        started.execute("CREATE USER roled@'%' IDENTIFIED BY 'pw'")
        started.execute("GRANT seeing TO roled@'%'")
        started.execute("SET DEFAULT ROLE seeing FOR roled@'%'")
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)


def by(server: Server, user: str) -> list[str]:
    return ["--mysql-socket", server.socket, "--mysql-user", user, "--mysql-password", "pw"]


SMALL = b"myps: without PROCESS only the threads of small are seen\nhint: GRANT PROCESS ON *.* "


@pytest.mark.parametrize("command", ["grep", "kill"])
def test_who_sees_only_the_own_threads_is_told_so_once(command: str, server: Server) -> None:
    more = ["--dry-run"] if command == "kill" else []
    with threads(server, (SLEEP, {"user": "small"}), (SLEEP, {"user": "app1"})) as (own, other):
        done = run("myps", command, *by(server, "small"), *more, "--user", "%")
        assert ids(done.stdout) == {own.id}
        assert done.stderr.count(SMALL) == 1
        assert done.stderr.count(b"\n") == 2
        for user in ("looks", "roled"):  # the latter by a role
            done = run("myps", command, *by(server, user), *more, "--user", "%p1")
            assert ids(done.stdout) == {other.id}
            assert done.stderr == b""
            done = run("myps", command, *by(server, user), *more, "--user", "nobody")
            assert done.stderr == b""


def test_one_who_may_not_kill_all_kills_what_he_may_and_says_which_not(server: Server) -> None:
    others = [(SLEEP, {"user": name}) for name in ("app1", "looks", "app2")]
    for kind in ("--query-only", "--full"):
        with threads(server, *others) as (first, own, last):
            done = run("myps", "kill", "--yes", kind, *by(server, "looks"), "--info", SLEEP)
            assert done.returncode == 1
            assert ids(done.stdout, "KILLED") == {own.id}
            own.join(10)
            assert first.is_alive()
            assert last.is_alive()
            for thread in (first, last):
                assert f"myps: not killed {thread.id}: You are not owner of".encode() in done.stderr
            assert b": 2 not killed\nhint: the user needs CONNECTION ADMIN" in done.stderr


def test_a_watch_goes_on_after_a_refused_kill_and_says_it_once(server: Server) -> None:
    line = ["--yes", "--query-only", "--info", f"{SLEEP}%", "--interval", "100ms"]
    process = subprocess.Popen(
        [script("myps"), "kill", *by(server, "looks"), *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        with threads(server, (SLEEP, {"user": "app1"})) as (other,):
            for _ in range(2):
                with threads(server, (SLEEP, {"user": "looks"})) as (own,):
                    own.join(20)
                    assert not own.is_alive()
            assert other.is_alive()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 1
    assert out.count(b"KILLED:") == 2
    assert err.count(f"not killed {other.id}: ".encode()) == 1
    assert err.count(b"hint: the user needs CONNECTION ADMIN") == 2  # then and at the end
