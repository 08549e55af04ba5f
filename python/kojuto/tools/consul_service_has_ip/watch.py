"""Watching services: a blocking query for each, whose answers go to a table."""

from __future__ import annotations

import random
import time
from threading import Condition, Event, Lock, Semaphore, Thread

from kojuto.common.server import forever
from kojuto.tools.consul_service_has_ip.consul import Answer, Channel, ConsulError
from kojuto.tools.consul_service_has_ip.once import MIN_GAP_S, Questions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import Membership
    from kojuto.common.server.logs import Logger
    from kojuto.tools.consul_service_has_ip.consul import Instance, Settings

FIRST_BACKOFF_S = 0.25
MAX_BACKOFF_S = 30.0
OUTAGE_TIMEOUT_S = 2.0
"""How long a request waits for the next attempt while Consul is away."""
BURST = 3
REFILL_S = 1.0
"""So many answers in a row, then one in this time: a service that changes all the time (or
X-Consul-Index of one that does not exist) must not make a busy loop."""
EVICT_IDLE_S = 30.0
"""A watch that nobody asked so long may make room for another."""
CHECK_S = 1.0
BUSY_GRACE_S = 30.0
"""How long the last answer holds while Consul wants fewer questions (429)."""
MOST_TOLD = 1000


def next_index(last: int, told: int) -> int:
    """The index of the next question: 0 starts over when it went back, else at least 1."""
    return 0 if told < last else max(told, 1)


def backoff_s(failures: int) -> float:
    """The pause after so many failures in a row: doubled each time, half of it by chance."""
    most = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 20))
    return random.uniform(most / 2, most)  # noqa: S311


