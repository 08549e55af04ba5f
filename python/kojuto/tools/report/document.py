"""The report as one JSON object."""

from __future__ import annotations

from kojuto.tools.report import columns as names
from kojuto.tools.report.columns import text_of
from kojuto.tools.report.times import rfc3339, zone_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo
    from typing import Any

    from kojuto._native import ReportData
    from kojuto.tools.report.columns import Row

SLOWEST = 10


def document(
    data: ReportData,
    percentiles: Sequence[float] = names.DEFAULT_PERCENTILES,
    *,
    rows: Sequence[Row] | None = None,
    columns: Sequence[str] | None = None,
    slowest: int = SLOWEST,
    zone: tzinfo | None = None,
) -> dict[str, Any]:
    """The report as what JSON has: objects, arrays, texts, numbers.

    Args:
        data: the report.
        percentiles: those of `total` and of each endpoint.
        rows: the endpoints, in their order; all, the costliest first, when left out.
        columns: what is told of each endpoint, beside its example; everything when left out.
        slowest: how many of the slowest lines.
        zone: of the times that are shown; the log's own when left out.

    Returns:
        `lines`, `bad`, `from`, `to`, `format`, `keys`, `total`, `endpoints`, `slowest`, `other`,
        and what else is known of the logs.
    """
    facts = data.facts()
    zone = zone or zone_of(facts["zone_s"])
    of = names.names_of(facts)
    columns = names.all_columns(percentiles, of) if columns is None else columns
    rows = names.rows_of(data, percentiles, of) if rows is None else rows
    total = names.total_of(data, percentiles)
    first_bad = facts["first_bad"]
    return {
        "lines": total["count"],
        "bad": dict(facts["bad"]),
        "bad_example": None if first_bad is None else text_of(first_bad),
        "from": rfc3339(facts["from_s"], zone),
        "to": rfc3339(facts["to_s"], zone),
        "format": facts["format"],
        "envelope": facts["envelope"],
        "keys": {role: _key(*found) for role, found in facts["keys"].items()},
        "files": [text_of(name) for name in facts["files"]],
        "hosts": [text_of(name) for name in facts["hosts"]],
        "total": {name: total[name] for name in names.all_columns(percentiles, ())},
        "endpoints": [
            {**{name: row[name] for name in columns}, "example": row["example"]} for row in rows
        ],
        "slowest": [_slow(line, zone) for line in data.slowest()[:slowest]],
        "other": dict(facts["other"]),
    }


def _key(key: bytes | str, unit: str) -> dict[str, str]:
    return {"key": text_of(key), **({"unit": unit} if unit else {})}


def _slow(line: dict[str, Any], zone: tzinfo | None) -> dict[str, Any]:
    return {
        "at": rfc3339(line["at_s"], zone),
        "time": line["time_s"],
        "method": text_of(line["method"]),
        "target": text_of(line["target"]),
        "status": line["status"],
        "endpoint": text_of(line["endpoint"]),
    }


def dumps(value: Any, *, only_ascii: bool = False) -> str:
    """JSON in one line in which nothing acts on a terminal.

    Every character that is not printable is escaped, with `only_ascii` all but those of ASCII; JSON
    reads it back as it was.
    """
    from json import dumps as to_json

    text = to_json(value, ensure_ascii=only_ascii, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else to_json(c)[1:-1] for c in text)
