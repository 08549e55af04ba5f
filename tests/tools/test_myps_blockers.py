"""myps blockers and myps kill --blockers: who waits for whom, on a real server."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.tools.myps.blockers import tree
from kojuto.tools.myps.locks import ASKED_BEFORE, HELD_AGAINST, Lock, Wait, between, roots
from kojuto.tools.myps.processes import Process
from tests import shown
from tests.conftest import run, wait_until
from tests.peers.mariadb import Server, mariadb
from tests.peers.myps import Thread, ids, myps, settings, threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPDATE = "UPDATE shop.t SET n = n + 1 WHERE id = 1"
ALTER = "ALTER TABLE shop.t ADD COLUMN note TEXT"


def started(**options: object) -> contextlib.AbstractContextManager[Server]:
    return mariadb(max_connections=200, lock_wait_timeout=600, innodb_lock_wait_timeout=600,
                   **options)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with started(
        performance_schema="ON", performance_schema_instrument="wait/lock/metadata/sql/mdl=ON"
    ) as one:
        one.execute("CREATE DATABASE shop")
        one.execute("CREATE TABLE shop.t (id INT PRIMARY KEY, n INT) ENGINE=InnoDB")
        one.execute("INSERT INTO shop.t VALUES (1, 0), (2, 0)")
        yield one


@contextlib.contextmanager
def idle_in_transaction(server: Server, sql: str = UPDATE) -> Iterator[Thread]:
    """A connection that has done something and sleeps, its transaction open."""
    with threads(server, (None, {"autocommit": False})) as (holder,):
        with holder.connection.cursor() as cursor:
            cursor.execute(sql)
        yield holder


def waiting(server: Server, *who: Thread) -> None:
    """Wait until the server says of each that it waits for a metadata lock."""

    def all_wait() -> bool:
        rows = server.execute(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for%lock'"
        )
        return {each.id for each in who} <= {int(row[0]) for row in rows}

    wait_until(all_wait, what="they wait for locks")


def lines(server: Server, *arguments: str) -> list[str]:
    done = myps(server, "blockers", *arguments)
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


def wait_for_pairs(server: Server, pairs: set[tuple[int, int]]) -> list[dict[str, Any]]:
    """The waits once they are all told; InnoDB shows an old state to who asks more often than every
    100 ms.
    """
    found: list[dict[str, Any]] = []

    def told() -> bool:
        found[:] = [json.loads(line) for line in lines(server, "--output", "json")]
        return {(each["blocker"]["id"], each["waiter"]["id"]) for each in found} == pairs

    wait_until(told, what=lambda: f"{pairs}, not {found}")
    return found


def test_nobody_waits_is_status_1(server: Server) -> None:
    done = myps(server, "blockers")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_row_locks_are_told_as_a_tree(server: Server) -> None:
    with idle_in_transaction(server) as holder, threads(server, (UPDATE, {})) as (first,):
        (wait,) = wait_for_pairs(server, {(holder.id, first.id)})
        assert wait["lock"] == "a row lock (X) of shop.t PRIMARY"
        assert wait["waiter"]["info"] == UPDATE
        assert wait["blocker"]["command"] == "Sleep"
        top, below = lines(server)
        assert re.fullmatch(rf"{holder.id} root@localhost, Sleep for \d+ s", top)
        assert below.startswith(f"└─ {first.id} root@localhost, Query for ")
        assert below.endswith(f" s, waits for a row lock (X) of shop.t PRIMARY: {UPDATE}")


def test_a_reader_waits_for_an_alter_that_waits_for_an_open_transaction(server: Server) -> None:
    with (
        idle_in_transaction(server, "SELECT * FROM shop.t") as holder,
        threads(server, (ALTER, {})) as (alter,),
    ):
        waiting(server, alter)
        with threads(server, ("SELECT n FROM shop.t", {})) as (reader,):
            waiting(server, reader)
            wait_for_pairs(server, {(holder.id, alter.id), (alter.id, reader.id)})
            top, middle, below = lines(server)
            assert top.startswith(f"{holder.id} ")
            assert middle.startswith(f"└─ {alter.id} ")
            assert "waits for the metadata lock (EXCLUSIVE) of table shop.t" in middle
            assert below.startswith(f"   └─ {reader.id} ")
            # Only the first of the chain is killed, and the others go on.
            done = myps(server, "kill", "--blockers", "--yes")
            assert ids(done.stdout, "KILLED") == {holder.id}, done.stderr
            for each in (alter, reader):
                each.join(60)
                assert (each.is_alive(), each.error) == (False, None)


def test_it_prints_what_the_manual_shows(server: Server, tmp_path: Path) -> None:
    output = shown.output("myps blockers", {"10.0.0.": "127.0.0."})
    for user in ("app", "batch"):
        server.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'pw'")
        server.execute(f"GRANT ALL ON shop.* TO {user}@'%'")
    server.execute("CREATE TABLE shop.orders (id INT PRIMARY KEY) ENGINE=InnoDB")
    there = {"host": "127.0.0.1", "port": server.port, "password": "pw"}
    app = {**there, "user": "app", "bind_address": "127.0.0.7"}
    batch = {**there, "user": "batch", "bind_address": "127.0.0.9"}
    holder = server.connect(**app, database="shop", autocommit=False)
    with contextlib.closing(holder), holder.cursor() as cursor:
        cursor.execute("SELECT * FROM orders")
        with threads(server, ("ALTER TABLE shop.orders ADD COLUMN note TEXT", batch)) as (alter,):
            waiting(server, alter)
            sql = "SELECT * FROM orders"
            with threads(server, (sql, {**app, "database": "shop"})) as (reader,):
                waiting(server, reader)
                done = run("myps", *output.words(), env=settings(server, tmp_path))
                output.compare(done.stdout)


def test_filters_narrow_the_blockers(server: Server) -> None:
    with idle_in_transaction(server) as holder, threads(server, (UPDATE, {})) as (waiter,):
        wait_for_pairs(server, {(holder.id, waiter.id)})
        for options, expected in (
            (["--blockers"], {holder.id}),
            (["--blockers", "--command", "Query"], set()),
            (["--blockers", "--time", "3600"], set()),
            (["--blockers", "--query-only"], set()),
            (["--command", "Query", "--info", "UPDATE%"], {waiter.id}),
        ):
            done = myps(server, "kill", "--dry-run", *options)
            assert ids(done.stdout) == expected, options
        assert holder.alive()
        assert waiter.alive()


def test_what_the_server_does_not_watch_is_said() -> None:
    with started() as plain:
        done = myps(plain, "blockers")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"warning: metadata locks: " in done.stderr
    assert b"wait/lock/metadata/sql/mdl" in done.stderr


def test_without_process_it_is_said(server: Server) -> None:
    server.execute("CREATE OR REPLACE USER nobody@'%' IDENTIFIED BY 'pw'")
    done = myps(server, "blockers", "--mysql-user", "nobody", "--mysql-password", "pw")
    assert b"warning: row locks: Access denied" in done.stderr
    assert done.returncode == 1


def test_a_schema_that_is_dropped_waits_for_who_creates_in_it(server: Server) -> None:
    server.execute("CREATE DATABASE gone")
    create = "CREATE TABLE gone.t SELECT SLEEP(600)"
    with (
        threads(server, (create, {})) as (making,),
        threads(server, ("DROP DATABASE gone", {})) as (drop,),
    ):
        waiting(server, drop)
        (wait,) = wait_for_pairs(server, {(making.id, drop.id)})
        assert wait["lock"] == "the metadata lock (EXCLUSIVE) of schema gone"


@contextlib.contextmanager
def with_done(server: Server, *statements: str) -> Iterator[Thread]:
    """A connection that has done these, and sleeps."""
    with threads(server, (None, {})) as (holder,):
        with holder.connection.cursor() as cursor:
            for sql in statements:
                cursor.execute(sql)
        yield holder


def test_a_backup_that_blocks_ddl_is_told_and_not_who_writes_meanwhile(server: Server) -> None:
    stages = [f"BACKUP STAGE {stage}" for stage in ("START", "FLUSH", "BLOCK_DDL")]
    write = "INSERT INTO shop.t (id, n) SELECT 3, SLEEP(600)"
    server.execute("CREATE TABLE shop.plain (id INT) ENGINE=MyISAM")
    with with_done(server, *stages) as backup, threads(server, (write, {})):
        new, plain = "CREATE TABLE shop.new (id INT)", "INSERT INTO shop.plain VALUES (1)"
        with threads(server, (new, {}), (plain, {})) as (create, insert):
            waiting(server, create, insert)
            wait_for_pairs(server, {(backup.id, create.id), (backup.id, insert.id)})
            done = myps(server, "kill", "--blockers", "--yes")
            assert ids(done.stdout, "KILLED") == {backup.id}, done.stderr


def test_an_alter_that_copies_is_told_by_those_who_wait_to_write(server: Server) -> None:
    server.execute("CREATE TABLE shop.big ENGINE=InnoDB SELECT seq AS id FROM shop.seq_1_to_5000")
    slow = "ADD COLUMN sum CHAR(128) DEFAULT (SHA2(REPEAT(id, 2000000), 512)), ALGORITHM=COPY"
    reader = idle_in_transaction(server, "SELECT * FROM shop.big")
    with threads(server, (f"ALTER TABLE shop.big {slow}", {})) as (alter,):
        state = "SELECT STATE FROM information_schema.PROCESSLIST WHERE ID = %s"
        wait_until(lambda: server.execute(state, alter.id)[0][0] == "copy to tmp table")
        with reader, threads(server, ("INSERT INTO shop.big (id) VALUES (1)", {})) as (insert,):
            waiting(server, insert)
            (wait,) = wait_for_pairs(server, {(alter.id, insert.id)})
            assert wait["sure"] is True


def test_lock_tables_read_is_named_with_other_readers_and_nobody_is_killed(server: Server) -> None:
    locked = with_done(server, "LOCK TABLES shop.t READ")
    reading = idle_in_transaction(server, "SELECT * FROM shop.t")
    with locked as holder, reading as reader, threads(server, (UPDATE, {})) as (waiter,):
        waiting(server, waiter)
        found = wait_for_pairs(server, {(holder.id, waiter.id), (reader.id, waiter.id)})
        assert not any(wait["sure"] for wait in found)
        assert all("LOCK TABLES" in line for line in lines(server) if line.startswith("└─"))
        done = myps(server, "kill", "--blockers", "--yes")
        assert done.stdout == b""
        for each in (holder, reader):
            assert f"warning: not killed: {each.id} ".encode() in done.stderr


def test_a_prepared_transaction_without_a_connection_is_called_that(server: Server) -> None:
    xa = ("XA START 'x'", UPDATE, "XA END 'x'", "XA PREPARE 'x'")
    with with_done(server, *xa):
        pass
    try:
        with threads(server, (UPDATE, {})) as (waiter,):
            wait_for_pairs(server, {(0, waiter.id)})
            assert lines(server)[0].startswith("prepared XA transactions of no connection")
            done = myps(server, "kill", "--blockers", "--yes")
            assert b"warning: nobody to kill: prepared XA transactions" in done.stderr
            assert done.stdout == b""
    finally:
        server.execute("XA ROLLBACK 'x'")


# -- the pure parts --------------------------------------------------------------------------------


def thread(number: int, info: str = "") -> Process:
    return Process(number, "app", "h", "", "Query", 1, "", info)


def drawn(*pairs: tuple[int, int]) -> list[str]:
    numbers = {number for pair in pairs for number in pair}
    by_id = {number: thread(number) for number in numbers}
    found = [Wait(waiter, blocker, "x") for blocker, waiter in pairs]
    return [
        line.replace(" app@h, Query for 1 s", "").replace(", waits for x", "")
        for line in tree(found, by_id, full=False)
    ]


def test_a_tree_with_branches() -> None:
    assert drawn((1, 2), (1, 3), (3, 4), (3, 5), (2, 6)) == [
        "1", "├─ 2", "│  └─ 6", "└─ 3", "   ├─ 4", "   └─ 5",
    ]  # fmt: skip


def test_one_who_waits_for_two_is_unfolded_once() -> None:
    assert drawn((1, 3), (2, 3), (3, 4)) == ["1", "└─ 3", "   └─ 4", "2", "└─ 3 (see above)"]


def test_a_circle_ends() -> None:
    assert drawn((1, 2), (2, 1)) == ["1", "└─ 2", "   └─ 1 (see above)"]
    assert roots([Wait(1, 2, "x"), Wait(2, 1, "x")]) == set()


def test_a_long_chain_is_drawn() -> None:
    chain = drawn(*((number, number + 1) for number in range(2000)))
    assert len(chain) == 2001


def test_a_thread_that_is_gone_is_named() -> None:
    assert list(tree([Wait(2, 1, "x")], {2: thread(2, "SELECT\n1")}, full=False)) == [
        "1 (gone meanwhile)",
        "└─ 2 app@h, Query for 1 s, waits for x: SELECT\\n1",
    ]


def test_metadata_locks_that_do_not_conflict_keep_nobody_waiting() -> None:
    asked = Lock(1, "table shop.t", "EXCLUSIVE", pending=True)
    others = [
        Lock(2, "table shop.t", "SHARED_READ", pending=False),
        Lock(3, "table shop.u", "SHARED_READ", pending=False),  # another table
        Lock(1, "table shop.t", "SHARED_UPGRADABLE", pending=False),  # its own
        Lock(4, "table shop.t", "SHARED_READ", pending=True),  # it waits behind the first
    ]
    pairs = {(wait.waiter, wait.blocker) for wait in between([asked, *others])}
    assert pairs == {(1, 2), (4, 1)}


def test_the_rules_of_metadata_locks_are_symmetric_where_both_are_held() -> None:
    for kind, against in HELD_AGAINST.items():
        for other in against:
            # Of the locks of backups the server's own rules are not.
            assert kind in HELD_AGAINST[other] or other.startswith("BACKUP_"), (kind, other)
    assert set(ASKED_BEFORE) <= set(HELD_AGAINST)
