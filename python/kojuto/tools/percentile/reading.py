"""The numbers of the files (plain, compressed or sketches of other hosts) and their figures."""

from __future__ import annotations

import os
import sys
from time import monotonic

from kojuto.common import cli, streams
from kojuto.common.units import format_size
from kojuto.errors import AccuracyError, KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import Numbers, _GroupOf
    from kojuto.common.plugin.metrics import Group

PROGRESS_EVERY_S = 0.5
FEED_BYTES = 1 << 20


class Skipped:
    """The lines that were no numbers, over all files."""

    def __init__(self) -> None:
        self.lines = self.bad = 0
        self.first = ""

    def add(self, name: str, report: tuple[int, int, int, bytes], *, strict: bool) -> None:
        """Add what `Numbers.finish` reports of a file; with `strict` such a line is an error."""
        lines, bad, line, raw = report
        text = raw.decode(errors="backslashreplace")
        if bad and strict:
            raise KojutoError(
                f"{name}: line {line} is no number: '{text}'",
                "without --strict such lines are skipped and counted",
            )
        if bad and not self.bad:
            self.first = f"line {line} of {name}: '{text}'"
        self.lines += lines
        self.bad += bad

    def tell(self, prog: str) -> None:
        """Sum them up on standard error, with the first as an example."""
        if self.bad:
            what = "is no number and was" if self.bad == 1 else "are no numbers and were"
            text = f"{self.bad} of {self.lines} lines {what} skipped; the first: {self.first}"
            cli.complain(prog, text)


def _open(name: str) -> int:
    return 0 if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)


def _title(name: str) -> str:
    """The name for messages; a file name need not be text."""
    return "standard input" if name == "-" else os.fsencode(name).decode(errors="replace")


def read(numbers: Numbers, names: list[str], *, strict: bool) -> Skipped:
    """Read the files; '-' is standard input.

    Returns:
        The lines that were no numbers.

    Raises:
        KojutoError: such a line with `strict`, a damaged gzip file, one that is compressed else.
        OSError: a file cannot be read.
    """
    skipped = Skipped()
    for name in names:
        fd = _open(name)
        try:
            head = b"" if name == "-" else _head(fd)
            if head.startswith(b"\x1f\x8b"):
                _read_gzip(numbers, fd, _title(name))
            elif head == b"\x28\xb5\x2f\xfd":
                raise KojutoError(
                    f"{_title(name)}: compressed with zstd",
                    f"zstd -dc {_title(name)} | percentile … reads it",
                )
            else:
                _read_plain(numbers, fd, _title(name))
            skipped.add(_title(name), numbers.finish(), strict=strict)
        finally:
            if name != "-":
                os.close(fd)
    return skipped


def _head(fd: int) -> bytes:
    """The first bytes of a regular file; nothing of a pipe, which cannot be read twice."""
    try:
        return os.pread(fd, 4, 0)
    except OSError:
        return b""


def _read_plain(numbers: Numbers, fd: int, title: str) -> None:
    if not _stderr_is_terminal() or os.isatty(fd):
        numbers.read(fd, title)
        return
    from stat import S_ISREG

    about = os.fstat(fd)
    size = about.st_size if S_ISREG(about.st_mode) else 0
    start, before = monotonic(), numbers.bytes
    shown = False
    try:
        while not numbers.read(fd, title, PROGRESS_EVERY_S):
            done = numbers.bytes - before
            line = f"percentile: {format_size(done)}"
            if size:
                line += f" of {format_size(size)}, {min(100, 100 * done // size)} %"
            # The name comes last: it may be longer than the terminal is wide.
            streams.progress(f"{line}, {monotonic() - start:.0f} s: {cli.one_line(title)}")
            shown = True
    finally:
        if shown:
            streams.progress("")


def _stderr_is_terminal() -> bool:
    return sys.stderr.isatty()


def _read_gzip(numbers: Numbers, fd: int, name: str) -> None:
    import gzip
    from zlib import error as zlib_error

    try:
        with os.fdopen(os.dup(fd), "rb") as raw, gzip.GzipFile(fileobj=raw) as file:
            while data := file.read(FEED_BYTES):
                if not numbers.feed(data):
                    return
    except (EOFError, zlib_error, gzip.BadGzipFile) as error:
        raise KojutoError(
            f"{name}: damaged gzip file: {error}", f"gzip -t {name} checks it"
        ) from None


def merge(numbers: Numbers, names: list[str]) -> None:
    """Take in sketches.

    Raises:
        KojutoError: a file is none, or one of another accuracy.
        OSError: a file cannot be read.
    """
    from kojuto._native import MAX_SKETCH_BYTES

    for name in names:
        with os.fdopen(_open(name), "rb", closefd=name != "-") as file:
            try:
                data = file.read(MAX_SKETCH_BYTES + 1)
            except OSError as error:
                raise OSError(error.errno, error.strerror, _title(name)) from None
        try:
            numbers.merge(data)
        except AccuracyError as error:
            hint = "write all sketches with the same --accuracy"
            raise KojutoError(f"{_title(name)}: {error}", hint) from None
        except ValueError as error:
            hint = "sketches are written by --sketch"
            raise KojutoError(f"{_title(name)}: {error}", hint) from None


class Result:
    """The figures of one group.

    Args:
        index: its place among the groups.
        row: what `Numbers.summaries` gave.
        by: what parts the groups, None without groups.
    """

    __slots__ = ("avg", "count", "group", "index", "max", "min", "values")

    def __init__(
        self,
        index: int,
        row: tuple[_GroupOf | None, int, float, float, float, list[float]],
        by: str | None,
    ) -> None:
        name, self.count, self.max, self.avg, self.min, self.values = row
        self.index = index
        self.group: Group | None = None
        if name is not None:
            from kojuto.common.plugin.metrics import Group

            self.group = Group(by or "", *name, {"missing": "-", "other": "other"})
