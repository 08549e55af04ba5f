"""Asks the server for ``myps top`` in a thread of its own, so that no key waits for an answer."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import pymysql

from kojuto.errors import KojutoError
from kojuto.tools.myps.connect import Target, server_words
from kojuto.tools.myps.kill_same import Outcome, kill_same
from kojuto.tools.myps.processes import Server

if TYPE_CHECKING:
    from kojuto.common.cli import Values
    from kojuto.tools.myps.processes import Process
    from kojuto.tools.myps.view import Kill


@dataclass
class Answer:
    """What became of one question.

    Attributes:
        processes: the list, None where there is none.
        version: of the server.
        at: when it came, by the monotonic clock.
        told: what became of a kill.
        trouble: why there is no list.
        load: how busy the server is, in words.
    """

    processes: list[Process] | None = None
    version: str = ""
    at: float = field(default_factory=time.monotonic)
    told: str = ""
    trouble: str = ""
    load: str = ""


class Poller(Thread):
    """One connection, asked one thing after the other.

    Args:
        values: the command line.
        target: where to connect.
        server: the connection to begin with.

    Attributes:
        descriptor: is readable when there are answers.
        waiting: how many questions have none yet.
    """

    def __init__(self, values: Values, target: Target, server: Server) -> None:
        super().__init__(daemon=True)
        self._values = values
        self._target = target
        self._server: Server | None = server
        self._counted: tuple[float, int] | None = None
        self._questions: SimpleQueue[Kill | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self.descriptor, self._bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.waiting = 0

    def ask(self, kill: Kill | None = None) -> None:
        """Have a kill done, or the list asked for."""
        self.waiting += 1
        self._questions.put(kill)

    def answers(self) -> list[Answer]:
        """Those that have come."""
        with suppress(BlockingIOError):
            os.read(self.descriptor, 1024)
        found = []
        while not self._answers.empty():
            found.append(self._answers.get())
        self.waiting -= len(found)
        return found

    def run(self) -> None:
        """Ask, for ever."""
        while True:
            kill = self._questions.get()
            answer = self._list() if kill is None else self._kill(kill)
            self._answers.put(answer)
            with suppress(OSError):  # it is full, or nobody listens any more
                os.write(self._bell, b"!")

    def close(self) -> None:
        """Let go of the connection, if nothing is being asked on it."""
        if self._server is not None and not self.waiting:
            self._lose()

    def _lose(self) -> None:
        if self._server is not None:
            with suppress(pymysql.err.MySQLError, OSError):
                self._server.connection.close()
            self._server = None
            self._counted = None

    def _list(self) -> Answer:
        try:
            if self._server is None:
                self._server = Server(self._target.connect(), self._values.debug)
            found = self._server.match(self._values)
            load = self._load(self._server)
        except (KojutoError, pymysql.err.MySQLError, OSError) as error:
            self._lose()
            return Answer(trouble=f"{server_words(error)}; trying again")
        return Answer(found, self._server.version, load=load)

    def _load(self, server: Server) -> str:
        """Queries a second since the last look, as the server counts them, and threads running."""
        rows = server.query(
            "SHOW GLOBAL STATUS WHERE Variable_name IN ('Queries', 'Threads_running')"
        )
        status = {bytes(name).decode(): int(value) for name, value in rows}
        now, before = time.monotonic(), self._counted
        self._counted = now, status.get("Queries", 0)
        words = f"{status.get('Threads_running', 0)} running"
        if before is None or now <= before[0]:
            return words
        per_s = (self._counted[1] - before[1]) / (now - before[0])
        return f"{per_s:.0f} queries/s, {words}"

    def _kill(self, kill: Kill) -> Answer:
        if self._server is None:
            return Answer(told="not connected, nothing was killed")
        number = kill.process.id
        try:
            outcome = kill_same(self._server, kill.process, query_only=kill.query_only)
        except (pymysql.err.MySQLError, OSError) as error:
            return Answer(told=f"{number}: {server_words(error)}")
        if outcome is Outcome.PASSED_OVER:
            return Answer(told=f"{number} is gone or on to another statement: passed over")
        if outcome is Outcome.STATEMENT_ONLY:
            words = "only its statement was killed, the connection had moved on"
            return Answer(told=f"{number}: {words}")
        return Answer(told=f"KILLED {number}")
