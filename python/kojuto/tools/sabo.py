"""``sabo``: a bandwidth-limiting pipe whose processes share one budget."""

from __future__ import annotations

import os
import sys

from kojuto.common import cli, streams, units
from kojuto.common.cli import Command, Option, Values
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Numbers = tuple[int, float, int, int]

MINIMUM = 1000
MAX_WEIGHT = 100


def bandwidth(text: str) -> int:
    """Bytes a second; fractions are cut off, since the number is part of the lock files' names."""
    if text != text.lstrip() or "_" in text:
        raise ValueError("not a rate (write 100M, without blanks before it)")
    plain = text.replace(",", "")
    value = units.size(plain)
    digits = plain.strip().rstrip("KMGTPEkmgtpeIiBb ")
    if not digits.isdigit():
        scale = units.size("1" + plain.strip()[len(digits) :])
        value = int(float(digits) * scale)
    if value < MINIMUM:
        raise ValueError("below the minimum of 1K bytes a second (1K to 1E)")
    return value


BUDGET = [
    Option(
        "--max-bandwidth", metavar="RATE", read=bandwidth, required=True,
        help="bytes a second of all members together, such as 100M (at least 1K)",
    ),
    Option(
        "--work-dir", metavar="DIR", required=True,
        help="directory of the lock files by which the members find each other; it must exist",
    ),
]  # fmt: skip
"""By what the members of a budget know each other."""

COMMAND = Command(
    "sabo",
    "Passes standard input to standard output at a limited rate. Every sabo with the same work "
    "directory and the same maximum shares one budget: each passes its part of it, and the parts "
    "follow within a second when others come, leave or die.",
    [
        *BUDGET,
        Option(
            "--weight", metavar="N", default="1", read=units.integer(1, MAX_WEIGHT),
            help="take N shares instead of one",
        ),
        Option(
            "--min-share", metavar="RATE", default="0", read=units.sized(),
            help="never go below this rate, even if the members together then pass more than the "
            "budget",
        ),
        Option(
            "--burst", metavar="SIZE", default="0", read=units.sized(),
            help="bytes that may be saved up while the producer is idle (40 ms of the share "
            "always are)",
        ),
        Option("--progress", help="show the progress on standard error", group="Reports"),
        Option(
            "--size", metavar="SIZE", read=units.sized(), group="Reports",
            help="the size of the input, for the time left in the reports",
        ),
        Option(
            "--stats-interval", metavar="TIME", read=units.timed("10ms", "24h"), group="Reports",
            help="print a line on standard error this often (--progress alone: 1s)",
        ),
        Option(
            "--summary", metavar="FORM", bare="text", choices=("text", "json"), group="Reports",
            help="print a last line on standard error, as text or json",
        ),
    ],
    epilog="""
SIGUSR1 prints a report. SIGTERM and SIGINT end it after everything that was read is written; a
reader that does not read is waited for 5 seconds at most, and a warning says what is lost.
Exit status: 0 done, 1 read or write error, 2 called wrongly, 143 and 130 after a signal.

A member that has nothing to pass for a second lends its share to the others until it has.
'sabo set --help' shows how the rate of running members is changed.

  mysqldump -h db1 app | sabo --max-bandwidth 100M --work-dir /tmp/dumps > app.sql
  sabo set --work-dir /tmp/dumps --max-bandwidth 100M 20M
""",
    commands={"set": "kojuto.tools.sabo:SET"},
)  # fmt: skip

SET = Command(
    "sabo set",
    "Gives the running members of a budget another rate, which they follow within a second; those "
    "that join later with the same --max-bandwidth do too, until the last member has ended.",
    BUDGET,
    positional="NEW-RATE",
)  # fmt: skip


def _set(values: Values, arguments: list[str]) -> int:
    from kojuto._native import set_budget

    if len(arguments) != 1:
        raise UsageError("one new rate is needed", "sabo set … --max-bandwidth 100M 20M")
    try:
        rate = bandwidth(arguments[0])
    except ValueError as error:
        raise UsageError(f"{arguments[0]}: {error}") from None
    old: int = values.max_bandwidth
    try:
        members, foreign = set_budget(values.work_dir, old, rate)
    except OSError as error:
        raise KojutoError(f"--work-dir: {cli.describe(error)}") from error
    if not members:
        raise KojutoError(
            f"{values.work_dir}: no sabo with --max-bandwidth {old} works there",
            "give the rate that the members were started with",
        )
    if foreign:
        cli.complain(
            "sabo",
            f"warning: {foreign} of {members + foreign} members are of another program, which goes "
            f"on with its part of {old} bytes a second",
        )
    return cli.DONE


