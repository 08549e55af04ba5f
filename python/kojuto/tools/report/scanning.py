"""Logs counted by the options of the command, or by those of `kojuto.report.scan`."""

from __future__ import annotations

import os
import sys
import time

from kojuto.errors import UsageError
from kojuto.tools.report.reading import title
from kojuto.tools.report.stores import is_url
from kojuto.tools.report.times import clock_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from kojuto._native import ReportData, ReportLive, ReportProgress
    from kojuto.tools.report.times import Bound

KEYS = {
    "time_key": "request_time",
    "status_key": "status",
    "method_key": "method",
    "uri_key": "uri",
    "bytes_key": "bytes",
    "when_key": "time",
}
"""What the options of keys are for."""
SAME = ("format", "envelope", "log_format", "regex", "time_unit", "jobs", "fold_above", "query",
        "where", "group_by")  # fmt: skip
"""Options that the scan calls as they are called here."""
OPTIONS = (*SAME, *KEYS, "no_fold", "match", "routes", "query_keep", "since", "until", "dask")
"""Options of lines, which a saved report has been through already."""
KEPT_SLOWEST = 10
TAIL_BYTES = 1 << 18
MAX_ROUTES_BYTES = 1 << 20
PROGRESS_EVERY_S = 0.5


def scan(
    paths: Sequence[str | os.PathLike[str]],
    options: Mapping[str, Any],
    *,
    slowest: int = KEPT_SLOWEST,
    progress: ReportProgress | None = None,
) -> ReportData:
    """Count the lines of logs.

    Args:
        paths: files, URLs, or ``-`` for standard input.
        options: those of `OPTIONS` that were given, as the command reads them.
        slowest: how many of the slowest lines are kept.
        progress: is told how far it is.

    Raises:
        UsageError: an option cannot be so.
        KojutoError: the cluster cannot count them.
        OSError: the file of routes cannot be read.
    """
    names = [os.fspath(path) for path in paths]
    try:
        lines = line_options(names, options)
        lines["slowest"] = slowest
        if options.get("dask") is None:
            return _count(names, lines, progress)
        from kojuto.tools.report import cluster

        if "-" in names:
            raise UsageError("--dask cannot count standard input", "name files or URLs")
        return cluster.count(options["dask"], names, lines, progress)
    except ValueError as error:
        raise UsageError(str(error)) from None


def live(paths: Sequence[str], options: Mapping[str, Any], window_s: float) -> ReportLive:
    """The lines of the last `window_s` of logs that are followed.

    Raises:
        UsageError: an option cannot be so.
        OSError: a pipe cannot be opened.
    """
    from kojuto._native import ReportLive

    try:
        return ReportLive(paths, window_s, **_line_options(options))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _count(
    names: Sequence[str], lines: Mapping[str, Any], progress: ReportProgress | None = None
) -> ReportData:
    """Count the lines of files, and of objects of stores, by the options of the scan."""
    from kojuto._native import report_scan

    whole = report_scan([name for name in names if not is_url(name)], **lines, progress=progress)
    urls = [name for name in names if is_url(name)]
    if urls:
        from kojuto.tools.report import parts

        whole.merge(parts.count_stored(urls, lines, progress))
    return whole


