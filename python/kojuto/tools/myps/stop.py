"""SIGTERM, and the end of its time, for a watch whose server may not answer."""

from __future__ import annotations

import math
import signal
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from kojuto.common.output import STOP

if TYPE_CHECKING:
    from collections.abc import Callable

    _T = TypeVar("_T")

ANSWER_TIMEOUT_S = 3.0
"""How long after either a server may still answer what it was asked: a kill is to be reported.

MariaDB itself takes two seconds for a kill of a thread that is just waking up from another one: it
tries so long for that thread's mutex.
"""
LOOK_S = 1.0
"""How often a look is taken while a server is waited for."""
AGAIN_S = 0.2
"""The same once SIGTERM has come."""


class NoAnswer(Exception):  # noqa: N818
    """SIGTERM has come or the run time is over, and the server has not answered in time."""


class NotAsked(NoAnswer):
    """The time was over before it was asked."""


class Stop:
    """SIGTERM, held back but while the server is waited for.

    A handler that sets an event which its own thread is about to wait for would block on that
    event's lock, so that all else asks for the signal instead (`sigtimedwait`).

    Args:
        run_time_s: after which the watch is over; None for never.

    Attributes:
        asked: whether it has come while the server was waited for.
    """

    def __init__(self, run_time_s: float | None = None) -> None:
        self.asked = False
        # When the time for an answer is over: after SIGTERM, and after the end of the run time.
        self._late_at = math.inf
        self._end = math.inf if run_time_s is None else monotonic() + run_time_s + ANSWER_TIMEOUT_S
        self._waits, self._since = False, 0.0
        signal.pthread_sigmask(signal.SIG_BLOCK, {STOP})
        signal.signal(signal.SIGALRM, self._look)
        signal.signal(STOP, self._come)

    def wait_for(self, ask: Callable[[], _T]) -> _T:
        """What the server answers.

        Raises:
            NoAnswer, NotAsked: it has had its time since SIGTERM.
        """
        self._waits, self._since = True, monotonic()
        # Again and again: an exception in a finalizer is not passed on, and a signal that comes
        # just before a system call blocks is not seen in it.
        self._look_every(AGAIN_S if self.asked else LOOK_S)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {STOP})
            if monotonic() >= self._late_at:
                raise NotAsked
            answer = ask()
            self._waits = False
            return answer
        finally:
            self._waits = False
            signal.pthread_sigmask(signal.SIG_BLOCK, {STOP})
            self._look_every(0)  # last: the interpreter's end would leave it to the system

    def _come(self, _number: int, _frame: object) -> None:
        if not self.asked:
            self.asked = True
            self._late_at = monotonic() + ANSWER_TIMEOUT_S
            self._look_every(AGAIN_S)

    def _look_every(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds)

    def _look(self, _number: int, _frame: object) -> None:
        now = monotonic()
        # The end of the run time alone cuts nothing short that is answered.
        is_over = now >= self._end and now - self._since >= ANSWER_TIMEOUT_S
        if self._waits and (is_over or now >= self._late_at):
            raise NoAnswer
