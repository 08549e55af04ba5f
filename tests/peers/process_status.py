"""Processes that linux-process-status looks at, and what it says of them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.conftest import read_metrics, run

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "mackerel-plugin-linux-process-status"


@contextlib.contextmanager
def python(code: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code` and has said "ready"."""
    process = subprocess.Popen(
        [*command, sys.executable, "-u", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


IDLE = "print('ready'); import time; time.sleep(600)"


def status(pid: int, *arguments: str) -> dict[str, float]:
    done = run(NAME, "--pid", str(pid), "--key-prefix", "p", *arguments)
    assert done.returncode == 0, done.stderr
    prefix = "process-status."
    return {
        name.removeprefix(prefix).replace("_p.", "."): float(value)
        for name, value in read_metrics(done.stdout).items()
    }
