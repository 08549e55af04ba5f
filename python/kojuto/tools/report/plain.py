"""CSV and TSV: the header of the columns' names, numbers as they are."""

from __future__ import annotations

from kojuto.common.streams import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from kojuto.tools.report.columns import Row

FORMULA = ("=", "+", "-", "@")
"""What makes a spreadsheet take a text for a formula (OWASP, CSV injection)."""
SEPARATORS = {"csv": ",", "tsv": "\t"}


def cell(value: Any) -> str:
    """A value as it stands between two separators, not quoted yet."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value).lower()  # false and true as in JSON
    text = one_line(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def lines(rows: Sequence[Row], columns: Sequence[str], form: str) -> Iterator[str]:
    """The header and a line for each row, without line ends.

    Args:
        rows: what is shown.
        columns: their names.
        form: ``csv`` (RFC 4180) or ``tsv``, in which no cell can hold a tab.
    """
    separator = SEPARATORS[form]
    yield separator.join(columns)
    for row in rows:
        cells = [cell(row[name]) for name in columns]
        if form == "csv":
            cells = [_quoted(text) for text in cells]
        yield separator.join(cells)


def _quoted(text: str) -> str:
    """In quotes where a comma or a quote makes them necessary (RFC 4180, 2)."""
    if "," not in text and '"' not in text:
        return text
    return '"' + text.replace('"', '""') + '"'
