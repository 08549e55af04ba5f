"""myps finds its server: option files, the environment, passwords, rights and TLS."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pymysql
import pytest

from tests.conftest import need_program, run, script, wait_until
from tests.peers.certificates import authority, signed
from tests.peers.mariadb import Server, mariadb
from tests.peers.myps import ids, no_settings_of_ours, shop, threads

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shop() as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)


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


@pytest.mark.parametrize("password", ["schlüssel", "秘密 🙂"])
def test_a_password_may_have_any_letters(password: str, server: Server, tmp_path: Path) -> None:
    server.execute("CREATE OR REPLACE USER letters@'%%' IDENTIFIED BY %s", password)
    file = tmp_path / "my.cnf"
    file.write_text(f"[client]\nuser=letters\nsocket={server.socket}\npassword={password}\n")
    done = run("myps", "grep", f"--defaults-file={file}", "--user", "letters")
    assert b"rror" not in done.stderr
    theirs = subprocess.run(
        [need_program("mariadb"), f"--defaults-file={file}", "-e", "SELECT 1"], check=False
    )
    assert theirs.returncode == 0


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


@pytest.mark.parametrize("by", ["option", "file"])
def test_the_password_is_asked_for_on_the_terminal(by: str, server: Server, tmp_path: Path) -> None:
    import pty

    asking = "--ask-password"
    if by == "file":
        (tmp_path / "asks.cnf").write_text("[client]\npassword\n")
        asking = f"--defaults-file={tmp_path}/asks.cnf"

    server.execute("CREATE OR REPLACE USER asked@'%' IDENTIFIED BY 'typed'")
    pid, terminal = pty.fork()
    if pid == 0:
        line = [script("myps"), "grep", "--mysql-socket", server.socket, "--mysql-user", "asked",
                asking, "-u", "nobody"]  # fmt: skip
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


def test_a_server_that_is_full_has_doors_that_are_told(server: Server) -> None:
    server.execute("CREATE OR REPLACE USER small@'%' IDENTIFIED BY 'pw'")
    (_, before), = server.execute("SHOW VARIABLES LIKE 'max_connections'")  # fmt: skip
    server.execute("SET GLOBAL max_connections = 10")
    held = []
    where = ["--mysql-socket", server.socket, "--mysql-user", "small", "--mysql-password", "pw"]
    try:
        with contextlib.suppress(pymysql.err.OperationalError):
            while True:
                held.append(server.connect(user="small", password="pw"))
        done = run("myps", "grep", *where, "--user", "%")
        assert done.returncode == 1
        error, hint = done.stderr.decode().splitlines()
        assert "Too many connections (1040)" in error
        assert "CONNECTION ADMIN" in hint
        assert len(held) > 5
    finally:
        for each in held:
            each.close()
        server.execute(f"SET GLOBAL max_connections = {before}")


def test_tls_by_every_mode(tmp_path: Path, server: Server) -> None:
    authority(tmp_path, "other")
    cert, key = signed(tmp_path, "cert", "localhost", by=authority(tmp_path))
    with mariadb(ssl_ca=tmp_path / "ca.pem", ssl_cert=cert, ssl_key=key) as secure:
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


def test_a_password_of_before_mysql_4_1_is_told_as_one(server: Server) -> None:
    server.execute("SET GLOBAL secure_auth = 0")
    with contextlib.closing(server.connect()) as conn, conn.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER old@'%'")
        cursor.execute("SET old_passwords = 1")
        cursor.execute("SET PASSWORD FOR old@'%' = OLD_PASSWORD('pw')")
    where = ["--mysql-socket", server.socket, "--mysql-user", "old", "--mysql-password", "pw"]
    try:
        done = run("myps", "grep", *where, "--user", "%")
    finally:
        server.execute("SET GLOBAL secure_auth = 1")
    assert done.returncode == 1
    error, hint = done.stderr.decode().splitlines()
    assert error.endswith("the password of this user is kept in the format of before MySQL 4.1")
    assert "SET PASSWORD FOR" in hint
