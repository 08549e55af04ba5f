"""The logs, or the saved reports, of a command line: which they are, read into one report."""

from __future__ import annotations

import os

from kojuto.common import cli, infile, streams
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.report.stores import Stored, is_url, local, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kojuto._native import ReportData


def title(name: str) -> str:
    """The name for messages; a file name need not be text, and a URL may have secrets."""
    if is_url(name):
        return shown(name)
    return infile.title(name)


def paths(
    prog: str,
    names: Sequence[str],
    *,
    may_be_missing: bool = False,
    known: dict[object, str] | None = None,
) -> list[str]:
    """The logs that are meant, each once; those named twice are told.

    Args:
        prog: the command, for the message.
        names: files, URLs, patterns of those, ``-``; none is standard input, unless that is a
            terminal.
        may_be_missing: a file that is named need not be there yet.
        known: logs that were meant before, to which these are added.

    Raises:
        UsageError: nothing is named, or a pattern matches nothing.
        KojutoError: what reads such a URL is not installed.
        OSError: a file or an object is not there.
    """
    if not names:
        if os.isatty(0):
            raise UsageError("no log is named", f"{prog} /var/log/nginx/access.log")
        names = ["-"]

    def tell(path: str, first: str) -> None:
        infile.tell_twice(prog, title(path), title(first))

    return each_once(names, tell, may_be_missing=may_be_missing, known=known)


def each_once(
    names: Sequence[str],
    tell: Callable[[str, str], None],
    *,
    may_be_missing: bool = False,
    known: dict[object, str] | None = None,
) -> list[str]:
    """The logs that are meant, each once.

    Args:
        names: files, URLs, patterns of those, ``-``.
        tell: is called with one that was named before, and how that was called.
        may_be_missing: a file that is named need not be there yet.
        known: logs that were meant before, to which these are added.

    Raises:
        UsageError: a pattern matches nothing.
        KojutoError: what reads such a URL is not installed.
        OSError: a file or an object is not there.
    """
    known = {} if known is None else known
    found = []
    for name in names:
        for path in _expanded(local(name)):
            key = _identity(path, may_be_missing=may_be_missing)
            if key in known:
                tell(path, known[key])
            else:
                known[key] = path
                found.append(path)
    return found


def _identity(path: str, *, may_be_missing: bool) -> object:
    """What is the same for all names of a log; of one that is not there its name."""
    if is_url(path):
        stored = Stored(path)
        return stored.fs, stored.path
    if path == "-":
        cli.must_be_open(0, title(path))
    try:
        about = os.fstat(0) if path == "-" else os.stat(path)
    except FileNotFoundError:
        if may_be_missing:
            return path
        raise
    return about.st_dev, about.st_ino


def _expanded(name: str) -> list[str]:
    """What a name stands for: itself, or the files that match it as a pattern, in order."""
    if is_url(name):
        return Stored(name).matching()
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
    from kojuto._native import ReportData, packed_by

    whole: ReportData | None = None
    for name in names:
        content = b""
        try:
            content = _content(name)
            part = ReportData.from_bytes(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, title(name)) from None
        except ValueError as error:
            program = packed_by(content[:10])[0]
            if program is not None:
                unpack = f"{program} -dc {title(name)} | kojuto report --merge - reads it"
                raise KojutoError(f"{title(name)}: compressed with {program}", unpack) from None
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


def _content(name: str) -> bytes:
    if is_url(name):
        from kojuto.tools.report import parts

        return parts.content(name)
    with streams.opened(name) as file:
        return file.read()
