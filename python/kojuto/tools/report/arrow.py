"""The rows of a report as a table of Arrow's."""

from __future__ import annotations

from kojuto.tools.report.columns import is_text, is_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from kojuto.tools.report.columns import Row


def table(rows: Sequence[Row], columns: Sequence[str]) -> list[tuple[str, str, list[Any]]]:
    """Of each column its name, what it holds (``text``, ``whole`` or ``real``), and its values.

    Args:
        rows: what is shown.
        columns: their names.
    """
    return [(name, _kind(name), [row[name] for row in rows]) for name in columns]


def _kind(name: str) -> str:
    return "text" if is_text(name) else "whole" if is_whole(name) else "real"
