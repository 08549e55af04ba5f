"""The dumps of ppdp: hexadecimal lines, MySQL beside a real MariaDB, captures beside tshark."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import re
import socket
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import need_program, run, script, wait_until
from tests.peers.certificates import self_signed
from tests.peers.servers import Ppdp, Program, accepts, echo, free_port, read_all, read_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.peers.servers import Stage

PING = b"\x01\0\0\0\x0e"


def dumped(ppdp: Ppdp, direction: int) -> bytes:
    lines = ppdp.lines(msg="dump", direction=direction)
    return b"".join(bytes.fromhex(line["hex"]) for line in lines)


def test_hexadecimal_lines_of_both_directions(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--dump-tcp", "2")
    with ppdp.connect() as conn:
        conn.sendall(b"GET /\r\n")
        assert read_exactly(conn, 7) == b"GET /\r\n"
        wait_until(lambda: ppdp.lines(msg="dump", direction=2), within_s=5)
        first = ppdp.wait_for_lines(1, msg="dump", direction=1)[0]
        assert first["hex"] == "47 45 54 20 2f 0d 0a"
        assert first["ascii"] == "GET /.."
        assert first["listener"] == f"127.0.0.1:{ppdp.port}"
        assert {"level", "ts", "remote-addr", "upstream"} <= set(first)
        conn.sendall(b"rest")
        conn.shutdown(socket.SHUT_WR)
        read_all(conn)
    wait_until(lambda: dumped(ppdp, 1) == b"GET /\r\nrest")
    wait_until(lambda: dumped(ppdp, 2) == b"GET /\r\nrest")


def test_one_direction_only_and_large_transfers_are_dumped_whole(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--dump-tcp", "1")
    body = bytes(range(256)) * 2000
    with ppdp.connect() as conn:
        conn.sendall(body)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == body
    wait_until(lambda: dumped(ppdp, 1) == body)
    assert not ppdp.lines(msg="dump", direction=2)


def test_no_line_is_longer_than_journald_takes(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--dump-tcp", "1", "--dump-redact", "x+y")
    # Each of these is two characters as ASCII; what is to be hidden lies across a cut.
    body = b'"' * 5000 + b"x" * 9000 + b"y" + b'\\"' * 500_000
    with ppdp.connect() as conn:
        conn.sendall(body)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == body
    wait_until(lambda: len(dumped(ppdp, 1)) == len(body))
    assert max(len(line.encode()) for line in ppdp.text().splitlines()) < 48 << 10
    assert dumped(ppdp, 1) == body.replace(b"x" * 9000 + b"y", b"*" * 9001)


@pytest.mark.parametrize("shown", [False, True])
def test_pings_are_left_out_wherever_they_are_cut(stage: Stage, shown: bool) -> None:
    options = ["--dump-mysql-ping"] if shown else []
    ppdp = stage.ppdp(stage.peer(echo).port, "--dump-tcp", "1", *options)
    sent = b"a" + PING + PING + b"b\x01\0" + PING + b"\x01\0\0"
    with ppdp.connect() as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(sent)):
            conn.sendall(sent[at : at + 1])
            time.sleep(0.03)  # over some lines
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == sent
    wait_until(lambda: ppdp.lines(status="Suceeded"))
    expected = sent if shown else b"ab\x01\0\x01\0\0"
    wait_until(lambda: dumped(ppdp, 1) == expected, what=repr(dumped(ppdp, 1)))


def test_what_matches_is_redacted(stage: Stage) -> None:
    ppdp = stage.ppdp(stage.peer(echo).port, "--dump-tcp", "2", "--dump-redact", "secret=[a-z]+")
    with ppdp.connect() as conn:
        conn.sendall(b"x secret=hunter y")
        assert read_exactly(conn, 17) == b"x secret=hunter y"
    wait_until(lambda: dumped(ppdp, 2) == b"x ************* y")
    assert "hunter" not in ppdp.text()
    assert b"hunter".hex(" ") not in ppdp.text()


def test_wrong_dump_options_are_named(stage: Stage) -> None:
    to = ["-l", f"127.0.0.1:{free_port()}", "--upstream", "127.0.0.1:1"]
    done = run("ppdp", *to, "--dump-tcp", "1", "--dump-redact", "(")
    assert done.returncode == 2
    assert '--dump-redact: "(" is not a regular expression' in done.stderr.decode()
    done = run("ppdp", *to, "--dump-pcap", stage.folder / "missing/x.pcap")
    assert done.returncode == 1
    assert "missing/x.pcap: No such file or directory" in done.stderr.decode()


def test_a_dump_that_falls_behind_is_counted_and_slows_nothing(stage: Stage) -> None:
    """Hexadecimal lines cost far more than relaying: all passes, and what was dropped is told."""
    ppdp = stage.ppdp(stage.peer(drain).port, "--dump-tcp", "1")
    block = bytes(1 << 20)
    with ppdp.connect(60) as conn:
        for _ in range(80):
            conn.sendall(block)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == b"done"
    wait_until(lambda: '"status":"Suceeded"' in ppdp.text(), within_s=100)
    assert ppdp.wait_for_lines(1, status="Suceeded")[0]["read"] == 80 << 20
    assert ppdp.resident_bytes() < 200 << 20
    wait_until(lambda: "dropped" in ppdp.text(), within_s=100)


def drain(conn: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    while conn.recv_into(buffer):
        pass
    conn.sendall(b"done")


# -- captures -------------------------------------------------------------------------------------


def tshark(file: str, *options: str) -> list[str]:
    program = need_program("tshark")
    done = subprocess.run(
        [program, "-n", "-r", file, "-o", "tcp.check_checksum:TRUE", "-o",
         "ip.check_checksum:TRUE", *options],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_capture_is_opened_by_tshark(stage: Stage, host: str) -> None:
    file = str(stage.folder / "all.pcap")
    upstream = stage.peer(echo, host=host)
    to = f"[::1]:{upstream.port}" if host == "::1" else f"127.0.0.1:{upstream.port}"
    ppdp = stage.ppdp(to, "--dump-pcap", file)
    body = bytes(range(256)) * 1000
    with ppdp.connect() as conn:
        conn.sendall(b"hello")
        assert read_exactly(conn, 5) == b"hello"
        conn.sendall(body)
        conn.shutdown(socket.SHUT_WR)
        assert read_all(conn) == body
    assert ppdp.end() == 0
    assert (stage.folder / "all.pcap").stat().st_mode & 0o777 == 0o600
    bad = (
        "_ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0 || tcp.analysis.flags"
    )
    assert tshark(file, "-Y", bad) == []
    for port, way in ((upstream.port, "dstport"), (upstream.port, "srcport")):
        fields = tshark(file, "-Y", f"tcp.{way} == {port}", "-T", "fields", "-e", "tcp.payload")
        assert bytes.fromhex("".join(fields).replace(":", "")) == b"hello" + body
    assert len(tshark(file, "-Y", "tcp.flags.syn == 1")) == 2
    assert len(tshark(file, "-Y", "tcp.flags.fin == 1")) == 2


# -- MySQL ----------------------------------------------------------------------------------------


class MariaDb:
    """A server of the test's own."""

    def __init__(self, folder: Any) -> None:
        data = folder / "data"
        subprocess.run(
            [need_program("mariadb-install-db"), "--no-defaults", f"--datadir={data}",
             "--auth-root-authentication-method=normal", "--user=root", "--skip-test-db"],
            check=True, capture_output=True, timeout=110,
        )  # fmt: skip
        cert, key = self_signed(folder, "db", "db.test")
        self.port = free_port()
        self.socket = f"{folder}/db.sock"
        self.server = Program(
            [need_program("mariadbd"), "--no-defaults", f"--datadir={data}", "--user=root",
             f"--socket={self.socket}", f"--port={self.port}", "--bind-address=127.0.0.1",
             "--skip-name-resolve", "--max-allowed-packet=64M", f"--ssl-cert={cert}",
             f"--ssl-key={key}", "--innodb-buffer-pool-size=16M", f"--pid-file={folder}/pid"],
            folder,
        )  # fmt: skip
        wait_until(lambda: accepts(self.port), within_s=60)
        self.ask(
            self.port,
            "CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY, name TEXT);"
            "CREATE USER app@'%' IDENTIFIED BY 'pw'; GRANT ALL ON *.* TO app@'%'",
            user="root",
            password="",
        )

    def ask(self, port: int, sql: str, *options: str, user: str = "app", password: str = "pw",
            check: bool = True) -> str:  # fmt: skip
        done = subprocess.run(
            [need_program("mariadb"), "--no-defaults", "--protocol=tcp", "-h127.0.0.1",
             f"-P{port}", f"-u{user}", *([f"-p{password}"] if password else []), "-N", "--skip-ssl",
             *options, "-e", sql],
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    server = MariaDb(tmp_path_factory.mktemp("mariadb"))
    yield server
    server.server.end(within_s=60)


class Client:
    """The C library of the database's own client."""

    def __init__(self, port: int, on_progress: Any = None) -> None:
        name = ctypes.util.find_library("mariadb") or "libmariadb.so.3"
        self.lib = ctypes.CDLL(name)
        for function in ("mysql_init", "mysql_real_connect", "mysql_stmt_init"):
            getattr(self.lib, function).restype = ctypes.c_void_p
        self.lib.mysql_error.restype = ctypes.c_char_p
        self.handle = ctypes.c_void_p(self.lib.mysql_init(None))
        size = ctypes.c_ulong(64 << 20)
        self.lib.mysql_optionsv(self.handle, 203, ctypes.byref(size))  # max_allowed_packet
        if on_progress is not None:
            self.lib.mysql_optionsv(self.handle, 5999, on_progress)  # MYSQL_PROGRESS_CALLBACK
        done = self.lib.mysql_real_connect(
            self.handle, b"127.0.0.1", b"app", b"pw", b"shop", port, None, ctypes.c_ulong(0)
        )
        assert done, self.lib.mysql_error(self.handle)

    def query(self, sql: bytes) -> int:
        self.lib.mysql_real_query(self.handle, sql, ctypes.c_ulong(len(sql)))
        error = int(self.lib.mysql_errno(self.handle))
        self.lib.mysql_store_result.restype = ctypes.c_void_p
        result = self.lib.mysql_store_result(self.handle)
        if result:
            self.lib.mysql_free_result(ctypes.c_void_p(result))
        return error

    def prepared(self, sql: bytes, times: int) -> None:
        statement = ctypes.c_void_p(self.lib.mysql_stmt_init(self.handle))
        assert self.lib.mysql_stmt_prepare(statement, sql, ctypes.c_ulong(len(sql))) == 0
        for _ in range(times):
            assert self.lib.mysql_stmt_execute(statement) == 0
            assert self.lib.mysql_stmt_store_result(statement) == 0
            self.lib.mysql_stmt_free_result(statement)
        self.lib.mysql_stmt_close(statement)

    def change_user(self, user: bytes, password: bytes, schema: bytes | None) -> None:
        done = self.lib.mysql_change_user(self.handle, user, password, schema)
        assert done == 0, self.lib.mysql_error(self.handle)

    def ping(self) -> None:
        assert self.lib.mysql_ping(self.handle) == 0

    def close(self) -> None:
        self.lib.mysql_close(self.handle)


def commands(ppdp: Ppdp, **fields: Any) -> list[dict[str, Any]]:
    return ppdp.lines(msg="mysql", **fields)


def test_queries_with_their_answers(stage: Stage, mariadb: MariaDb) -> None:
    ppdp = stage.ppdp(mariadb.port, "--dump-mysql")
    mariadb.ask(ppdp.port, "INSERT INTO item VALUES (1,'ä\"\n'),(2,'b'),(3,'c'); "
                "SELECT * FROM item; SELECT SLEEP(0.3); SELECT nothing FROM nowhere", "shop",
                check=False)  # fmt: skip
    wait_until(lambda: commands(ppdp, command="COM_QUIT"))
    (login,) = commands(ppdp, command="LOGIN")
    assert (login["user"], login["db"]) == ("app", "shop")
    queries = {line["sql"].split()[0] + line["sql"][-6:]: line
               for line in commands(ppdp, command="COM_QUERY")}  # fmt: skip
    insert = next(line for line in queries.values() if line["sql"].startswith("INSERT"))
    assert insert["sql"] == "INSERT INTO item VALUES (1,'ä\"\n'),(2,'b'),(3,'c')"
    assert insert["affected"] == 3
    select = next(line for line in queries.values() if line["sql"] == "SELECT * FROM item")
    assert select["rows"] == 3
    assert 0 <= select["first-reply"] < 5
    slow = next(line for line in queries.values() if "SLEEP" in line["sql"])
    assert 0.25 < slow["first-reply"] < 5
    wrong = next(line for line in queries.values() if "nowhere" in line["sql"])
    assert wrong["error"] == 1146
    assert "nowhere" in wrong["error-text"]
    assert not commands(ppdp, opaque="TLS")


def test_prepared_statements_pings_and_schema(stage: Stage, mariadb: MariaDb) -> None:
    ppdp = stage.ppdp(mariadb.port, "--dump-mysql", "--dump-redact", "[0-9]{4,}")
    shown = stage.ppdp(mariadb.port, "--dump-mysql", "--dump-mysql-ping")
    for relay in (ppdp, shown):
        client = Client(relay.port)
        client.ping()
        client.prepared(b"SELECT seq, 123456 FROM seq_1_to_40", 3)
        assert client.query(b"SELECT 1") == 0
        assert client.lib.mysql_select_db(client.handle, b"mysql") == 0
        assert client.query(b"SELECT 2 FROM user") == 0
        assert client.query(b"SELEC") == 1064
        client.close()
        wait_until(lambda r=relay: commands(r, command="COM_QUIT"))  # type: ignore[misc]
    sql = "SELECT seq, ****** FROM seq_1_to_40"
    (prepare,) = commands(ppdp, command="COM_STMT_PREPARE")
    assert prepare["sql"] == sql
    executed = commands(ppdp, command="COM_STMT_EXECUTE")
    assert [(line["sql"], line["rows"], line["statement"]) for line in executed] == [
        (sql, 40, prepare["statement"])
    ] * 3
    assert commands(ppdp, sql="SELECT 1")[0]["db"] == "shop"
    assert commands(ppdp, sql="mysql")[0]["command"] == "COM_INIT_DB"
    assert commands(ppdp, sql="SELECT 2 FROM user")[0]["db"] == "mysql"
    assert commands(ppdp, sql="SELEC")[0]["error"] == 1064
    assert not commands(ppdp, command="COM_PING")
    assert len(commands(shown, command="COM_PING")) == 1
    assert not ppdp.lines(answer="none before the end")


PROGRESS = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_double, ctypes.c_char_p,
    ctypes.c_uint,
)  # fmt: skip


