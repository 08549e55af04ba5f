"""myps grep and kill against a real MariaDB with real threads."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from tests.conftest import fill, run, script, wait_until
from tests.peers.mariadb import Server, mariadb

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = ["USER", "HOST", "DB", "COMMAND", "TIME", "STATE", "INFO"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with mariadb(
        max_connections=3000, event_scheduler="ON", log_bin="b", server_id=1, thread_cache_size=0
    ) as started:
        started.execute("CREATE DATABASE shop")
        started.execute("CREATE DATABASE `my_db`")
        started.execute("CREATE TABLE shop.t (id INT) ENGINE=InnoDB")
        for user in ("app1", "app2", "report"):
            started.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'pw'")
            started.execute(f"GRANT ALL ON *.* TO {user}@'%'")
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MYSQL_PWD", "MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT", "MYSQL_HOME"):
        monkeypatch.delenv(name, raising=False)


class Thread(threading.Thread):
    """A connection that runs one statement (or sleeps) until it ends or is killed."""

    def __init__(self, server: Server, sql: str | None, **options: Any) -> None:
        super().__init__(daemon=True)
        if "user" in options:
            options.setdefault("password", "pw")
        self.server = server
        self.sql = sql
        self.connection = server.connect(**options)
        self.id: int = self.connection.thread_id()  # type: ignore[no-untyped-call]
        self.error: int | None = None
        self.rows: Any = None
        if sql is not None:
            self.start()
            wait_until(self.runs, what=f"{sql} runs")

    def runs(self) -> bool:
        found = self.server.execute(
            "SELECT INFO FROM information_schema.PROCESSLIST WHERE ID = %s", self.id
        )
        return not self.is_alive() or (bool(found) and found[0][0] is not None)

    def run(self) -> None:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(self.sql or "")
                self.rows = cursor.fetchall()
        except pymysql.err.MySQLError as error:
            self.error = error.args[0]

    def alive(self) -> bool:
        return bool(
            self.server.execute(
                "SELECT 1 FROM information_schema.PROCESSLIST "
                "WHERE ID = %s AND COMMAND != 'Killed'",
                self.id,
            )
        )

    def close(self) -> None:
        with contextlib.suppress(pymysql.err.MySQLError):
            self.server.execute(f"KILL {self.id}")
        if self.sql is not None:
            self.join(10)
        with contextlib.suppress(pymysql.err.MySQLError):
            self.connection.close()
        self.connection._force_close()  # type: ignore[attr-defined]


@contextlib.contextmanager
def threads(
    server: Server, *statements: tuple[str | None, dict[str, Any]]
) -> Iterator[list[Thread]]:
    started: list[Thread] = []
    try:
        for sql, options in statements:
            started.append(Thread(server, sql, **options))
        yield started
    finally:
        for thread in started:
            thread.close()


def myps(server: Server, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command, *rest = arguments
    where = ["--mysql-socket", server.socket, "--mysql-user", "root"]
    return run("myps", command, *where, *rest, **options)


def rows(output: bytes, label: str = "ID") -> list[dict[str, str]]:
    found = []
    for line in output.decode().splitlines():
        if line.startswith(label + ":"):
            pairs = [field.split(":", 1) for field in line.split("\t")]
            assert [name for name, _ in pairs] == [label, *KEYS]
            found.append(dict(pairs))
    return found


def ids(output: bytes, label: str = "ID") -> set[int]:
    return {int(row[label]) for row in rows(output, label)}


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


class Question:
    """A kill that has asked and waits for the answer."""

    def __init__(self, server: Server, *arguments: str) -> None:
        where = ["--mysql-socket", server.socket, "--mysql-user", "root"]
        self.process = subprocess.Popen(
            [script("myps"), "kill", *where, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.shown = b""
        while not self.shown.endswith(b"[y/N]:"):
            byte = self.process.stdout.read(1)
            assert byte, self.process.communicate()
            self.shown += byte

    def answer(self, text: bytes) -> tuple[int, bytes, bytes]:
        out, err = self.process.communicate(text, timeout=30)
        return self.process.returncode, out, err


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
    sql = "SELECT SLEEP(1), 'twice'"
    with threads(server, (sql, {"user": "app1"})) as (thread,):
        question = Question(server, "--info", "%twice%")
        thread.join(10)
        again = threading.Thread(target=thread.run)
        again.start()
        wait_until(thread.runs)
        _, out, err = question.answer(b"y\n")
        again.join(10)
        assert b"KILLED" not in out
        assert b"passed over" in err
        assert thread.rows == ((0, "twice"),)


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


def test_thousands_of_connections(server: Server) -> None:
    count = 2000
    held = [server.connect(user="report", password="pw") for _ in range(count)]
    try:
        start = time.monotonic()
        done = myps(server, "grep", "--user", "report")
        assert len(rows(done.stdout)) == count
        assert time.monotonic() - start < 10
        start = time.monotonic()
        done = myps(server, "kill", "--yes", "--user", "report", timeout_s=100)
        assert len(ids(done.stdout, "KILLED")) == count
        assert time.monotonic() - start < 30
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


# -- watching -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--interval", "5s"], "--interval needs --yes or --dry-run"),
        (["--yes", "--interval", "0"], "--interval 0: below the minimum of 100ms"),
        (["--run-time", "5s"], "--run-time needs --interval"),
        (["--limit", "0"], "--limit 0: below the minimum of 1"),
        (["--victims", "some"], "--victims some: not one of all, oldest"),
        (["--time", "x"], "--time x: no duration"),
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


# -- connecting ---------------------------------------------------------------------------------


def test_option_files_the_environment_and_the_command_line(server: Server, tmp_path: Path) -> None:
    server.execute("CREATE OR REPLACE USER filed@'%' IDENTIFIED BY 'pa#ss \\'x'")
    server.execute("GRANT PROCESS ON *.* TO filed@'%'")
    home = tmp_path / ".my.cnf"
    home.write_text(
        f'[client]\nuser=filed\npassword="pa#ss \'x" # quoted\nsocket={server.socket}\n'
    )
    grep = ["grep", "--user", "event_scheduler"]
    assert run("myps", *grep).returncode == 0
    home.write_text(f"[client]\nuser=filed\nsocket={server.socket}\n")
    denied = run("myps", *grep)
    assert denied.returncode == 1
    assert b"Access denied" in denied.stderr
    assert b"hint: " in denied.stderr
    assert run("myps", *grep, env={"MYSQL_PWD": "pa#ss 'x"}).returncode == 0
    assert run("myps", *grep, "--mysql-password", "pa#ss 'x").returncode == 0
    home.write_text(f"[client]\nuser=filed\npassword=wrong\nsocket={server.socket}\n")
    assert run("myps", *grep, env={"MYSQL_PWD": "pa#ss 'x"}).returncode == 1  # the file wins
    extra = tmp_path / "extra.cnf"
    extra.write_text("[myps]\npassword='pa#ss \\'x'\n")
    assert run("myps", *grep, "--defaults-extra-file", str(extra)).returncode == 1  # home wins
    home.write_text(f"[client]\nuser=filed\nsocket={server.socket}\n")
    assert run("myps", *grep, "--defaults-extra-file", str(extra)).returncode == 0
    home.unlink()
    port = ["--mysql-host", "127.0.0.1", "--mysql-port", str(server.port)]
    assert run("myps", *grep, *port, "--mysql-user", "filed").returncode == 1
    assert run("myps", *grep, *port, "--mysql-user", "root").returncode == 0
    missing = run("myps", *grep, "--defaults-file", "/no/such.cnf")
    assert missing.returncode == 1
    assert b"/no/such.cnf: No such file or directory" in missing.stderr


def test_a_password_is_neither_in_ps_nor_in_the_debug_output(server: Server) -> None:
    server.execute("CREATE OR REPLACE USER hidden@'%' IDENTIFIED BY 'sesame-open'")
    line = [script("myps"), "kill", "--mysql-socket", server.socket, "--mysql-user", "hidden"]
    with threads(server, (None, {"user": "hidden", "password": "sesame-open"})):
        process = subprocess.Popen(
            [*line, "--mysql-password=sesame-open", "-D", "-u", "hidden"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        path = Path(f"/proc/{process.pid}/cmdline")
        wait_until(lambda: b"kill" in path.read_bytes() and b"xxxxx" in path.read_bytes())
        assert b"sesame" not in path.read_bytes()
        out, err = process.communicate(b"n\n", timeout=20)
    assert b"sesame" not in out + err
    assert b"DSN: hidden:xxxx@" in err
    assert b"Query: SELECT /* SHOW PROCESSLIST */" in err


def test_the_password_is_asked_for_on_the_terminal(server: Server) -> None:
    import pty

    server.execute("CREATE OR REPLACE USER asked@'%' IDENTIFIED BY 'typed'")
    pid, terminal = pty.fork()
    if pid == 0:
        line = [script("myps"), "grep", "--mysql-socket", server.socket, "--mysql-user", "asked",
                "--ask-password", "-u", "nobody"]  # fmt: skip
        os.execv(line[0], line)
    shown = b""
    while b"Password: " not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"typed\n")
    _, status = os.waitpid(pid, 0)
    rest = os.read(terminal, 1000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 1  # nobody matches: connected
    assert b"denied" not in rest
    assert b"typed" not in rest


def test_a_user_without_rights_sees_and_kills_its_own_alone(server: Server) -> None:
    server.execute("CREATE OR REPLACE USER small@'%' IDENTIFIED BY 'pw'")
    with threads(server, (None, {"user": "small"}), (None, {"user": "app1"})) as (own, other):
        where = ["--mysql-socket", server.socket, "--mysql-user", "small", "--mysql-password", "pw"]
        done = run("myps", "kill", *where, "--yes", "--user", "%")
        assert ids(done.stdout, "KILLED") == {own.id}
        assert other.alive()


def test_no_server_is_one_clear_line() -> None:
    done = run("myps", "grep", "--mysql-socket", "/no/such.sock", "--user", "x")
    assert done.returncode == 1
    error, hint = done.stderr.decode().splitlines()
    assert "/no/such.sock" in error
    assert "is the server running there?" in hint


# -- TLS ----------------------------------------------------------------------------------------


def certificates(folder: Path) -> None:
    """ca.pem, other.pem (another authority), cert.pem and key.pem for localhost."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)

    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "csr.pem",
            "-subj", "/CN=localhost")  # fmt: skip
    (folder / "ext").write_text("subjectAltName=DNS:localhost")
    openssl("x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", "cert.pem", "-days", "2", "-extfile", "ext")  # fmt: skip


