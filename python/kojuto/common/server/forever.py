"""Work that a server does beside serving, for as long as it lives."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread

    from kojuto.common.server.logs import Logger

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


def begin(name: str, work: Callable[[], None], log: Logger) -> Thread:
    """Do it in a thread that ends with the process.

    An exception that nobody expected ends neither the work nor the server, whose clients are worth
    more: it is logged with its place, and the work begins anew after a pause, which grows from one
    second to a minute while that goes on.

    Args:
        name: of the thread, and of the work in the log.
        work: does not return until there is no more to do.
        log: told of failures.

    Returns:
        The thread, begun.

    Raises:
        RuntimeError: the system gives no thread.
    """
    from threading import Thread

    thread = Thread(target=_insist, args=(name, work, log), name=name, daemon=True)
    thread.start()
    return thread


def _insist(name: str, work: Callable[[], None], log: Logger) -> None:
    pause_s = FIRST_PAUSE_S
    while True:
        begun_s = time.monotonic()
        try:
            work()
        except Exception as error:
            if time.monotonic() - begun_s > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            log.error(
                "Failed unexpectedly, beginning anew",
                thread=name,
                error=f"{type(error).__name__}: {error}",
                where=_where(error),
                pause=pause_s,
            )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        else:
            return


def _where(error: BaseException) -> str:
    """The innermost line of the program that was being executed."""
    from os.path import basename

    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return f"{basename(at.tb_frame.f_code.co_filename)}:{at.tb_lineno}" if at is not None else ""