def test_a_report_of_progress_is_not_the_answer(stage: Stage, mariadb: MariaDb) -> None:
    reports: list[tuple[int, int]] = []
    on_progress = PROGRESS(lambda _, stage, stages, *__: reports.append((stage, stages)))
    ppdp = stage.ppdp(mariadb.port, "--dump-mysql")
    client = Client(ppdp.port, on_progress)
    assert client.query(b"CREATE TABLE grown AS SELECT seq FROM seq_1_to_20000") == 0
    assert client.query(b"ALTER TABLE grown ADD KEY (seq), ALGORITHM=COPY") == 0
    assert client.query(b"ALTER TABLE grown ADD UNIQUE (no_column), ALGORITHM=COPY") == 1072
    assert client.query(b"DROP TABLE grown") == 0
    client.close()
    assert reports, "the server has reported nothing, so there was nothing to mistake"
    wait_until(lambda: commands(ppdp, command="COM_QUIT"))
    create, alter, wrong, drop = commands(ppdp, command="COM_QUERY")
    assert (create["affected"], alter["affected"]) == (20_000, 20_000)
    assert wrong["error"] == 1072
    assert not [line for line in (create, alter, drop) if line.get("error")]


@pytest.mark.parametrize("tracking", ["ON", "OFF"])
def test_a_schema_chosen_by_sql_is_shown(stage: Stage, mariadb: MariaDb, tracking: str) -> None:
    ppdp = stage.ppdp(mariadb.port, "--dump-mysql")
    client = Client(ppdp.port)
    assert client.query(f"SET session_track_schema={tracking}".encode()) == 0
    assert client.query(b"USE nowhere") == 1049
    assert client.query(b"DO 1") == 0
    assert client.query(b"/* why */ use `mysql`;") == 0
    assert client.query(b"DO 2") == 0
    client.close()
    wait_until(lambda: commands(ppdp, command="COM_QUIT"))
    assert [(line["sql"], line["db"]) for line in commands(ppdp, command="COM_QUERY")[1:]] == [
        ("USE nowhere", "shop"),
        ("DO 1", "shop"),
        ("/* why */ use `mysql`;", "mysql"),
        ("DO 2", "mysql"),
    ]


