"""The Python side of ``kojuto report``: access logs counted by endpoint.

Example:
    >>> from kojuto import report
    >>> found = report.scan("tests/data/accesslog/ltsv/alp-example.log")
    >>> found.lines
    14
    >>> costliest = found.rows()[0]
    >>> costliest["endpoint"], costliest["max"]
    ('GET /foo/bar/5xx', 60.0)

A `Report` can be merged with others, of other logs or hosts, and it pickles: parts of a large log
may be counted anywhere and put together here.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from threading import Lock
from typing import TYPE_CHECKING, Any

from kojuto._native import ReportData
from kojuto.logs import Options as LineOptions
from kojuto.tools.report import columns, reading, scanning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import tzinfo

    from typing_extensions import Unpack

__all__ = ["Options", "Report", "scan"]

Path = str | os.PathLike[str]


class Report:
    """What the lines of access logs cost, by endpoint.

    Times are in seconds. `scan`, `Report.load` and `Report.from_bytes` make one. Threads may
    share it.
    """

    __slots__ = ("_data", "_lock")

    def __init__(self, data: ReportData) -> None:
        self._data = data
        self._lock = Lock()

    @classmethod
    def load(cls, path: Path) -> Report:
        """A report that was saved by `save`, or by the command's ``--save``.

        Raises:
            ValueError: it is none, or damaged.
            OSError: it cannot be read.
        """
        with open(path, "rb") as file:
            return cls.from_bytes(file.read())

    @classmethod
    def from_bytes(cls, content: bytes) -> Report:
        """A report as `bytes(report)` gave it; several behind each other are merged.

        Raises:
            ValueError: it is none, or damaged.
        """
        return cls(ReportData.from_bytes(content))

    def __bytes__(self) -> bytes:
        with self._lock:
            return bytes(self._data.to_bytes())

    def save(self, path: Path) -> None:
        """Write it to a file, which is replaced as a whole.

        Raises:
            OSError: it cannot be written.
        """
        from kojuto.common import outfile

        outfile.write(os.fspath(path), bytes(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Report.from_bytes, (bytes(self),)

    def merge(self, other: Report) -> None:
        """Add what another report has counted; both must have been made with the same options.

        Raises:
            ValueError: their endpoints are named in different ways.
        """
        if other is self:
            other = Report.from_bytes(bytes(self))
        with ExitStack() as both:
            # In one order, whoever is merged into whom.
            for each in sorted((self, other), key=id):
                both.enter_context(each._lock)
            self._data.merge(other._data)

    def __add__(self, other: Report) -> Report:
        if not isinstance(other, Report):
            return NotImplemented
        whole = Report.from_bytes(bytes(self))
        whole.merge(other)
        return whole

    @property
    def lines(self) -> int:
        """Lines that were counted."""
        with self._lock:
            return int(self._data.total([])["count"])

    @property
    def bad(self) -> dict[str, int]:
        """Lines that could not be counted, by reason."""
        with self._lock:
            return dict(self._data.facts()["bad"])

    def rows(
        self,
        percentiles: Iterable[float] = columns.DEFAULT_PERCENTILES,
        *,
        sort: str | None = None,
        reverse: bool = False,
    ) -> list[dict[str, Any]]:
        """A dict for each endpoint.

        Args:
            percentiles: those of the time taken, 0 to 100; 99.9 is the member ``p99.9``.
            sort: the column to sort by, the largest first; left out, the sum of the times, or the
                count where there are none.
            reverse: the smallest first.

        Returns:
            ``endpoint``, ``count``, ``share`` (of all time, 0 to 1), ``1xx`` to ``5xx``, ``499``,
            ``avg``, ``min``, the percentiles, ``max``, ``sum``, ``stddev``, ``bytes``, ``timed``
            (lines with a time), ``other_status`` and ``example`` (a target as it stood in the log).
            None where there is no time.

        Raises:
            ValueError: there is no such column or percentile.
        """
        wanted = _checked(percentiles)
        with self._lock:
            of = columns.names_of(self._data.facts())
            key = columns.canonical(sort, of) if sort is not None else None
            if key is None:
                key = "sum" if self._data.total([])["timed"] else "count"
            more = columns.percentile_of(key)
            computed = wanted if more is None or more in wanted else [*wanted, more]
            found = columns.rows_of(self._data, computed, of)
        rows = columns.order(found, key, reverse=reverse)
        if computed is not wanted:
            for row in rows:
                del row[key]
        return rows

    def total(self, percentiles: Iterable[float] = columns.DEFAULT_PERCENTILES) -> dict[str, Any]:
        """The same columns of all lines, but for the endpoint and its example.

        Raises:
            ValueError: there is no such percentile.
        """
        wanted = _checked(percentiles)
        with self._lock:
            return columns.total_of(self._data, wanted)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows by Arrow's PyCapsule protocol: ``polars.DataFrame(report)`` and its like.

        Args:
            requested_schema: what the protocol has; there is one schema only.

        Returns:
            A stream of one batch with the columns of the command's ``--output csv``, the costliest
            endpoint first: what the rows are of as text, counts as 64-bit integers, `share` and
            times (seconds) as doubles, null where there is no time.
        """
        from kojuto._native import arrow_stream
        from kojuto.tools.report.arrow import table

        percentiles = columns.DEFAULT_PERCENTILES
        with self._lock:
            of = columns.names_of(self._data.facts())
            rows = columns.rows_of(self._data, percentiles, of)
        return arrow_stream(table(rows, columns.all_columns(percentiles, of)))

    def to_json(
        self,
        percentiles: Iterable[float] = columns.DEFAULT_PERCENTILES,
        *,
        tz: tzinfo | None = None,
    ) -> str:
        """The report as the command's ``--output json`` has it, in one line.

        Args:
            percentiles: those of the time taken, 0 to 100.
            tz: the zone of the times; the log's own when left out.

        Raises:
            ValueError: there is no such percentile.
        """
        from kojuto.tools.report.document import document, dumps

        wanted = _checked(percentiles)
        with self._lock:
            found = document(self._data, wanted, zone=tz)
        return dumps(found)

    def to_html(
        self,
        percentiles: Iterable[float] = columns.DEFAULT_PERCENTILES,
        *,
        tz: tzinfo | None = None,
    ) -> str:
        """The page that the command's ``--html`` writes, which needs nothing beside it.

        Args:
            percentiles: those of the time taken, 0 to 100.
            tz: the zone of the times; the log's own when left out.

        Raises:
            ValueError: there is no such percentile.
            KojutoError: the extra ``kojuto[report]`` is not installed.
        """
        from kojuto.tools.report import page

        wanted = _checked(percentiles)
        with self._lock:
            content = page.of_report(self._data, wanted, zone=tz)
        return content.decode()

    def __repr__(self) -> str:
        return f"<kojuto.report.Report of {self.lines:,} lines>"


