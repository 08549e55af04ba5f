"""``myps blockers``: who waits for whom, as a tree."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pymysql

from kojuto.common import cli
from kojuto.common.cli import complain
from kojuto.common.terminal import json_text
from kojuto.errors import KojutoError
from kojuto.tools.myps.connect import Target, server_words
from kojuto.tools.myps.locks import XA, roots, waits
from kojuto.tools.myps.processes import Server, own_alone
from kojuto.tools.myps.show import INFO_CHARACTERS, escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kojuto.common.cli import Values
    from kojuto.tools.myps.locks import Wait
    from kojuto.tools.myps.processes import Process

PERHAPS = ", perhaps of this thread (the server lists LOCK TABLES … READ as a read)"
NO_CONNECTION = "prepared XA transactions of no connection (XA RECOVER lists them)"


def blockers(values: Values) -> int:
    """Print the trees of those who keep others waiting; status 1 without any."""
    target = Target(values)
    try:
        with closing(target.connect()) as connection:
            server = Server(connection, values.debug)
            processes = server.processes()
            if server.sees_own_alone(processes, target.user):
                complain("myps", *own_alone(target.user))
            found, missing = waits(server, values.statement_timeout)
    except pymysql.err.MySQLError as error:
        raise KojutoError(f"{target.address}: {server_words(error)}") from error
    for text in missing:
        complain("myps", f"warning: {text}")
    by_id = {process.id: process for process in processes}
    if values.output == "json":
        for wait in found:
            print(json_text(_about(wait, by_id, full=values.full)))
    else:
        for text in tree(found, by_id, full=values.full):
            print(text)
    return cli.DONE if found else cli.FAILED


def _about(wait: Wait, by_id: Mapping[int, Process], *, full: bool) -> dict[str, object]:
    def thread(number: int) -> dict[str, object]:
        process = by_id.get(number)
        if process is None:
            return {"id": number}
        info = process.info if full else process.info[:INFO_CHARACTERS]
        return {
            "id": number, "user": process.user, "host": process.host, "db": process.db,
            "command": process.command, "time": process.time, "state": process.state, "info": info,
        }  # fmt: skip

    return {
        "blocker": thread(wait.blocker), "waiter": thread(wait.waiter), "lock": wait.what,
        "sure": wait.sure,
    }  # fmt: skip


def tree(found: Sequence[Wait], by_id: Mapping[int, Process], *, full: bool) -> Iterator[str]:
    """The lines of the trees: whoever keeps the others waiting first, those who wait below.

    One who waits for several stands below each of them, with what waits for it below the first
    only. Those who wait in a circle begin with the least id.

    Args:
        found: the waits.
        by_id: the threads, as far as they are known.
        full: whole statements, not 110 characters.
    """
    below: dict[int, dict[int, str]] = {}
    for wait in found:
        what = wait.what if wait.sure else f"{wait.what}{PERHAPS}"
        below.setdefault(wait.blocker, {}).setdefault(wait.waiter, what)
    shown: set[int] = set()
    for number in [*sorted(roots(found)), *sorted(below)]:
        if number not in shown:
            yield _thread(number, by_id, full=full)
            yield from _branches(number, below, by_id, shown, full=full)


def _branches(
    top: int,
    below: Mapping[int, Mapping[int, str]],
    by_id: Mapping[int, Process],
    shown: set[int],
    *,
    full: bool,
) -> Iterator[str]:
    """What stands below one thread. Without recursion: a chain may be a thousand threads long."""
    shown.add(top)
    stack = [("", iter(_last_told(below.get(top, {}))))]
    while stack:
        indent, rest = stack[-1]
        following = next(rest, None)
        if following is None:
            stack.pop()
            continue
        number, what, last = following
        again = " (see above)" if number in shown and number in below else ""
        text = f"waits for {what}{again}"
        yield f"{indent}{'└─ ' if last else '├─ '}{_thread(number, by_id, text, full=full)}"
        if number not in shown:
            shown.add(number)
            stack.append(
                (indent + ("   " if last else "│  "), iter(_last_told(below.get(number, {}))))
            )


def _last_told(waiters: Mapping[int, str]) -> list[tuple[int, str, bool]]:
    numbers = sorted(waiters)
    return [(number, waiters[number], number == numbers[-1]) for number in numbers]


def _thread(number: int, by_id: Mapping[int, Process], waiting: str = "", *, full: bool) -> str:
    process = by_id.get(number)
    if number == XA:
        return NO_CONNECTION
    if process is None:
        return f"{number} (gone meanwhile)" + (f" {waiting}" if waiting else "")
    info = escape(process.info if full else process.info[:INFO_CHARACTERS])
    where = f" in {escape(process.db)}" if process.db else ""
    what = f"{number} {escape(process.user)}@{escape(process.host)}{where}"
    what += f", {process.command} for {process.time} s"
    if waiting:
        what += f", {waiting}"
    return f"{what}: {info}" if info else what
