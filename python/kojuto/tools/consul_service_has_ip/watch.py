"""Watching services: a blocking query for each, whose answers go to a table."""

from __future__ import annotations

import random
import time
from threading import Condition, Event, Lock, Thread

from kojuto.tools.consul_service_has_ip.consul import Answer, Channel, ConsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import Membership
    from kojuto.common.server.logs import Logger
    from kojuto.tools.consul_service_has_ip.consul import Settings

FIRST_BACKOFF_S = 0.25
MAX_BACKOFF_S = 30.0
MIN_GAP_S = 0.2
"""The least time between two attempts at a Consul that is away, however many ask."""
OUTAGE_TIMEOUT_S = 2.0
"""How long a request waits for the next attempt while Consul is away."""
BURST = 3
REFILL_S = 1.0
"""So many answers in a row, then one in this time: a service that changes all the time (or
X-Consul-Index of one that does not exist) must not make a busy loop."""
EVICT_IDLE_S = 30.0
"""A watch that nobody asked so long may make room for another."""
CHECK_S = 1.0


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
    """

    def __init__(self, watches: Watches, key: str, *, pinned: bool = False) -> None:
        self.key = key
        self.pinned = pinned
        self._watches = watches
        self._changed = Condition()
        self._fresh = False
        self._addresses: list[str] | None = None
        self._answers = 0
        self._attempts = 0
        self._ended_at = 0.0
        self._error: str | None = None
        self._wanted = False
        self._closed = Event()
        self._channel = Channel(watches.settings)
        self._thread = Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        self._channel.shut()

    def wait(self, timeout_s: float) -> tuple[list[str] | None, str]:
        """Wait for the next attempt to ask Consul, if what is known is not good.

        Returns:
            The addresses, or None and why there are none.
        """
        with self._changed:
            if self._fresh:
                return self._addresses, ""
            if self._error is not None and time.monotonic() - self._ended_at < MIN_GAP_S:
                return None, self._error
            attempts, answers, self._wanted = self._attempts, self._answers, True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._attempts > attempts or self._closed.is_set(),
                timeout_s if self._error is None else min(timeout_s, OUTAGE_TIMEOUT_S),
            )
            if self._answers > answers:  # and it may have failed again since
                return self._addresses, self._error or ""
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

    def _watch(self) -> None:
        index, failures, bucket = 0, 0, Bucket()
        filtered = False
        while not self._closed.wait(bucket.pause_s()):
            wait_s = self._watches.wait_s * random.uniform(0.9, 1.0)  # noqa: S311
            try:
                answer = self._channel.ask(self.key, index=index, wait_s=wait_s)
            except ConsulError as error:
                if self._closed.is_set():
                    return
                was_fresh = self._fresh
                failures += 1
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
            if answer.filtered and not filtered:
                self._watches.log.warn(
                    "Consul leaves out what its token may not read: some instances are missing",
                    key=self.key,
                )
            filtered = answer.filtered

    def _good(self, answer: Answer) -> None:
        watches = self._watches
        changed = watches.table.put(self.key, answer.addresses)
        with self._changed:
            self._fresh, self._error, self._addresses = True, None, answer.addresses
            self._attempts += 1
            self._answers += 1
            self._wanted = False
            self._changed.notify_all()
        with watches.lock:
            watches.answers += 1
        if changed:
            watches.log.info("Members", key=self.key, addresses=len(answer.addresses))

    def _failed(self, error: ConsulError, *, again_at_once: bool = False) -> None:
        if error.away:
            self._watches.table.away(self.key)
        else:
            self._watches.table.refuse(self.key)
            self._watches.settings.token.again()
        with self._changed:
            self._fresh, self._error = False, str(error)
            if not error.away:
                self._addresses = None
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
        idle_s: float,
    ) -> None:
        self.table = table
        self.settings = settings
        self.log = log
        self.wait_s = wait_s
        self.lock = Lock()
        self.answers = 0
        self.failures = 0
        self.direct = 0
        self._most = most
        self._idle_s = idle_s
        self._known: dict[str, Watch] = {}
        self._asking: dict[str, _Once] = {}
        Thread(target=self._look_for_idle, name="idle", daemon=True).start()

    def add(self, key: str, *, pinned: bool = False) -> Watch | None:
        """The watch of a key, begun now if there is none; None when there is no room."""
        with self.lock:
            watch = self._known.get(key)
            if watch is None:
                if len(self._known) >= self._most and not self._make_room():
                    return None
                self.table.watch(key)
                watch = self._known[key] = Watch(self, key, pinned=pinned)
            return watch

    def ask_once(self, key: str) -> list[str]:
        """Ask Consul without watching; those who ask the same meanwhile share the answer.

        Raises:
            ConsulError: there is none.
        """
        with self.lock:
            once = self._asking.get(key)
            mine = once is None
            if once is None:
                once = self._asking[key] = _Once()
        if mine:
            try:
                once.addresses = self._direct(key)
            except ConsulError as error:
                once.error = error
            finally:
                with self.lock:
                    del self._asking[key]
                once.done.set()
        once.done.wait()
        if once.error is not None:
            raise once.error
        return once.addresses

    def _direct(self, key: str) -> list[str]:
        with self.lock:
            self.direct += 1
        channel = Channel(self.settings)
        try:
            return channel.ask(key).addresses
        finally:
            channel.close()

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


class _Once:
    """A question that several wait for."""

    def __init__(self) -> None:
        self.done = Event()
        self.addresses: list[str] = []
        self.error: ConsulError | None = None
