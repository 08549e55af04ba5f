"""Single questions to Consul, a few at a time; who asks the same meanwhile shares the answer."""

from __future__ import annotations

import time
from threading import BoundedSemaphore, Event, Lock

from kojuto.tools.consul_service_has_ip.consul import Answer, Channel, ConsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kojuto.tools.consul_service_has_ip.consul import Settings

    Take = Callable[[Channel, Answer], bool]
    """Whether the connection of a good answer is somebody else's from now on."""

MIN_GAP_S = 0.2
"""The least time between two attempts at a Consul that is away, however many ask."""
BUSY_PATIENCE_S = 5.0
"""How long a question is put off when Consul wants fewer of them."""
BUSY_PAUSE_S = 0.5
MOST_FAILED = 1000
"""Questions whose failure is remembered."""


class Questions:
    """Asks Consul without a watch.

    Args:
        settings: how Consul is asked.
        most: connections at a time.
    """

    def __init__(self, settings: Settings, most: int) -> None:
        self.asked = 0
        self._settings = settings
        self._slots = BoundedSemaphore(most)
        self._lock = Lock()
        self._asking: dict[str, _Question] = {}
        self._failed: dict[str, tuple[float, ConsulError]] = {}
        self._not_before = 0.0

    def ask(self, key: str, take: Take = lambda *_: False) -> Answer:
        """The answer to a question.

        Args:
            key: path and query.
            take: called with a good answer and its connection, which is closed unless it is taken.

        Raises:
            ConsulError: there is none.
        """
        with self._lock:
            until, error = self._failed.get(key, (0.0, None))
            if error is not None and time.monotonic() < until:
                raise error
            question = self._asking.get(key)
            mine = question is None
            if question is None:
                question = self._asking[key] = _Question()
                self.asked += 1
        if mine:
            self._settle(key, question, take)
        question.done.wait()
        if question.error is not None:
            raise question.error
        assert question.answer is not None
        return question.answer

    def _settle(self, key: str, question: _Question, take: Take) -> None:
        try:
            question.answer = self._exchange(key, take)
        except ConsulError as error:
            question.error = error
            if not error.away:
                self._settings.token.again()
        finally:
            if question.answer is None and question.error is None:
                question.error = ConsulError("the question to Consul was given up")
            with self._lock:
                del self._asking[key]
                self._failed.pop(key, None)
                if question.error is not None:
                    if len(self._failed) >= MOST_FAILED:
                        self._failed.clear()
                    pause_s = max(MIN_GAP_S, question.error.retry_after_s)
                    self._failed[key] = (time.monotonic() + pause_s, question.error)
            question.done.set()

    def _exchange(self, key: str, take: Take) -> Answer:
        """Ask on one of the connections, later when Consul wants fewer questions."""
        timeout_s = self._settings.timeout_s
        if not self._slots.acquire(timeout=timeout_s):
            name = self._settings.endpoint.name
            raise ConsulError(f"Consul at {name}: too many questions are waiting for an answer")
        channel, taken = Channel(self._settings), False
        try:
            answer = self._patiently(channel, key, min(timeout_s, BUSY_PATIENCE_S))
            taken = take(channel, answer)
            return answer
        finally:
            if not taken:
                channel.end()
            self._slots.release()

    def _patiently(self, channel: Channel, key: str, patience_s: float) -> Answer:
        until, pause_s = time.monotonic() + patience_s, BUSY_PAUSE_S
        while True:
            left = self._not_before - time.monotonic()
            if left >= until - time.monotonic() > 0:
                name = self._settings.endpoint.name
                raise ConsulError(
                    f"Consul at {name}: it wants fewer questions (429)",
                    busy=True,
                    retry_after_s=left,
                )
            if left > 0:
                time.sleep(left)
            try:
                return channel.ask(key)
            except ConsulError as error:
                if not error.busy:
                    raise
                pause_s = error.retry_after_s or min(pause_s * 2, patience_s)
                self._not_before = time.monotonic() + pause_s
                if self._not_before >= until:
                    raise


class _Question:
    """A question that several may wait for."""

    def __init__(self) -> None:
        self.done = Event()
        self.answer: Answer | None = None
        self.error: ConsulError | None = None
