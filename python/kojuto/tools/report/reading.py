"""The logs, or the saved reports, of a command line: which they are, read into one report."""

from __future__ import annotations

import os

from kojuto.common import cli
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import ReportData


def title(name: str) -> str:
    """The name for messages; a file name need not be text."""
    return "standard input" if name == "-" else os.fsencode(name).decode(errors="replace")


def paths(prog: str, names: Sequence[str], *, may_be_missing: bool = False) -> list[str]:
    """The files that are meant, each once; those named twice are told.

    Args:
        prog: the command, for the message.
        names: files, patterns, ``-``; none is standard input, unless that is a terminal.
        may_be_missing: a file that is named need not be there yet.

    Raises:
        UsageError: nothing is named, or a pattern matches nothing.
        OSError: a file is not there.
    """
    if not names:
        if os.isatty(0):
            raise UsageError("no log is named", f"{prog} /var/log/nginx/access.log")
        names = ["-"]
    found: dict[tuple[int, int] | str, str] = {}
    for name in names:
        for path in _expanded(name):
            if path == "-":
                cli.must_be_open(0, title(path))
            key = _identity(path, may_be_missing=may_be_missing)
            if key in found:
                same = "" if found[key] == path else f", as {title(found[key])},"
                cli.complain(prog, f"{title(path)} is named twice{same} and read once")
            else:
                found[key] = path
    return list(found.values())


def _identity(path: str, *, may_be_missing: bool) -> tuple[int, int] | str:
    """What is the same of one file under two names; of one that is not there its name."""
    try:
        about = os.fstat(0) if path == "-" else os.stat(path)
    except FileNotFoundError:
        if may_be_missing:
            return path
        raise
    return about.st_dev, about.st_ino


def _expanded(name: str) -> list[str]:
    """What a name stands for: itself, or the files that match it as a pattern, in order."""
    if name == "-" or not any(sign in name for sign in "*?[") or os.path.lexists(name):
        return [name]
    from glob import glob

    matching = sorted(path for path in glob(name) if not os.path.isdir(path))
    if not matching:
        raise UsageError(f"{title(name)}: no file matches", "ls shows which files there are")
    return matching


def merged(names: Sequence[str]) -> ReportData:
    """The saved reports of some files, merged.

    Raises:
        KojutoError: a file holds none, or a damaged one.
        OSError: a file cannot be read.
    """
    from kojuto._native import ReportData

    whole: ReportData | None = None
    for name in names:
        try:
            with os.fdopen(_open(name), "rb", closefd=name != "-") as file:
                part = ReportData.from_bytes(file.read())
        except OSError as error:
            raise OSError(error.errno, error.strerror, title(name)) from None
        except ValueError as error:
            raise KojutoError(f"{title(name)}: {error}", "reports are written by --save") from None
        if whole is None:
            whole = part
            continue
        try:
            whole.merge(part)
        except ValueError as error:
            hint = "make all reports with the same options"
            raise KojutoError(f"{title(name)}: {error}", hint) from None
    assert whole is not None
    return whole


def _open(name: str) -> int:
    return 0 if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
