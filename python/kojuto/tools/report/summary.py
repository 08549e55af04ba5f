"""What stands above the table: lines, span, rate, classes, and how traffic and latency went."""

from __future__ import annotations

from kojuto.common.streams import one_line
from kojuto.tools.report.columns import CLASSES, text_of
from kojuto.tools.report.figures import cut, duration, percent
from kojuto.tools.report.slices import filled, rates, step_percentile_s
from kojuto.tools.report.times import moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo
    from typing import Any

    from kojuto._native import ReportData  # type: ignore[attr-defined]
    from kojuto.tools.report.columns import Row
    from kojuto.tools.report.slices import Slice

BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
MOST_HOSTS = 5
SECONDS_OF_A_DAY = 86_400


def summary(
    data: ReportData, total: Row, zone: tzinfo | None, *, unicode: bool, room: int | None = None
) -> list[str]:
    """The lines of the summary.

    Args:
        data: the report.
        total: the columns of all lines, `p50` and `p99` among them.
        zone: in which times are shown.
        unicode: whether block characters can be shown.
        room: columns of the terminal; None cuts nothing.
    """
    facts = data.facts()
    lines = [_lines(facts), *_span(facts, zone), *_classes(facts, total)]
    if total["timed"]:
        figures = [
            f"{name} {duration(total[name])}" for name in ("sum", "avg", "p50", "p99", "max")
        ]
        lines.append(f"time taken: {', '.join(figures)}")
    hosts = [text_of(host) for host in facts["hosts"]]
    if len(hosts) > 1:
        more = f" and {len(hosts) - MOST_HOSTS:,} more" if len(hosts) > MOST_HOSTS else ""
        names = ", ".join(map(one_line, hosts[:MOST_HOSTS]))
        lines.append(f"several hosts share these paths: {names}{more}")
    lines += _sparklines(facts, filled(data.timeline()), unicode=unicode)
    return [line if room is None else cut(line, room) for line in lines]


def _lines(facts: dict[str, Any]) -> str:
    count, files = facts["lines"], [text_of(name) for name in facts["files"]]
    text = f"{count:,} line{'s' * (count != 1)}"
    if len(files) > 1:
        text += f" of {len(files):,} files"
    elif files:
        text += f" of {'standard input' if files == ['-'] else one_line(files[0])}"
    bad = sum(facts["bad"].values())
    return text + (f", {bad:,} bad one{'s' * (bad != 1)} beside" if bad else "")


def _span(facts: dict[str, Any], zone: tzinfo | None) -> list[str]:
    if facts["from_s"] is None:
        return []
    start, end = moment(facts["from_s"], zone), moment(facts["to_s"], zone)
    span_s = facts["to_s"] - facts["from_s"]
    until = f"{end:%H:%M:%S}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M:%S}"
    text = f"{start:%Y-%m-%d %H:%M:%S} to {until} {offset(end.strftime('%z'))}"
    if span_s <= 0:
        return [text]
    rate = facts["lines"] / span_s
    shown = f"{rate:,.0f}" if rate >= 99.5 else f"{rate:.3g}"
    return [f"{text} ({span(span_s)}), {shown} requests/s"]


def offset(text: str) -> str:
    """``+0900`` of strftime as ``+09:00``."""
    return f"{text[:3]}:{text[3:5]}"


def span(seconds: float) -> str:
    """A span of time: days where there are any, else as a duration."""
    if seconds < 2 * SECONDS_OF_A_DAY:
        return duration(seconds)
    hours = round(seconds / 3600)
    return f"{hours // 24}d{hours % 24:02}h"


def _classes(facts: dict[str, Any], total: Row) -> list[str]:
    if not facts["lines"]:
        return []
    shown = [(name, total[name]) for name in CLASSES]
    shown.append(("without a status", total["other_status"]))
    return [
        "  ".join(
            f"{name} {percent(count / facts['lines'])} ({count:,})"
            for name, count in shown
            if count
        )
    ]


def _sparklines(facts: dict[str, Any], slices: Sequence[Slice], *, unicode: bool) -> list[str]:
    if len(slices) < 2 or facts["from_s"] is None:
        return []
    traffic = rates(slices, facts["from_s"], facts["to_s"])
    lines = [
        f"traffic  {sparkline(traffic, unicode=unicode)}  up to {max(traffic):,.3g} requests/s"
    ]
    p99 = [step_percentile_s(each["steps"], 99) for each in slices]
    known = [value for value in p99 if value is not None]
    if known:
        text = f"about {duration(min(known))} to {duration(max(known))}"
        lines.append(f"p99      {sparkline(p99, unicode=unicode)}  {text}")
    return lines


def sparkline(values: Sequence[float | None], *, unicode: bool) -> str:
    """A character for each value, as high as it is beside the largest; a blank for none."""
    bars = BARS if unicode else PLAIN_BARS
    largest = max((value for value in values if value is not None), default=0) or 1
    return "".join(
        " " if value is None else bars[min(int(value / largest * len(bars)), len(bars) - 1)]
        for value in values
    )