class Bucket:
    """How many answers may come in a row."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._at = time.monotonic()

    def pause_s(self) -> float:
        """Take a token; how long to wait before it counts."""
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._at) / REFILL_S)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens * REFILL_S)


class Watch:
    """One service in one data centre, watched in a thread of its own.

    Args:
        key: what Consul is asked.
        pinned: it is watched for as long as the process lives.
        begun: a connection, and the answer that has come over it already.
    """

    def __init__(
        self,
        watches: Watches,
        key: str,
        *,
        pinned: bool = False,
        begun: tuple[Channel, Answer] | None = None,
    ) -> None:
        self.key = key
        self.pinned = pinned
        self._watches = watches
        self._changed = Condition()
        self._fresh = False
        self._instances: list[Instance] | None = None
        self._answers = 0
        self._attempts = 0
        self._ended_at = 0.0
        self._error: str | None = None
        self._wanted = False
        self._closed = Event()
        self._first = begun[1] if begun else None
        self._channel = begun[0] if begun else Channel(watches.settings)
        self._good_at = 0.0
        self._thread = Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        self._channel.shut()

    def wait(self, timeout_s: float) -> tuple[list[Instance] | None, str]:
        """Wait for the next attempt to ask Consul, if what is known is not good.

        Returns:
            The instances, or None and why there are none.
        """
        with self._changed:
            if self._fresh:
                return self._instances, ""
            if self._error is not None and time.monotonic() - self._ended_at < MIN_GAP_S:
                return None, self._error
            attempts, answers, self._wanted = self._attempts, self._answers, True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._attempts > attempts or self._closed.is_set(),
                timeout_s if self._error is None else min(timeout_s, OUTAGE_TIMEOUT_S),
            )
            if self._answers > answers:  # and it may have failed again since
                return self._instances, self._error or ""
            name = self._watches.settings.endpoint.name
            return None, self._error or f"Consul at {name}: no answer within {timeout_s:g} s"

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as error:
            # Nobody watches any more: what the table has must not be believed.
            self._watches.log.error("A watch failed", key=self.key, error=repr(error))
            self._failed(ConsulError(f"unexpected {type(error).__name__}", away=False))
            self._watches.forget(self)
        finally:
            self._channel.close()
            self._watches.slots.release()

    def _watch(self) -> None:
        index, failures, bucket = 0, 0, Bucket()
        if self._first is not None:
            self._good(self._first)
            index = next_index(0, self._first.index)
        while not self._closed.wait(bucket.pause_s()):
            wait_s = self._watches.wait_s * random.uniform(0.9, 1.0)  # noqa: S311
            try:
                answer = self._channel.ask(self.key, index=index, wait_s=wait_s)
            except ConsulError as error:
                if self._closed.is_set():
                    return
                was_fresh = self._fresh
                failures += 1
                if error.busy and was_fresh and time.monotonic() - self._good_at < BUSY_GRACE_S:
                    # What is known stays good; there is no hurry.
                    self._closed.wait(max(backoff_s(failures + 2), error.retry_after_s))
                    continue
                index = 0  # the next answer has to come at once
                self._failed(error, again_at_once=was_fresh)
                if was_fresh:
                    self._watches.failed(self.key, error)
                    continue  # a blocking query that broke: Consul may be back already
                if failures == 1:
                    self._watches.failed(self.key, error)
                self._back_off(max(backoff_s(failures), error.retry_after_s), error)
                continue
            if self._closed.is_set():
                return
            if failures:
                self._watches.log.info("Consul answers again", key=self.key, failures=failures)
            failures = 0
            index = next_index(index, answer.index)
            self._good(answer)
            self._watches.note_filtered(self.key, answer)

    def _good(self, answer: Answer) -> None:
        watches = self._watches
        changed = watches.table.put(self.key, answer.instances)
        self._good_at = time.monotonic()
        with self._changed:
            self._fresh, self._error, self._instances = True, None, answer.instances
            self._attempts += 1
            self._answers += 1
            self._wanted = False
            self._changed.notify_all()
        with watches.lock:
            watches.answers += 1
        if changed:
            addresses = {address for found, _ in answer.instances for address in found}
            watches.log.info("Members", key=self.key, addresses=len(addresses))

    def _failed(self, error: ConsulError, *, again_at_once: bool = False) -> None:
        if error.away:
            self._watches.table.away(self.key)
        else:
            self._watches.table.refuse(self.key)
            self._watches.settings.token.again()
        with self._changed:
            self._fresh, self._error = False, str(error)
            if not error.away:
                self._instances = None
            self._attempts += 1
            # Who asks now waits for the attempt that begins at once, it may succeed.
            self._ended_at = 0.0 if again_at_once else time.monotonic()
            self._wanted = False
            self._changed.notify_all()

    def _back_off(self, pause_s: float, error: ConsulError) -> None:
        """Wait, but no longer than until somebody asks, unless Consul named the time."""
        until = time.monotonic() + pause_s
        with self._changed:
            if error.retry_after_s == 0:
                self._changed.wait_for(lambda: self._wanted or self._closed.is_set(), pause_s)
                until = min(until, self._ended_at + MIN_GAP_S)
            left = until - time.monotonic()
            if left > 0:
                self._changed.wait_for(self._closed.is_set, left)


class Watches:
    """All that is watched.

    Args:
        table: where the addresses go.
        settings: how Consul is asked.
        wait_s: how long a blocking query may wait.
        most: watches at a time.
        singles: connections beside them, for single questions.
        idle_s: a watch that nobody asked so long ends; 0 for never.
    """

    def __init__(
        self,
        table: Membership,
        settings: Settings,
        log: Logger,
        *,
        wait_s: float,
        most: int,
        singles: int,
        idle_s: float,
    ) -> None:
        self.table = table
        self.settings = settings
        self.log = log
        self.wait_s = wait_s
        self.lock = Lock()
        self.answers = 0
        self.failures = 0
        self.slots = Semaphore(most)
        """One for each thread that watches, until its connection is closed."""
        self.questions = Questions(settings, singles)
        self._most = most
        self._idle_s = idle_s
        self._known: dict[str, Watch] = {}
        self._filtered: set[str] = set()
        forever.begin("idle", self._look_for_idle, log)

    def pin(self, key: str) -> None:
        """Watch a key for as long as the process lives."""
        with self.lock:
            if key not in self._known:
                self.slots.acquire()
                self.table.watch(key)
                self._known[key] = Watch(self, key, pinned=True)

    def find(self, key: str) -> Watch | None:
        """The watch of a key."""
        with self.lock:
            return self._known.get(key)

    def ask(self, key: str, *, once: bool = False) -> list[Instance]:
        """Ask Consul about a key without a watch, and watch it from now on if that is of use.

        A service without an instance is not watched: there may be as many of them as there are
        names. That it has none is believed for a few seconds.

        Args:
            key: what Consul is asked.
            once: it is never watched.

        Raises:
            ConsulError: there is no answer.
        """
        begin = (lambda *_: False) if once else (lambda *begun: self._begin(key, begun))
        answer = self.questions.ask(key, begin)
        self.note_filtered(key, answer)
        if not answer.instances and not once:
            self.table.put_empty(key)
        return answer.instances

    def _begin(self, key: str, begun: tuple[Channel, Answer]) -> bool:
        """Whether a watch of the key goes on from an answer over its connection."""
        if not begun[1].instances:
            return False
        with self.lock:
            if key in self._known:
                return False
            if len(self._known) >= self._most and not self._make_room():
                return False
            if not self.slots.acquire(blocking=False):
                return False  # one that has been told to end still has its connection
            self.table.watch(key)
            self._known[key] = Watch(self, key, begun=begun)
            return True

    def note_filtered(self, key: str, answer: Answer) -> None:
        """Warn once when the token may not read all instances."""
        with self.lock:
            if not answer.filtered:
                self._filtered.discard(key)
                return
            if key in self._filtered:
                return
            if len(self._filtered) >= MOST_TOLD:
                self._filtered.clear()
            self._filtered.add(key)
        self.log.warn(
            "Consul leaves out what its token may not read: some instances are missing", key=key
        )

    def failed(self, key: str, error: ConsulError) -> None:
        """Count and log the beginning of an outage."""
        with self.lock:
            self.failures += 1
        level = self.log.warn if error.away else self.log.error
        level("Consul is away" if error.away else "Consul refuses", key=key, error=str(error))

    def forget(self, watch: Watch) -> None:
        """Take a watch out."""
        with self.lock:
            self._end(watch)

    def names(self) -> list[str]:
        """The keys that are watched."""
        with self.lock:
            return sorted(self._known)

    def _end(self, watch: Watch) -> None:
        if self._known.get(watch.key) is watch:
            del self._known[watch.key]
            self.table.unwatch(watch.key)
        watch.close()

    def _make_room(self) -> bool:
        """End the watch that was asked the longest time ago, if that is long enough."""
        idle = [
            (self.table.idle_s(key) or 0.0, key)
            for key, watch in self._known.items()
            if not watch.pinned
        ]
        longest_s, key = max(idle, default=(0.0, ""))
        if longest_s < EVICT_IDLE_S:
            return False
        self._end(self._known[key])
        return True

    def _look_for_idle(self) -> None:
        while True:
            time.sleep(min(CHECK_S, self._idle_s / 4) if self._idle_s else 60.0)
            with self.lock:
                for key, watch in list(self._known.items()):
                    idle_s = self.table.idle_s(key) or 0.0
                    if self._idle_s and idle_s >= self._idle_s and not watch.pinned:
                        self._end(watch)
