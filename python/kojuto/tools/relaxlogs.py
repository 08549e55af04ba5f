"""``relaxlogs``: the lines of standard input into time-rotated log files."""

from __future__ import annotations

import os
import sys

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.rotate import RotateOptions
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def _mode(text: str) -> int:
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 < value <= 0o777 or not value & 0o200:
        raise ValueError("not a file mode with which its owner may write (write 0640)")
    return value


KEEP_FOR_EVER = -1
DEFAULT_DAYS = 7


def _max_age(text: str) -> int:
    """Minutes; 0 is a week, as it always was, `KEEP_FOR_EVER` for none."""
    if text.strip().lower() == "none":
        return KEEP_FOR_EVER
    try:
        return units.integer(0, 10**9, "minutes")(text) or DEFAULT_DAYS * 1440
    except ValueError as error:
        raise ValueError(f"{error}, or none to keep files for ever") from None


def _rotation_time(text: str) -> int:
    """Minutes of a period; 0 is one minute, as it always was."""
    return units.integer(0, 5_256_000, "minutes")(text) or 1


def _link(text: str) -> str | None:
    if text == "none":
        return None
    if "/" in text or text.startswith(".") or len(text.encode()) > 200:
        raise ValueError("not a file name (current, or none for no link)")
    return text


def _pattern(text: str) -> str:
    from kojuto._native import check_log_pattern

    check_log_pattern(text)
    return text


COMMAND = Command(
    "relaxlogs",
    "Writes the lines of standard input to dated files, begins a new file at the turn of each "
    "period and removes old ones. No line is lost, cut or split over two files: not at SIGTERM, "
    "not on a full disk, not when it is killed and started again on the same pipe.",
    [
        Option(
            "--log-dir", metavar="DIR", empty_ok=True,
            help="directory of the files; 'stdout' or none: the lines go to standard output",
        ),
        Option(
            "--rotation-time", metavar="MINUTES", default="60", read=_rotation_time,
            help="minutes of a period, counted in local time from midnight; 0 is 1",
        ),
        Option(
            "--max-age", metavar="MINUTES", default="1440", read=_max_age,
            help="remove closed files whose last change is older; 0 is 7 days, none keeps them",
        ),
        Option("--with-time", help="put [02/Jan/2006:15:04:05 +0900] before each line"),
        Option(
            "--max-size", metavar="SIZE", read=units.sized("1B"), group="Files",
            help="begin a new file (NAME.1, NAME.2, …) at the end of the line that reaches SIZE",
        ),
        Option(
            "--max-files", metavar="N", read=units.integer(1, 10**9), group="Files",
            help="keep at most N files",
        ),
        Option(
            "--max-total-size", metavar="SIZE", read=units.sized("1B"), group="Files",
            help="keep at most this many bytes in all files together",
        ),
        Option(
            "--compress", metavar="FORM", choices=("gz", "zst"), group="Files",
            help="compress closed files in the background (gz or zst)",
        ),
        Option(
            "--on-rotate", metavar="COMMAND", group="Files",
            help="run COMMAND by the shell when a file is closed, which is its $1, one at a time",
        ),
        Option(
            "--hook-timeout", metavar="TIME", default="10m", read=units.timed("100ms", "24h"),
            group="Files", help="kill a COMMAND of --on-rotate that takes longer",
        ),
        Option(
            "--pattern", metavar="NAME", default=RotateOptions.pattern, read=_pattern,
            group="Files",
            help="file name; %%Y %%y %%m %%d %%H %%M %%S %%j are replaced".replace("%%", "%"),
        ),
        Option(
            "--link", metavar="NAME", default=RotateOptions.link, read=_link, group="Files",
            help="name of the link to the newest file in the directory; none: no link",
        ),
        Option("--utc", group="Files", help="count periods, names and stamps in UTC"),
        Option(
            "--mode", metavar="OCTAL", default="0644", read=_mode, group="Files",
            help="permission bits of new files, such as 0640, whatever the umask",
        ),
        Option(
            "--fsync", metavar="TIME", bare="1s", read=units.timed("1ms", "24h"), group="Files",
            help="make the lines durable this often (--fsync alone: 1s) and at each rotation",
        ),
        Option(
            "--buffer", metavar="SIZE", default="64MB",
            read=units.sized("64KB", "16GiB"),
            group="When the disk refuses",
            help="bytes of lines that wait while nothing can be written",
        ),
        Option(
            "--on-full", metavar="WHAT", default="block",
            choices=("block", "drop-oldest", "drop-new"),
            group="When the disk refuses",
            help="when the buffer is full too: block the producer, drop-oldest or drop-new",
        ),
        Option(
            "--drop-when-full", group="When the disk refuses",
            help="the same as --on-full drop-new",
        ),
        Option(
            "--stop-timeout", metavar="TIME", default="10s", read=units.timed("0", "24h"),
            group="When the disk refuses",
            help="how long to go on trying after SIGTERM",
        ),
        Option(
            "--ignore-int", group="Signals",
            help="leave SIGINT to the producer, and end when the pipe does",
        ),
        Option(
            "--ignore-term", group="Signals",
            help="the same for SIGTERM, which systemd sends to the whole service",
        ),
    ],
    epilog="""
DIR/current is a link to the newest file. One relaxlogs at a time writes to a directory, or several
of which each has its own --pattern and --link.
SIGTERM, SIGINT: write what the pipe holds now, then end. SIGHUP: open the file again.
SIGUSR1, SIGALRM: begin a new file.

  daemon 2>&1 | relaxlogs --log-dir /var/log/app --rotation-time 1440 --max-age 44640
""",
)  # fmt: skip


