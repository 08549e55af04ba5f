"""The graph definition, for a run that mackerel-agent starts to ask for it."""

from __future__ import annotations

from kojuto.common.plugin.metrics import Graph, name_part
from kojuto.tools.axslog.figures import CLASSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def graphs(prefix: str, percentiles: Sequence[tuple[str, float]], by: bool) -> list[Graph]:
    """The graph definition; with `by` the same graphs once more for any group."""
    found = []
    for end, title in (("", prefix), (".#", f"{prefix} by group")) if by else (("", prefix),):
        latency = [("average", "average")]
        latency += [(f"{name_part(label)}_percentile", f"{label} %") for label, _ in percentiles]
        found += [
            Graph(f"axslog.latency_{prefix}{end}", f"Latency: {title}", "seconds", latency),
            Graph(
                f"axslog.access_num_{prefix}{end}",
                f"Requests a second by status: {title}",
                "float",
                [(f"{name}_count", name) for name in CLASSES],
                stacked=True,
            ),
            Graph(
                f"axslog.access_total_{prefix}{end}",
                f"Requests a second: {title}",
                "float",
                [("count", "requests")],
            ),
            Graph(
                f"axslog.access_ratio_{prefix}{end}",
                f"Share of each status: {title}",
                "percentage",
                [(f"{name}_percentage", name) for name in CLASSES],
                stacked=True,
            ),
        ]
    found.append(
        Graph(f"axslog.skipped_{prefix}", f"Skipped: {prefix}", "bytes", [("bytes", "bytes")])
    )
    return found
