"""Histograms for a terminal: readable edges, bars of eighths of a character."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROWS = 20
"""The most rows of a linear histogram; a logarithmic one has up to twice as many."""

WIDE = 100
"""From this ratio of largest to smallest on, the rows grow with the numbers."""

_EIGHTHS = " ▏▎▍▌▋▊▉"
_COLOUR = ("\x1b[36m", "\x1b[0m")


def edges_for(
    low: float, high: float, count_between: Callable[[Sequence[float]], list[int]]
) -> list[float]:
    """The edges of the rows of numbers from `low` to `high`: multiples of 1, 2 or 5.

    Args:
        low: the smallest number.
        high: the largest number.
        count_between: tells how many numbers lie between each two edges.

    Returns:
        Ascending edges that hold all numbers; at least two.
    """
    if low == high:
        return [low, high]
    if low >= 0:
        smallest = low
        if low == 0:
            decades = [float(f"1e{power}") for power in range(-15, 309, 3)]
            counts = count_between(decades)
            first = next((at for at, count in enumerate(counts) if count), None)
            # The decade of the smallest number above zero, to three powers of ten at first.
            if first is not None:
                fine = [decades[first] * 10**power for power in range(4)]
                used = [edge for edge, n in zip(fine, count_between(fine), strict=False) if n]
                smallest = used[0] if used else decades[first]
        if smallest > 0 and high / smallest >= WIDE:
            return _logarithmic(low, smallest, high)
    return _linear(low, high)


def _logarithmic(low: float, smallest: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(smallest)), math.floor(math.log10(high)) + 1
    decades = last - first
    if 3 * decades <= 2 * ROWS:
        texts = [f"{digit}e{power}" for power in range(first, last) for digit in (1, 2, 5)]
    else:
        texts = [f"1e{power}" for power in range(first, last, math.ceil(decades / ROWS))]
    edges = [float(text) for text in [*texts, f"1e{last}"]]
    # No empty rows before the first number or behind the last one.
    start = max((at for at, edge in enumerate(edges) if edge <= smallest), default=0)
    end = next((at for at, edge in enumerate(edges) if edge > high), len(edges) - 1)
    edges = edges[start : end + 1]
    if low < edges[0]:
        edges.insert(0, low)
    return _covering(edges, low, high)


def _linear(low: float, high: float) -> list[float]:
    rough = high / ROWS - low / ROWS
    power = math.floor(math.log10(rough)) if rough > 0 else 0
    step = next(
        (s for s in (float(f"{d}e{power}") for d in (1, 2, 5, 10)) if s >= rough), rough
    )  # fmt: skip
    if not 0 < step < math.inf or abs(low) / step > 1e12 or abs(high) / step > 1e12:
        # No short decimals lie between numbers so near to each other.
        return _covering([low + (high / ROWS - low / ROWS) * at for at in range(ROWS)], low, high)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    return _covering([float(f"{at * step:.12g}") for at in range(first, last + 1)], low, high)


def _covering(edges: list[float], low: float, high: float) -> list[float]:
    """`edges` in order, each once, and reaching from `low` to `high`."""
    kept = sorted({edge for edge in edges if math.isfinite(edge)} or {low})
    if kept[0] > low:
        kept.insert(0, low)
    if kept[-1] < high:
        kept.append(high)
    return kept if len(kept) > 1 else [low, high]


def draw(
    edges: Sequence[float],
    counts: Sequence[int],
    width: int,
    *,
    colour: bool = False,
    unicode: bool = True,
) -> list[str]:
    """The lines of a histogram.

    Args:
        edges: of the rows, one more than `counts`.
        counts: of each row.
        width: columns of the terminal; a bar has at least 8.
        colour: draw the bars in cyan.
        unicode: draw with block characters; otherwise with ``#``.
    """
    labels = [f"{edge:.6g}" for edge in edges[:-1]]
    total = sum(counts)
    largest = max(counts, default=0)
    label_width = max(map(len, labels), default=1)
    count_width = len(f"{largest:,}")
    room = max(8, width - label_width - count_width - 11)
    before, after = _COLOUR if colour else ("", "")
    lines = []
    for label, count in zip(labels, counts, strict=True):
        bar = _bar(count / largest if largest else 0.0, room, unicode=unicode)
        share = 100 * count / total if total else 0.0
        rule = "│" if unicode else "|"
        figures = f"{count:>{count_width},} {share:5.1f} %"
        lines.append(f"{label:>{label_width}} {rule}{before}{bar}{after} {figures}")
    return lines


def _bar(share: float, room: int, *, unicode: bool) -> str:
    """A bar of `share` of `room` columns, padded; what is not nothing shows at least a trace."""
    if not unicode:
        return ("#" * max(round(share * room), share > 0)).ljust(room)
    eighths = max(round(share * room * 8), 1 if share > 0 else 0)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(room)
