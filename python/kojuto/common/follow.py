"""Following a log from run to run: the options that all log plugins share, and their notices."""

from __future__ import annotations

import os
import time

from kojuto.common import cli, units
from kojuto.common.cli import Option
from kojuto.common.state import state_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import FollowReport
    from kojuto.common.cli import Values

OPTIONS = (
    Option(
        "--max-line-size",
        metavar="SIZE",
        read=units.sized("1B", "4GiB"),
        default="64MiB",
        help="skip and count a longer line",
        group="Following",
    ),
    Option(
        "--archive-dir",
        metavar="DIR",
        repeat=True,
        help="look for rotated files here too, not only beside the log",
        group="Following",
    ),
    Option(
        "--threads",
        metavar="N",
        read=units.integer(1, 256),
        default="1",
        help="scan with so many threads",
        group="Following",
    ),
)


class Log:
    """A log and where its position is kept.

    Args:
        log: the path of the log.
        name: the name of the position file without the user id.
        legacy_name: the name it had in the original, read once while the proper one is absent.
    """

    __slots__ = ("legacy_position_file", "log", "position_file")

    def __init__(self, log: str, name: str, legacy_name: str | None = None) -> None:
        self.log = log
        self.position_file = state_path(f"{name}-{os.getuid()}")
        self.legacy_position_file = (
            None if legacy_name is None else state_path(f"{legacy_name}-{os.getuid()}")
        )


class FollowOptions:
    """How to follow; see `OPTIONS`.

    Args:
        values: the parsed options.
        max_read_bytes: skip to the end when more was added.
    """

    __slots__ = ("archive_dirs", "max_line_bytes", "max_read_bytes", "now_s", "threads")

    def __init__(self, values: Values, max_read_bytes: int) -> None:
        self.max_read_bytes = max_read_bytes
        self.max_line_bytes: int = values.max_line_size
        self.archive_dirs: list[str] = values.archive_dir
        self.threads: int = values.threads
        self.now_s = time.time()


def busy(prog: str) -> int:
    """Say that another run is at work, and give the exit status: 0, without any metrics."""
    cli.complain(prog, "another run is reading the same log; this one counts nothing")
    return cli.DONE


def tell(prog: str, log: str, report: FollowReport) -> None:
    """Write what happened to the log to standard error, a line each."""
    for note in report.notes:
        cli.complain(prog, note)
    if report.overlong_lines:
        start = report.overlong_first[:40].decode(errors="replace")
        cli.complain(
            prog,
            f"{log}: {count(report.overlong_lines, 'line')} over --max-line-size skipped; "
            f"the first begins with {start!r}",
        )


def tell_bad_lines(
    prog: str,
    log: str,
    bad_lines: Sequence[tuple[str, int]],
    example: tuple[str, bytes] | None,
    hint: str | None = None,
) -> None:
    """Sum up the lines that could not be used in one line, with the first as an example."""
    if not bad_lines:
        return
    total = sum(number for _, number in bad_lines)
    reasons = ", ".join(f"{reason}: {number}" for reason, number in bad_lines)
    message = f"{log}: {count(total, 'line')} not counted ({reasons})"
    if example is not None:
        reason, line = example
        message += f"; the first ({reason}): {line.decode(errors='replace')!r}"
    cli.complain(prog, message, hint)


def count(number: int, noun: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
