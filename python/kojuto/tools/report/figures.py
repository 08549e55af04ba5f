"""Figures and names for people: times with their unit, counts with commas, nothing that acts."""

from __future__ import annotations

from kojuto.common.streams import one_line
from kojuto.tools.report.columns import TEXTS, is_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOTHING = "-"


def duration(seconds: float | None) -> str:
    """Seconds with three digits and their unit: ``850us``, ``12.3ms``, ``1.23s``, ``2m03s``."""
    if seconds is None:
        return NOTHING
    if seconds < 0.5e-9:
        return "0"
    if seconds < 0.9995e-6:
        return f"{seconds * 1e9:.3g}ns"
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.3g}us"
    if seconds < 0.9995:
        return f"{_three(seconds * 1e3)}ms"
    if seconds < 59.95:
        return f"{_three(seconds)}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    minutes = round(seconds / 60)
    if minutes < 6000:
        return f"{minutes // 60}h{minutes % 60:02}m"
    return f"{round(seconds / 3600):,}h"


def _three(value: float) -> str:
    """At most three digits that matter, and no exponent."""
    return (
        f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    )


def percent(part: float | None) -> str:
    """A part of one as ``12.3%``; what is not nothing is not shown as nothing."""
    if part is None:
        return NOTHING
    return "<0.1%" if 0 < part < 0.0005 else f"{part * 100:.1f}%"


def size(count: float) -> str:
    """Bytes as ``1.23MB``."""
    from kojuto.common.units import format_size

    return format_size(count).replace(" ", "")


def figure(name: str, value: Any) -> str:
    """The value of a column as the table shows it."""
    if value is None:
        return NOTHING
    if name in TEXTS:
        return one_line(value)
    if name == "share":
        return percent(value)
    if name == "bytes":
        return size(value)
    return duration(value) if is_time(name) else f"{value:,}"


def width_of(text: str) -> int:
    """The columns that a printable text takes: kanji and their like two, combining signs none."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def _width(character: str) -> int:
    from unicodedata import combining, east_asian_width

    return 0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """`text` in at most so many columns; what was cut ends in ``…``."""
    if width_of(text) <= columns:
        return text
    left, kept = columns - 1, []
    for character in text:
        left -= _width(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """`text` with blanks up to so many columns; a longer one stays as it is."""
    blanks = " " * (columns - width_of(text))
    return blanks + text if right else text + blanks