def test_user_and_schema_of_an_open_connection_are_listed(stage: Stage, mariadb: MariaDb) -> None:
    """Also after they were changed; the statements are not."""
    metrics = free_port()
    options = ["--dump-mysql", "--metrics-listen", f"127.0.0.1:{metrics}"]
    ppdp = stage.ppdp(mariadb.port, *options)

    def logins() -> list[tuple[str | None, str | None]]:
        url = f"http://127.0.0.1:{metrics}/connections"
        with urllib.request.urlopen(url, timeout=30) as answer:
            text = answer.read()
        assert b"hidden" not in text
        rows = json.loads(text)["connections"]
        return [(row.get("user"), row.get("db")) for row in rows]

    client = Client(ppdp.port)
    assert client.query(b"DO 'hidden'") == 0
    wait_until(lambda: logins() == [("app", "shop")])
    assert client.query(b"USE mysql") == 0
    wait_until(lambda: logins() == [("app", "mysql")])
    client.change_user(b"root", b"", b"shop")
    wait_until(lambda: logins() == [("root", "shop")])
    client.change_user(b"app", b"pw", b"mysql")
    wait_until(lambda: logins() == [("app", "mysql")])
    command = [script("ppdp"), "connections", "--metrics-listen", f"127.0.0.1:{metrics}"]
    shown = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode()
    assert shown.splitlines()[1].split()[-2:] == ["app", "mysql"]
    client.close()
    wait_until(lambda: logins() == [])