def _checked(percentiles: Iterable[float]) -> list[float]:
    """Percentiles, each once.

    Raises:
        ValueError: one is none.
    """
    wanted = list(dict.fromkeys(float(percent) for percent in percentiles))
    for percent in wanted:
        if not 0 <= percent <= 100:
            raise ValueError(f"{percent:g} is not a percentile (0 to 100)")
    return wanted


class Options(LineOptions, total=False):
    """What `scan` takes beside the logs: the options of ``kojuto report``, by their names."""

    no_fold: bool
    """Leave every path as it is."""
    fold_above: int
    """A place of a path with more different names than this is one ``*``; 50 when left out."""
    match: Sequence[str]
    """Regular expressions of paths that are one endpoint each."""
    routes: str | os.PathLike[str]
    """A file of routes as frameworks print them."""
    query: str
    """``drop`` (when left out), ``keys`` or ``keep``."""
    query_keep: Sequence[str]
    """Parameters of the query that are kept with their values."""
    group_by: Sequence[str]
    """Fields of the log that name the rows, instead of method and path."""
    dask: str
    """The scheduler of a Dask cluster that counts the lines: ``tcp://scheduler:8786``."""


def scan(paths: Path | Sequence[Path], **options: Unpack[Options]) -> Report:
    """Count the lines of access logs.

    Args:
        paths: a log or several, each of which is read once: files, URLs (``s3://…``, by fsspec),
            patterns of those, ``-`` for standard input. gzip, zstd and xz are unpacked.
        options: those of `Options`.

    Raises:
        TypeError: there is no such option.
        ValueError: an option cannot be so, or no line of the logs can be read.
        KojutoError: what reads such a URL or asks a cluster is not installed, or the cluster cannot
            count them.
        OSError: a log cannot be read.
    """
    from kojuto.errors import UsageError
    from kojuto.tools.report import telling
    from kojuto.tools.report.times import bound_of

    for name in options:
        if name not in Options.__annotations__:
            raise TypeError(f"scan() has no option {name}")
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    given: dict[str, Any] = {**options}
    for name in ("since", "until"):
        if name in given:
            given[name] = bound_of(given[name])
    try:
        names = reading.each_once([os.fspath(path) for path in several], lambda *_: None)
        data = scanning.scan(names, given)
        facts, counted = data.facts(), data.total([])["count"]
        telling.refuse_nothing(names, given.get("format", "auto"), facts, counted)
    except UsageError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise ValueError(f"{error}{hint}") from None
    if facts["failed"]:
        raise OSError("; ".join(f"{name}: {why}" for name, why in facts["failed"]))
    return Report(data)
