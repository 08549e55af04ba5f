"""myps grep and kill against a real MariaDB with real threads."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests import shown
from tests.conftest import run, script, wait_until
from tests.peers.mariadb import Server, mariadb
from tests.peers.myps import Question, ids, myps, no_settings_of_ours, rows, settings, shop, threads

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


# -- grep -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["grep", "kill"])
def test_no_criteria_is_refused_in_the_originals_words(command: str, server: Server) -> None:
    done = myps(server, command)
    assert done.returncode == 1
    assert b"no matching criteria specified" in done.stderr
    assert f"myps {command} --help".encode() in done.stderr


def test_the_lines_of_the_original(server: Server) -> None:
    sql = "SELECT SLEEP(600), 'a\tb\nc', '日本', '\x01' /* " + "x" * 200 + " */"
    with threads(server, (sql, {"user": "app1", "database": "shop"}), (None, {"user": "app2"})) as (
        q,
        s,
    ):
        [row] = rows(myps(server, "grep", "--user", "app1").stdout)
        assert row["ID"] == str(q.id)
        assert (row["USER"], row["DB"], row["COMMAND"]) == ("app1", "shop", "Query")
        assert row["STATE"] == "User sleep"
        assert row["TIME"].isdigit()
        shown = "SELECT SLEEP(600), 'a\\tb\\nc', '日本', '\\x01' /* "
        assert row["INFO"].startswith(shown)
        assert len(row["INFO"]) == 110 + 2 + 3  # 110 characters, three of them written longer
        [row] = rows(myps(server, "grep", "-u", "app1", "-f").stdout)
        assert row["INFO"].endswith("x */")
        [row] = rows(myps(server, "grep", "-u", "app2").stdout)
        assert (row["DB"], row["STATE"], row["INFO"], row["COMMAND"]) == ("", "", "", "Sleep")
        assert row["ID"] == str(s.id)


def test_it_prints_what_the_manual_shows(server: Server, tmp_path: Path) -> None:
    server.execute("CREATE USER app@'%' IDENTIFIED BY 'pw'")
    server.execute("GRANT ALL ON shop.* TO app@'%'")
    output = shown.output("myps grep", {"--time 10": "--time 0", "10.0.0.7": "127.0.0.7"})
    who = {"user": "app", "database": "shop", "host": "127.0.0.1", "port": server.port}
    with threads(server, ("select sleep(600)", {**who, "bind_address": "127.0.0.7"})):
        done = run("myps", *output.words(), env=settings(server, tmp_path))
        output.compare(done.stdout)
    server.execute("DROP USER app@'%'")


def test_without_a_match_grep_is_1_and_kill_is_0(server: Server) -> None:
    done = myps(server, "grep", "--user", "nobody-at-all")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    done = myps(server, "kill", "--user", "nobody-at-all", stdin=b"y\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_own_connection_never_shows(server: Server) -> None:
    done = myps(server, "grep", "--info", "%SHOW PROCESSLIST%")
    assert (done.returncode, done.stdout) == (1, b"")


MARKED = """SELECT SLEEP(600) /* it's "50%" of a_b\\c; `x` */"""
FILTERS = [
    (["--info", "select sleep%"], True),
    (["--info", "%it's%"], True),
    (["--info", '%"50\\%"%'], True),
    (["--info", '%"5_\\%"%'], True),
    (["--info", '%"51\\%"%'], False),
    (["--info", "%a\\_b%"], True),
    (["--info", "%aXb%"], False),
    (["--info", "%b\\\\c%"], True),
    (["--info", "%`x`%"], True),
    (["--info", "%; DROP TABLE x%"], False),
    (["--info", "' OR 1=1 -- "], False),
    (["%it's%"], True),
    (["--info", "%%s%d"], False),
    (["-u", "app1"], True),
    (["-u", "APP_"], True),
    (["-u", "app"], False),
    (["--db", "my\\_db"], True),
    (["--db", "my%"], True),
    (["-d", "shop"], False),
    (["-c", "query"], True),
    (["-c", "Qu_ry", "-s", "User sleep"], True),
    (["-s", "user sl%"], True),
    (["-s", "updating"], False),
    (["-t", "0", "-u", "app%"], True),
    (["--duration", "0s", "-u", "app%"], True),
    (["--time=1000", "-u", "app%"], False),
    (["-u", "app1", "-d", "shop"], False),
]


def test_every_filter_wildcard_and_quoting(server: Server) -> None:
    """All of them in grep; kill uses the same list."""
    wanted = {"user": "app1", "database": "my_db"}
    with threads(server, (MARKED, wanted), ("SELECT SLEEP(600)", {"user": "report"})) as (q, other):
        wrong = []
        for arguments, matches in FILTERS:
            done = myps(server, "grep", *arguments)
            if (q.id in ids(done.stdout)) != matches or done.returncode == 2:
                wrong.append((arguments, matches, done))
        assert not wrong
        done = myps(server, "kill", "--yes", "--info", '%"50\\%"%')
        assert ids(done.stdout, "KILLED") == {q.id}
        q.join(10)
        assert q.error in (1317, 2013, 1927)
        assert other.alive()


def test_time_means_at_least(server: Server) -> None:
    with threads(server, (None, {"user": "app1"})) as (thread,):
        condition = "SELECT TIME FROM information_schema.PROCESSLIST WHERE ID = %s"
        wait_until(lambda: server.execute(condition, thread.id)[0][0] >= 2)
        assert ids(myps(server, "grep", "-t", "2", "-u", "app1").stdout) == {thread.id}
        assert ids(myps(server, "grep", "-t", "2s", "-u", "app1").stdout) == {thread.id}
        assert not ids(myps(server, "grep", "-t", "1m", "-u", "app1").stdout)


# -- kill -----------------------------------------------------------------------------------------


def test_the_list_is_shown_before_the_question(server: Server) -> None:
    with threads(server, ("SELECT SLEEP(600)", {"user": "app1"}), (None, {"user": "app1"})) as both:
        question = Question(server, "--user", "app1")
        assert ids(question.shown) == {thread.id for thread in both}
        last = question.shown.decode().splitlines()[-1]
        assert last == "Are you sure you want to kill threads? [y/N]:"
        assert all(thread.alive() for thread in both)
        status, out, err = question.answer(b"y\n")
        assert (status, err) == (0, b"")
        assert ids(out, "KILLED") == {thread.id for thread in both}
        wait_until(lambda: not any(thread.alive() for thread in both))


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"yes\n", b"Yy\n", b" y\n", b"", b"y"])
def test_any_other_answer_kills_nobody(answer: bytes, server: Server) -> None:
    with threads(server, (None, {"user": "app1"})) as (thread,):
        question = Question(server, "--user", "app1")
        status, out, err = question.answer(answer)
        assert b"KILLED" not in out
        assert thread.alive()
        assert status == (0 if answer.endswith(b"\n") else 1), err


@pytest.mark.parametrize("options", [[], ["--query-only"]], ids=["connection", "query"])
def test_one_that_moved_on_while_we_were_asked_survives(options: list[str], server: Server) -> None:
    """Eight connections at a time; each goes on to an innocent statement before the answer."""
    sql = "SELECT GET_LOCK('gate', 600), RELEASE_LOCK('gate'), SLEEP(0.0)"
    with threads(server, (None, {})) as (holder,), contextlib.closing(holder.connection) as gate:
        gate.query("SELECT GET_LOCK('gate', 0)")
        clients = [(sql, {"user": "app1"}) for _ in range(8)]
        stay = ("SELECT SLEEP(600)", {"user": "app1"})
        with threads(server, *clients, stay) as (*movers, stayer):
            question = Question(server, "--user", "app1", *options)
            assert len(ids(question.shown)) == 9
            gate.query("SELECT RELEASE_LOCK('gate')")
            for mover in movers:
                mover.join(10)
                assert mover.error is None
            innocent = []
            for mover in movers:
                thread = threading.Thread(target=mover.run)
                mover.sql = "SELECT SLEEP(2), 'innocent'"
                mover.rows = None
                thread.start()
                innocent.append(thread)
            wait_until(lambda: len(rows(myps(server, "grep", "%innocent%").stdout)) == 8)
            status, out, err = question.answer(b"y\n")
            for thread in innocent:
                thread.join(10)
            assert status == 0
            assert ids(out, "KILLED") == {stayer.id}
            assert err.count(b"on to another statement") == 8
            assert [mover.error for mover in movers] == [None] * 8
            assert [mover.rows for mover in movers] == [((0, "innocent"),)] * 8


def test_the_same_text_again_is_another_statement(server: Server) -> None:
    sql = "SELECT GET_LOCK('gate', 600), RELEASE_LOCK('gate'), 'twice'"
    with threads(server, (None, {})) as (holder,), contextlib.closing(holder.connection) as gate:
        gate.query("SELECT GET_LOCK('gate', 0)")
        with threads(server, (sql, {"user": "app1"})) as (thread,):
            question = Question(server, "--info", "%twice%")
            gate.query("SELECT RELEASE_LOCK('gate')")
            thread.join(10)
            assert thread.rows == ((1, 1, "twice"),)
            gate.query("SELECT GET_LOCK('gate', 600)")
            again = threading.Thread(target=thread.run)
            again.start()
            wait_until(thread.runs)
            _, out, err = question.answer(b"y\n")
            gate.query("SELECT RELEASE_LOCK('gate')")
            again.join(10)
            assert b"KILLED" not in out
            assert b"passed over" in err
            assert thread.error is None


def test_one_already_gone_is_passed_over(server: Server) -> None:
    with threads(server, (None, {"user": "app1"}), (None, {"user": "app1"})) as (gone, there):
        question = Question(server, "--user", "app1")
        server.execute(f"KILL {gone.id}")
        listed = "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s"
        wait_until(lambda: not server.execute(listed, gone.id))
        status, out, err = question.answer(b"y\n")
        assert status == 0
        assert ids(out, "KILLED") == {there.id}
        assert f"passed over {gone.id}".encode() in err


def test_query_only_leaves_the_connection_and_sleeping_ones(server: Server) -> None:
    with threads(
        server, ("SELECT SLEEP(600), 1 FROM shop.t RIGHT JOIN (SELECT 1) x ON 1", {"user": "app1"}),
        (None, {"user": "app1"}),
    ) as (busy, idle):  # fmt: skip
        done = myps(server, "kill", "--yes", "--query-only", "--user", "app1")
        assert ids(done.stdout, "KILLED") == {busy.id}
        busy.join(10)
        assert busy.error == 1317 or busy.rows is not None
        assert busy.alive()
        assert idle.alive()
        with busy.connection.cursor() as cursor:
            cursor.execute("SELECT 'still here'")
            assert cursor.fetchall() == (("still here",),)


def test_dry_run_kills_nobody(server: Server) -> None:
    with threads(server, (None, {"user": "app1"})) as (thread,):
        done = myps(server, "kill", "--dry-run", "--yes", "--user", "app1")
        assert done.returncode == 0
        assert ids(done.stdout) == {thread.id}
        assert b"Are you sure" not in done.stdout
        assert b"KILLED" not in done.stdout
        assert thread.alive()


def test_limit_victims_and_ignored_users(server: Server) -> None:
    clients: list[tuple[str | None, dict[str, Any]]] = [(None, {"user": "app1"})]
    with threads(server, *clients) as (oldest,):
        condition = "SELECT TIME FROM information_schema.PROCESSLIST WHERE ID = %s"
        wait_until(lambda: server.execute(condition, oldest.id)[0][0] >= 1)
        more = [(None, {"user": name}) for name in ("app1", "app2", "report")]
        with threads(server, *more) as (young, _, report):
            line = ["kill", "--dry-run", "--time", "0", "--user", "%p%"]
            found = ids(myps(server, *line, "--victims", "oldest").stdout)
            assert found == {oldest.id}
            found = ids(myps(server, *line, "--limit", "2").stdout)
            assert oldest.id in found
            assert len(found) == 2
            options = ["--ignore-user", "app2", "--ignore-user", "rep%"]
            found = ids(myps(server, *line, *options).stdout)
            assert found == {oldest.id, young.id}
            done = myps(server, "kill", "--yes", "--user", "%p%", *options)
            assert ids(done.stdout, "KILLED") == {oldest.id, young.id}
            assert report.alive()


def test_a_metadata_lock_is_found_and_its_waiter_ended(server: Server) -> None:
    with threads(server, (None, {})) as (holder,):
        holder.connection.query("BEGIN")
        holder.connection.query("SELECT * FROM shop.t")
        sql = "ALTER TABLE shop.t ADD COLUMN c INT"
        with threads(server, (sql, {"user": "app1"})) as (waiter,):
            state = "Waiting for table metadata lock"
            wait_until(lambda: waiter.id in ids(myps(server, "grep", "-s", state).stdout))
            done = myps(server, "kill", "-y", "--query-only", "-s", state)
            assert ids(done.stdout, "KILLED") == {waiter.id}
            waiter.join(10)
            assert waiter.error == 1317
            assert holder.alive()


def children_cpu_s() -> float:
    """Seconds of CPU of the commands that were run; how long they wait hangs on the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_thousands_of_connections(server: Server) -> None:
    count = 2000
    held = [server.connect(user="report", password="pw") for _ in range(count)]
    try:
        start_s = children_cpu_s()
        done = myps(server, "grep", "--user", "report")
        assert len(rows(done.stdout)) == count
        listed_s = children_cpu_s()
        assert listed_s - start_s < 10
        done = myps(server, "kill", "--yes", "--user", "report", timeout_s=200)
        assert len(ids(done.stdout, "KILLED")) == count
        assert children_cpu_s() - listed_s < 15
        condition = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'report'"
        wait_until(lambda: server.execute(condition) == ((0,),))
    finally:
        for connection in held:
            connection._force_close()  # type: ignore[attr-defined]