def test_another_user_comes_with_another_schema(stage: Stage, mariadb: MariaDb) -> None:
    ppdp = stage.ppdp(mariadb.port, "--dump-mysql")
    client = Client(ppdp.port)
    assert client.query(b"DO 1") == 0
    client.change_user(b"root", b"", b"mysql")
    assert client.query(b"DO 2") == 0
    client.change_user(b"app", b"pw", None)
    assert client.query(b"DO 3") == 0
    assert client.query(b"USE shop") == 0
    assert client.query(b"DO 4") == 0
    client.close()
    wait_until(lambda: commands(ppdp, command="COM_QUIT"))
    rows = [
        (line["user"], line.get("db"), line["sql"]) for line in commands(ppdp, command="COM_QUERY")
    ]
    assert [row for row in rows if row[2].startswith("DO")] == [
        ("app", "shop", "DO 1"),
        ("root", "mysql", "DO 2"),
        ("app", None, "DO 3"),
        ("app", "shop", "DO 4"),
    ]
    assert all(line.get("db") == "mysql" for line in commands(ppdp, user="root"))


def test_a_query_of_several_packets(stage: Stage, mariadb: MariaDb) -> None:
    ppdp = stage.ppdp(mariadb.port, "--dump-mysql")
    client = Client(ppdp.port)
    assert client.query(b"SELECT LENGTH('" + b"x" * (17 << 20) + b"')") == 0
    assert client.query(b"SELECT 'after'") == 0
    client.close()
    wait_until(lambda: commands(ppdp, command="COM_QUIT"))
    (long,) = [line for line in commands(ppdp, command="COM_QUERY") if "LENGTH" in line["sql"]]
    assert (long["truncated"], long["rows"]) == (1, 1)
    assert len(long["sql"]) == (64 << 10) - 1
    assert commands(ppdp, sql="SELECT 'after'")[0]["rows"] == 1


