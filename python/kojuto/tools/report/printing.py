"""A report on standard output, in the form that was asked for."""

from __future__ import annotations

import sys

from kojuto.common import terminal
from kojuto.errors import UsageError
from kojuto.tools.report import columns as names
from kojuto.tools.report.options import TABLE_ROWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import tzinfo

    from kojuto._native import ReportData
    from kojuto.common.cli import Values

FILE_COLUMNS = 100
"""So wide is a plot that no terminal shows."""


class View:
    """What of a report is shown, by the options.

    Attributes:
        columns: those of the rows.
        percentiles: those that are computed.
        rows: the rows that are shown.
        hidden: those that are not.
        total: the columns of all lines.
        key: the column that the rows are sorted by.
        zone: in which times are shown.
    """

    def __init__(self, data: ReportData, values: Values) -> None:
        self.data = data
        facts = data.facts()
        self.total = names.total_of(data, names.TABLE_PERCENTILES)
        timed = bool(self.total["timed"])
        is_table = values.output in ("table", "markdown")
        usual = names.TABLE_PERCENTILES if is_table else names.DEFAULT_PERCENTILES
        self.percentiles: list[float] = list(values.percentiles or usual)
        of = names.names_of(facts)
        if values.columns is not None:
            self.columns = _read(values.columns, "--columns", of)
        elif is_table:
            self.columns = names.table_columns(self.percentiles, of, timed=timed)
        else:
            self.columns = names.all_columns(self.percentiles, of)
        key = "sum" if timed else "count"
        if values.sort is not None:
            (key,) = _read([values.sort], "--sort", of)
        self.key = key
        rows = names.rows_of(data, _needed(self.percentiles, (*self.columns, key)), of)
        rows = names.order(rows, key, reverse=values.reverse)
        limit = values.limit if values.limit is not None else TABLE_ROWS if is_table else 0
        self.rows, self.hidden = (rows[:limit], rows[limit:]) if limit else (rows, [])
        self.zone = zone(values, facts["zone_s"])


def check_columns(values: Values) -> None:
    """Refuse columns that rows of these options have not, before a log is read.

    Raises:
        UsageError: there is no such column.
    """
    of = names.names_of({"group_by": values.group_by or []})
    _read(values.columns or [], "--columns", of)
    _read([] if values.sort is None else [values.sort], "--sort", of)


def _read(written: Sequence[str], option: str, of: Sequence[str]) -> list[str]:
    """Columns that were asked for, each once.

    Raises:
        UsageError: one of them is none of this report.
    """
    try:
        return list(dict.fromkeys(names.canonical(name, of) for name in written))
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _needed(percentiles: Sequence[float], columns: Iterable[str]) -> list[float]:
    """The percentiles, and those that columns are of."""
    more = (names.percentile_of(name) for name in columns)
    return list(dict.fromkeys([*percentiles, *(each for each in more if each is not None)]))


def zone(values: Values, zone_s: int | None) -> tzinfo | None:
    """In which times are shown: the one that was asked for, else the log's own."""
    from kojuto.tools.report.times import zone_of

    given: tzinfo | None = values.tz
    return given if "tz" in values.given else zone_of(zone_s)


def page_of(data: ReportData, values: Values) -> bytes:
    """The report as a page, with every endpoint, the costliest first.

    Raises:
        KojutoError: the library of charts is missing.
    """
    from kojuto.tools.report import page

    shown_in = zone(values, data.facts()["zone_s"])
    return page.of_report(data, values.percentiles, zone=shown_in, slowest=values.slowest)


def modules(values: Values) -> Iterator[str]:
    """What is imported once all is counted, which may take hours."""
    here = "kojuto.tools.report."
    yield here + "times"
    if values.save not in (None, "-") or values.html is not None:
        yield "kojuto.common.outfile"
    if values.html is not None or values.output == "html":
        yield from (here + "page", here + "document")
    if values.output == "json":
        yield here + "document"
    elif values.output == "arrow":
        yield here + "arrow"
    elif values.output in ("csv", "tsv"):
        yield here + "plain"
    elif values.output != "html":
        yield from (here + "summary", here + "text")
        if values.slowest:
            yield here + "slow"
        if values.plot:
            yield here + "plot"


def write(data: ReportData, values: Values) -> None:
    """Print the report.

    Raises:
        OSError: standard output does not take it.
    """
    if values.output == "html":
        sys.stdout.flush()
        sys.stdout.buffer.write(page_of(data, values))
        return
    view = View(data, values)
    if values.output == "json":
        from kojuto.tools.report.document import SLOWEST, document, dumps

        slowest = SLOWEST if values.slowest is None else values.slowest
        found = document(
            data, view.percentiles, rows=view.rows, columns=view.columns, slowest=slowest,
            zone=view.zone,
        )  # fmt: skip
        sys.stdout.write(dumps(found, only_ascii=not terminal.shows_unicode()) + "\n")
    elif values.output == "arrow":
        from kojuto._native import arrow_file
        from kojuto.tools.report.arrow import table

        sys.stdout.flush()
        sys.stdout.buffer.write(arrow_file(table(view.rows, view.columns)))
    elif values.output in ("csv", "tsv"):
        from kojuto.tools.report.plain import lines

        for line in lines(view.rows, view.columns, values.output):
            sys.stdout.write(line + "\n")
    else:
        for line in text(view, values):
            sys.stdout.write(line + "\n")


def text(view: View, values: Values) -> list[str]:
    """The lines of a table or of Markdown, with what stands above and below."""
    from kojuto.tools.report.summary import summary
    from kojuto.tools.report.text import markdown, table

    is_markdown = values.output == "markdown"
    room = None if is_markdown else terminal.width()
    colour, unicode = not is_markdown and terminal.shows_colour(), terminal.shows_unicode()
    other = names.left_over(view.total, view.rows, view.hidden)
    lines = summary(view.data, view.total, view.zone, unicode=unicode, room=room)
    if is_markdown:
        lines = [f"- {plain(line)}" for line in lines]
        lines += ["", *markdown(view.rows, other, view.columns)]
    else:
        fixed = values.columns is not None
        shown = table(view.rows, other, view.columns, room=room, fixed=fixed, colour=colour)
        lines += ["", *shown]
    if values.slowest:
        from kojuto.tools.report.slow import slowest

        found = view.data.slowest()[: values.slowest]
        lines += ["", *slowest(found, view.zone, room=room, markdown=is_markdown)]
    if values.plot:
        from kojuto.tools.report.plot import heat_map

        drawn = heat_map(
            view.data.timeline(), room or FILE_COLUMNS, view.zone, colour=colour, unicode=unicode
        )
        fence = ["```"] * is_markdown
        lines += ["", *fence, *drawn, *fence] if drawn else []
    return lines


def plain(line: str) -> str:
    """A line of the summary in Markdown: its runs of blanks would be one, its signs would act."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in line)
