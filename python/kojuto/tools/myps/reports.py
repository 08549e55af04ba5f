"""What ``myps kill`` tells of its kills: on standard output and in its log."""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from kojuto.common.cli import complain
from kojuto.common.output import Output
from kojuto.common.streams import WRITE_TIMEOUT_S
from kojuto.errors import KojutoError, words
from kojuto.tools.myps.show import as_json, colour, line, say_if_cut

if TYPE_CHECKING:
    from kojuto.common.cli import Values
    from kojuto.tools.myps.processes import Process

STANDARD_OUTPUT = "standard output"
NOBODY_READS = "nobody reads it"
MAX_WAITING_BYTES = 1 << 20
"""So much of a watch is kept for a reader that does not read."""


class Reports:
    """What is told of the kills, on standard output and in the log.

    A report that fails stops no kill, and is not an error of the server: it is counted here, and
    the end of the command says so.

    Args:
        values: the command line.
        server: its address, for the log.
    """

    def __init__(self, values: Values, server: str) -> None:
        self.values = values
        self.server = server
        self._count = 0
        self._output = Output()
        self._failed: dict[str, tuple[int, str]] = {}
        self._warned: set[str] = set()

    def look_at_log(self) -> None:
        """Tell of a log that cannot be written before the first kill, which it does not stop."""
        if self.values.log is not None:
            try:
                os.close(_open_log(self.values.log))
            except OSError as error:
                self._warn(self.values.log, words(error))

    def killed_one(self, process: Process) -> None:
        """Tell of a kill wherever it can be told."""
        if self.values.log is not None:
            log = self.values.log
            try:
                _append(log, self._entry(process))
            except OSError as error:
                self._lost(log, words(error))
        if self.values.full or self.values.log is not None:
            say_if_cut(process)
        self._put(process, "KILLED")
        self.flush()

    def listed(self, process: Process) -> None:
        """Show a thread; but for a watch, once its reader takes it.

        Raises:
            OSError: standard output failed.
        """
        if self.values.full:
            say_if_cut(process)
        self._put(process, "ID")
        self._output.flush(0 if self._watches else None)

    def flush(self, within_s: float | None = 0) -> None:
        """Write what waits for its reader; what is not taken within the time still waits."""
        while True:
            try:
                self._output.flush(within_s)
                return
            except OSError as error:  # noqa: PERF203 (the line is gone)
                self._lost(STANDARD_OUTPUT, words(error))

    @property
    def waiting(self) -> bool:
        """Whether something waits for its reader."""
        return bool(self._output.waiting)

    @property
    def _watches(self) -> bool:
        return self.values.interval is not None

    def _put(self, process: Process, label: str) -> None:
        self._count += 1
        if self._watches and self._output.waiting_bytes > MAX_WAITING_BYTES:
            self._lost(STANDARD_OUTPUT, NOBODY_READS)
        else:
            full = self.values.full
            if self.values.output == "json":
                text = as_json(process, label, full=full)
            else:
                text = line(process, label, full=full, coloured=colour(sys.stdout))
            self._output.put(f"{text}\n")

    def _lost(self, where: str, words: str) -> None:
        so_far, first = self._failed.get(where, (0, words))
        self._failed[where] = so_far + 1, first
        if self._watches:
            self._warn(where, first)

    def _warn(self, where: str, words: str) -> None:
        if where not in self._warned:
            self._warned.add(where)
            doing = "listing" if self.values.dry_run else "killing"
            complain("myps", f"warning: {where}: {words}; {doing} goes on")

    def _entry(self, process: Process) -> bytes:
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        kind = "QUERY" if self.values.query_only else "CONNECTION"
        text = line(process, "KILLED", full=True, coloured=False)
        entry = f"time:{now}\tkind:{kind}\tserver:{self.server}\t{text}\n"
        return entry.encode("utf-8", "replace")

    def unreported(self, within_s: float | None) -> str:
        """Give the reader this time for what waits, and name what could not be told."""
        self.flush(within_s)
        left = len(self._output.waiting)
        if left:
            so_far, first = self._failed.get(STANDARD_OUTPUT, (0, NOBODY_READS))
            self._failed[STANDARD_OUTPUT] = so_far + left, first
        what = (
            "threads could not be listed" if self.values.dry_run else "kills could not be reported"
        )
        return "; ".join(
            f"{where}: {words}: {count} of {self._count} {what}"
            for where, (count, words) in self._failed.items()
        )

    def close(self) -> None:
        """The end: the reader has a few seconds after a watch, else all the time it needs.

        Raises:
            KojutoError: some could not be told.
        """
        told = self.unreported(WRITE_TIMEOUT_S if self._watches else None)
        if told:
            hint = None if self.values.dry_run else "all were killed: myps grep shows who is left"
            raise KojutoError(told, hint)


def _append(path: str, entry: bytes) -> None:
    """Append a line; where the disk is full in the middle of it, what was written of it goes.

    Raises:
        OSError: it could not be written whole.
    """
    descriptor = _open_log(path)
    try:
        written = os.write(descriptor, entry)
        if written < len(entry):
            with suppress(OSError):
                end = os.lseek(descriptor, 0, os.SEEK_CUR)
                if os.fstat(descriptor).st_size == end:  # nobody has added to it since
                    os.ftruncate(descriptor, end - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def _open_log(path: str) -> int:
    """Open the log to append to it; of a FIFO neither the reader nor its reading is waited for.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(
        path, os.O_NONBLOCK | os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