def _on_full(values: Values) -> str:
    """What to do when the buffer is full, as the two options for it say together."""
    wanted: str = values.on_full
    if not values.drop_when_full:
        return wanted
    if "on_full" in values.given and wanted != "drop-new":
        raise UsageError(f"--drop-when-full and --on-full {wanted} contradict each other")
    return "drop-new"


def _work(values: Values, _: list[str]) -> int:
    directory = None if values.log_dir in (None, "", "stdout") else os.path.abspath(values.log_dir)
    on_full = _on_full(values)
    if values.compress == "zst":
        from shutil import which

        if which("zstd") is None:
            raise KojutoError("--compress zst: zstd is not installed", "install zstd or take gz")
    cli.stay("select")  # for a warning where no descriptor is left
    cli.must_be_open(0, "standard input")
    if directory is None:
        cli.must_be_open(1, "standard output")
    import signal as signals

    ignored = [signals.SIGINT] if values.ignore_int else []
    for each in ignored:
        signals.signal(each, signals.SIG_IGN)
    if values.ignore_term:
        # The engine leaves the directory to a successor then; before and after it nothing is done.
        signals.signal(signals.SIGTERM, lambda *_: None)
    # What was blocked or ignored where this was started is not meant for it. What came meanwhile is
    # let through when its handler is there.
    held = {signals.SIGHUP, signals.SIGUSR1, signals.SIGALRM, signals.SIGTERM}.difference(ignored)
    signals.pthread_sigmask(signals.SIG_SETMASK, held)
    if "mode" in values.given:
        _open_umask(values.mode)
    signal, dropped, lost = _rotate(values, directory, on_full, [int(each) for each in ignored])
    if dropped:
        cli.complain("relaxlogs", f"warning: {dropped} lines were dropped")
    if lost:
        raise KojutoError(f"{lost} bytes of lines could not be written before the end")
    return cli.INTERRUPTED if signal == 2 else cli.DONE


def _open_umask(mode: int) -> None:
    """Let the umask take nothing of a mode that was asked for, nor of its directory's."""
    os.umask(os.umask(0o077) & ~(mode | (mode & 0o444) >> 2))


def _rotate(
    values: Values, directory: str | None, on_full: str, ignored: list[int]
) -> tuple[int, int, int]:
    """Move the lines until the end: the signal that brought it, lines dropped, bytes lost."""
    from errno import EACCES, ENOENT, ENOTDIR, EPERM, EROFS

    from kojuto._native import rotate_lines

    options = RotateOptions(directory)
    options.pattern = values.pattern
    options.mode = values.mode
    options.link = values.link
    options.utc = values.utc
    options.rotation_minutes = values.rotation_time
    options.max_file_bytes = values.max_size
    options.max_age_s = None if values.max_age == KEEP_FOR_EVER else values.max_age * 60.0
    options.max_files = values.max_files
    options.max_total_bytes = values.max_total_size
    options.compress = values.compress
    options.on_rotate = values.on_rotate
    options.hook_timeout_s = values.hook_timeout
    options.with_time = values.with_time
    options.buffer_bytes = values.buffer
    options.on_full = on_full
    options.fsync_s = values.fsync
    options.stop_timeout_s = values.stop_timeout
    options.hand_over = values.ignore_term
    try:
        return rotate_lines(
            options,
            lambda text: cli.complain("relaxlogs", f"warning: {text}"),
            ignored=ignored,
        )
    except BlockingIOError as error:
        raise KojutoError(
            f"{directory}: another relaxlogs writes there",
            "give each its own --log-dir, or its own --pattern and --link",
        ) from error
    except BrokenPipeError as error:
        # Lines were lost, which is no quiet end here.
        raise KojutoError(cli.describe(error)) from error
    except OSError as error:
        if directory is None or error.errno not in (EACCES, ENOENT, ENOTDIR, EPERM, EROFS):
            raise
        raise KojutoError(
            cli.describe(error), "--log-dir must be a directory in which relaxlogs can make files"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``relaxlogs`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
