"""What the page is given to show: the report as JSON, in columns, within its bounds."""

from __future__ import annotations

from kojuto.common.streams import one_line
from kojuto.tools.report.columns import percentile_of
from kojuto.tools.report.telling import ADD_TIMES, ROLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Slice = Mapping[str, Any]

MOST_NAME = 200
"""Characters of a name or a target; an attacker chooses how long one is."""
MOST_ENDPOINTS = 5000
MOST_ROW_BYTES = 1_100_000
MOST_EXAMPLE_BYTES = 200_000
MOST_MAP_BYTES = 500_000
"""Of names and figures, of examples, of charts over time: with the rest, 150 kB, less than 2 MB."""
CLASSES = ("1xx", "2xx", "3xx", "4xx", "499", "5xx")
UNSHOWN = frozenset({"endpoint", "example", "share", "timed", "other_status"})
"""Columns of an endpoint that the page has from others, or has no use for."""
NO_TIMES = f"No line has the time taken, so endpoints are sorted by count. {ADD_TIMES}"


def shown(text: str) -> str:
    r"""A text of the log as people may see it: cut, and what does not print as ``\x1b``."""
    printable = one_line(text[: MOST_NAME + 1])
    return printable if len(printable) <= MOST_NAME else f"{printable[: MOST_NAME - 1]}…"


def data(
    document: Mapping[str, Any],
    timeline: Sequence[Slice],
    maps: Mapping[int, Sequence[Slice]],
    *,
    title: str,
    resolution_s: float | None,
    of: Sequence[str] = ("endpoint",),
) -> str:
    """The JSON of the page, in which nothing can end its element or be taken for markup.

    Args:
        document: the report as `document()` has it.
        timeline: slices of time of all lines.
        maps: the same for some rows, by their place.
        title: what the page is called.
        resolution_s: the smallest difference between two times of the log.
        of: the columns that name a row.
    """
    from json import dumps

    noun = "endpoint" if tuple(of) == ("endpoint",) else "row"
    rows = _within(document["endpoints"], of)
    total = document["total"]
    value = {
        "title": shown(title),
        "of": " and ".join(map(shown, of)),
        "noun": noun,
        "from": document["from"],
        "to": document["to"],
        "resolution": resolution_s,
        "total": {name: _rounded(figure) for name, figure in total.items()},
        "percentiles": _percentiles(total),
        "columns": _columns(rows, total),
        "timeline": _slices(timeline),
        "maps": _maps(maps, len(rows)),
        "slowest": [_slow(line) for line in document["slowest"]],
        "facts": _facts(document, resolution_s),
        "left_out": _left_out(document["endpoints"][len(rows) :], total, noun),
        "no_times": NO_TIMES,
    }
    text = dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _percentiles(total: Mapping[str, Any]) -> list[str]:
    """The columns that are percentiles, the lowest first."""
    found = {name: percent for name in total if (percent := percentile_of(name)) is not None}
    return sorted(found, key=lambda name: found[name])


