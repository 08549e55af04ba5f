"""A kill of a thread only while it still runs the statement that it was listed with."""

from __future__ import annotations

from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

import pymysql

from kojuto.tools.myps.connect import code

if TYPE_CHECKING:
    from kojuto.tools.myps.processes import Process, Server

NO_SUCH_THREAD, NO_SUCH_QUERY = 1094, 1957
LONG_MS = 100


class Outcome(Enum):
    """What became of one that was to be killed."""

    PASSED_OVER = 0
    """It is gone, or had moved on."""
    STATEMENT_ONLY = 1
    """Its statement was ended, but its connection had moved on before it could be."""
    KILLED = 2


def kill_same(server: Server, process: Process, *, query_only: bool) -> Outcome:
    """Kill a thread if it still runs the statement it was listed with.

    MariaDB compares the query id itself while it holds its lock, so that ``KILL QUERY ID`` hits
    that statement or none; that the id is that of the listed text is looked at before. For a
    whole connection it goes first, twice, in one block on the server: it does nothing to a
    connection that sleeps, and fails for one that has moved on; the second asks again because
    the first may have woken the client into its next statement. One that was listed with a
    statement must be running it still. No command of a server compares and ends a connection at
    once, so some microseconds are left between the last two.

    A statement that has run for `LONG_MS` is looked for and its connection ended, without those
    two: one that has run so long hardly ends within that moment (0.1 ms or so, by kills at the
    end of statements: 16 of 600 within 3 ms of it hit the next one), and a thread that waits (in a
    SLEEP, for a lock) and is woken by the first kill may hold up the second for two seconds, a
    hundred of them for minutes.

    A stored procedure gives each of its statements a query id of its own, and a loop of short ones
    a new one before any kill can name it. Where the listed id is gone, what counts is when the call
    began (`_kill_call_of`).

    Elsewhere the check and the kill travel in one packet.

    Raises:
        pymysql.err.MySQLError: the server refused.
    """
    by_query_id = server.mariadb and process.statement is not None
    kind = "QUERY" if query_only else "CONNECTION"
    outcome = Outcome.PASSED_OVER
    try:
        if not by_query_id:
            _check_and_kill(server, process, kind)
            return Outcome.KILLED
        is_as_listed = _is_as_listed(server, process)
        if is_as_listed and query_only:
            server.query(f"KILL QUERY ID {process.statement}")
            return Outcome.KILLED
        if is_as_listed:
            outcome = _kill_connection_of(server, process)
    except pymysql.err.MySQLError as error:
        if code(error) not in (NO_SUCH_THREAD, NO_SUCH_QUERY):
            raise
    if by_query_id and outcome is not Outcome.KILLED and _kill_call_of(server, process, kind):
        return Outcome.KILLED
    return outcome


def _kill_call_of(server: Server, process: Process, kind: str) -> bool:
    """Kill one whose query id is another by now, if what its client sent is still the same.

    A thread's time goes on through all statements of a call: where it is longer than since the
    list, the call was running when the list was made. `LONG_MS` more than that are asked for, since
    this very check takes its time, too.

    Returns:
        Whether it was so.
    """
    if process.listed_at is None or process.command == "Sleep":
        return False
    # By two clocks: one alone may have been set back meanwhile.
    passed_s = monotonic() - process.seen_at
    condition = (
        f"ID = {process.id} AND QUERY_ID <> {process.statement} AND COMMAND <> 'Sleep' AND TIME_MS "
        f"> {LONG_MS} + 1000 * GREATEST(@@timestamp - {process.listed_at:.6f}, {passed_s:.6f})"
    )
    block = (
        "BEGIN NOT ATOMIC SET @myps_hit = 0; "  # noqa: S608
        f"IF EXISTS (SELECT 1 FROM information_schema.PROCESSLIST WHERE {condition}) THEN "
        f"SET @myps_hit = 1; KILL {kind} {process.id}; END IF; END"
    )
    try:
        server.query(block)
    except pymysql.err.MySQLError as error:
        if code(error) == NO_SUCH_THREAD:
            return False
        raise
    return bool(int(server.query("SELECT @myps_hit")[0][0]))


def _is_as_listed(server: Server, process: Process) -> bool:
    """Whether the query id is that of the text.

    MariaDB reads the text of a thread and then, without its lock, the query id: a thread that moves
    on between the two is listed with one statement and named by the next. A second look, in which
    the older text cannot come any more, tells such a row.
    """
    where = "ID = %s AND QUERY_ID = %s"
    found = server.processes(where, (process.id, process.statement))
    return bool(found) and found[0].info == process.info and found[0].time >= process.time - 1


def _kill_connection_of(server: Server, process: Process) -> Outcome:
    """One block: running it still? the statement, again the statement, the connection.

    Without the statement where it has run for long.
    """
    number, thread = process.statement, process.id
    has_run_ms = "0"
    if process.command != "Sleep":
        same = f"ID = {thread} AND QUERY_ID = {number} AND COMMAND <> 'Sleep'"
        has_run_ms = f"(SELECT TIME_MS FROM information_schema.PROCESSLIST WHERE {same})"  # noqa: S608
    block = (
        f"BEGIN NOT ATOMIC SET @myps_hit = 0, @myps_ms = {has_run_ms}; "
        f"IF @myps_ms IS NOT NULL THEN IF @myps_ms < {LONG_MS} THEN "
        f"KILL QUERY ID {number}; SET @myps_hit = 1; KILL QUERY ID {number}; END IF; "
        f"KILL CONNECTION {thread}; SET @myps_hit = 2; END IF; END"
    )
    try:
        server.query(block)
    except pymysql.err.MySQLError as error:
        if code(error) not in (NO_SUCH_THREAD, NO_SUCH_QUERY):
            raise
    return Outcome(int(server.query("SELECT @myps_hit")[0][0]))


def _check_and_kill(server: Server, process: Process, kind: str) -> None:
    """The check leaves a variable at 0, an id that no thread has, unless all is as listed."""
    conditions = (
        "ID = %s AND IFNULL(USER, '') = %s AND IFNULL(HOST, '') = %s AND COMMAND = %s "
        "AND IFNULL(INFO, '') = %s"
    )
    arguments: list[object] = [
        process.id, process.user, process.host, process.command, process.info,
    ]  # fmt: skip
    if process.statement is not None:
        conditions += (
            " AND %s = (SELECT MAX(e.EVENT_ID) FROM performance_schema.threads t "
            "JOIN performance_schema.events_statements_current e USING (THREAD_ID) "
            "WHERE t.PROCESSLIST_ID = %s)"
        )
        arguments += [process.statement, process.id]
    else:
        conditions += " AND ABS(UNIX_TIMESTAMP() - TIME - %s) <= 1"
        arguments.append(process.started)
    select = f"SELECT IFNULL(MAX(ID), 0) INTO @myps_victim FROM {server.table}"  # noqa: S608
    sql = f"{select} WHERE {conditions}; KILL {kind} @myps_victim"
    connection = server.connection
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        while cursor.nextset():
            pass
