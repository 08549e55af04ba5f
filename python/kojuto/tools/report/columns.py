"""The columns of a report: their one set of names, the rows of them, sorting, what is left over."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from kojuto._native import ReportData  # type: ignore[attr-defined]

    Row = dict[str, Any]

CLASSES = ("1xx", "2xx", "3xx", "4xx", "499", "5xx")
BEFORE = ("endpoint", "count", "share", *CLASSES, "avg", "min")
BEHIND = ("max", "sum", "stddev", "bytes")
MORE = ("timed", "other_status", "example")
"""Those that are shown when they are asked for: lines with a time, with a status that is of no
class or missing, and a target as it stands in the log."""
TIMES = frozenset({"share", "avg", "min", "max", "sum", "stddev"})
"""What a log without times has none of, beside the percentiles."""
TEXTS = frozenset({"endpoint", "example"})
DEFAULT_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
TABLE = ("endpoint", "count", "share", "sum", "avg", "min")
TABLE_BEHIND = ("max", "4xx", "499", "5xx")
TABLE_PERCENTILES = (50.0, 99.0)


def percentile_name(percent: float) -> str:
    """The column of a percentile: ``p50``, ``p99.9``."""
    return f"p{percent:.15g}"


def percentile_of(name: str) -> float | None:
    """The percentile that a column is of; None when it is of none."""
    if not name.startswith("p") or not name[1:2].isdigit() or not name.isascii() or "_" in name:
        return None
    try:
        percent = float(name[1:])
    except ValueError:
        return None
    return percent if 0 <= percent <= 100 else None


def canonical(name: str) -> str:
    """A column as it is called everywhere; `p99.0` is `p99`.

    Raises:
        ValueError: there is no such column.
    """
    percent = percentile_of(name)
    if percent is not None:
        return percentile_name(percent)
    known = (*BEFORE, *BEHIND, *MORE)
    if name not in known:
        raise ValueError(f"'{name}' is not a column (write any of {', '.join(known)}, p50, p99.9)")
    return name


def read_columns(text: str) -> list[str]:
    """The columns of ``endpoint,count,p99``, each once, in this order.

    Raises:
        ValueError: one of them is none.
    """
    return list(dict.fromkeys(canonical(part.strip()) for part in text.split(",")))


def all_columns(percentiles: Sequence[float]) -> list[str]:
    """The columns of CSV, TSV and JSON."""
    return [*BEFORE, *map(percentile_name, percentiles), *BEHIND]


def table_columns(percentiles: Sequence[float], *, timed: bool) -> list[str]:
    """The columns of the table; those of times only where there are any."""
    names = [*TABLE, *map(percentile_name, percentiles), *TABLE_BEHIND]
    return names if timed else [name for name in names if not is_time(name)]


def is_time(name: str) -> bool:
    """Whether a column has nothing to show of a log without times."""
    return name in TIMES or percentile_of(name) is not None


def text_of(value: bytes | str) -> str:
    r"""A text of the log; what is no UTF-8 in it is written as `\xff`."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def rows_of(data: ReportData, percentiles: Iterable[float]) -> list[Row]:
    """A row for each endpoint, the costliest first.

    Args:
        data: the report.
        percentiles: those wanted, each once.

    Returns:
        The columns by name; None where there is no time.
    """
    wanted = list(percentiles)
    columns = data.columns(wanted)
    total_s = data.total([])["sum"]
    names = [*BEFORE[:2], *BEFORE[3:], *map(percentile_name, wanted), *BEHIND, *MORE]
    found = []
    for values in zip(*(columns[name] for name in names), strict=True):
        row = dict(zip(names, values, strict=True))
        row["endpoint"], row["example"] = text_of(row["endpoint"]), text_of(row["example"])
        row["share"] = share_of(row["sum"], total_s)
        found.append(row)
    return found


def total_of(data: ReportData, percentiles: Iterable[float]) -> Row:
    """The columns of all lines, but for the endpoint."""
    row = dict(data.total(list(percentiles)))
    row["share"] = share_of(row["sum"], row["sum"])
    return row


def share_of(part_s: float | None, total_s: float | None) -> float | None:
    """A part of all time, 0 to 1; None without times."""
    if part_s is None or total_s is None:
        return None
    return part_s / total_s if total_s > 0 else 0.0


def order(rows: list[Row], key: str, *, reverse: bool) -> list[Row]:
    """Rows by a column: numbers with the largest first, names by the alphabet; `reverse` turns it.

    What has no value comes last both ways; rows that are alike stay as they are.
    """
    have = [row for row in rows if row[key] is not None]
    have.sort(key=lambda row: row[key], reverse=(key not in TEXTS) != reverse)
    return [*have, *(row for row in rows if row[key] is None)]


def left_over(total: Row, shown: Sequence[Row], hidden: Sequence[Row]) -> Row | None:
    """One row of all that is not shown; None when that is nothing.

    Args:
        total: the columns of all lines.
        shown: the rows that are shown.
        hidden: those that are not; what the report had to drop is in neither.

    Returns:
        What can be told of rows together: not their percentiles, and extremes only as long as
        nothing was dropped. `endpoints` is how many rows are hidden.
    """

    def rest(name: str) -> Any:
        return max(total[name] - sum(row[name] or 0 for row in shown), 0)

    row: Row = {name: rest(name) for name in ("count", "timed", "bytes", "other_status", *CLASSES)}
    if not row["count"]:
        return None
    row["sum"] = None if total["sum"] is None else rest("sum")
    row["share"] = share_of(row["sum"], total["sum"])
    row["avg"] = row["sum"] / row["timed"] if row["timed"] else None
    whole = row["count"] == sum(each["count"] for each in hidden)
    for name, pick in (("min", min), ("max", max)):
        values = [each[name] for each in hidden if each[name] is not None]
        row[name] = pick(values) if values and whole else None
    row["endpoints"] = len(hidden)
    return row
