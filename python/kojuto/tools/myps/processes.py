"""The process list of a server: what it is read from, which threads match, which are the system's.

Where it is read from follows what the server says of itself: MariaDB's and older MySQL's
``information_schema.PROCESSLIST``, and ``performance_schema.processlist`` from MySQL 8.0.22 on,
where the other is deprecated (and takes a global lock).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import pymysql

from kojuto.errors import KojutoError
from kojuto.tools.myps.connect import GONE, code, log, server_words
from kojuto.tools.myps.statements import as_utf8, by_guess, converted, is_cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto.common.cli import Values
    from kojuto.tools.myps.connect import MypsConnection

SYSTEM_USERS = frozenset({"system user", "event_scheduler", "rdsadmin", "mysql.session"})
SYSTEM_COMMANDS = frozenset(
    {
        "binlog dump", "binlog dump gtid", "connect out", "daemon", "register slave",
        "slave_io", "slave_sql", "slave_worker", "table dump",
    }
)  # fmt: skip
HOST_WITHOUT_PORT = "LEFT(HOST, CHAR_LENGTH(HOST) - LOCATE(':', REVERSE(HOST)))"
NEEDS_PRIVILEGE = 1227
UNLIKE_CHARACTERS = 1267
DENIED_OR_MISSING = frozenset({1044, 1142, 1143, 1146, NEEDS_PRIVILEGE})


@dataclass(frozen=True)
class Process:
    """One thread of the server, NULL as the empty text.

    Attributes:
        statement: what names the statement it runs (or ran last) for good: MariaDB's query id or
            the event id of MySQL's performance schema; None where the server keeps neither.
        cut: whether `info` is the beginning of a longer statement.
        started: when it began, seconds of the server's clock; for servers without `statement`.
        listed_at: when the list was asked for, seconds of the server's clock; of MariaDB alone.
        seen_at: the same by our monotonic clock.
    """

    id: int
    user: str
    host: str
    db: str
    command: str
    time: int
    state: str
    info: str
    statement: int | None = None
    started: int = 0
    cut: bool = False
    listed_at: float | None = field(default=None, compare=False)
    seen_at: float = field(default=0.0, compare=False)

    @property
    def identity(self) -> tuple[object, ...]:
        """What is the same as long as it runs the same statement (or sleeps)."""
        return self.id, self.user, self.host, self.command, self.info, self.statement

    @property
    def system(self) -> bool:
        """Whether replication, the event scheduler or a dump of the binary log runs here."""
        return (
            self.user.lower() in SYSTEM_USERS
            or self.command.lower() in SYSTEM_COMMANDS
            or self.user.lower().startswith("replication applier")
        )


class Server:
    """The process list of a connected server.

    Attributes:
        version: as the server tells it.
        mariadb: whether it is one with query ids.
        table: where the process list is read from.
        events: whether the performance schema can name statements.
    """

    def __init__(self, connection: MypsConnection, debug: bool = False) -> None:
        self.connection = connection
        self.debug = debug
        self._own_alone: bool | None = None
        row = self.query("SELECT VERSION(), @@version_comment")[0]
        self.version = _text(row[0])
        mariadb = "mariadb" in (self.version + _text(row[1])).lower()
        numbers = version_numbers(self.version)
        self.mariadb = mariadb and numbers >= (10, 1)  # has BEGIN NOT ATOMIC and KILL QUERY ID
        self.table = "information_schema.PROCESSLIST"
        self.events = False
        if not mariadb and numbers >= (5, 7):
            self._ask_performance_schema(numbers)
        if debug:
            log(f"server: {self.version}, process list from {self.table}")

    def _ask_performance_schema(self, numbers: tuple[int, ...]) -> None:
        if _text(self.query("SELECT @@performance_schema")[0][0]) not in ("1", "ON"):
            return
        if numbers >= (8, 0, 22) and self._readable("performance_schema.processlist"):
            self.table = "performance_schema.processlist"
        consumer = (
            "SELECT ENABLED FROM performance_schema.setup_consumers "
            "WHERE NAME = 'events_statements_current'"
        )
        try:
            rows = self.query(consumer)
        except pymysql.err.MySQLError as error:
            if code(error) not in DENIED_OR_MISSING:
                raise
            return
        self.events = (
            bool(rows)
            and _text(rows[0][0]).upper() == "YES"
            and self._readable("performance_schema.threads")
            and self._readable("performance_schema.events_statements_current")
        )

    def _readable(self, table: str) -> bool:
        try:
            self.query(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608
        except pymysql.err.MySQLError as error:
            if code(error) not in DENIED_OR_MISSING:
                raise
            return False
        return True

    def query(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement, values as bytes."""
        if self.debug:
            log(f"Query: {sql} Args: {list(arguments)}")
        with self.connection.cursor() as cursor:
            cursor.execute(sql, tuple(arguments) or None)
            return list(cursor.fetchall())

    def processes(self, where: str = "", arguments: Sequence[object] = ()) -> list[Process]:
        """The threads that `where` lets through, never our own.

        Where statements are named by events, those are read first: a thread that goes on to
        another statement between the two readings then bears the older name, and no kill that
        asks for that name finds it.
        """
        events = self._events() if self.events else {}
        columns = "ID, USER, HOST, DB, COMMAND, TIME, STATE, "
        # INFO is made for utf8mb3 and has ? for what that lacks; INFO_BINARY is what was sent.
        mariadb = "INFO_BINARY, QUERY_ID, @@timestamp"
        columns += mariadb if self.mariadb else "INFO, UNIX_TIMESTAMP()"
        sql = f"SELECT /* SHOW PROCESSLIST */ {columns} FROM {self.table}"  # noqa: S608
        sql += " WHERE ID != CONNECTION_ID()"
        found = []
        other_sets: dict[int, bytes] = {}
        seen_at = monotonic()
        for row in self.query(sql + (f" AND {where}" if where else ""), arguments):
            number = int(_text(row[0]))
            user, host, db, command, passed, state = map(_text, row[1:7])
            sent = bytes(row[7] or b"")
            info = as_utf8(sent)
            if info is None:
                other_sets[number] = sent
            process = Process(number, user, host, db, command, int(passed or 0), state, info or "")
            process = replace(process, cut=is_cut(sent))
            last = int(_text(row[8]))
            if self.mariadb:
                at = float(_text(row[9]))
                process = replace(process, statement=last, listed_at=at, seen_at=seen_at)
            else:
                started = last - process.time
                process = replace(process, statement=events.get(number), started=started)
            found.append(process)
        return self._with_texts(found, other_sets) if other_sets else found

    def _with_texts(self, found: list[Process], sent: dict[int, bytes]) -> list[Process]:
        """Statements that are not UTF-8 get their text."""
        numbers = {each.id: each.statement for each in found if each.id in sent}
        wanted = {number: last for number, last in numbers.items() if last is not None}
        texts = converted(self.query, wanted) if self.mariadb else {}
        return [
            replace(each, info=texts.get(each.id) or by_guess(sent[each.id]))
            if each.id in sent
            else each
            for each in found
        ]

    def _events(self) -> dict[int, int]:
        rows = self.query(
            "SELECT t.PROCESSLIST_ID, MAX(e.EVENT_ID) FROM performance_schema.threads t "
            "JOIN performance_schema.events_statements_current e USING (THREAD_ID) "
            "WHERE t.PROCESSLIST_ID IS NOT NULL GROUP BY t.PROCESSLIST_ID"
        )
        return {int(_text(row[0])): int(_text(row[1])) for row in rows}

    def sees_own_alone(self, found: Sequence[Process], user: str) -> bool:
        """Whether only threads of its own user are shown to us, for want of PROCESS.

        Args:
            found: what was shown; a thread of somebody else in it answers the question. MySQL is
                asked where nothing was found only.
            user: who we are.
        """
        if self._own_alone is None and (self.mariadb or not found):
            others = any(process.user != user for process in found)
            self._own_alone = not others and self._lacks_process()
        return bool(self._own_alone)

    def _lacks_process(self) -> bool:
        """Ask for what only PROCESS lets one read, however one has it (by a role, say)."""
        try:
            self.query("SELECT 1 FROM information_schema.INNODB_TRX LIMIT 1")
        except pymysql.err.MySQLError as error:
            if code(error) in GONE:
                raise
            return code(error) == NEEDS_PRIVILEGE  # else this server has no such table
        return False

    def match(self, values: Values) -> list[Process]:
        """The threads that match every filter given.

        Raises:
            KojutoError: the list may not be read.
        """
        info = "CONVERT(INFO_BINARY USING utf8mb4) COLLATE utf8mb4_unicode_520_ci"
        clauses, arguments = filters(values, info if self.mariadb else "INFO")
        try:
            return self.processes(" AND ".join(clauses), arguments)
        except pymysql.err.MySQLError as error:
            if code(error) in DENIED_OR_MISSING:
                raise KojutoError(
                    f"no permission to read the process list: {server_words(error)}",
                    "GRANT PROCESS ON *.* …",
                ) from error
            wide = (text for text in map(str, arguments) if max(text, default="") > "\uffff")
            if code(error) == UNLIKE_CHARACTERS and (pattern := next(wide, None)):
                raise KojutoError(
                    f"{pattern}: this server's process list has no character beyond U+FFFF",
                    "write _ for each of them: the server shows ? there",
                ) from error
            raise