@pytest.mark.parametrize(("option", "why"), [("--ssl", "TLS"), ("--compress", "compressed")])
def test_what_cannot_be_read_is_said_to_be(
    stage: Stage, mariadb: MariaDb, option: str, why: str
) -> None:
    ppdp = stage.ppdp(mariadb.port, "--dump-mysql")
    assert mariadb.ask(ppdp.port, "SELECT 42", option).strip() == "42"
    wait_until(lambda: ppdp.lines(status="Suceeded"))
    assert len(commands(ppdp, opaque=why)) == 1
    assert not commands(ppdp, command="COM_QUERY")


def test_a_refused_login_and_a_stranger(stage: Stage, mariadb: MariaDb) -> None:
    ppdp = stage.ppdp(mariadb.port, "--dump-mysql")
    mariadb.ask(ppdp.port, "SELECT 1", password="wrong", check=False)
    wait_until(lambda: [line for line in commands(ppdp, command="LOGIN") if line.get("error")])
    assert commands(ppdp, command="LOGIN")[-1]["error"] == 1045
    other = stage.ppdp(stage.peer(echo).port, "--dump-mysql")
    with other.connect() as conn:
        conn.sendall(b"GET / HTTP/1.0\r\n\r\n" + bytes(9 << 20))
        conn.shutdown(socket.SHUT_WR)
        assert len(read_all(conn)) == 18 + (9 << 20)
    wait_until(lambda: [line for line in commands(other) if "not MySQL" in line.get("opaque", "")])


def test_tshark_reads_the_queries_of_a_capture(stage: Stage, mariadb: MariaDb) -> None:
    file = str(stage.folder / "db.pcap")
    ppdp = stage.ppdp(mariadb.port, "--dump-pcap", file)
    mariadb.ask(ppdp.port, "SELECT 'in the capture'")
    assert ppdp.end() == 0
    queries = tshark(
        file, "-d", f"tcp.port=={mariadb.port},mysql", "-Y", "mysql.query", "-T", "fields", "-e",
        "mysql.query",
    )  # fmt: skip
    assert any(re.search("SELECT 'in the capture'", query) for query in queries)
