"""The log of a server: one JSON object a line on standard error."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kojuto._native import LogWriter


def silence_libraries() -> None:
    """Keep libraries from writing lines of their own between ours."""
    import logging

    for name in ("asyncio", "google", "requests", "urllib3", "websockets"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


class Logger:
    """Writes ``{"level":…,"ts":…,"msg":…,…}`` lines through the native writer.

    Args:
        verbose: write lines of level ``debug`` too.
        quiet: write none of level ``info``.
    """

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        from kojuto._native import LogWriter

        self.writer: LogWriter = LogWriter(verbose=verbose, quiet=quiet)
        self._verbose = verbose
        self._quiet = quiet

    def _log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        from json import dumps
        from time import time

        members = {key.rstrip("_").replace("_", "-"): value for key, value in fields.items()}
        line = {"level": level, "ts": round(time(), 6), "msg": message, **members}
        text = dumps(line, ensure_ascii=False, separators=(",", ":"), default=str)
        self.writer.write(text.encode("utf-8", "replace") + b"\n")

    def debug(self, message: str, **fields: Any) -> None:
        """A line of level ``debug``; only when verbose."""
        if self._verbose:
            self._log("debug", message, fields)

    def info(self, message: str, **fields: Any) -> None:
        """Something happened as it should; an underscore in a field's name becomes a dash."""
        if not self._quiet:
            self._log("info", message, fields)

    def warn(self, message: str, **fields: Any) -> None:
        """Something failed, and the server recovers from it."""
        self._log("warn", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        """Something failed, and a client or the operator has to do without it."""
        self._log("error", message, fields)

    def close(self) -> None:
        """Write what is queued."""
        self.writer.close()