def own_alone(user: str) -> tuple[str, str]:
    """What is said where `Server.sees_own_alone`, and what helps."""
    return f"without PROCESS only the threads of {user} are seen", "GRANT PROCESS ON *.* …"


def filters(values: Values, statement: str) -> tuple[list[str], list[object]]:
    """The filters of the command line as conditions and their arguments.

    Args:
        values: the command line.
        statement: the text of the statement as an expression.
    """
    clauses: list[str] = []
    arguments: list[object] = []
    if values.time is not None:
        clauses.append("TIME >= %s")
        arguments.append(values.time)
    columns = {name: name.upper() for name in ("user", "host", "db", "command", "state")}
    for name, column in {**columns, "info": statement}.items():
        condition = f"IFNULL({column}, '') LIKE %s"
        if name == "host":  # with its port or without
            condition = f"({condition} OR IFNULL({HOST_WITHOUT_PORT}, '') LIKE %s)"
        pattern = getattr(values, name)
        if pattern is not None:
            clauses.append(condition)
            arguments += [pattern] * condition.count("%s")
        for ignored in getattr(values, f"ignore_{name}", None) or ():
            clauses.append(f"NOT {condition}")
            arguments += [ignored] * condition.count("%s")
    return clauses, arguments


def version_numbers(version: str) -> tuple[int, ...]:
    """``8.0.36-log`` as (8, 0, 36); MariaDB's replication prefix ``5.5.5-`` left out."""
    if version.startswith("5.5.5-") and "mariadb" in version.lower():
        version = version[6:]
    numbers = []
    for part in version.split("-", 1)[0].split("."):
        digits = "".join(c for c in part if c.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers[:3])


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    return str(value)
