"""What the clients of a soak do: each step is right, or somebody has broken something meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import random
import socket
import threading
import time
from typing import TYPE_CHECKING

from tests.peers.servers import LOOPBACK, read_exactly, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.soak.services import Troubles

    Step = Callable[[random.Random], None]
    """What a client does once, by dice of its own."""
    Question = tuple[str, Mapping[str, str], int]
    """A path, headers, and the status that is right."""

PAUSE_S = 0.02
LONG_S = 4.0
"""How long a connection stays open: less than a server that is renewed gives it."""
SIZES = (1, 64, 1_000, 16_384, 65_537, 400_000)
CLONE_NEWNET = 0x40000000  # sched.h
CLIENT_TIMEOUT_S = 60
"""A client that waits for so long is not answered at all."""


class Clients:
    """Threads that repeat a step until they are told to stop.

    Attributes:
        done: the steps that were right.
        excused: those that failed while something was broken on purpose.
        failures: all others.
    """

    def __init__(
        self,
        name: str,
        steps: Sequence[Step],
        troubles: Sequence[Troubles],
        seed: int,
    ) -> None:
        self.name = name
        self.done = self.excused = 0
        self.failures: list[str] = []
        self._troubles = list(troubles)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._repeat, args=(step, random.Random(f"{seed} {name} {i}")))
            for i, step in enumerate(steps)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _repeat(self, step: Step, dice: random.Random) -> None:
        while not self._stop.wait(PAUSE_S * dice.random() * 2):
            since = time.monotonic()
            try:
                step(dice)
            except (OSError, AssertionError, http.client.HTTPException) as error:
                self._failed(since, error)
            else:
                with self._lock:
                    self.done += 1

    def _failed(self, since: float, error: Exception) -> None:
        until = time.monotonic()
        with self._lock:
            if any(one.excuse(since, until) for one in self._troubles):
                self.excused += 1
            else:
                at = f"{self.name}: {time.strftime('%H:%M:%S')}, after {until - since:.3f} s"
                self.failures.append(f"{at}: {error!r}"[:300])

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(CLIENT_TIMEOUT_S * 2)
            if thread.is_alive():
                self.failures.append(f"{self.name}: a client does not end")


def short(port: int) -> Step:
    """Bytes there and back, the end of the stream said first by the client."""

    def step(dice: random.Random) -> None:
        data = dice.randbytes(dice.choice(SIZES))
        with socket.create_connection((LOOPBACK, port), CLIENT_TIMEOUT_S) as conn:
            sender = threading.Thread(target=_send, args=(conn, data))
            sender.start()
            try:
                assert read_exactly(conn, len(data)) == data, "other bytes came back"
                assert conn.recv(1) == b"", "there is more than was sent"
            finally:
                sender.join()

    return step


def _send(conn: socket.socket, data: bytes) -> None:
    try:
        conn.sendall(data)
        conn.shutdown(socket.SHUT_WR)
    except OSError:  # the reader is told
        pass


def long(port: int) -> Step:
    """Small messages on a connection that stays open for a while."""

    def step(dice: random.Random) -> None:
        ends = time.monotonic() + LONG_S * dice.random()
        with socket.create_connection((LOOPBACK, port), CLIENT_TIMEOUT_S) as conn:
            while time.monotonic() < ends:
                data = dice.randbytes(dice.randrange(1, 200))
                conn.sendall(data)
                assert read_exactly(conn, len(data)) == data, "other bytes came back"
                time.sleep(PAUSE_S)

    return step


def rude(port: int) -> Step:
    """Somebody who says something, does not listen, and is gone."""

    def step(dice: random.Random) -> None:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 5) as conn:
            conn.settimeout(1)
            conn.sendall(dice.randbytes(dice.choice((0, 1, 1000, 300_000))))
            time.sleep(dice.random() * 0.2)
            if dice.random() < 0.5:
                reset(conn)

    return step


def within(namespace: str, step: Step) -> Step:
    """A step of a thread that lives in a network namespace from its first one on."""
    there = threading.local()

    def inside(dice: random.Random) -> None:
        if not getattr(there, "entered", False):
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{namespace}", "rb") as file:
                if libc.setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            there.entered = True
        step(dice)

    return inside


def asks(port: int, questions: Sequence[Question]) -> Step:
    """Some requests on one connection, each with the status that is right."""

    def once(conn: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> int:
        """An idle connection may be closed whenever the server likes (RFC 9112, 9.3.1)."""
        for kept in (conn.sock is not None, False):
            try:
                conn.request("GET", path, headers=dict(headers))
                answer = conn.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):  # noqa: PERF203
                conn.close()
                if not kept:
                    raise
            else:
                return answer.status
        raise AssertionError

    def step(dice: random.Random) -> None:
        conn = http.client.HTTPConnection(LOOPBACK, port, timeout=CLIENT_TIMEOUT_S)
        try:
            for _ in range(dice.randrange(1, 5)):
                path, headers, right = dice.choice(questions)
                status = once(conn, path, headers)
                assert status == right, f"{status} in place of {right}: {path}"
        finally:
            conn.close()

    return step