class Reports:
    """Prints what the pump tells: warnings, ticks, asked-for reports, the summary."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.terminal = bool(values.progress and sys.stderr.isatty())
        self.before = (0, 0.0)

    def __call__(self, kind: str, told: str | Numbers) -> None:
        """Take one event of the pump."""
        if isinstance(told, str):
            self.end_line()
            cli.complain("sabo", f"warning: {told}")
            return
        line = self.line(told)
        if kind == "tick" and self.terminal:
            streams.progress(line)
        else:
            self.end_line()
            cli.complain("sabo", line)

    def line(self, numbers: Numbers) -> str:
        """One report: amount, part and time left, time, rate since the last one, share, members.

        What matters most comes first: a narrow terminal shows the beginning.
        """
        count, seconds, share, members = numbers
        before_count, before_s = self.before
        self.before = (count, seconds)
        rate = (count - before_count) / max(seconds - before_s, 1e-9)
        size = units.format_size
        text = f"{size(count)} in {seconds:.1f} s, "
        whole = self.values.size
        if whole is not None:
            left = max(whole - count, 0)
            # Cut off, so that 100 % is said when all has come and not before.
            text += f"{100 * count // whole if whole else 100} %, "
            text += f"{_clock(left / rate) if rate > 0 else '--:--'} left, "
        text += f"{size(rate)}/s, share {size(share)}/s of {size(self.values.max_bandwidth)}/s, "
        return text + f"{members} member{'' if members == 1 else 's'}"

    def summary(self, numbers: Numbers, status: int) -> None:
        """The last line, in the form that was asked for."""
        if self.terminal:
            self.before = (0, 0.0)
            streams.progress(self.line(numbers))
        self.end_line()
        if self.values.summary is None:
            return
        count, seconds, share, members = numbers
        if self.values.summary == "json":
            from json import dumps

            document = {
                "bytes": count,
                "seconds": round(seconds, 3),
                "bytes_per_second": round(count / seconds) if seconds else 0,
                "share": share,
                "max_bandwidth": self.values.max_bandwidth,
                "members": members,
                "status": status,
            }
            streams.say(dumps(document) + "\n")
            return
        self.before = (0, 0.0)
        cli.complain("sabo", f"{self.line(numbers)}, {count} bytes, status {status}")

    def end_line(self) -> None:
        """Leave the progress line of a terminal as it stands."""
        if self.terminal and self.before[1] > 0:
            streams.say("\n")


def _clock(seconds: float) -> str:
    whole = int(min(seconds, 359999))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _refuse_itself() -> None:
    """Refuse to copy a file to a later place of itself, as cat does: there is no end to that.

    Raises:
        UsageError: standard input and output are so.
    """
    from fcntl import F_GETFL, fcntl
    from stat import S_ISREG

    source, target = os.fstat(0), os.fstat(1)
    if not S_ISREG(source.st_mode) or not os.path.samestat(source, target):
        return
    appends = fcntl(1, F_GETFL) & os.O_APPEND
    to = target.st_size if appends else os.lseek(1, 0, os.SEEK_CUR)
    if os.lseek(0, 0, os.SEEK_CUR) < to:
        raise UsageError(
            "standard output is the file that is read: it would grow for ever",
            "write to another file",
        )


def _work(values: Values, _: list[str]) -> int:
    from kojuto._native import Budget

    cli.stay()
    cli.must_be_open(0, "standard input")
    cli.must_be_open(1, "standard output")
    _refuse_itself()
    try:
        budget = Budget(
            values.max_bandwidth,
            values.work_dir,
            weight=values.weight,
            min_share=values.min_share,
            burst=values.burst,
        )
    except OSError as error:
        raise KojutoError(
            f"--work-dir: {cli.describe(error)}",
            "it must be a directory in which sabo can create its lock file",
        ) from error
    reports = Reports(values)
    for warning in budget.warnings():
        reports("warning", warning)
    every = values.stats_interval or (1.0 if values.progress else None)
    status = cli.FAILED
    try:
        signal = budget.pump(0, 1, reports, every)
        status = 128 + signal if signal else cli.DONE
    except OSError as error:
        reports.end_line()
        count = budget.last[0] if budget.last else 0
        raise KojutoError(
            f"{cli.describe(error)} (after {count} bytes)", "the output is not complete"
        ) from error
    finally:
        if budget.last:
            reports.summary(budget.last, status)
        budget.close()
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sabo`` and return its exit status."""
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["set"]:
        return cli.run(SET, _set, given[1:])
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
