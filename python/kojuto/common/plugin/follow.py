"""Following a log from run to run: the options that all log plugins share, and their notices."""

from __future__ import annotations

import os
import time

from kojuto.common import cli, units
from kojuto.common.cli import Option
from kojuto.common.plugin import state
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kojuto._native import FollowReport
    from kojuto.common.cli import Values

    Sets = Sequence[tuple[bytes, float, Sequence[float]]]
    Kept = tuple[FollowReport, Mapping[str, float], Sets | None]

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
        help="the number of threads to scan with",
        group="Following",
    ),
    Option(
        "--verbose",
        help="tell on standard error how the logs were read, rotations too, whether a line may be "
        "lost or counted twice, and which values have other names in Mackerel",
        group="Following",
    ),
)

ONCE = Option(
    "--once",
    help="read all of the log, from its beginning, and remember nothing; rates need two runs, so "
    "there are none",
    group="Following",
)

STDIN = "-"

KEY_PREFIX = Option(
    "--key-prefix",
    metavar="NAME",
    required=True,
    help="the part of the metric names that tells set-ups apart",
)

MAX_BUCKETS = 100


def max_read_size(default: str | None = "500MB", absent: str = "") -> Option:
    """``--max-read-size``.

    Args:
        default: its default; without one 0 may be typed for what holds when it is left out.
        absent: what that is, for the help.
    """
    return Option(
        "--max-read-size",
        metavar="SIZE",
        read=units.sized("1B", zero=default is None),
        default=default,
        help=f"skip to the end when more was added{absent}",
        group="Following" if default else None,
    )


def buckets_option(what: str, *, group: str) -> Option:
    """The option ``--buckets``: `what` is counted. `buckets` is imported once it is given."""
    return Option(
        "--buckets",
        metavar="S,…",
        read=bounds_of,
        help=f"count {what}, with these upper bounds in seconds: 0.1,0.5,1",
        group=group,
    )


def bounds_of(text: str) -> list[float]:
    """The upper bounds of a histogram, seconds.

    Raises:
        ValueError: they are not ascending numbers above 0, or too many.
    """
    wanted: list[float] = []
    for part in text.split(","):
        label = part.strip()
        try:
            bound = float(label) if label.isascii() and "_" not in label else 0.0
        except ValueError:
            bound = 0.0
        if not 0 < bound < 1e9 or (wanted and bound <= wanted[-1]):
            raise ValueError(f"{label!r} is not a bound (ascending seconds above 0: 0.1,0.5,1)")
        wanted.append(bound)
    if len(wanted) > MAX_BUCKETS:
        raise ValueError(f"{len(wanted)} bounds: above the maximum of {MAX_BUCKETS}")
    return wanted


class Log:
    """A log and where its position is kept.

    Args:
        log: the path of the log.
        name: the name of the position file without the user id.
        legacy_name: the name it had in the original, read once while the proper one is absent;
            there or where the original keeps its state.
    """

    __slots__ = ("legacy_position_file", "log", "position_file")

    def __init__(self, log: str, name: str, legacy_name: str | None = None) -> None:
        self.log = log
        self.position_file = state.state_path(f"{name}-{os.getuid()}")
        self.legacy_position_file = (
            None if legacy_name is None else state.originals_path(f"{legacy_name}-{os.getuid()}")
        )


class FollowOptions:
    """How to follow; see `OPTIONS`.

    Args:
        values: the parsed options.
        max_read_bytes: skip to the end when more was added.
        once: read all of each log, whatever was read before, and keep no position; ``-`` is
            standard input then.
    """

    __slots__ = (
        "archive_dirs",
        "max_line_bytes",
        "max_read_bytes",
        "now_s",
        "once",
        "threads",
        "verbose",
    )

    def __init__(self, values: Values, max_read_bytes: int, *, once: bool = False) -> None:
        self.once = once
        self.max_read_bytes = max_read_bytes
        self.max_line_bytes: int = values.max_line_size
        self.archive_dirs: list[str] = values.archive_dir
        self.threads: int = values.threads
        self.verbose: bool = values.verbose
        self.now_s = time.time()


def is_once(values: Values, paths: Sequence[str]) -> bool:
    """Whether the logs are read once: asked for, or one of them is standard input.

    Raises:
        UsageError: an option was given that has no meaning then.
    """
    if not (values.once or STDIN in paths):
        return False
    for option in ("max_read_size", "archive_dir"):
        if option in values.given:
            raise UsageError(
                f"--{option.replace('_', '-')} cannot go with "
                + ("--once" if values.once else "standard input (-)"),
                "all of the log is read",
            )
    return True


