"""myps on MySQL: which tables it asks, chosen by what the server says of itself.

MySQL itself is in no package of Debian stable. Its part is played by conversations
(`mysql_replay`): recorded from a real MySQL 9.7, written by hand for older ones. The statements
that only MySQL gets are also run on a real MariaDB with the performance schema on, which has the
same tables but ``performance_schema.processlist``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from kojuto.tools.myps.connect import MypsConnection
from kojuto.tools.myps.kill_same import Outcome, kill_same
from kojuto.tools.myps.processes import Server, version_numbers
from tests.conftest import run
from tests.peers.mariadb import Server as MariaDB
from tests.peers.mariadb import mariadb
from tests.peers.myps import ids, threads
from tests.peers.mysql_replay import Replay, conversation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kojuto.tools.myps.processes import Process


def kill(replay: Replay, *options: str) -> Any:
    where = ["--no-defaults", "--mysql-host", "127.0.0.1", "--mysql-port", str(replay.port)]
    return run("myps", "kill", "--yes", *where, "--mysql-user", "app", *options)


AGED = ["--time", "60"]
VICTIMS = {"9.7-kill": 33, "9.7-query-only": 35}
CLIENT_SSL = 0x0800


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("9.7-kill", []),
        ("9.7-query-only", ["--query-only"]),
        ("8.0-kill", []),
        ("8.4-query-only", ["--query-only"]),
        ("8.0-without-performance-schema", []),
        ("8.0-denied", []),
        ("8.0.21", []),
        ("5.7", []),
        ("5.6", []),
    ],
)
def test_each_server_is_asked_what_it_has(name: str, options: list[str]) -> None:
    with Replay(conversation(name)) as replay:
        done = kill(replay, *(["--command", "Query"] if replay.greeting else AGED), *options)
    assert not replay.unexpected
    assert not replay.exchanges, "the conversation was not held to its end"
    assert done.returncode == 0, done.stderr
    assert ids(done.stdout, "KILLED") == {VICTIMS.get(name, 42)}


def test_the_systems_threads_of_mysql_are_spared() -> None:
    with Replay(conversation("8.0-kill")) as replay:
        done = kill(replay, *AGED)
    assert done.stderr.count(b"a thread of the system") == 3
    assert sum("KILL" in statement for statement in replay.asked) == 1


@pytest.mark.parametrize(
    ("name", "options", "victim"),
    [("9.7-moved-on", ["--info", "%report%"], b"37"), ("8.0-moved-on", AGED, b"42")],
)
def test_one_that_moved_on_is_passed_over(name: str, options: list[str], victim: bytes) -> None:
    with Replay(conversation(name)) as replay:
        done = kill(replay, *options)
    assert not replay.unexpected
    assert done.returncode == 0
    assert b"KILLED" not in done.stdout
    assert b"passed over " + victim in done.stderr


def test_a_server_without_tls_is_not_told_that_it_begins() -> None:
    """MySQL takes the flag in the login for the beginning of TLS: Bad handshake (1043)."""
    with Replay(conversation("9.7-kill")) as replay:
        done = kill(replay, "--command", "Query")
    assert done.returncode == 0
    assert not int.from_bytes(replay.login[:4], "little") & CLIENT_SSL


def test_a_password_is_never_sent_in_plain_over_an_open_connection() -> None:
    told = {**conversation("5.6"), "switch": "mysql_clear_password"}
    with Replay(told) as replay:
        done = kill(replay, *AGED, "--mysql-password", "sesame")
    assert done.returncode == 1
    assert b"asks for the password in plain text" in done.stderr
    assert replay.login
    assert b"sesame" not in replay.login + replay.password
    assert not replay.asked


def test_versions_are_read_as_numbers() -> None:
    assert version_numbers("8.0.36") == (8, 0, 36)
    assert version_numbers("5.7.44-log") == (5, 7, 44)
    assert version_numbers("5.5.5-10.11.19-MariaDB-log") == (10, 11, 19)
    assert version_numbers("8.0.mysql_aurora.3.04.0") == (8, 0, 0)


# -- the statements for MySQL on a real server --------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with mariadb(
        performance_schema="ON", performance_schema_consumer_events_statements_current="ON"
    ) as started:
        started.execute("CREATE USER app@'%' IDENTIFIED BY 'pw'")
        yield started


@pytest.fixture(params=["events", "start"])
def as_mysql(request: pytest.FixtureRequest, server: MariaDB) -> Iterator[Server]:
    """A connection that takes the server for a MySQL with or without statement events."""
    connection = MypsConnection(
        user="root",
        unix_socket=server.socket,
        ssl_disabled=True,
        use_unicode=False,
        autocommit=True,
        client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
    )
    found = Server(connection)
    found.mariadb = False
    found._ask_performance_schema((5, 7))
    assert found.events
    found.events = request.param == "events"
    yield found
    connection.close()


def listed(server: Server, number: int) -> Process:
    [found] = server.processes("ID = %s", [number])
    return found


@pytest.mark.parametrize("query_only", [True, False], ids=["query", "connection"])
def test_the_same_statement_dies(query_only: bool, as_mysql: Server, server: MariaDB) -> None:
    with threads(server, ("SELECT SLEEP(600), 'a''b\\\\c%'", {"user": "app"})) as (thread,):
        victim = listed(as_mysql, thread.id)
        assert (victim.statement is not None) == as_mysql.events
        assert kill_same(as_mysql, victim, query_only=query_only) is Outcome.KILLED
        thread.join(10)
        assert not thread.is_alive()
        assert thread.alive() == query_only
        if not query_only:
            assert kill_same(as_mysql, victim, query_only=False) is Outcome.PASSED_OVER


@pytest.mark.parametrize("query_only", [True, False], ids=["query", "connection"])
def test_another_statement_lives(query_only: bool, as_mysql: Server, server: MariaDB) -> None:
    with threads(server, ("SELECT SLEEP(600), 1", {"user": "app"})) as (thread,):
        victim = listed(as_mysql, thread.id)
        server.execute(f"KILL QUERY {thread.id}")
        thread.join(30)
        assert not thread.is_alive(), "it was killed"
        asleep = listed(as_mysql, thread.id)
        thread.sql = "SELECT SLEEP(1.5), 'innocent'"
        again = threading.Thread(target=thread.run)
        again.start()
        while not listed(as_mysql, thread.id).info:
            pass
        assert kill_same(as_mysql, victim, query_only=query_only) is Outcome.PASSED_OVER
        assert kill_same(as_mysql, asleep, query_only=query_only) is Outcome.PASSED_OVER
        again.join(10)
        assert thread.rows == ((0, "innocent"),)


@pytest.mark.parametrize("as_mysql", ["events"], indirect=True)
def test_the_same_text_again_is_another_event(as_mysql: Server, server: MariaDB) -> None:
    """Without events the start is known to the second only."""
    sql = "SELECT SLEEP(0.6), 'same'"
    with threads(server, (sql, {"user": "app"})) as (thread,):
        victim = listed(as_mysql, thread.id)
        thread.join(10)
        again = threading.Thread(target=thread.run)
        again.start()
        while listed(as_mysql, thread.id).info != sql:
            pass
        assert kill_same(as_mysql, victim, query_only=False) is Outcome.PASSED_OVER
        again.join(10)
        assert thread.rows == ((0, "same"),)
