"""The slowest lines of a report."""

from __future__ import annotations

from kojuto.common.streams import one_line
from kojuto.tools.report.columns import text_of
from kojuto.tools.report.figures import cut, duration
from kojuto.tools.report.text import as_code
from kojuto.tools.report.times import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo
    from typing import Any

HEAD = ("time", "at", "status", "request")


def slowest(
    lines: Sequence[Mapping[str, Any]],
    zone: tzinfo | None,
    *,
    room: int | None = None,
    markdown: bool = False,
) -> list[str]:
    """The slowest lines as a small table of its own.

    Args:
        lines: as the report has them.
        zone: of the times that are shown.
        room: columns of the terminal; None cuts nothing.
        markdown: as a table of Markdown.
    """
    cells = [_cells(line, zone) for line in lines]
    if markdown:
        head = [f"| {' | '.join(HEAD)} |", "| ---: | --- | ---: | --- |"]
        return [*head, *(f"| {' | '.join([*row[:3], as_code(row[3])])} |" for row in cells)]
    widths = [max(len(row[at]) for row in [HEAD, *cells]) for at in range(3)]
    shown = [
        f"{time:>{widths[0]}}  {at:{widths[1]}}  {status:>{widths[2]}}  {request}"
        for time, at, status, request in [HEAD, *cells]
    ]
    return shown if room is None else [cut(line, room) for line in shown]


def _cells(line: Mapping[str, Any], zone: tzinfo | None) -> tuple[str, str, str, str]:
    status = line["status"]
    request = f"{text_of(line['method'])} {text_of(line['target'])}".strip()
    return (
        duration(line["time_s"]),
        rfc3339(line["at_s"], zone) or "-",
        "-" if status is None else str(status),
        one_line(request),
    )
