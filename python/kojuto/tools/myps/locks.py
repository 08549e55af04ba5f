"""Who waits for whom: row locks of InnoDB and metadata locks, as the server tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pymysql

from kojuto.tools.myps.connect import GONE, code
from kojuto.tools.myps.processes import NEEDS_PRIVILEGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from kojuto.tools.myps.processes import Server

    _Ask = Callable[[str], list[tuple[Any, ...]]]

DENIED = frozenset({1044, 1142, 1143, NEEDS_PRIVILEGE})
TIMED_OUT = frozenset({1969, 3024})

_ROWS_OLD = (
    "SELECT r.trx_mysql_thread_id, b.trx_mysql_thread_id, l.lock_table, l.lock_index, l.lock_mode "
    "FROM information_schema.INNODB_LOCK_WAITS w "
    "JOIN information_schema.INNODB_TRX r ON r.trx_id = w.requesting_trx_id "
    "JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id "
    "LEFT JOIN information_schema.INNODB_LOCKS l ON l.lock_id = w.requested_lock_id"
)
_ROWS_NEW = (
    "SELECT r.PROCESSLIST_ID, b.PROCESSLIST_ID, CONCAT(l.OBJECT_SCHEMA, '.', l.OBJECT_NAME), "
    "l.INDEX_NAME, l.LOCK_MODE FROM performance_schema.data_lock_waits w "
    "JOIN performance_schema.threads r ON r.THREAD_ID = w.REQUESTING_THREAD_ID "
    "JOIN performance_schema.threads b ON b.THREAD_ID = w.BLOCKING_THREAD_ID "
    "LEFT JOIN performance_schema.data_locks l "
    "ON l.ENGINE_LOCK_ID = w.REQUESTING_ENGINE_LOCK_ID AND l.ENGINE = w.ENGINE"
)
_METADATA = (
    "SELECT t.PROCESSLIST_ID, m.OBJECT_TYPE, m.OBJECT_SCHEMA, m.OBJECT_NAME, m.LOCK_TYPE, "
    "m.LOCK_STATUS FROM performance_schema.metadata_locks m "
    "JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID "
    "WHERE t.PROCESSLIST_ID IS NOT NULL AND (m.OBJECT_TYPE, IFNULL(m.OBJECT_SCHEMA, ''), "
    "IFNULL(m.OBJECT_NAME, '')) IN (SELECT OBJECT_TYPE, IFNULL(OBJECT_SCHEMA, ''), "
    "IFNULL(OBJECT_NAME, '') FROM performance_schema.metadata_locks "
    "WHERE LOCK_STATUS = 'PENDING')"
)
_INSTRUMENT = (
    "SELECT ENABLED FROM performance_schema.setup_instruments "
    "WHERE NAME = 'wait/lock/metadata/sql/mdl'"
)

_ALL = frozenset(
    {
        "SHARED", "SHARED_HIGH_PRIO", "SHARED_READ", "SHARED_WRITE", "SHARED_WRITE_LOW_PRIO",
        "SHARED_UPGRADABLE", "SHARED_READ_ONLY", "SHARED_NO_WRITE", "SHARED_NO_READ_WRITE",
        "EXCLUSIVE",
    }
)  # fmt: skip
_X = frozenset({"EXCLUSIVE"})
_NO_READ = _X | {"SHARED_NO_READ_WRITE"}
_NO_WRITE = _NO_READ | {"SHARED_NO_WRITE"}
_WRITES = frozenset({"SHARED_WRITE", "SHARED_WRITE_LOW_PRIO"})
_IX = frozenset({"INTENTION_EXCLUSIVE"})  # of scopes (a schema, all) alone, with S and X
_READ_LOCK = frozenset({"BACKUP_FTWRL1", "BACKUP_FTWRL2"})  # FLUSH TABLES WITH READ LOCK
_LATE = frozenset({"BACKUP_WAIT_COMMIT"})
_STAGES = _LATE | {"BACKUP_FLUSH", "BACKUP_WAIT_FLUSH", "BACKUP_WAIT_DDL"}
_CHANGES = frozenset(
    {"BACKUP_DML", "BACKUP_TRANS_DML", "BACKUP_SYS_DML", "BACKUP_DDL", "BACKUP_ALTER_COPY"}
)
_BEGINS = frozenset({"BACKUP_START"})
_BACKUP = {
    "BACKUP_DML": _STAGES | _READ_LOCK,
    "BACKUP_TRANS_DML": _READ_LOCK,
    "BACKUP_SYS_DML": _LATE | _READ_LOCK,
    "BACKUP_DDL": _LATE | _READ_LOCK | {"BACKUP_WAIT_DDL", "BACKUP_BLOCK_DDL"},
    "BACKUP_ALTER_COPY": _READ_LOCK,
    "BACKUP_COMMIT": _LATE | {"BACKUP_FTWRL2"},
}
HELD_AGAINST = {
    "SHARED": _X | _IX,
    "SHARED_HIGH_PRIO": _X,
    "SHARED_READ": _NO_READ,
    "SHARED_WRITE": _NO_WRITE | {"SHARED_READ_ONLY"},
    "SHARED_WRITE_LOW_PRIO": _NO_WRITE | {"SHARED_READ_ONLY"},
    "SHARED_UPGRADABLE": _NO_WRITE | {"SHARED_UPGRADABLE"},
    "SHARED_READ_ONLY": _NO_READ | _WRITES,
    "SHARED_NO_WRITE": _NO_WRITE | {"SHARED_UPGRADABLE"} | _WRITES,
    "SHARED_NO_READ_WRITE": _ALL - {"SHARED", "SHARED_HIGH_PRIO"},
    "EXCLUSIVE": _ALL | _IX,
    "INTENTION_EXCLUSIVE": _X | {"SHARED"},
    **_BACKUP,
    "BACKUP_START": _BEGINS | _STAGES | {"BACKUP_BLOCK_DDL"},
    "BACKUP_FLUSH": _BEGINS,
    "BACKUP_WAIT_FLUSH": _BEGINS | {"BACKUP_DML"},
    "BACKUP_WAIT_DDL": _BEGINS | {"BACKUP_DML", "BACKUP_DDL"},
    "BACKUP_WAIT_COMMIT": _BEGINS | {"BACKUP_DML", "BACKUP_SYS_DML", "BACKUP_DDL", "BACKUP_COMMIT"},
    "BACKUP_FTWRL1": _CHANGES,
    "BACKUP_FTWRL2": _CHANGES | {"BACKUP_COMMIT"},
    "BACKUP_BLOCK_DDL": _BEGINS | _STAGES | {"BACKUP_BLOCK_DDL", "BACKUP_DDL"},
}
"""Which granted locks keep a request waiting (the servers' sql/mdl.cc: locks of objects, of scopes,
and MariaDB's of backups, whose names are apart)."""
ASKED_BEFORE = {
    "SHARED": _X,
    "SHARED_READ": _NO_READ,
    "SHARED_WRITE": _NO_WRITE,
    "SHARED_WRITE_LOW_PRIO": _NO_WRITE | {"SHARED_READ_ONLY"},
    "SHARED_UPGRADABLE": _X,
    "SHARED_READ_ONLY": _NO_READ | {"SHARED_WRITE"},
    "SHARED_NO_WRITE": _X,
    "SHARED_NO_READ_WRITE": _X,
    "INTENTION_EXCLUSIVE": _X | {"SHARED"},
    **_BACKUP,
    "BACKUP_START": _STAGES | {"BACKUP_BLOCK_DDL"},
    "BACKUP_BLOCK_DDL": _BEGINS,
}
"""Which requests that wait themselves go before it."""
BECOMES = {
    "SHARED": _X,
    "SHARED_READ": frozenset({"SHARED_READ_ONLY"}),
    "SHARED_UPGRADABLE": _NO_WRITE,
    "SHARED_NO_WRITE": _X,
    "SHARED_NO_READ_WRITE": _X,
    "BACKUP_START": _STAGES,
    "BACKUP_FLUSH": _STAGES,
    "BACKUP_BLOCK_DDL": _BEGINS | _STAGES,
    "BACKUP_FTWRL1": frozenset({"BACKUP_FTWRL2"}),
}
"""What a granted lock may be by now: the performance schema goes on showing it as it was taken, not
as it was upgraded (an ALTER that copies, LOCK TABLES … READ, the stages of a backup)."""
XA = 0
"""Instead of a thread: prepared XA transactions that no connection has."""


class Wait(NamedTuple):
    """One thread waits for another.

    Attributes:
        waiter, blocker: ids of threads.
        what: the lock that is waited for, in words.
        sure: whether the server says so; else the blocker is one of those who may be it.
    """

    waiter: int
    blocker: int
    what: str
    sure: bool = True


class Lock(NamedTuple):
    """A metadata lock that a thread has, or waits for."""

    thread: int
    name: str
    kind: str
    pending: bool


def waits(server: Server, timeout_s: float) -> tuple[list[Wait], list[str]]:
    """All waits of a server, and what of them could not be read, in words.

    Args:
        server: the connection.
        timeout_s: after this time the server gives up a statement that asks for them.

    Raises:
        pymysql.err.MySQLError: the server went away.
    """
    missing: list[str] = []
    ask = _limited(server, timeout_s)
    found = _row_waits(ask, missing) + _metadata_waits(ask, missing)
    return list(dict.fromkeys(found)), missing


def _limited(server: Server, timeout_s: float) -> _Ask:
    """Asks with a time limit for each statement, and none for others on the connection."""

    def ask(sql: str) -> list[tuple[Any, ...]]:
        if server.mariadb:
            return server.query(f"SET STATEMENT max_statement_time={timeout_s:.3f} FOR {sql}")
        limit_ms = max(round(timeout_s * 1000), 1)
        hint = f"SELECT /*+ MAX_EXECUTION_TIME({limit_ms}) */"
        return server.query(sql.replace("SELECT", hint, 1))

    return ask


def _row_waits(ask: _Ask, missing: list[str]) -> list[Wait]:
    # One of the two is there, whatever the server is.
    failed: Exception | None = None
    for sql in (_ROWS_OLD, _ROWS_NEW):
        try:
            rows = ask(sql)
        except pymysql.err.MySQLError as error:
            if code(error) in GONE:
                raise
            if code(error) in DENIED | TIMED_OUT:
                missing.append(_why("row locks", error))
                return []
            failed = error
            continue
        return [
            Wait(int(row[0]), int(row[1]), _row_lock(*map(_text, row[2:])))
            for row in rows
            if row[0] is not None and row[1] is not None
        ]
    missing.append(_why("row locks", failed))
    return []


def _row_lock(table: str, index: str, mode: str) -> str:
    table = table.replace("`", "")
    return f"a row lock ({mode}) of {table} {index}".rstrip() if table else "a row lock"


def _metadata_waits(ask: _Ask, missing: list[str]) -> list[Wait]:
    try:
        enabled = ask(_INSTRUMENT)
        if not enabled or _text(enabled[0][0]).upper() != "YES":
            missing.append(
                "metadata locks: not watched by the server (performance_schema=ON and its "
                "instrument wait/lock/metadata/sql/mdl)"
            )
            return []
        rows = ask(_METADATA)
    except pymysql.err.MySQLError as error:
        if code(error) in GONE:
            raise
        missing.append(_why("metadata locks", error))
        return []
    locks = []
    for thread, kind_of, schema, name, kind, status in (map(_text, row) for row in rows):
        parts = ".".join(part for part in (schema, name) if part)
        pending = status.upper() == "PENDING"
        locks.append(Lock(int(thread), f"{kind_of.lower()} {parts}".rstrip(), kind, pending))
    return between(locks)


def between(locks: Sequence[Lock]) -> list[Wait]:
    """Which of the pending metadata locks waits for whose."""
    found = []
    for asked in locks:
        if not asked.pending:
            continue
        what = f"the metadata lock ({asked.kind}) of {asked.name}"
        others = [
            other for other in locks if other.thread != asked.thread and other.name == asked.name
        ]
        against = HELD_AGAINST.get(asked.kind, frozenset())
        before = ASKED_BEFORE.get(asked.kind, frozenset())
        told = [other for other in others if other.kind in (before if other.pending else against)]
        found += [Wait(asked.thread, other.thread, what) for other in told]
        if not told:  # then somebody's lock is no longer what is shown
            found += _upgraded(asked, others, what)
    return found


def _upgraded(asked: Lock, others: Sequence[Lock], what: str) -> list[Wait]:
    """Those whose lock may have been upgraded: who began to alter the table, else every reader."""
    against = HELD_AGAINST.get(asked.kind, frozenset())
    maybe = [
        other for other in others
        if not other.pending and BECOMES.get(other.kind, frozenset()) & against
    ]  # fmt: skip
    sure = [other for other in maybe if other.kind != "SHARED_READ"]
    return [Wait(asked.thread, each.thread, what, sure=bool(sure)) for each in sure or maybe]


def roots(found: Iterable[Wait], *, sure: bool = False) -> set[int]:
    """Those that keep others waiting and wait for nobody; with `sure`, only those who surely do."""
    found = list(found)
    blockers = {wait.blocker for wait in found if wait.sure or not sure}
    return blockers - {wait.waiter for wait in found}


def _why(what: str, error: BaseException | None) -> str:
    words = error.args[1] if error is not None and len(error.args) > 1 else error
    if error is not None and code(error) in TIMED_OUT:
        words = "no answer in time (--statement-timeout)"
    return f"{what}: {words}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
