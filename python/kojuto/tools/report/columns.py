"""The columns of a report: their one set of names, the rows of them, sorting, what is left over."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from kojuto._native import ReportData

    Row = dict[str, Any]

CLASSES = ("1xx", "2xx", "3xx", "4xx", "499", "5xx")
NAMES = ("endpoint",)
"""What the rows are of: endpoints, unless fields of the log were asked for."""
BEFORE = ("count", "share", *CLASSES, "avg", "min")
BEHIND = ("max", "sum", "stddev", "bytes")
MORE = ("timed", "other_status", "example")
"""Those that are shown when they are asked for: lines with a time, with a status that is of no
class or missing, and a target as it stands in the log."""
TIMES = frozenset({"share", "avg", "min", "max", "sum", "stddev"})
"""What a log without times has none of, beside the percentiles."""
NUMBERS = frozenset({*BEFORE, *BEHIND, "timed", "other_status"})
SEPARATOR = "\x1f"
"""Between the values of fields that name a row; a method and a path are an endpoint."""
SEPARATOR_OF: dict[tuple[str, ...], str] = {("method", "path"): " "}
DEFAULT_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
TABLE = ("count", "share", "sum", "avg", "min")
TABLE_BEHIND = ("max", "4xx", "499", "5xx")
TABLE_PERCENTILES = (50.0, 99.0)


def percentile_name(percent: float) -> str:
    """The column of a percentile: ``p50``, ``p99.9``."""
    text = repr(float(percent))
    if "e" in text:
        from decimal import Decimal

        text = f"{Decimal(text):f}"
    return f"p{text.removesuffix('.0')}"


def percentile_of(name: str) -> float | None:
    """The percentile that a column is of; None when it is of none."""
    if not name.startswith("p") or not name[1:2].isdigit() or not name.isascii() or "_" in name:
        return None
    try:
        percent = float(name[1:])
    except ValueError:
        return None
    return percent if 0 <= percent <= 100 else None


def canonical(name: str, of: Sequence[str] = NAMES) -> str:
    """A column as it is called everywhere; `p99.0` is `p99`.

    Args:
        name: as it was written.
        of: what the rows are of.

    Raises:
        ValueError: there is no such column.
    """
    percent = percentile_of(name)
    if percent is not None:
        return percentile_name(percent)
    known = (*of, *BEFORE, *BEHIND, *MORE)
    if name not in known:
        raise ValueError(f"'{name}' is not a column (write any of {', '.join(known)}, p50, p99.9)")
    return name


def is_text(name: str) -> bool:
    """Whether a column has texts of the log: what the rows are of, and the example."""
    return name not in NUMBERS and percentile_of(name) is None


def all_columns(percentiles: Sequence[float], of: Sequence[str] = NAMES) -> list[str]:
    """The columns of CSV, TSV and JSON."""
    return [*of, *BEFORE, *map(percentile_name, percentiles), *BEHIND]


def table_columns(
    percentiles: Sequence[float], of: Sequence[str] = NAMES, *, timed: bool
) -> list[str]:
    """The columns of the table; those of times only where there are any."""
    names = [*of, *TABLE, *map(percentile_name, percentiles), *TABLE_BEHIND]
    return names if timed else [name for name in names if not is_time(name)]


def is_time(name: str) -> bool:
    """Whether a column has nothing to show of a log without times."""
    return name in TIMES or percentile_of(name) is not None


def is_whole(name: str) -> bool:
    """Whether a column has whole numbers."""
    return not is_text(name) and not is_time(name)


def text_of(value: bytes | str) -> str:
    r"""A text of the log; what is no UTF-8 in it is written as `\xff`."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def names_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What the rows of a report are of, by what it says of itself."""
    return tuple(facts.get("group_by") or NAMES)


def rows_of(data: ReportData, percentiles: Iterable[float], of: Sequence[str] = NAMES) -> list[Row]:
    """A row for each endpoint, the costliest first.

    Args:
        data: the report.
        percentiles: those wanted, each once.
        of: what the rows are of.

    Returns:
        The columns by name; None where there is no time.
    """
    wanted = list(percentiles)
    columns = data.columns(wanted)
    total_s = data.total([])["sum"]
    figures = [*BEFORE[:1], *BEFORE[2:], *map(percentile_name, wanted), *BEHIND, *MORE]
    found = []
    for values in zip(columns["endpoint"], *(columns[name] for name in figures), strict=True):
        name = text_of(values[0])
        parts = (
            [name]
            if len(of) == 1
            else name.split(SEPARATOR_OF.get(tuple(of), SEPARATOR), len(of) - 1)
        )
        # What is no request has no method.
        row: Row = dict(zip(of, [*[""] * (len(of) - len(parts)), *parts], strict=True))
        row.update(zip(figures, values[1:], strict=True))
        row["example"] = text_of(row["example"])
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
    have.sort(key=lambda row: row[key], reverse=is_text(key) == reverse)
    return [*have, *(row for row in rows if row[key] is None)]


def left_over(total: Row, shown: Sequence[Row], hidden: Sequence[Row]) -> Row | None:
    """One row of all that is not shown; None when that is nothing.

    Args:
        total: the columns of all lines.
        shown: the rows that are shown.
        hidden: those that are not; what the report had to drop is in neither.

    Returns:
        What can be told of rows together: not their percentiles, and extremes only as long as
        nothing was dropped. `rows` is how many are hidden.
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
    row["rows"] = len(hidden)
    return row
