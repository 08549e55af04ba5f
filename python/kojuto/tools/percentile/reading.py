"""The numbers of the files (plain, compressed or sketches of other hosts) and their figures."""

from __future__ import annotations

import os
import sys
from time import monotonic

from kojuto.common import cli, infile, streams
from kojuto.common.units import format_size
from kojuto.errors import AccuracyError, GroupsError, KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from kojuto._native import Numbers, ReportData
    from kojuto.common.plugin.metrics import Group
    from kojuto.tools.percentile.reported import Row

    class Figures(Protocol):
        """What is printed: numbers that were read or merged, or a report."""

        @property
        def accuracy(self) -> float | None: ...  # noqa: D102
        @property
        def by(self) -> bytes | None: ...  # noqa: D102
        def summaries(self, fractions: Sequence[float]) -> list[Row]: ...  # noqa: D102
        def histogram(self, group: int, edges: Sequence[float]) -> list[int]: ...  # noqa: D102
        def sketch(self) -> bytes | None: ...  # noqa: D102


PROGRESS_EVERY_S = 0.5
FEED_BYTES = 1 << 20
HEAD_BYTES = 10
"""So many bytes tell what packed a file."""


class Skipped:
    """The lines that were no numbers, over all files."""

    def __init__(self) -> None:
        self.lines = self.bad = 0
        self.first = ""

    def add(self, name: str, report: tuple[int, int, int, bytes], *, strict: bool) -> None:
        """Add what `Numbers.finish` reports of a file; with `strict` such a line is an error.

        Raises:
            KojutoError: that, or the file is a sketch or a saved report.
        """
        lines, bad, line, raw = report
        if bad and raw.startswith((b"KJSKETCH", b"KJREPORT")):
            what = "a sketch" if raw.startswith(b"KJSKETCH") else "a saved report"
            raise KojutoError(f"{name}: it is {what}", "--merge reads those, and no numbers beside")
        text = raw.decode(errors="backslashreplace")
        if bad and strict:
            raise KojutoError(
                f"{name}: line {line} is not a number: '{text}'",
                "without --strict such lines are skipped and counted",
            )
        if bad and not self.bad:
            self.first = f"line {line} of {name}: '{text}'"
        self.lines += lines
        self.bad += bad

    def tell(self, prog: str) -> None:
        """Sum them up on standard error, with the first as an example."""
        if self.bad:
            what = "is not a number and was" if self.bad == 1 else "are not numbers and were"
            text = f"{self.bad} of {self.lines} lines {what} skipped; the first: {self.first}"
            cli.complain(prog, text)


def _open(name: str) -> int:
    return 0 if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)


def read(numbers: Numbers, names: list[str], *, strict: bool) -> Skipped:
    """Read the files; '-' is standard input.

    Returns:
        The lines that were no numbers.

    Raises:
        KojutoError: such a line with `strict`, a damaged compressed file, one that nothing here
            unpacks.
        OSError: a file cannot be read.
    """
    from kojuto._native import packed_by

    skipped = Skipped()
    for name in names:
        fd, before = _open(name), numbers.bytes
        try:
            head, taken = _head(fd)
            program, _ = packed_by(head)
            if program is not None:
                _read_packed(numbers, _Rest(fd, head, taken), name, program)
            elif not taken or numbers.feed(taken):
                _read_plain(numbers, fd, infile.title(name), before)
            skipped.add(infile.title(name), numbers.finish(), strict=strict)
        finally:
            if name != "-":
                os.close(fd)
    return skipped


def _head(fd: int) -> tuple[bytes, bytes]:
    """The first bytes, and those of them that had to be taken: a pipe cannot be read twice."""
    from errno import ESPIPE

    from kojuto._native import packed_by

    try:
        return os.pread(fd, HEAD_BYTES, os.lseek(fd, 0, os.SEEK_CUR)), b""
    except OSError as error:
        if error.errno != ESPIPE:
            return b"", b""
    head = b""
    while packed_by(head)[1]:
        more = streams.take(fd, HEAD_BYTES - len(head))
        if not more:
            break
        head += more
    return head, head


class _Rest:
    """The bytes of a descriptor from which the first were taken, as what unpacks them reads."""

    def __init__(self, fd: int, head: bytes, taken: bytes) -> None:
        self.fd, self.head, self.taken = fd, head, taken

    def read(self, size: int = -1) -> bytes:
        size = size if size >= 0 else FEED_BYTES
        if self.taken:
            data, self.taken = self.taken[:size], self.taken[size:]
            return data
        return streams.take(self.fd, size)


