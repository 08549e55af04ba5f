"""A real MariaDB server in a temporary folder, on a socket and a free port of 127.0.0.1.

The system tables are made once a session and copied for each server. Other options of
``mariadbd`` are given as keywords: ``mariadb(max_connections=3000)``. Each has a folder of its own
for temporary tables: a server that starts deletes the ``#sql…`` files of others in ``/tmp``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from tests.conftest import need_program
from tests.machine import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = {
    "innodb_log_file_size": "4M",
    "innodb_buffer_pool_size": "16M",
    "innodb_fast_shutdown": 2,
    "innodb_use_native_aio": 0,
    "skip_name_resolve": 1,
    "key_buffer_size": "1M",
    "aria_pagecache_buffer_size": "8M",
}


def _options(values: dict[str, object]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


@functools.cache
def _template() -> Path:
    """Fresh system tables: user root without a password."""
    installer = need_program("mariadb-install-db")
    folder = Path(tempfile.mkdtemp(prefix="kojuto-mariadb-"))
    user = ["--user=root"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [
            installer,
            "--no-defaults",
            *user,
            f"--datadir={folder}/data",
            f"--tmpdir={folder}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *_options(BASE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "data"


class Server:
    """One server; `start` and `stop` may be called again and again."""

    def __init__(self, folder: Path, options: dict[str, object]) -> None:
        self.program = need_program("mariadbd")
        self.folder = folder
        self.socket = str(folder / "s")
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        shutil.copytree(_template(), folder / "data")
        (folder / "tmp").mkdir()

    def start(self, within_s: float = 60) -> None:
        user = ["--user=root"] if os.geteuid() == 0 else []
        values = {
            "datadir": self.folder / "data",
            "socket": self.socket,
            "port": self.port,
            "bind_address": "127.0.0.1",
            "pid_file": self.folder / "pid",
            "log_error": self.folder / "log",
            "tmpdir": self.folder / "tmp",
            **BASE,
            **self.options,
        }
        self.process = subprocess.Popen(
            [self.program, "--no-defaults", *user, *_options(values)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + within_s
        while True:
            if self._listens():
                self.connect().close()
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"MariaDB did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.socket) == 0

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL (quick; the data is thrown away) or SIGTERM (orderly)."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def connect(self, **options: Any) -> pymysql.connections.Connection[Any]:
        """A connection as root by the socket, autocommit on, unless told otherwise."""
        if "host" not in options:
            options.setdefault("unix_socket", self.socket)
            options.setdefault("ssl_disabled", True)  # a TLS context costs 20 ms each
        return pymysql.connect(**{"user": "root", "autocommit": True, **options})

    def execute(self, sql: str, *arguments: object) -> tuple[tuple[Any, ...], ...]:
        """One statement as root on a connection of its own."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return tuple(cursor.fetchall())


@contextlib.contextmanager
def mariadb(**options: object) -> Iterator[Server]:
    """A started server, stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="kojuto-mariadb-") as folder:
        server = Server(Path(folder), options)
        try:
            server.start()
            yield server
        finally:
            server.stop()
