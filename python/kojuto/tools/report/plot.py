"""The heat map of a terminal: time from left to right, latency from below up, logarithmic."""

from __future__ import annotations

import math

from kojuto.tools.report.figures import duration
from kojuto.tools.report.slices import filled, step_low_s
from kojuto.tools.report.times import moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from kojuto.tools.report.slices import Slice

MOST_ROWS = 24
WIDEST = 128
SHADES, PLAIN_SHADES = "░▒▓█", ".:+#"
COLOURS = (17, 19, 26, 32, 38, 43, 78, 149, 220, 226)
"""Of the 256 of a terminal (ISO 8613-6), from few lines, dark blue, to many, yellow."""


def heat_map(
    slices: Sequence[Slice], room: int, zone: tzinfo | None, *, colour: bool, unicode: bool
) -> list[str]:
    """The lines of a heat map of the times taken; none when there are none.

    Args:
        slices: of time, each with the counts of its latency steps.
        room: columns.
        zone: in which times are shown.
        colour: for a terminal that shows colours.
        unicode: whether block characters can be shown.
    """
    slices = filled(slices)
    used = sorted({step for each in slices for step in each["steps"]})
    if not used:
        return []
    rows = _rows(used[0], used[-1])
    labels = [duration(step_low_s(row[0])) for row in rows]
    left = max(map(len, labels))
    columns = max(1, min(room - left - 2, WIDEST) // len(slices))
    counts = [[sum(each["steps"].get(step, 0) for step in row) for each in slices] for row in rows]
    most = max(map(max, counts))
    lines = [
        f"Time taken of the requests, from … up to the next row; the fullest cell has {most:,}:"
    ]
    rule = "│" if unicode else "|"
    for label, row in zip(reversed(labels), reversed(counts), strict=True):
        cells = [_cell(count, most, columns, colour=colour, unicode=unicode) for count in row]
        lines.append(f"{label:>{left}} {rule}{''.join(cells)}".rstrip())
    return [*lines, *_axis(slices, left, columns, zone)]


def _rows(first: int, last: int) -> list[range]:
    """The steps of each row, the fastest first: several to a row where there are many."""
    each = math.ceil((last - first + 1) / MOST_ROWS)
    return [range(step, min(step + each, last + 1)) for step in range(first, last + 1, each)]


def _cell(count: int, most: int, columns: int, *, colour: bool, unicode: bool) -> str:
    """A cell as dark as the logarithm of its count; one request is not nothing."""
    if not count:
        return " " * columns
    part = math.log(count) / math.log(most) if most > 1 else 1.0
    if colour:
        shade = COLOURS[round(part * (len(COLOURS) - 1))]
        return f"\x1b[38;5;{shade}m{('█' if unicode else '#') * columns}\x1b[0m"
    shades = SHADES if unicode else PLAIN_SHADES
    return shades[round(part * (len(shades) - 1))] * columns


def _axis(slices: Sequence[Slice], left: int, columns: int, zone: tzinfo | None) -> list[str]:
    """The times below the map: of the beginning and of the end."""
    start = moment(slices[0]["start_s"], zone)
    end = moment(slices[-1]["start_s"] + slices[-1]["width_s"], zone)
    form = "%H:%M:%S" if start.date() == end.date() else "%m-%d %H:%M"
    first, last = start.strftime(form), end.strftime(form)
    blanks = max(columns * len(slices) - len(first) - len(last), 1)
    return [f"{' ' * (left + 2)}{first}{' ' * blanks}{last}"]
