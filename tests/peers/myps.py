"""Threads of a real MariaDB that sleep or run a statement, and ``myps`` run against them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql

from tests.conftest import run, script, wait_until
from tests.peers.mariadb import Server, mariadb

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


KEYS = ["USER", "HOST", "DB", "COMMAND", "TIME", "STATE", "INFO"]


@contextlib.contextmanager
def shop() -> Iterator[Server]:
    """A server for many connections, with a replication log, two databases and three users."""
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


def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the user of the tests has set for his own servers is not seen."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MYSQL_PWD", "MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT", "MYSQL_HOME"):
        monkeypatch.delenv(name, raising=False)


def settings(server: Server, home: Path) -> dict[str, str]:
    """The environment of one who has this server in his option file."""
    (home / ".my.cnf").write_text(f"[client]\nuser=root\nsocket={server.socket}\n")
    return {"HOME": str(home)}


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


def stand_still(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process that looks every 100 ms is not woken any more: its server is frozen."""

    def switches() -> str:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next(line for line in lines if line.startswith("voluntary"))

    def unchanged() -> bool:
        before = switches()
        time.sleep(0.5)
        return switches() == before

    wait_until(unchanged)


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)