def test_tls_by_every_mode(tmp_path: Path, server: Server) -> None:
    certificates(tmp_path)
    with mariadb(
        ssl_ca=tmp_path / "ca.pem", ssl_cert=tmp_path / "cert.pem", ssl_key=tmp_path / "key.pem"
    ) as secure:
        secure.execute("CREATE USER tls@'%' IDENTIFIED BY 'pw' REQUIRE SSL")
        secure.execute("GRANT PROCESS ON *.* TO tls@'%'")
        secure.execute("SET GLOBAL event_scheduler = ON")
        where = ["--mysql-host", "127.0.0.1", "--mysql-port", str(secure.port)]
        where += ["--mysql-user", "tls", "--mysql-password", "pw"]

        def grep(*options: str) -> int:
            return run("myps", "grep", "-u", "event_scheduler", *where, *options).returncode

        assert grep() == 0  # PREFERRED
        assert grep("--ssl-mode=DISABLED") == 1
        assert grep("--ssl-mode=REQUIRED") == 0
        assert grep("--ssl-mode=VERIFY_CA", "--ssl-ca", str(tmp_path / "ca.pem")) == 0
        assert grep("--ssl-ca", str(tmp_path / "other.pem")) == 1
        assert grep("--ssl-mode=VERIFY_IDENTITY", "--ssl-ca", str(tmp_path / "ca.pem")) == 1
        (tmp_path / ".my.cnf").write_text(
            f"[client]\nssl-mode=VERIFY_CA\nssl_ca={tmp_path}/other.pem\n"
        )
        assert grep() == 1
        (tmp_path / ".my.cnf").unlink()
    # A server (or somebody between) without TLS gets no credentials from us.
    plain = ["--mysql-host", "127.0.0.1", "--mysql-port", str(server.port), "--mysql-user", "root"]
    done = run("myps", "grep", "-u", "%", *plain, "--ssl-mode", "REQUIRED")
    assert done.returncode == 1
    assert b"the server offers no TLS (2026)" in done.stderr


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


# -- reports that fail -------------------------------------------------------------------------


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
