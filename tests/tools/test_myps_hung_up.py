"""myps kill whose question is answered when the server has hung up."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.peers.mariadb import mariadb
from tests.peers.myps import Question, ids, no_settings_of_ours, shop, threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers.mariadb import Server

SLEEP = "SELECT SLEEP(600)"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shop() as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)


def gone(server: Server) -> bool:
    """Whether nobody is connected as root but who asks."""
    found = server.execute("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER='root'")
    return found == ((1,),)


@contextlib.contextmanager
def connections_time_out(server: Server) -> Iterator[None]:
    server.execute("SET GLOBAL wait_timeout = 1")
    try:
        yield
    finally:
        server.execute("SET GLOBAL wait_timeout = 28800")


def test_a_yes_that_comes_after_the_server_hung_up_still_kills(server: Server) -> None:
    stays, moves = (SLEEP, {"user": "app1"}), (SLEEP, {"user": "app2"})
    with threads(server, stays, moves, (None, {"user": "app1"})) as (stayer, mover, idle):
        with connections_time_out(server):
            question = Question(server, "--user", "app_")
            wait_until(lambda: gone(server))
        server.execute(f"KILL QUERY {mover.id}")
        mover.join(10)
        status, out, err = question.answer(b"y\n")
        assert status == 0
        assert ids(out, "KILLED") == {stayer.id, idle.id}
        assert err == f"myps: passed over {mover.id}: gone, or on to another statement\n".encode()
        stayer.join(10)
        assert mover.alive()


def test_a_server_that_started_anew_has_none_of_those_that_were_listed() -> None:
    """Its numbers begin again: a thread may have both that of the connection and the statement."""
    with mariadb() as own, threads(own, (SLEEP, {})) as (listed,):
        question = Question(own, "--info", f"{SLEEP}%")
        own.stop()
        own.start()
        with threads(own, (f"{SLEEP}, 2", {})) as (other,):
            status, out, err = question.answer(b"y\n")
            assert other.alive()
        assert status == 0
        assert b"KILLED" not in out
        assert f"passed over {listed.id}: ".encode() in err