class Totals:
    """Counts of one log that grow from run to run, for Prometheus to rate.

    They are kept in the log's position file, so that they count what the position counts, and are
    labelled by the log: one that cannot be read takes no other's counts down with it.

    Args:
        report: what following the log gave.
    """

    __slots__ = ("_before", "now", "report", "sets")

    def __init__(self, report: FollowReport) -> None:
        self.report = report
        self._before = report.position.carried
        self.now: dict[str, float] = {}
        self.sets: Sets | None = None
        """The totals by group, where there are groups."""

    def grow(self, name: str, by: float) -> float:
        """The total of that name with what this run adds: an `int` while it is whole.

        It never falls, and never stops the log from being read: what is below zero or not finite
        adds nothing, and a total that no float can hold begins afresh.
        """
        by = by if 0 <= by < float("inf") else 0.0
        total = self._before.get(name, 0.0) + by
        if total - total != 0:  # not finite
            total = by
        self.now[name] = total
        return int(total) if total == int(total) else total

    @property
    def kept(self) -> Kept:
        """What the next run is to find, for `deliver`."""
        return self.report, self.now, self.sets

    def begin(self, kind: str, mark: float) -> bool:
        """Forget the totals whose names begin with `kind` unless the last mark was the same.

        Returns:
            Whether it was.
        """
        name = f"{kind} mark"
        is_same = self._before.get(name) == mark
        if not is_same:
            kept = {key: n for key, n in self._before.items() if not key.startswith(f"{kind} ")}
            self._before = kept
        self.now[name] = mark
        return is_same


def explained(error: OSError, logs: Sequence[Log]) -> OSError | KojutoError:
    """The error of a log as it is to be raised: one of its position has the way out with it."""
    from errno import EMFILE

    from kojuto.common.failures import MORE_FILES

    positions = [log.position_file for log in logs]
    if error.filename in (*positions, *(f"{path}.lock" for path in positions)):
        way_out = MORE_FILES if error.errno == EMFILE else state.way_out()
        return KojutoError(cli.describe(error), way_out)
    return error


def deliver(write: Callable[[], None], kept: Sequence[Kept]) -> None:
    """Write the results; then, and only then, let the logs count.

    The new positions are written beside the old ones before, so that a full disk is found out
    while nothing is printed yet; once the results are flushed, all that is left is a rename.

    Args:
        write: writes the results.
        kept: what following each log gave, the numbers that its next run is to find in
            ``report.position.carried``, where those that are not given stay as they are, and its
            sets (None: those of the last run stay).

    Raises:
        KojutoError: a position cannot be kept, or the results cannot be written; nothing counts.
    """
    try:
        for report, numbers, sets in kept:
            report.position.stage(numbers, sets)
    except OSError as error:
        raise KojutoError(cli.describe(error), state.way_out()) from None
    state.output_first(write, "nothing is counted, the next run reads the same lines again")
    try:
        for report, _, _ in kept:
            report.position.commit()
    except OSError as error:
        again = "what was printed is counted once more by the next run"
        raise KojutoError(f"{cli.describe(error)}; {again}", state.way_out()) from None


def busy(prog: str) -> int:
    """Say that another run is at work, and give the exit status: 0, without any metrics."""
    cli.complain(prog, "another run is reading the same log; this one counts nothing")
    return cli.DONE


def tell(prog: str, log: str, report: FollowReport) -> None:
    """Write what happened to the log to standard error, a line each.

    Without ``--verbose`` that is what is not ordinary.
    """
    verbose = report.lines is not None
    for kind, note in report.notes:
        if verbose or kind != "ordinary":
            cli.complain(prog, note)
    if report.overlong_lines:
        start = report.overlong_first.lstrip(b"\0")[:40].decode(errors="replace")
        cli.complain(
            prog,
            f"{log}: {count(report.overlong_lines, 'line')} over --max-line-size skipped; "
            f"the first begins with {start!r}",
        )


def tell_sum(prog: str, log: str, report: FollowReport) -> None:
    """The last line about a log, with ``--verbose``: what was read, and whether that is all."""
    if report.lines is None:
        return
    kinds = [kind for kind, _ in report.notes]
    doubts = []
    if report.skipped_bytes:
        doubts.append(f"{count(report.skipped_bytes, 'byte')} skipped")
        kinds.remove("lost")  # the note that says so
    if "lost" in kinds:
        doubts.append("lines may be lost, see above")
    if report.overlong_lines:
        doubts.append(f"{count(report.overlong_lines, 'line')} over --max-line-size skipped")
    if "unproven" in kinds:
        doubts.append("not proven to be all, and none twice, see above")
    read = f"{count(report.files, 'file')}, {count(report.lines, 'line')}"
    cli.complain(prog, f"{log}: {read}: {'; '.join(doubts) or '0 lost, 0 twice'}")


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
