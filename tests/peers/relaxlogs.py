"""A relaxlogs with a pipe to it, and the files that it wrote."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import IO, TYPE_CHECKING

import pytest

from tests.conftest import wait_until
from tests.streams import start

if TYPE_CHECKING:
    from pathlib import Path

DAY = ["--rotation-time", "1440"]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


def own(logs: Path) -> list[Path]:
    """The log files, oldest first."""
    found = [path for path in logs.iterdir() if re.fullmatch(r"log\.\d{12}(\.\d+)?", path.name)]
    return sorted(found, key=lambda p: [int(part) for part in p.name.split(".")[1:]])


def content(logs: Path) -> bytes:
    return b"".join(path.read_bytes() for path in own(logs))


class Running:
    """A relaxlogs with a pipe to it."""

    def __init__(self, logs: Path, *more: str, env: dict[str, str] | None = None) -> None:
        self.process = start(
            "relaxlogs", "--log-dir", logs, *more,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
        # The signal handlers are there before the lock; the first line makes the first file.
        wait_until(lambda: any(logs.glob(".relaxlogs*.lock")), what="relaxlogs starts")
        time.sleep(0.05)  # this is for the loop

    @property
    def pipe(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def write(self, data: bytes) -> None:
        self.pipe.write(data)
        self.pipe.flush()

    def told(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline().decode()

    def end(self, *, number: int = 0) -> tuple[int, str]:
        """Close the pipe, or send a signal; return the status and what else was told."""
        if number:
            self.process.send_signal(number)
        elif self.process.stdin is not None:
            self.process.stdin.close()
        status = self.process.wait(timeout=20)
        assert self.process.stderr is not None
        return status, self.process.stderr.read().decode()
