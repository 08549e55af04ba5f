"""Two sides beside each other: what has changed, and whether that is more than noise."""

from __future__ import annotations

from kojuto.common.streams import one_line
from kojuto.tools.report import columns as names
from kojuto.tools.report.columns import text_of
from kojuto.tools.report.figures import NOTHING, cut, duration, padded, percent, width_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import tzinfo
    from typing import Any

    from kojuto.tools.report.columns import Row

VERDICTS = ("failing", "slower", "faster", "new", "gone", "unknown", "same")
"""In the order in which they are shown."""
MARKS = VERDICTS[:3]
COLUMNS = ("verdict", "endpoint", "p50", "p99", "5xx", "share", "count", "rate")
GIVING_WAY = ("rate", "count", "share", "p99", "5xx")
"""What goes first on a narrow terminal."""
LEAST_NAME, MOST_NAME = 24, 60
"""Of the endpoint, as in the table of a report."""
GAP = "  "
UNKNOWN_SHARE = 0.1
"""With so much of the old side's time unknown, nothing can be said of a bound."""
ABOVE, UNKNOWN = 1, 3
"""Exit statuses of ``--fail-above``, beside 0."""
BOLD, DIM, RED, GREEN, YELLOW, PLAIN = (
    "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m",
)  # fmt: skip
SHADES = {"failing": RED, "slower": RED, "faster": GREEN, "new": YELLOW, "gone": YELLOW,
          "unknown": DIM}  # fmt: skip


