"""The table: as wide as the terminal allows, or whole for a pipe, a file, Markdown."""

from __future__ import annotations

from kojuto.tools.report.columns import TEXTS, percentile_of
from kojuto.tools.report.figures import cut, figure, padded, width_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto.tools.report.columns import Row

GAP = "  "
LEAST_NAME, MOST_NAME = 24, 60
"""Of the endpoint: it has at least this before a column gives way to it, and is padded to at most
that where nothing is cut."""
GIVING_WAY = (
    "min", "p50", "499", "4xx", "stddev", "bytes", "avg", "share", "other_status", "timed", "max",
    "1xx", "2xx", "3xx", "5xx",
)  # fmt: skip
"""What goes first on a narrow terminal; percentiles but p50 go before `max`."""
BOLD, DIM, RED, YELLOW, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
SHADES = {"5xx": RED, "4xx": YELLOW, "499": YELLOW, "other_status": YELLOW}


def other_name(row: Row) -> str:
    """What the row of all that is not shown is called."""
    many = row["endpoints"]
    return "other" if not many else f"other ({many:,} endpoint{'s' * (many != 1)})"


def cells_of(rows: Sequence[Row], other: Row | None, columns: Sequence[str]) -> list[list[str]]:
    """The figures of the rows as the table shows them, `other` last."""
    found = [[figure(name, row.get(name)) for name in columns] for row in rows]
    if other is not None:
        texts = {"endpoint": other_name(other), "example": ""}
        percentiles = {name for name in columns if percentile_of(name) is not None}
        found.append([
            texts[name] if name in texts
            else "" if name in percentiles else figure(name, other.get(name))
            for name in columns
        ])  # fmt: skip
    return found


def fitting(columns: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> list[str]:
    """The columns that a terminal has room for, the endpoint not too narrow.

    Args:
        columns: all of them.
        cells: what they show.
        room: columns of the terminal.
    """
    widths = {
        name: max([len(name), *(width_of(row[at]) for row in cells)])
        for at, name in enumerate(columns)
    }
    widths = {n: min(w, LEAST_NAME) if n in TEXTS else w for n, w in widths.items()}
    kept = list(columns)
    tails = [name for name in columns if percentile_of(name) is not None and name != "p50"]
    at = GIVING_WAY.index("max")
    for name in (*GIVING_WAY[:at], *tails[:-1], *GIVING_WAY[at:], *tails[-1:]):
        if sum(widths[n] + len(GAP) for n in kept) - len(GAP) <= room:
            break
        if name in kept:
            kept.remove(name)
    return kept


def table(
    rows: Sequence[Row],
    other: Row | None,
    columns: Sequence[str],
    *,
    room: int | None = None,
    fixed: bool = False,
    colour: bool = False,
) -> list[str]:
    """The lines of the table.

    Args:
        rows: what it shows.
        other: the row of the rest.
        columns: their names, in their order.
        room: columns of the terminal; None shows everything and cuts nothing.
        fixed: the columns were asked for and none of them gives way.
        colour: for a terminal that shows colours.
    """
    cells = cells_of(rows, other, columns)
    if room is not None and not fixed:
        kept = fitting(columns, cells, room)
        places = [columns.index(name) for name in kept]
        cells = [[row[place] for place in places] for row in cells]
        columns = kept
    widths = _widths(columns, cells, room)
    texts = [name in TEXTS for name in columns]
    lines = []
    last = len(cells) if other is not None else 0
    for at, row in enumerate([list(columns), *cells]):
        shown = []
        for text, name, width, is_text in zip(row, columns, widths, texts, strict=True):
            fitted = cut(text, width) if room is not None and is_text else text
            piece = padded(fitted, width, right=not is_text)
            if colour and 0 < at != last and name in SHADES and text.strip("0-"):
                piece = f"{SHADES[name]}{piece}{PLAIN}"
            shown.append(piece)
        line = GAP.join(shown).rstrip()
        if colour and not at:
            line = f"{BOLD}{line}{PLAIN}"
        elif colour and at and at == last:
            line = f"{DIM}{line}{PLAIN}"
        lines.append(line)
    return lines


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]], room: int | None) -> list[int]:
    """How wide each column is; of a terminal's the texts share what the figures leave."""
    widths = [
        max([len(name), *(width_of(row[at]) for row in cells)]) for at, name in enumerate(columns)
    ]
    texts = [at for at, name in enumerate(columns) if name in TEXTS]
    if room is None:
        for at in texts:
            widths[at] = min(widths[at], MOST_NAME)
        return widths
    taken = sum(w for at, w in enumerate(widths) if at not in texts) + len(GAP) * (len(widths) - 1)
    left = room - taken
    for done, at in enumerate(texts):
        widths[at] = min(widths[at], max(left // (len(texts) - done), 10))
        left -= widths[at]
    return widths


def markdown(rows: Sequence[Row], other: Row | None, columns: Sequence[str]) -> list[str]:
    """The lines of a table of GitHub's Markdown; names are code, so that nothing in them acts."""
    lines = [f"| {' | '.join(columns)} |"]
    lines.append(f"| {' | '.join('---' if name in TEXTS else '---:' for name in columns)} |")
    cells = cells_of(rows, other, columns)
    for at, row in enumerate(cells):
        is_other = other is not None and at == len(cells) - 1
        shown = [
            as_code(text) if name in TEXTS and text and not is_other else text
            for name, text in zip(columns, row, strict=True)
        ]
        lines.append(f"| {' | '.join(shown)} |")
    return lines


def as_code(text: str) -> str:
    """A code span; its fence is longer than any row of backticks within (CommonMark, 6.1)."""
    fence = "`"
    while fence in text:
        fence += "`"
    edge = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{edge}{text}{edge}{fence}".replace("|", "\\|")