def _read_plain(numbers: Numbers, fd: int, title: str, before: int) -> None:
    if not _stderr_is_terminal() or os.isatty(fd):
        numbers.read(fd, title)
        return
    from stat import S_ISREG

    about = os.fstat(fd)
    size = about.st_size if S_ISREG(about.st_mode) else 0
    start, shown = monotonic(), False
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


def _read_packed(numbers: Numbers, rest: _Rest, name: str, program: str) -> None:
    title = infile.title(name)
    try:
        if numbers.unpack(rest.fd, title, rest.head, rest.taken):
            return
        if program == "bzip2" and _read_bzip2(numbers, rest):
            return
    except (EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, title) from None
        check = f"{program} -t {title} checks it" if name != "-" else None
        raise KojutoError(f"{title}: {error}", check) from None
    unpack = f"{program} -dc" if name == "-" else f"{program} -dc {title}"
    raise KojutoError(f"{title}: compressed with {program}", f"{unpack} | percentile … reads it")


def _read_bzip2(numbers: Numbers, rest: _Rest) -> bool:
    """Read it by Python's module; False where there is none."""
    try:
        from bz2 import BZ2File
    except ImportError:
        return False
    try:
        with BZ2File(rest) as file:  # type: ignore[call-overload]
            while (data := file.read(FEED_BYTES)) and numbers.feed(data):
                pass
    except (EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise EOFError(f"damaged bzip2 file: {error}") from None
    return True


def merge(numbers: Numbers, names: list[str]) -> Figures:
    """Take in sketches, or what ``kojuto report --save`` wrote.

    Returns:
        The numbers, or the report of all of these files.

    Raises:
        KojutoError: a file is none, or one of another accuracy or of other groups.
        OSError: a file cannot be read.
    """
    report: ReportData | None = None
    for at, name in enumerate(names):
        part = _merge_file(numbers, name)
        if at and (part is None) != (report is None):
            kinds = ["a sketch", "a report"]
            kind, before = kinds if part is None else reversed(kinds)
            hint = "percentile --sketch writes sketches, kojuto report --save reports"
            raise KojutoError(f"{infile.title(name)}: it is {kind}, not {before}", hint)
        if report is not None and part is not None:
            try:
                report.merge(part)
            except ValueError as error:
                hint = "make all reports with the same options"
                raise KojutoError(f"{infile.title(name)}: {error}", hint) from None
        else:
            report = part
    if report is None:
        return numbers
    from kojuto.tools.percentile.reported import Reported

    return Reported(report)


def _merge_file(numbers: Numbers, name: str) -> ReportData | None:
    """Take in the sketches of a file; a report comes back."""
    from kojuto._native import MAX_SKETCH_BYTES, ReportData, packed_by
    from kojuto.tools.percentile.reported import MAGIC

    data = b""
    try:
        with streams.opened(name) as file:
            # One sketch, or several behind each other: of groups, or by `cat a.sketch b.sketch`.
            rest, last, begun = b"", False, False
            while not last:
                wanted = MAX_SKETCH_BYTES + 1 - len(rest)
                more = file.read(wanted)
                last = len(more) < wanted
                data = rest + more
                if not begun and data.startswith(MAGIC):
                    return ReportData.from_bytes(data + file.read())
                if data or not begun:
                    rest = data[numbers.merge(data, last) :]
                begun = True
    except OSError as error:
        raise OSError(error.errno, error.strerror, infile.title(name)) from None
    except AccuracyError as error:
        hint = "write all sketches with the same --accuracy"
        raise KojutoError(f"{infile.title(name)}: {error}", hint) from None
    except GroupsError as error:
        hint = "write all sketches with the same --by, or all without"
        raise KojutoError(f"{infile.title(name)}: {error}", hint) from None
    except ValueError as error:
        program = packed_by(data[:10])[0]
        if program is not None:
            hint = f"{program} -dc {infile.title(name)} | percentile --merge - reads it"
            raise KojutoError(f"{infile.title(name)}: compressed with {program}", hint) from None
        hint = "sketches are written by --sketch"
        raise KojutoError(f"{infile.title(name)}: {error}", hint) from None
    return None


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
        row: Row,
        by: str | None,
    ) -> None:
        name, self.count, self.max, self.avg, self.min, self.values = row
        self.index = index
        self.group: Group | None = None
        if name is not None:
            from kojuto.common.plugin.metrics import Group

            self.group = Group(by or "", *name, {"missing": "-", "other": "other"})
