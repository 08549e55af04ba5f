"""myps: who is meant by a host and spared by each filter, and lists as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.peers.myps import Question, ids, myps, no_settings_of_ours, shop, threads

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


def test_a_host_is_meant_with_its_port_and_without(server: Server) -> None:
    remote = {"user": "app1", "host": "127.0.0.1", "port": server.port}
    with threads(server, (SLEEP, remote), (SLEEP, {"user": "app1"})) as (far, near):
        far_host = server.execute(
            "SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = %s", far.id
        )[0][0]
        assert far_host.startswith("127.0.0.1:")
        grep = ["grep", "--user", "app1"]
        for pattern, found in (
            ("127.0.0.1", {far.id}), (far_host, {far.id}), ("127.0.%", {far.id}),
            ("localhost", {near.id}), ("%", {far.id, near.id}), ("127", set()), ("", set()),
        ):  # fmt: skip
            if pattern:
                assert ids(myps(server, *grep, "--host", pattern).stdout) == found, pattern
        assert ids(myps(server, "grep", "--host", "127.0.0.1").stdout) == {far.id}
        spare = ["kill", "--dry-run", "--user", "app1", "--ignore-host"]
        assert ids(myps(server, *spare, "127.0.0.1").stdout) == {near.id}
        assert ids(myps(server, *spare, far_host).stdout) == {near.id}
        assert ids(myps(server, *spare, "localhost").stdout) == {far.id}


@pytest.mark.parametrize("column", ["user", "host", "db", "command", "state"])
@pytest.mark.parametrize("option", ["--", "--ignore-"])
def test_a_character_that_no_name_has_is_named(option: str, column: str, server: Server) -> None:
    # MariaDB's names end at U+FFFF; a comparison with more is its error 1267.
    dry_run = ["kill", "--dry-run", "--time", "9999", f"{option}{column}"]
    done = myps(server, *dry_run, "💥%")
    assert (done.returncode, done.stdout) == (1, b"")
    assert "💥%: this server's process list has no character beyond U+FFFF" in done.stderr.decode()
    assert b"write _ for each of them" in done.stderr
    assert myps(server, *dry_run, "_%").returncode == 0


@pytest.mark.parametrize(
    "spare",
    [
        ["--ignore-db", "my\\_db"],
        ["--ignore-command", "query"],
        ["--ignore-state", "user sl%"],
        ["--ignore-info", "%sleep%"],
        ["--ignore-user", "app1"],
        ["--ignore-info", "nothing", "--ignore-info", "%SLEEP%"],
    ],
)
def test_each_filter_spares_who_matches_and_nobody_else(spare: list[str], server: Server) -> None:
    busy = (SLEEP, {"user": "app1", "database": "my_db"})
    with threads(server, busy, (None, {"user": "app2"})) as (spared, idle):
        done = myps(server, "kill", "--yes", "--user", "app_", *spare)
        assert ids(done.stdout, "KILLED") == {idle.id}
        assert spared.alive()


def test_all_but_the_oldest(server: Server) -> None:
    with threads(server, (None, {"user": "app1"})) as (oldest,):
        condition = "SELECT TIME FROM information_schema.PROCESSLIST WHERE ID = %s"
        wait_until(lambda: server.execute(condition, oldest.id)[0][0] >= 1)
        with threads(server, *[(None, {"user": "app1"})] * 3) as young:
            line = ["kill", "--user", "app1", "--victims", "all-but-oldest"]
            assert len(ids(myps(server, *line, "--dry-run", "--limit", "2").stdout)) == 2
            done = myps(server, *line, "--yes")
            assert ids(done.stdout, "KILLED") == {thread.id for thread in young}
            assert oldest.alive()
            assert myps(server, *line, "--yes").stdout == b""


@pytest.mark.parametrize(("count", "words"), [(1, b"1 thread"), (3, b"3 threads")])
def test_the_question_tells_how_many(count: int, words: bytes, server: Server) -> None:
    with threads(server, *[(None, {"user": "app1"})] * count):
        question = Question(server, "--user", "app1")
        assert question.shown.splitlines()[-2] == words + b" would be killed."
        assert question.answer(b"n\n")[0] == 0


def test_lists_as_json(server: Server) -> None:
    sql = "SELECT SLEEP(600), '日本 \\t\" 🙂', '" + "x" * 100 + "'"
    with threads(server, (sql, {"user": "app1", "database": "shop"})) as (thread,):
        for more, info in (([], sql[:110]), (["--full"], sql)):
            done = myps(server, "grep", "--user", "app1", "--output", "json", *more)
            [found] = [json.loads(line) for line in done.stdout.splitlines()]
            time = found.pop("time")
            assert isinstance(time, int)
            assert found == {
                "id": thread.id, "user": "app1", "host": "localhost", "db": "shop",
                "command": "Query", "state": "User sleep", "info": info,
            }  # fmt: skip
        done = myps(server, "kill", "--yes", "--user", "app1", "--output", "json")
        assert json.loads(done.stdout)["killed"] == thread.id


@pytest.mark.parametrize(
    "settings",
    [
        {"sql_select_limit": 1},
        {"sql_mode": "HIGH_NOT_PRECEDENCE,PAD_CHAR_TO_FULL_LENGTH"},
        {"sql_mode": "ORACLE,EMPTY_STRING_IS_NULL,NO_BACKSLASH_ESCAPES"},
        {"max_join_size": 1, "sql_big_selects": 0},
    ],
    ids=str,
)
def test_what_a_server_is_set_to_for_everybody_hides_no_thread(
    settings: dict[str, object], server: Server
) -> None:
    before = {name: server.execute(f"SELECT @@GLOBAL.{name}")[0][0] for name in settings}
    sql = "SELECT SLEEP(600), 'it''s'"
    with threads(server, *[(sql, {"user": "app1"})] * 3) as found:
        every = {thread.id for thread in found}
        try:
            for name, value in settings.items():
                server.execute(f"SET GLOBAL {name} = %s", value)
            listed = myps(server, "grep", "--info", "%it''s%")
            line = ["kill", "--dry-run", "--user", "app1", "--ignore-user"]
            spared, other = (myps(server, *line, name) for name in ("%", "root"))
            killed = myps(server, "kill", "--yes", "--user", "app1")
        finally:
            for name, value in before.items():
                server.execute(f"SET GLOBAL {name} = %s", value)
        assert ids(listed.stdout) == every, listed.stderr
        assert (ids(spared.stdout), ids(other.stdout)) == (set(), every)
        assert ids(killed.stdout, "KILLED") == every
