"""``myps kill``: list, ask, and kill those that still run the statement that was listed."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pymysql

from kojuto.common import cli
from kojuto.common.cli import complain
from kojuto.common.output import LOOK_AGAIN_S, STOP
from kojuto.common.streams import WRITE_TIMEOUT_S
from kojuto.errors import KojutoError, UsageError, words
from kojuto.tools.myps.blockers import NO_CONNECTION
from kojuto.tools.myps.connect import GONE, Target, code, server_words
from kojuto.tools.myps.kill_same import Outcome, kill_same
from kojuto.tools.myps.locks import XA, roots, waits
from kojuto.tools.myps.processes import Server, own_alone
from kojuto.tools.myps.reports import Reports
from kojuto.tools.myps.show import MAGENTA, RESET, colour
from kojuto.tools.myps.stop import NoAnswer, NotAsked, Stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from kojuto.common.cli import Values
    from kojuto.tools.myps.processes import Process

    _T = TypeVar("_T")

QUESTION = "Are you sure you want to kill threads? [y/N]:"
KILLED = "Killed"
"""What a server lists as the command of a thread that was killed and has not ended."""
# You are not owner of this thread, of this query; you need a privilege (MySQL's SYSTEM_USER).
REFUSED = frozenset({1095, 1979, 1227})
KILL_AGAIN_S = 5.0
"""So long a watch leaves one alone that it has killed: it may take an hour to roll back, and a kill
may be lost."""
CACHED_S = 0.11
"""InnoDB tells of locks as they were up to 100 ms ago: who was listed must not be younger."""
RIGHTS = "the user needs CONNECTION ADMIN, CONNECTION_ADMIN or SUPER"


class Killer:
    """One command's kills.

    Args:
        values: the command line.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self.target = Target(values)
        self.server: Server | None = None
        self.reports = Reports(values, self.target.address)
        self.refused: set[int] = set()
        self._said_blind = False
        self._said: set[str] = set()
        self._stop: Stop | None = None
        self._spared: set[int] = set()
        self._killed: dict[tuple[int, int | None], float] = {}

    def connected(self) -> Server:
        """The server, connected when it is not."""
        if self.server is None:
            connection = self.target.connect()
            try:
                self.server = Server(connection, self.values.debug)
            except BaseException:
                connection.close()
                raise
        return self.server

    def close(self) -> None:
        """Let go of the connection, whatever state it is in."""
        if self.server is not None:
            with suppress(Exception):
                self.server.connection.close()
            self.server = None
            # A server that was started anew gives the same numbers again.
            self._killed.clear()

    def victims(self) -> list[Process]:
        """Those to kill, in the order to kill them."""
        values = self.values
        found = self._wait_for(lambda: self.connected().match(values))
        self._say_if_blind(found)
        if values.blockers:
            found = self._blocking(found)
        found = self._without_killed(found)
        if not values.include_system:
            for process in found:
                if process.system and process.id not in self._spared:
                    self._spared.add(process.id)
                    complain(
                        "myps",
                        f"spared {process.id}: {process.user} {process.command}, a thread of the "
                        "system (--include-system kills it too)",
                    )
            found = [process for process in found if not process.system]
        if values.query_only:  # a sleeping connection runs no statement
            found = [process for process in found if process.command != "Sleep"]
        if values.victims == "all" and values.limit is None:
            return found
        found.sort(key=lambda process: (-process.time, process.id))
        if values.victims == "oldest":
            return found[:1]
        first = 1 if values.victims == "all-but-oldest" else 0
        return found[first:][: values.limit]

    def _blocking(self, found: list[Process]) -> list[Process]:
        """Those that keep others waiting and wait for nobody.

        They are asked for behind the list: one that is on to another statement by then is not
        what was listed, and passed over.
        """
        if not found:
            return found
        sleep(CACHED_S)
        timeout_s = self.values.statement_timeout
        waiting, missing = self._wait_for(lambda: waits(self.connected(), timeout_s))
        for text in missing:
            self._say_once(text)
        top = roots(waiting, sure=True)
        if XA in top:
            self._say_once(f"nobody to kill: {NO_CONNECTION} keep others waiting")
        for number in sorted(roots(waiting) - top):
            self._say_once(
                f"not killed: {number} keeps others waiting only perhaps (myps blockers)"
            )
        return [process for process in found if process.id in top]

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            complain("myps", f"warning: {text}")

    def _say_if_blind(self, found: list[Process]) -> None:
        user = self.target.user
        if not self._said_blind and self._wait_for(
            lambda: self.connected().sees_own_alone(found, user)
        ):
            self._said_blind = True
            complain("myps", *own_alone(self.target.user))

    def _without_killed(self, found: list[Process]) -> list[Process]:
        """Those that this watch has not killed just now."""
        listed = {
            self._name(process)
            for process in found
            if process.statement is not None or process.command == KILLED
        }
        self._killed = {name: at for name, at in self._killed.items() if name in listed}
        since = monotonic() - KILL_AGAIN_S
        ending = {name for name, at in self._killed.items() if at > since}
        return [process for process in found if self._name(process) not in ending]

    def _name(self, process: Process) -> tuple[int, int | None]:
        """What a kill is remembered by: the thread and its statement.

        A call that was killed ends in another of its statements than it was listed with.
        """
        own = process.id, process.statement
        if process.command == KILLED and own not in self._killed:
            return next((name for name in self._killed if name[0] == process.id), own)
        return own

    def _wait_for(self, ask: Callable[[], _T]) -> _T:
        """What the server answers; in a watch, unless SIGTERM comes and it does not."""
        return ask() if self._stop is None else self._stop.wait_for(ask)

    def kill(self, process: Process) -> bool:
        """Kill one that was listed; False when it was passed over.

        One that is killed again was reported.
        """
        only = self.values.query_only
        try:
            outcome = self._wait_for(lambda: kill_same(self.connected(), process, query_only=only))
        except NotAsked:
            raise
        except NoAnswer:
            asked = self._stop is not None and self._stop.asked
            end = "SIGTERM came" if asked else "the run time is over"
            raise KojutoError(
                f"{process.id}: {end}, and the server has not answered the kill",
                "it may be carried out yet: myps grep shows whether the thread is left",
            ) from None
        except pymysql.err.MySQLError as error:
            if code(error) not in REFUSED:
                raise
            self._was_refused(process, error)
            return False
        name = self._name(process)
        if name in self._killed:
            self._killed[name] = monotonic()
            return True
        if outcome is Outcome.PASSED_OVER:
            complain("myps", passed_over(process))
            return False
        if outcome is Outcome.STATEMENT_ONLY:
            complain(
                "myps", f"{process.id}: only its statement was killed, the connection had moved on"
            )
        self._killed[name] = monotonic()
        self.reports.killed_one(process)
        return True

    def _was_refused(self, process: Process, error: Exception) -> None:
        """Say so, once for each thread, and go on with the others."""
        if process.id not in self.refused:
            hint = None if self.refused or self.values.interval is None else RIGHTS
            complain("myps", f"not killed {process.id}: {server_words(error)}", hint)
            self.refused.add(process.id)

    def once(self) -> int:
        """List, ask, kill."""
        values = self.values
        victims = self.victims()
        if values.dry_run or not values.yes:
            self._list(victims)
        if values.dry_run or not victims or not (values.yes or _confirmed(len(victims))):
            return cli.DONE
        if not values.yes:
            victims = self._still_there(victims)
        left = list(victims)
        try:
            while left:
                self.kill(left[0])
                del left[0]
        except pymysql.err.MySQLError:
            names = ", ".join(str(process.id) for process in left)
            complain("myps", f"warning: perhaps not killed: {names}")
            raise
        return cli.DONE

    def _still_there(self, victims: list[Process]) -> list[Process]:
        """Those to kill, where the server has closed the connection during the question.

        On the new connection they are looked for again, for a server that was started anew gives
        the numbers of threads and statements again.
        """
        try:
            self.connected().query("SELECT 1")
        except pymysql.err.MySQLError as error:
            if code(error) not in GONE:
                raise
        else:
            return victims
        self.close()
        same = {process.identity for process in self.connected().processes()}
        for process in victims:
            if process.identity not in same:
                complain("myps", passed_over(process))
        return [process for process in victims if process.identity in same]

    def _list(self, victims: list[Process]) -> None:
        try:
            for process in victims:
                self.reports.listed(process)
        except OSError as error:
            if self.values.dry_run:  # a mere list
                raise
            text = f"standard output: {words(error)}, nothing was killed"
            raise KojutoError(text, "--yes kills without a list") from None

    def watch(self) -> int:
        """List and kill every interval until the time is over or a signal comes."""
        cli.stay()
        self._stop = Stop(self.values.run_time)
        with suppress(NoAnswer):
            self._every_interval(self._stop)
        return cli.DONE

    def _every_interval(self, stop: Stop) -> None:
        values = self.values
        end = None if values.run_time is None else monotonic() + values.run_time
        begun = down = False
        while True:
            try:
                self.once()
                if down:
                    complain("myps", f"{self.target.address}: back")
                begun, down = True, False
            except (KojutoError, pymysql.err.MySQLError) as error:
                cause = error.__cause__ if isinstance(error, KojutoError) else error
                # What a server refuses at first it refuses for good; later it is in trouble (no
                # room for temporary tables, say), and needs the watch.
                passes = code(cause or error) in GONE or isinstance(cause, (OSError, EOFError))
                if not passes and not (begun and isinstance(cause, pymysql.err.MySQLError)):
                    raise
                self.close()
                if not down:
                    complain(
                        "myps", f"warning: {self.target.address}: {server_words(cause or error)}"
                    )
                    complain("myps", "warning: trying again every interval")
                down = True
            left = values.interval if end is None else min(values.interval, end - monotonic())
            last = end is not None and monotonic() + left >= end
            if stop.asked or self._stopped(max(left, 0)) or last:
                return

    def _stopped(self, within_s: float) -> bool:
        """Wait for SIGTERM; what waits for its reader goes on meanwhile."""
        end = monotonic() + within_s
        while True:
            self.reports.flush()
            left = max(end - monotonic(), 0)
            wait = min(left, LOOK_AGAIN_S) if self.reports.waiting else left
            if signal.sigtimedwait({STOP}, wait) is not None:
                return True
            if wait == left:
                return False