def line_options(paths: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of lines as the native scan calls them.

    Raises:
        UsageError: an option cannot be so.
        ValueError: the native scan says so.
        OSError: the file of routes cannot be read.
    """
    lines = _line_options(options)
    return {**lines, **_window(paths, options, lines)}


def _line_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of lines but for the window of time."""
    found: dict[str, Any] = {name: options[name] for name in SAME if name in options}
    keys = {role: options[name] for name, role in KEYS.items() if options.get(name) is not None}
    if keys:
        found["keys"] = keys
    if options.get("no_fold"):
        found["fold"] = False
    if options.get("match"):
        found["matches"] = list(options["match"])
    if options.get("query_keep"):
        found["query_values"] = list(options["query_keep"])
    if options.get("routes"):
        found["routes"] = _routes(options["routes"])
    # A log whose times have no zone is of this machine's.
    found["zone"] = clock_changes(time.time())
    return found


def _routes(path: str) -> list[str]:
    """The lines of a file of routes.

    Raises:
        UsageError: it is too large to be one.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(MAX_ROUTES_BYTES + 1)
    if len(content) > MAX_ROUTES_BYTES:
        raise UsageError(f"--routes {title(path)}: over {MAX_ROUTES_BYTES:,} bytes")
    return content.decode(errors="replace").splitlines()


def _window(
    paths: Sequence[str], options: Mapping[str, Any], lines: dict[str, Any]
) -> dict[str, float]:
    """The window of time as the scan calls it, in seconds since the epoch."""
    bounds: dict[str, Bound] = {
        f"{name}_s": options[name] for name in ("since", "until") if options.get(name) is not None
    }
    if not bounds:
        return {}
    end_s, zone_s = None, None
    if not all(bound.kind in ("at", "now") for bound in bounds.values()):
        end_s, zone_s = _end(paths, lines)
        if end_s is None and any(bound.kind == "end" for bound in bounds.values()):
            raise UsageError(
                "a time before the end needs a log in a file whose last line has a time",
                "a time before now is written as -15m",
            )
    now_s = time.time()
    return {
        name: bound.resolve(now_s=now_s, end_s=end_s, zone_s=zone_s)
        for name, bound in bounds.items()
    }


def _end(paths: Sequence[str], lines: Mapping[str, Any]) -> tuple[float | None, int | None]:
    """The time of the last line of all files, and the log's offset from UTC.

    Of a plain file the end is read, of a packed one all; of standard input nothing.
    """
    from tempfile import TemporaryDirectory

    from kojuto.common import outfile

    with TemporaryDirectory(prefix="kojuto-report-") as folder:
        ends: list[str] = []
        for path in paths:
            if not is_url(path) and (path == "-" or not os.path.isfile(path)):
                continue
            tail = _tail(path)
            if tail is None:
                ends.append(path)
                continue
            ends.append(os.path.join(folder, str(len(ends))))
            with outfile.naming(ends[-1]), open(ends[-1], "wb") as out:
                out.write(tail)
        facts = _count(ends, lines).facts() if ends else {"to_s": None, "zone_s": None}
    return facts["to_s"], facts["zone_s"]


def _tail(path: str) -> bytes | None:
    """The last lines of a plain log; None where all of it must be read."""
    from kojuto._native import packed_by

    if is_url(path):
        from kojuto.tools.report.stores import Stored

        stored = Stored(path)
        size = stored.size()
        if size is None or size <= TAIL_BYTES:
            return None
        try:
            tail = stored.part(size - TAIL_BYTES, size, size)
        except ValueError:  # it gives no parts
            return None
        head = stored.part(0, 10, size)
    else:
        with open(path, "rb") as file:
            head = file.read(10)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL_BYTES, 0))
            tail = file.read(TAIL_BYTES)
    if packed_by(head)[0] is not None:
        return None
    return tail[tail.find(b"\n") + 1 :] if size > len(tail) else tail


def scan_with_progress(
    prog: str, paths: Sequence[str], options: Mapping[str, Any], *, slowest: int = KEPT_SLOWEST
) -> ReportData:
    """The same, with the progress in the last line of a terminal on standard error."""
    if not sys.stderr.isatty():
        return scan(paths, options, slowest=slowest)
    from threading import Event, Thread

    from kojuto._native import ReportProgress

    progress, over = ReportProgress(), Event()
    thread = Thread(target=_show, args=(prog, progress, over), daemon=True)
    thread.start()
    try:
        return scan(paths, options, slowest=slowest, progress=progress)
    finally:
        over.set()
        thread.join()


def _show(prog: str, progress: ReportProgress, over: Any) -> None:
    """Show the progress until it is over, and leave nothing of it."""
    from kojuto.common import streams

    began, shown = time.monotonic(), False
    while not over.wait(PROGRESS_EVERY_S):
        done, whole = progress.bytes, progress.total_bytes
        streams.progress(f"{prog}: {how_far(done, whole, time.monotonic() - began)}")
        shown = True
    if shown:
        streams.progress("")


def how_far(done: int, whole: int, seconds: float) -> str:
    """``120 MB of 1.2 GB, 10 %, 480 MB/s, 2 s left``; without the size no more than is known."""
    from kojuto.common.units import format_size

    rate = done / seconds
    text = format_size(done)
    if whole:
        text += f" of {format_size(whole)}, {min(100 * done // whole, 100)} %"
    text += f", {format_size(rate)}/s"
    if whole > done and rate > 0:
        text += f", {(whole - done) / rate:.0f} s left"
    return text
