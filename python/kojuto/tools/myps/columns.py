"""The columns of ``myps top``: what gives way where the terminal is narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from kojuto.tools.myps.show import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto.tools.myps.processes import Process

NAMES = ("ID", "USER", "HOST", "DB", "COMMAND", "TIME", "STATE", "INFO")
WIDEST = {"USER": 14, "HOST": 22, "DB": 14, "COMMAND": 12, "STATE": 24}
MIN_STATE, MIN_INFO = 8, 20
GIVING_WAY = ("STATE", "PORT", "DB", "USER", "HOST", "COMMAND", "TIME")
"""In this order; a PORT is that of HOST."""


def fields(process: Process, *, port: bool = True) -> dict[str, str]:
    """What stands in the columns.

    Args:
        process: the thread.
        port: with the port behind the host.
    """
    host, colon, number = process.host.rpartition(":")
    texts = {
        "ID": str(process.id),
        "USER": process.user,
        "HOST": process.host if port or not (colon and number.isdigit()) else host,
        "DB": process.db,
        "COMMAND": process.command,
        "TIME": str(process.time),
        "STATE": process.state,
        "INFO": process.info[:500],
    }
    return {name: escape(text) for name, text in texts.items()}


def widths(
    rows: Sequence[Process], heads: dict[str, str], total: int
) -> tuple[dict[str, int], bool]:
    """How wide each column is, one blank between two, and whether hosts have their ports.

    Args:
        rows: what is shown.
        heads: the heads of all columns.
        total: of the screen.

    Returns:
        The columns that are left, in their order; INFO has what the others leave.
    """
    gone: set[str] = set()
    for following in ("", *GIVING_WAY):
        gone.add(following)
        port = "PORT" not in gone
        wanted = _wanted(rows, {n: h for n, h in heads.items() if n not in gone}, port=port)
        state = wanted.pop("STATE", 0)
        left = total - sum(wanted.values()) - len(wanted) - MIN_INFO
        if not following and left >= MIN_STATE + 1:
            state = min(state, left - 1)
            order = {name: wanted.get(name, state) for name in NAMES if name != "INFO"}
            return _with_info(order, total), port
        if following and left >= 0:
            break
    return _with_info(wanted, total), port


def _wanted(rows: Sequence[Process], heads: dict[str, str], *, port: bool) -> dict[str, int]:
    found = {name: cell_len(head) for name, head in heads.items() if name != "INFO"}
    for process in rows:
        texts = fields(process, port=port)
        for name, so_far in found.items():
            found[name] = max(so_far, min(cell_len(texts[name]), WIDEST.get(name, 20)))
    return found


def _with_info(columns: dict[str, int], total: int) -> dict[str, int]:
    left = total - sum(columns.values()) - len(columns)
    return {**columns, "INFO": max(left, 1)}


def fold(text: str, width: int) -> list[str]:
    """Lines of at most so many cells, cut between words where that is possible."""
    lines = [""]
    begun = False  # whether the last line has a word, be it an empty one
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if begun else word
        if cell_len(joined) > width:
            if begun:
                lines.append("")
            for letter in word:
                if cell_len(lines[-1] + letter) > width:
                    lines.append("")
                lines[-1] += letter
        else:
            lines[-1] = joined
        begun = True
    return lines
