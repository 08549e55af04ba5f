"""Lines of access logs as Arrow's record batches, at the speed at which `kojuto report` reads them.

Example:
    >>> import polars
    >>> from kojuto import logs
    >>> lines = logs.scan("tests/data/accesslog/ltsv/alp-example.log")
    >>> polars.DataFrame(lines).group_by("status").len().sort("status")["len"].to_list()
    [11, 2, 1]
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict

from kojuto._native import LineScan
from kojuto.tools.report import scanning

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from typing_extensions import Unpack

__all__ = ["COLUMNS", "Lines", "Options", "scan"]

Path = str | os.PathLike[str]

COLUMNS = ("time", "method", "path", "status", "request_time")
"""The columns of a scan that names none."""
BATCH_ROWS = 65_536


class Lines:
    """Lines of logs, to be handed to whatever speaks Arrow.

    `scan` makes one. ``polars.DataFrame(lines)``, ``duckdb.sql("from lines")``,
    ``pyarrow.table(lines)`` and ``pandas.DataFrame.from_arrow(lines)`` read it, by the PyCapsule
    protocol. Each reads the logs anew, from their beginning; standard input can be read once.
    """

    __slots__ = ("_columns", "_data")

    def __init__(self, data: LineScan, columns: tuple[str, ...]) -> None:
        self._data = data
        self._columns = columns

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The lines by Arrow's PyCapsule protocol, as a stream of batches.

        Nothing is read before the first batch is asked for. Threads then read ahead, no more than a
        few batches each, without the GIL, until the stream ends or is let go.

        Args:
            requested_schema: what the protocol has; there is one schema only.

        Returns:
            The capsule of a stream, which fails with the reason where a log cannot be read to its
            end (behind the lines before it), or where of all lines none can be.
        """
        return self._data.stream()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._columns

    @property
    def bad(self) -> dict[str, int]:
        """Lines that could not be read, by reason, once a stream was read to its end."""
        return self._data.bad

    def __repr__(self) -> str:
        return f"<kojuto.logs.Lines of {', '.join(self._columns)}>"


class Options(TypedDict, total=False):
    """What `scan` takes of the options of ``kojuto report``, by their names."""

    format: str
    """``auto`` (when left out), ``ltsv``, ``json`` or ``combined``."""
    envelope: str
    """What stands around each line; found when left out."""
    log_format: str
    """Lines in nginx's or Apache's words."""
    regex: str
    """Lines as a regular expression with named groups."""
    time_key: str
    """Of the time taken; this and the other keys are found when left out."""
    time_unit: str
    """``s``, ``ms``, ``us`` or ``ns``; found when left out."""
    status_key: str
    method_key: str
    uri_key: str
    """Of the path, the URL or the request line."""
    bytes_key: str
    when_key: str
    """Of the time at which a line was written."""
    since: str | datetime | float
    """Only lines from then on: as the option has it, or in seconds since the epoch."""
    until: str | datetime | float
    """Only lines before then."""
    where: str
    """Only lines for which this holds: ``status >= 500``."""
    jobs: int
    """Threads; as many as there are processors when left out."""


def scan(
    paths: Path | Sequence[Path],
    columns: Sequence[str] = COLUMNS,
    *,
    batch_size: int = BATCH_ROWS,
    **options: Unpack[Options],
) -> Lines:
    r"""Lines of access logs as columns.

    The lines that ``kojuto report`` counts are rows, in the order of the logs; the others are
    counted in `Lines.bad`. What a line does not have, or has as ``-``, is null.

    Args:
        paths: a log or several; ``-`` is standard input. gzip, zstd and xz are unpacked. A file
            that is named twice is read once.
        columns: the columns, in their order, each once. Whatever the log calls them: ``time`` (when
            the line was written, nanoseconds in UTC), ``method``, ``path`` (without its query),
            ``uri`` (with it), ``request`` (the request line, in logs that have one), ``host``
            (text, as it came), ``status`` and ``bytes`` (64-bit integers), ``request_time``
            (seconds, a double; of a status 101, whose time is the life of its connection, null).
            Any other name is a key of the log, as text, of which there are eight at most. What is
            no UTF-8 in a text is written as ``\xff``.
        batch_size: so many rows a batch has at most.
        options: those of `Options`.

    Raises:
        TypeError: there is no such option.
        ValueError: an option cannot be so, or no columns are named, or more than can be found.
        OSError: a log is not there.
    """
    from kojuto.errors import KojutoError
    from kojuto.tools.report.times import bound_of

    for name in options:
        if name not in Options.__annotations__:
            raise TypeError(f"scan() has no option {name}")
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if not all(names) or not names or len(set(names)) < len(names):
        raise ValueError("columns have names, each another, and there is at least one")
    if batch_size < 1:
        raise ValueError(f"{batch_size} rows are no batch")
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    for path in several:
        if path != "-":
            os.stat(path)
    logs = [os.fspath(path) for path in several]
    given: dict[str, Any] = {**options}
    for end in ("since", "until"):
        if end in given:
            given[end] = bound_of(given[end])
    try:
        lines = scanning.line_options(logs, given)
    except KojutoError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise ValueError(f"{error}{hint}") from None
    data = LineScan(logs, list(names), batch_size, **lines)
    return Lines(data, names)