def passed_over(process: Process) -> str:
    """What is said of one that is not killed."""
    return f"passed over {process.id}: gone, or on to another statement"


def _confirmed(count: int) -> bool:
    """Ask; only ``y`` or ``Y`` is a yes, and the end of the input is an error."""
    threads = "1 thread" if count == 1 else f"{count} threads"
    sys.stdout.write(f"{threads} would be killed.\n")
    question = QUESTION
    if colour(sys.stdout):
        question = f"{MAGENTA}{QUESTION}{RESET}"
    sys.stdout.write(question)
    sys.stdout.flush()
    try:
        answer = sys.stdin.readline()
    except OSError:  # it is closed
        answer = ""
    if not answer.endswith("\n"):
        sys.stdout.write("\n")
        raise KojutoError("no answer, nothing was killed", "--yes kills without asking")
    return answer.rstrip("\r\n") in ("y", "Y")


def kill(values: Values) -> int:
    """Kill the threads that match, once or in a watch."""
    if values.interval is None and values.run_time is not None:
        raise UsageError("--run-time needs --interval")
    if values.interval is not None and not (values.yes or values.dry_run):
        raise UsageError("--interval needs --yes or --dry-run", "a watch asks no questions")
    killer = Killer(values)
    try:
        killer.reports.look_at_log()
        status = killer.watch() if values.interval is not None else killer.once()
    except BaseException as error:
        told = killer.reports.unreported(WRITE_TIMEOUT_S)
        if told:
            complain("myps", f"warning: {told}")
        if isinstance(error, pymysql.err.MySQLError):
            raise KojutoError(f"{killer.target.address}: {server_words(error)}") from error
        raise
    finally:
        killer.close()
    killer.reports.close()
    if killer.refused:
        raise KojutoError(f"{killer.target.address}: {len(killer.refused)} not killed", RIGHTS)
    return status