def _rounded(value: Any) -> Any:
    """Times with as many digits as can be told apart."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _within(endpoints: Sequence[Mapping[str, Any]], of: Sequence[str]) -> list[dict[str, Any]]:
    """The first endpoints, with names as they are shown; the examples of those that have room."""
    between = " " if tuple(of) == ("method", "path") else " · "
    rows = []
    room, for_examples = MOST_ROW_BYTES, MOST_EXAMPLE_BYTES
    for endpoint in endpoints[:MOST_ENDPOINTS]:
        figures = {n: _rounded(v) for n, v in endpoint.items() if n not in of and n != "example"}
        name = shown(between.join(filter(None, (endpoint[column] for column in of))))
        example = shown(endpoint.get("example") or "")
        room -= _size(name) + sum(len(str(figure)) + 1 for figure in figures.values())
        if room < 0:
            break
        if name.endswith(example):  # the same once more
            example = ""
        for_examples -= _size(example)
        example = example if for_examples >= 0 else ""
        rows.append({**figures, "endpoint": name, "example": example})
    return rows


def _size(text: str) -> int:
    """Bytes in the page, with what is escaped there."""
    return len(text.encode()) + 5 * sum(map(text.count, '<>&"\\')) + 3


def _maps(maps: Mapping[int, Sequence[Slice]], rows: int) -> list[Any]:
    """The slices of the first rows, as many as there is room for."""
    from json import dumps

    found: list[Any] = []
    room = MOST_MAP_BYTES
    for at in range(min(max(maps, default=-1) + 1, rows)):
        packed = _slices(maps.get(at, ()))
        room -= len(dumps(packed, separators=(",", ":"))) + 1
        if room < 0:
            break
        found.append(packed)
    return found


def _columns(rows: Sequence[Mapping[str, Any]], total: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The figures by column, shares among them."""
    names = [name for name in total if name not in UNSHOWN]
    total_s = total["sum"] or 0.0
    return {
        "endpoint": [row["endpoint"] for row in rows],
        "example": [row["example"] for row in rows],
        **{name: [row.get(name) for row in rows] for name in names},
        "share": [_rounded((row["sum"] or 0.0) / total_s) if total_s else None for row in rows],
    }


def _slices(slices: Sequence[Slice]) -> dict[str, Any] | None:
    """Slices as lists: the place of one, its lines, its statuses, then steps and their counts."""
    if not slices:
        return None
    width = slices[0]["width_s"]
    return {
        "width": width,
        "slices": [
            [
                round(each["start_s"] / width),
                each["count"],
                [each.get(name, 0) for name in CLASSES],
                *(number for step in sorted(each["steps"].items()) for number in step),
            ]
            for each in slices
        ],
    }


def _slow(line: Mapping[str, Any]) -> dict[str, Any]:
    method, target = line["method"], line["target"]
    return {
        "time": line["time"],
        "at": line["at"],
        "status": line["status"],
        "request": shown(f"{method} {target}".strip()),
    }


def _left_out(
    rows: Sequence[Mapping[str, Any]], total: Mapping[str, Any], noun: str
) -> dict[str, Any] | None:
    if not rows:
        return None
    count = sum(row["count"] for row in rows)
    part = count / total["count"] if total["count"] else 0.0
    words = (
        f"Not on this page: {len(rows):,} more {noun}{'s' * (len(rows) != 1)} with {count:,} "
        f"requests ({part:.2%}). kojuto report --output csv has all of them."
    )
    return {"rows": len(rows), "words": words}


def _facts(document: Mapping[str, Any], resolution_s: float | None) -> list[tuple[str, str]]:
    """How the log was read, in pairs of words."""
    other = document["other"]
    found = [
        ("files", ", ".join(document.get("files") or []) or "standard input"),
        ("format", " in ".join(filter(None, (document["format"], document.get("envelope"))))),
        *((ROLES.get(role, role), _key(key)) for role, key in document["keys"].items()),
        ("lines", f"{document['lines']:,}"),
        *((f"bad lines: {reason}", f"{count:,}") for reason, count in document["bad"].items()),
    ]
    if document["bad"] and document.get("bad_example"):
        found.append(("the first bad line", document["bad_example"]))
    if document.get("hosts"):
        found.append(("hosts", ", ".join(document["hosts"])))
    if resolution_s:
        found.append(("the log's resolution", f"{resolution_s * 1000:g} ms"))
    if other["count"]:
        found.append(("requests of endpoints that were dropped", f"{other['count']:,}"))
    if other["off_by"]:
        found.append(("a count can be off by at most", f"{other['off_by']:,}"))
    accuracy = "within 1 %, over time within 12 %; count, sum, min, max and avg are exact"
    found.append(("percentiles are", accuracy))
    return [(shown(name), shown(text)) for name, text in found]


def _key(key: Mapping[str, str]) -> str:
    return f"{key['key']} in {key['unit']}" if key.get("unit") else key["key"]
