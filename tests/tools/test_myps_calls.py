"""myps kill and stored procedures, whose statements have query ids of their own on MariaDB."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kojuto.common.parser import parse
from kojuto.tools.myps.connect import MypsConnection
from kojuto.tools.myps.kill import KILLED, Killer
from kojuto.tools.myps.kill_same import Outcome, kill_same
from kojuto.tools.myps.options import KILL
from kojuto.tools.myps.processes import Server
from tests.conftest import run, wait_until
from tests.peers.mariadb import Server as MariaDB
from tests.peers.mariadb import mariadb
from tests.peers.myps import ids, threads

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL = "CALL shop.forever()"
BOTH = pytest.mark.parametrize("query_only", [True, False], ids=["query", "connection"])


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with mariadb() as started:
        started.execute("CREATE DATABASE shop")
        started.execute("CREATE TABLE shop.t (id INT PRIMARY KEY) ENGINE=Aria")
        started.execute("CREATE PROCEDURE shop.forever() LOOP UPDATE shop.t SET id = 1; END LOOP")
        yield started


@contextmanager
def asking(server: MariaDB) -> Iterator[Server]:
    connection = MypsConnection(
        user="root", unix_socket=server.socket, use_unicode=False, autocommit=True
    )
    yield Server(connection)
    connection.close()


def wait_a_second(server: MariaDB, number: int) -> None:
    """Until that thread's statement has run for one, as the server counts it."""
    with asking(server) as own:
        wait_until(lambda: own.processes("ID = %s", (number,))[0].time >= 1)


@BOTH
def test_a_call_that_loops_is_killed(query_only: bool, server: MariaDB) -> None:
    where = ["--no-defaults", "--mysql-user", "root", "--mysql-socket", server.socket]
    how = ["--query-only"] if query_only else []
    with threads(server, (CALL, {})) as (thread,):
        wait_a_second(server, thread.id)

        def is_killed() -> bool:
            done = run("myps", "kill", "--yes", "--time", "1", *how, *where)
            assert done.stderr == b""
            assert ids(done.stdout, "KILLED") == {thread.id}
            thread.join(3 if query_only else 30)
            return not thread.is_alive()

        # The server forgets a KILL QUERY that comes between two statements of a procedure.
        if query_only:
            wait_until(is_killed, what="the call has ended")
        else:
            assert is_killed()
        thread.join(10)
        assert thread.error in ((1317,) if query_only else (2013, 1317))


@BOTH
def test_the_next_call_is_not_the_one_that_was_listed(query_only: bool, server: MariaDB) -> None:
    with asking(server) as own, server.connect() as connection:
        number = connection.thread_id()  # type: ignore[no-untyped-call]
        with threads(server, (CALL, {})) as (thread,):
            [listed] = own.processes("ID = %s", (thread.id,))
            # As if it were that of another call, which was over a moment after the list.
            time.sleep(1)
            began = listed.listed_at
            assert began is not None
            later = replace(listed, seen_at=listed.seen_at - 5)
            earlier = replace(listed, listed_at=began - 5)
            for other in (later, earlier, replace(listed, id=number)):
                assert kill_same(own, other, query_only=query_only) is Outcome.PASSED_OVER
            assert thread.error is None
            [listed] = own.processes("ID = %s", (thread.id,))
            wait_until(lambda: own.processes("ID = %s", (thread.id,))[0] != listed)
            assert kill_same(own, listed, query_only=query_only) is Outcome.KILLED


def test_a_call_that_takes_long_to_end_is_reported_once(server: MariaDB) -> None:
    """What it ends in is another of its statements than the one that it was listed with."""
    where = ["--no-defaults", "--mysql-socket", server.socket, "--mysql-user", "root"]
    values, _ = parse(
        KILL, [*where, "--yes", "--interval", "1s", "--time", "1", "--command", "Query"]
    )
    killer = Killer(values)
    with threads(server, (CALL, {})) as (thread,):
        wait_a_second(server, thread.id)
        [listed] = killer.victims()
        assert killer.kill(listed)
        thread.join(10)
    ending = replace(listed, command=KILLED, statement=(listed.statement or 0) + 1)
    assert killer._without_killed([ending]) == []
    assert killer._without_killed([ending]) == []
    stranger = replace(ending, id=listed.id + 1)
    assert killer._without_killed([ending, stranger]) == [stranger]
    killer.close()
