"""The access log of an HTTP server: its lines into dated files, as ``relaxlogs`` writes them."""

from __future__ import annotations

import contextlib
import errno
import os

from kojuto.common import streams
from kojuto.common.server import forever
from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Thread

    from kojuto.common.server.logs import Logger

PATTERN = "access_log.%Y%m%d%H%M"
PERIOD_MINUTES = 1440
STDOUT = "stdout"
STDERR = ""
NONE = "none"
BUFFER_BYTES = 8_000_000
"""Lines that wait in memory while the disk refuses; the newest are dropped beyond it."""
RETRY_S = 0.2
END_S = 10.0


class AccessLog:
    """Takes lines and writes them; to be given to `kojuto._native.HttpServer`.

    The files are locked by who writes them. A new generation of a server that was restarted waits
    for the old one to end, and its lines wait with it.

    Args:
        directory: made if it is not there; ``stdout`` for standard output, nothing for the
            server's log.
        keep_days: how long files stay after their last line; 0 keeps them.
        log: told when lines cannot be written.

    Raises:
        KojutoError: the directory cannot be written to.
    """

    def __init__(self, directory: str, keep_days: int, log: Logger) -> None:
        to_stream = directory in (STDOUT, STDERR)
        self._directory = None if to_stream else os.path.abspath(directory)
        self._to_log = directory == STDERR
        self._keep_s = keep_days * 86400.0 or None
        self._log = log
        self._writer = 1
        self._thread: Thread | None = None
        if self._directory is None:
            return
        try:
            os.makedirs(self._directory, exist_ok=True)
            if not os.access(self._directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise KojutoError(
                f"{self._directory}: {words(error)}", "the access log is written there"
            ) from None
        self._reader, self._writer = os.pipe()
        self._thread = forever.begin("access-log-files", self._run, log)

    def take(self, lines: bytes) -> None:
        """Write whole lines; waits when they come faster than they can be written."""
        if self._to_log:
            self._log.writer.write_accesses(lines)
            return
        with contextlib.suppress(OSError):  # nobody reads standard output any more
            streams.give(self._writer, lines)

    def close(self) -> None:
        """Write what was taken and end."""
        thread, self._thread = self._thread, None
        if thread is not None:
            os.close(self._writer)
            thread.join(END_S)

    def _run(self) -> None:
        from time import sleep

        from kojuto._native import rotate_lines
        from kojuto.common.rotate import RotateOptions

        options = RotateOptions(self._directory)
        options.pattern = PATTERN
        options.rotation_minutes = PERIOD_MINUTES
        options.max_age_s = self._keep_s
        options.buffer_bytes = BUFFER_BYTES
        options.on_full = "drop-new"
        told = False
        while True:
            try:
                rotate_lines(
                    options,
                    lambda text: self._log.warn("Access log", note=text),
                    signals=False,
                    input_fd=self._reader,
                )
            except BlockingIOError:
                if not told:
                    self._log.info("Another process writes the access log, waiting for its end")
                told = True
            except OSError as error:
                if not told:
                    self._log.warn("The access log cannot be written", error=str(error))
                told = True
            else:
                return
            sleep(RETRY_S)
