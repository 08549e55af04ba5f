"""One writer for every metric command: Mackerel lines, graph definition, Prometheus, JSON.

A command declares its graphs once and adds samples; the form is chosen by ``--output`` and, for
the graph definition, by the environment (mackerel-agent's plugin protocol).
"""

from __future__ import annotations

import os
import sys

from kojuto.common.cli import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TextIO

OUTPUT = Option(
    "--output",
    metavar="FORM",
    default="mackerel",
    choices=("mackerel", "prometheus", "json"),
    help="how to print: mackerel, prometheus (text exposition format 0.0.4) or json",
)


class Graph:
    """A graph of the Mackerel graph definition.

    Args:
        name: the key without ``custom.``; ``#`` stands for one part of a name.
        label: its title.
        unit: float, integer, percentage, seconds, milliseconds, bytes, bytes/sec, bits/sec, iops.
        metrics: (name, label) of each line; the names are the last part of the metric's name.
        stacked: whether the lines are drawn on top of each other.
    """

    __slots__ = ("label", "metrics", "name", "stacked", "unit")

    def __init__(
        self,
        name: str,
        label: str,
        unit: str,
        metrics: Sequence[tuple[str, str]],
        *,
        stacked: bool = False,
    ) -> None:
        self.name = name
        self.label = label
        self.unit = unit
        self.metrics = metrics
        self.stacked = stacked


def meta_requested() -> bool:
    """Whether mackerel-agent asks for the graph definition (``MACKEREL_AGENT_PLUGIN_META``).

    The agent sets the variable to the empty string in ordinary runs, so only a non-empty value
    counts.
    """
    return bool(os.environ.get("MACKEREL_AGENT_PLUGIN_META"))


def print_meta(graphs: Sequence[Graph], out: TextIO | None = None) -> None:
    """Print the graph definition that mackerel-agent reads in a meta run."""
    from json import dumps

    definition = {
        graph.name: {
            "label": graph.label,
            "unit": graph.unit,
            "metrics": [
                {"name": name, "label": label, "stacked": graph.stacked}
                for name, label in graph.metrics
            ],
        }
        for graph in graphs
    }
    print("# mackerel-agent-plugin", file=out)
    print(dumps({"graphs": definition}, ensure_ascii=False), file=out)


class Metrics:
    """The samples of one run.

    Args:
        families: for Prometheus, each family's (type, help); gauge and counter are the types used.
    """

    def __init__(self, families: Mapping[str, tuple[str, str]]) -> None:
        self._families = families
        self._samples: list[tuple[str, float, str, Mapping[str, str]]] = []

    def add(self, name: str, value: float, family: str, **labels: str) -> None:
        """Add a sample.

        Args:
            name: the Mackerel name, ``axslog.latency_web.average``.
            value: an `int` is printed as one, a `float` with six decimals; one that is not finite
                is left out, since neither Mackerel nor a graph can hold it.
            family: the Prometheus family, a key of the families given to the constructor.
            labels: its Prometheus labels.
        """
        if value - value == 0:  # false for NaN and the infinities
            self._samples.append((name, value, family, labels))

    def write(self, form: str, now: int, extra: Mapping[str, Any] | None = None) -> None:
        """Print all samples to standard output.

        Args:
            form: ``mackerel``, ``prometheus`` or ``json``.
            now: the time of the samples, seconds since 1970.
            extra: more members for the JSON document.
        """
        if form == "json":
            from json import dumps

            values = {name: value for name, value, _, _ in self._samples}
            print(dumps({"time": now, "metrics": values, **(extra or {})}, ensure_ascii=False))
        elif form == "prometheus":
            sys.stdout.write(self._prometheus())
        else:
            sys.stdout.write(
                "".join(
                    f"{name}\t{value}\t{now}\n"
                    if isinstance(value, int)
                    else f"{name}\t{value:f}\t{now}\n"
                    for name, value, _, _ in self._samples
                )
            )

    def _prometheus(self) -> str:
        by_family: dict[str, list[str]] = {}
        for _, value, family, labels in self._samples:
            inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
            line = f"{family}{{{inner}}} {value!r}" if inner else f"{family} {value!r}"
            by_family.setdefault(family, []).append(line)
        lines = []
        for family, samples in by_family.items():
            kind, text = self._families[family]
            text = text.replace("\\", "\\\\").replace("\n", "\\n")
            lines += [f"# HELP {family} {text}", f"# TYPE {family} {kind}", *samples]
        return "".join(line + "\n" for line in lines)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def name_part(text: str) -> str:
    """`text` as one part of a metric name: other than ``[-a-zA-Z0-9_]`` becomes ``_``."""
    if text.isascii() and text.replace("-", "_").isidentifier():
        return text
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in text) or "_"