class Change:
    """A row on both sides.

    Attributes:
        endpoint: its name; None is all lines.
        old: its columns before; None where it was not.
        new: its columns after.
        verdict: one of `VERDICTS`.
        moved: by what it is slower or faster: ``median``, ``tail`` or None.
        above: whether it fails the bound.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        name = found.get("endpoint")
        self.endpoint: str | None = None if name is None else text_of(name)
        self.old: Row | None = found["old"]
        self.new: Row | None = found["new"]
        self.verdict: str = found["verdict"]
        self.moved: str | None = found["moved"]
        self.above: bool = found["above"]

    def cost(self) -> tuple[float, int]:
        """The larger of both sides: the time, then the lines."""
        sides = [side for side in (self.old, self.new) if side is not None]
        return max(side["sum"] or 0.0 for side in sides), max(side["count"] for side in sides)


class Comparison:
    """What the native part has found, with the share of each row.

    Args:
        found: `old` and `new` (`from_s`, `to_s`, `length_s` and `files` of a side), `all` and
            `endpoints` (see `Change`), `unknown_share`.
        bound: by how much an endpoint may be slower, 0.1 is 10 %; None for no bound.
    """

    def __init__(self, found: Mapping[str, Any], bound: float | None = None) -> None:
        self.sides: dict[str, Mapping[str, Any]] = {"old": found["old"], "new": found["new"]}
        self.all = Change(found["all"])
        self.changes = [Change(each) for each in found["endpoints"]]
        self.changes.sort(key=lambda change: (VERDICTS.index(change.verdict), *map(
            float.__neg__, map(float, change.cost()))))  # fmt: skip
        self.unknown_share: float = found["unknown_share"]
        self.bound = bound
        for side in ("old", "new"):
            whole = getattr(self.all, side)
            for change in (self.all, *self.changes):
                row = getattr(change, side)
                if row is not None:
                    row["share"] = names.share_of(row["sum"], whole["sum"])

    def status(self) -> int:
        """The exit status: 1 when an endpoint fails the bound, 3 when too much is unknown."""
        if self.bound is None:
            return 0
        if self.above():
            return ABOVE
        return UNKNOWN if self.unknown_share >= UNKNOWN_SHARE else 0

    def above(self) -> list[str]:
        """The endpoints that fail the bound."""
        return [change.endpoint or "" for change in self.changes if change.above]

    def rate(self, side: str, row: Row | None) -> float | None:
        """Lines a second over the whole side; None where its length is not known."""
        length_s = self.sides[side]["length_s"]
        if row is None or length_s <= 0:
            return None
        rate: float = row["count"] / length_s
        return rate


def words(comparison: Comparison) -> str | None:
    """Why the exit status is not 0, in one line."""
    above = comparison.above()
    status = comparison.status()
    if status == ABOVE:
        shown = ", ".join(one_line(name) for name in above[:3]) + (", …" if len(above) > 3 else "")
        return f"over --fail-above: {len(above):,} endpoint{'s' * (len(above) != 1)} ({shown})"
    if status == UNKNOWN:
        share = percent(comparison.unknown_share)
        return (
            f"nothing can be told of endpoints with {share} of the old time: more lines are needed"
        )
    return None


def plain(
    comparison: Comparison, percentiles: Sequence[float], form: str, *, limit: int = 0
) -> Iterator[str]:
    """The comparison as lines of CSV or TSV: the columns of each side as `old_count`, `new_count`.

    Args:
        comparison: what was found.
        percentiles: those of each row.
        form: ``csv`` or ``tsv``.
        limit: so many endpoints, 0 for all; what has a mark is always there.
    """
    from kojuto.tools.report.plain import lines

    columns = [name for name in names.all_columns(percentiles) if name != "endpoint"]
    head = ["endpoint", "verdict", "moved"] + ["above"] * (comparison.bound is not None)
    both = [f"{side}_{name}" for name in columns for side in ("old", "new")]

    def row(change: Change) -> Row:
        found = {name: getattr(change, name) for name in head}
        for side in ("old", "new"):
            values = getattr(change, side) or {}
            found.update({f"{side}_{name}": values.get(name) for name in columns})
        return found

    shown, _ = limited(comparison, limit)
    return lines([row(change) for change in shown], [*head, *both], form)


def document(
    comparison: Comparison,
    percentiles: Sequence[float],
    zone: tzinfo | None = None,
    *,
    limit: int = 0,
) -> dict[str, Any]:
    """The comparison as what JSON has.

    Args:
        comparison: what was found.
        percentiles: those of each row.
        zone: of the times that are shown.
        limit: so many endpoints, 0 for all; what has a mark is always there.

    Returns:
        `old` and `new` about the sides; `all` and each of `endpoints` with `old` and `new` (the
        columns, or null), `verdict` and `moved`; `unknown_share`, `fail_above`.
    """
    from kojuto.tools.report.times import rfc3339

    columns = [name for name in names.all_columns(percentiles) if name != "endpoint"]

    def side(name: str) -> dict[str, Any]:
        about = comparison.sides[name]
        return {
            "lines": getattr(comparison.all, name)["count"],
            "from": rfc3339(about["from_s"], zone),
            "to": rfc3339(about["to_s"], zone),
            "files": [text_of(file) for file in about["files"]],
        }

    def row(change: Change) -> dict[str, Any]:
        found: dict[str, Any] = {} if change.endpoint is None else {"endpoint": change.endpoint}
        for name in ("old", "new"):
            values = getattr(change, name)
            found[name] = values and {column: values[column] for column in columns}
        found["verdict"], found["moved"] = change.verdict, change.moved
        if comparison.bound is not None and change.endpoint is not None:
            found["above"] = change.above
        return found

    return {
        "old": side("old"),
        "new": side("new"),
        "all": row(comparison.all),
        "endpoints": [row(change) for change in limited(comparison, limit)[0]],
        "unknown_share": comparison.unknown_share,
        "fail_above": comparison.bound,
    }


def summary(comparison: Comparison) -> list[str]:
    """The lines above the table: both sides, and how many endpoints have which verdict."""
    lines = []
    for side in ("old", "new"):
        row = getattr(comparison.all, side)
        about = comparison.sides[side]
        rate = comparison.rate(side, row)
        length = "" if rate is None else f" in {duration(about['length_s'])}"
        lines.append(
            f"{side}: {row['count']:,} lines{length}" + (f", {rate:,.3g}/s" if rate else "")
        )
    counts = dict.fromkeys(VERDICTS, 0)
    for change in comparison.changes:
        counts[change.verdict] += 1
    told = [f"{count:,} {verdict}" for verdict, count in counts.items() if count]
    lines.append("endpoints: " + (", ".join(told) or "none"))
    return lines


def cells(comparison: Comparison, change: Change, arrow: str) -> list[str]:
    """The columns of a row as the table shows them: before, after, and the change in percent."""
    old, new = change.old, change.new

    def of(name: str) -> tuple[Any, Any]:
        return (old or {}).get(name), (new or {}).get(name)

    def failed(row: Row | None) -> float | None:
        return row["5xx"] / row["count"] if row and row["count"] else None

    def both(before: Any, after: Any, show: Any, *, relative: bool = False) -> str:
        texts = [show(before), show(after)]
        text = texts[0] if texts[0] == texts[1] else f"{texts[0]}{arrow}{texts[1]}"
        return text + (f" {grown(before, after)}" if relative and grown(before, after) else "")

    name = "all" if change.endpoint is None else one_line(change.endpoint)
    verdict = f"{change.verdict} (tail)" if change.moved == "tail" else change.verdict
    rates = comparison.rate("old", old), comparison.rate("new", new)
    return [
        verdict,
        name,
        both(*of("p50"), duration, relative=True),
        both(*of("p99"), duration, relative=True),
        both(failed(old), failed(new), percent),
        both(*of("share"), percent),
        both(*of("count"), _count, relative=True),
        both(*rates, _rate, relative=True),
    ]


def grown(before: float | None, after: float | None) -> str:
    """By how much: ``+20%``; nothing where that is not to be told."""
    if not before or after is None:
        return ""
    change = (after / before - 1) * 100
    if abs(change) < 0.5:
        return "+0%"
    return f"{change:+,.0f}%" if after / before < 10 else f"x{after / before:,.0f}"


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.3g}/s" if value < 1000 else f"{value:,.0f}/s"


def table(
    comparison: Comparison,
    *,
    limit: int = 0,
    room: int | None = None,
    colour: bool = False,
    unicode: bool = True,
) -> list[str]:
    """The lines of the table, all lines together first.

    Args:
        comparison: what it shows.
        limit: so many endpoints, 0 for all; what has a mark is always shown.
        room: columns of the terminal; None shows everything and cuts nothing.
        colour: for a terminal that shows colours.
        unicode: whether it shows an arrow.
    """
    shown, hidden = limited(comparison, limit)
    arrow = "→" if unicode else "->"
    rows = [cells(comparison, change, arrow) for change in (comparison.all, *shown)]
    kept = list(range(len(COLUMNS)))
    widths = [
        max(len(name), *(width_of(row[at]) for row in rows)) for at, name in enumerate(COLUMNS)
    ]
    name_at = COLUMNS.index("endpoint")

    def taken() -> int:
        return sum(widths[at] + len(GAP) for at in kept if at != name_at)

    if room is None:
        widths[name_at] = min(widths[name_at], MOST_NAME)
    else:
        for name in GIVING_WAY:
            if taken() + min(widths[name_at], LEAST_NAME) <= room:
                break
            kept.remove(COLUMNS.index(name))
        widths[name_at] = min(widths[name_at], max(room - taken(), 10))
    lines = []
    for number, row in enumerate([list(COLUMNS), *rows]):
        pieces = []
        for at in kept:
            text = cut(row[at], widths[at]) if room is not None and at == name_at else row[at]
            piece = padded(text, widths[at], right=at > name_at)
            verdict = row[at].partition(" ")[0]
            if colour and number and COLUMNS[at] == "verdict" and verdict in SHADES:
                piece = f"{SHADES[verdict]}{piece}{PLAIN}"
            pieces.append(piece)
        line = GAP.join(pieces).rstrip()
        lines.append(f"{BOLD}{line}{PLAIN}" if colour and not number else line)
    return [*lines, *_more(hidden)]


def limited(comparison: Comparison, limit: int) -> tuple[list[Change], list[Change]]:
    """What is shown and what is not; what has a mark is shown in any case."""
    marked = sum(change.verdict in MARKS for change in comparison.changes)
    number = max(limit, marked) if limit else len(comparison.changes)
    return comparison.changes[:number], comparison.changes[number:]


def _more(hidden: Sequence[Change]) -> list[str]:
    return [f"({len(hidden):,} more without a mark)"] if hidden else []


def markdown(comparison: Comparison, *, limit: int = 0) -> list[str]:
    """The lines of a table of GitHub's Markdown; names are code, so that nothing in them acts."""
    from kojuto.tools.report.text import as_code

    shown, hidden = limited(comparison, limit)
    lines = [f"| {' | '.join(COLUMNS)} |"]
    lines.append("| --- | --- |" + " ---: |" * (len(COLUMNS) - 2))
    for change in (comparison.all, *shown):
        verdict, name, *figures = cells(comparison, change, "→")
        mark = f"**{verdict}**" if change.verdict in MARKS else verdict
        called = name if change.endpoint is None else as_code(name)
        lines.append(f"| {' | '.join([mark, called, *figures])} |")
    return [*lines, *(f"\n{line}" for line in _more(hidden))]


def runs(side: str, exists: Iterable[str] = ()) -> list[str]:
    """The runs of a side, split at commas; the name of a file that is there is one run.

    Args:
        side: as it was written: ``a.log,b.log``.
        exists: the names that are files, for a name with a comma in it.

    Raises:
        UsageError: a run has no name.
    """
    from kojuto.errors import UsageError

    if side in exists:
        return [side]
    parts = side.split(",")
    if not all(parts):
        raise UsageError(f"--compare {side}: a run has no name", "OLD and NEW are a.log or a,b,c")
    return parts