# -- the system's threads ---------------------------------------------------------------------


def test_replication_and_the_event_scheduler_are_spared(server: Server) -> None:
    server.execute("CREATE USER repl@'%' IDENTIFIED BY 'pw'")
    server.execute("GRANT REPLICATION SLAVE ON *.* TO repl@'%'")
    with mariadb(server_id=2, log_bin="b") as replica:
        replica.execute(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%s, MASTER_USER='repl', "
            "MASTER_PASSWORD='pw', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
            server.port,
        )
        replica.execute("START SLAVE")
        on_master = b"Binlog Dump"
        wait_until(
            lambda: (
                on_master in myps(server, "grep", "-t", "0").stdout
                and b"Slave_SQL" in myps(replica, "grep", "-t", "0").stdout
            ),
            within_s=30,
        )
        listed = rows(myps(server, "grep", "--user", "%").stdout)
        assert {"event_scheduler", "repl"} <= {row["USER"] for row in listed}
        before = {row["ID"] for row in listed if row["USER"] in ("event_scheduler", "repl")}
        done = myps(server, "kill", "--yes", "--user", "%")
        assert not {row["KILLED"] for row in rows(done.stdout, "KILLED")} & before
        assert done.stderr.count(b"a thread of the system") == 2
        done = myps(replica, "kill", "--yes", "--user", "%")
        assert ids(done.stdout, "KILLED") == set()
        assert done.stderr.count(b"system user") >= 2
        after = {row["ID"] for row in rows(myps(server, "grep", "--user", "%").stdout)}
        assert before <= after
        # Asked for by name, they are to be had.
        done = myps(server, "kill", "--yes", "--include-system", "--command", "binlog dump%")
        assert len(ids(done.stdout, "KILLED")) == 1


