"""The servers of a soak: each on a socket that outlives it, killed, renewed and read again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from tests.conftest import script, wait_until
from tests.peers.servers import LOOPBACK
from tests.soak.usage import Use

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MOST_LOG_BYTES = 16 << 20
BAD_WORDS = ("Traceback", "panicked", "unexpected")


class Troubles:
    """When something was broken on purpose, by the monotonic clock."""

    def __init__(self) -> None:
        self._spans: list[list[float]] = []
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self._spans.append([time.monotonic(), float("inf")])

    def end(self, after_s: float = 0.0) -> None:
        """It is mended; `after_s` later nothing may be left of it."""
        with self._lock:
            self._spans[-1][1] = time.monotonic() + after_s

    def excuse(self, since: float, until: float) -> bool:
        """Whether any of it fell into this time."""
        with self._lock:
            return any(begin <= until and since <= end for begin, end in self._spans)


class Service:
    """A server that gets its listening socket as Server::Starter hands it down.

    Args:
        name: of the command, and behind a blank which one of it.
        arguments: what it is called with, by its port.
        folder: where its log goes.
        env: beside the environment.
        before: words before the command.
        held: whether there is such a socket.

    Attributes:
        troubles: its deaths, which cut what it has open. A connection that waits in the queue
            meanwhile is served by the next one.
        samples: what the one process held, while it was never ended.
    """

    def __init__(
        self,
        name: str,
        arguments: Callable[[int], Sequence[str | Path]],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        held: bool = True,
    ) -> None:
        self.name = name
        self.troubles = Troubles()
        self.samples: list[Use] = []
        self.found: list[str] = []
        self.ends: dict[str, int] = {}
        self._env = {**os.environ, **(env or {})}
        self._log = folder / f"{name.replace(' ', '-')}.log"
        self.sock = socket.create_server((LOOPBACK, 0), backlog=1024) if held else None
        self.port = self.sock.getsockname()[1] if self.sock else 0
        words = map(str, arguments(self.port))
        self._words = [*before, script(name.partition(" ")[0]), *words]
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        env, fds = self._env, []
        if self.sock is not None:
            fds = [self.sock.fileno()]
            env = {**env, "SERVER_STARTER_PORT": f"{LOOPBACK}:{self.port}={fds[0]}"}
        with open(self._log, "ab") as log:
            at = log.tell()
            process = subprocess.Popen(
                self._words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                pass_fds=fds, start_new_session=True,
            )  # fmt: skip

        def ready() -> bool:
            assert process.poll() is None, self.text(at)
            return "Start listen" in self.text(at)

        wait_until(ready, within_s=60, what=lambda: f"{self.name} is ready: {self.text(at)}")
        return process

    def place(self) -> int:
        """Where the log ends now."""
        return self._log.stat().st_size

    def text(self, at: int = 0) -> str:
        """What it has logged since that place."""
        with open(self._log, "rb") as file:
            file.seek(at if at <= self.place() else 0)  # it was cut meanwhile
            return file.read().decode(errors="replace")

    def look_at_log(self, *, at_once: bool = False) -> None:
        """Keep what must not be in it, and cut it when it is long."""
        if at_once or self._log.stat().st_size > MOST_LOG_BYTES:
            lines = self.text().splitlines()
            self.found += [line for line in lines if any(word in line for word in BAD_WORDS)]
            os.truncate(self._log, 0)

    def sample(self) -> None:
        self.samples.append(Use.of(self.process.pid))

    def hang_up(self) -> None:
        """Have it read its files again."""
        self._count("reloads")
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it without a word, and start it again."""
        self._count("kills")
        self.troubles.begin()
        self.process.kill()
        self.process.wait(60)
        if self.sock is not None:  # else nobody listens until the next one does
            self.troubles.end()
        self.process = self._started()
        if self.sock is None:
            self.troubles.end()

    def renew(self) -> None:
        """Start the next one, then end this one as a deploy does: nobody may notice."""
        self._count("restarts")
        old, self.process = self.process, self._started()
        old.terminate()
        status = old.wait(120)
        if status != 0:
            self.found.append(f"{self.name} ended with {status} after SIGTERM")

    def _count(self, what: str) -> None:
        self.ends[what] = self.ends.get(what, 0) + 1

    def stop(self) -> None:
        """End it for good."""
        self.process.terminate()
        status = self.process.wait(120)
        self.look_at_log(at_once=True)
        if status != 0:
            self.found.append(f"{self.name} ended with {status} at last")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        if self.sock is not None:
            self.sock.close()