# -- how it is called --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--interval", "5s"], "--interval needs --yes or --dry-run"),
        (["--yes", "--interval", "0"], "--interval 0: below the minimum of 100ms"),
        (["--run-time", "5s"], "--run-time needs --interval"),
        (["--limit", "0"], "--limit 0: below the minimum of 1"),
        (["--victims", "some"], "--victims some: not one of all, oldest, all-but-oldest"),
        (["--time", "x"], "--time x: not a duration"),
        (["a", "b"], "b: unexpected argument"),
        (["--ssl-mode", "x"], "--ssl-mode x: not one of"),
    ],
)
def test_a_wrong_call_is_status_2(arguments: list[str], words: str, server: Server) -> None:
    done = myps(server, "kill", "--user", "x", *arguments)
    assert done.returncode == 2
    assert words in done.stderr.decode()


def test_commands_have_their_own_help() -> None:
    for name in ("grep", "kill", "top"):
        done = run("myps", name, "--help")
        assert done.returncode == 0
        assert f"Usage: myps {name} ".encode() in done.stdout
    done = run("myps", "list")
    assert done.returncode == 2
    assert b"list: no such command" in done.stderr
    assert run("myps").returncode == 2


# -- colour -------------------------------------------------------------------------------------


def test_colour_on_a_terminal_only(server: Server) -> None:
    import pty

    for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        lead, follow = pty.openpty()
        process = subprocess.Popen(
            [script("myps"), "grep", "--mysql-socket", server.socket, "--mysql-user", "root",
             "-u", "event_scheduler"],
            stdout=follow,
            env={**os.environ, "TERM": "xterm", **env},
        )  # fmt: skip
        os.close(follow)
        assert process.wait(20) == 0
        shown = os.read(lead, 10000)
        os.close(lead)
        assert (b"\033[" in shown) == coloured
        if coloured:
            assert shown.startswith(b"\033[0;32mID\033[0m:\033[0;35m")
