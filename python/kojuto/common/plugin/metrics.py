"""What every metric command prints: Mackerel lines and graph definition, Prometheus, JSON.

A command declares its graphs once and adds samples; the form is chosen by ``--output`` and, for
the graph definition, by the environment (mackerel-agent's plugin protocol).
"""

from __future__ import annotations

import os
import sys

from kojuto.common.cli import TEXTFILE, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TextIO

    from kojuto.common.prometheus import Family

    Kinds = Mapping[str, tuple[str, str, int]]


FORMS_HELP = "prometheus (text exposition format 0.0.4), openmetrics (1.0.0)"
OUTPUT = Option(
    "--output",
    metavar="FORM",
    default="mackerel",
    choices=("mackerel", "prometheus", "openmetrics", "json"),
    help=f"how to print: mackerel, {FORMS_HELP} or json",
)
OPTIONS = (OUTPUT, TEXTFILE)


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
    from kojuto.common.terminal import json_text

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
    print(json_text({"graphs": definition}), file=out)


class Metrics:
    """The samples of one run.

    Args:
        families: for Prometheus, each family's (type, help, divisor): the values of `add` are
            divided by it to give the base unit, 1000 for milliseconds, 100 for per cent.
    """

    def __init__(self, families: Kinds) -> None:
        self._kinds = families
        self._values: dict[str, float] = {}
        self._series: list[tuple[str, float, str, Mapping[str, str]]] = []
        self.histograms: list[Family] = []
        self.groups: list[Group] = []

    def add(self, name: str, value: float, family: str | None, **labels: str) -> None:
        """Add a sample.

        Args:
            name: the Mackerel name, ``axslog.latency_web.average``.
            value: an `int` is printed as one, a `float` with six decimals; one that is not finite
                is left out, since neither Mackerel nor a graph can hold it.
            family: the Prometheus family, a key of the families given to the constructor; None
                where Prometheus has a counter instead.
            labels: its Prometheus labels.
        """
        if value - value == 0:  # false for NaN and the infinities
            if name in self._values:
                refuse_twice(name)
                return
            self._values[name] = value
            if family is not None:
                self.total(family, value, labels)

    def total(self, family: str, value: float, labels: Mapping[str, str], suffix: str = "") -> None:
        """Add a sample that only Prometheus gets, such as a counter.

        Args:
            family: its family.
            value: as for `add`.
            labels: its labels.
            suffix: ``_sum`` or ``_count`` of a summary.
        """
        divisor = self._kinds[family][2]
        self._series.append((family, value if divisor == 1 else value / divisor, suffix, labels))

    def histogram(self, name: str, about: str) -> Family:
        """The histogram of that name, which only Prometheus gets; a new one with that help."""
        from kojuto.common.prometheus import Family

        for family in self.histograms:
            if family.name == name:
                return family
        self.histograms.append(Family(name, "histogram", about))
        return self.histograms[-1]

    def write(
        self,
        form: str,
        now: int,
        extra: Mapping[str, Any] | None = None,
        textfile: str | None = None,
    ) -> None:
        """Print all samples to standard output, or replace a textfile by them.

        Args:
            form: ``mackerel``, ``prometheus``, ``openmetrics`` or ``json``.
            now: the time of the samples, seconds since 1970.
            extra: more members for the JSON document.
            textfile: the file that gets them in Prometheus' form instead.

        Raises:
            OSError: they could not be written; an old textfile is then what it was.
        """
        if textfile is not None:
            from kojuto.common.plugin.textfile import replace

            replace(textfile, self.document("prometheus"))
        elif form == "json":
            from kojuto.common.terminal import json_text

            document: dict[str, Any] = {"time": now, "metrics": self._values, **(extra or {})}
            if self.groups:
                document["groups"] = [group.about() for group in self.groups]
            print(json_text(document))
        elif form == "mackerel":
            sys.stdout.write(
                "".join(
                    f"{name}\t{value}\t{now}\n"
                    if isinstance(value, int)
                    else f"{name}\t{value:f}\t{now}\n"
                    for name, value in self._values.items()
                )
            )
        else:
            write_document(self.document(form))

    def document(self, form: str) -> bytes:
        """The samples in Prometheus' form, or with ``openmetrics`` in that of OpenMetrics."""
        from kojuto.common.prometheus import Family, document

        families: dict[str, Family] = {}
        for name, value, suffix, labels in self._series:
            if name not in families:
                kind, about, _ = self._kinds[name]
                families[name] = Family(name, kind, about)
            families[name].add(value, suffix, labels)
        every = [*families.values(), *self.histograms]
        return document(every, openmetrics=form == "openmetrics")


def write_document(document: bytes) -> None:
    """Write a document to standard output: in UTF-8, whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(document)


def refuse_twice(name: str) -> None:
    """Raise `ValueError` for a name that comes twice, under ``KOJUTO_STRICT``."""
    from kojuto.common.prometheus import strict

    if strict():
        raise ValueError(f"given twice: {name}")


# -- names ------------------------------------------------------------------------------------


class Group:
    """A value that parts the samples, by the names that it has in each form.

    Values that differ have names that differ, always the same ones whatever other values there
    are. JSON and Prometheus have the text; what is no value there (the pool of the small groups,
    the lines without a value) or no UTF-8 says so in a member or label ``special``: ``other``,
    ``missing`` or ``bytes``.

    Args:
        by: what parts: a key of the log, ``relay``.
        kind: ``value``, ``missing`` or ``other``.
        raw: the value.
        reserved: (kind, word) of the kinds that may come, as they are called.
    """

    __slots__ = ("by", "part", "special", "text")

    def __init__(self, by: str, kind: str, raw: bytes, reserved: Mapping[str, str]) -> None:
        self.by = by
        self.special = "" if kind == "value" else kind
        if self.special:
            self.text = self.part = reserved[kind]
            return
        try:
            self.text = raw.decode()
            self.part = unique(self.text, name_part(self.text), tuple(reserved.values()))
        except UnicodeDecodeError:
            self.special = "bytes"
            self.text = raw.replace(b"\\", b"\\\\").decode(errors="backslashreplace")
            self.part = f"{name_part(self.text)}--{short_hash(raw)}"

    def labels(self, label: str) -> dict[str, str]:
        """Its Prometheus labels, the first of which is to have the name `label`."""
        return {label: self.text, "special": self.special} if self.special else {label: self.text}

    def about(self) -> dict[str, str]:
        """Which value has which name in the metrics, for the JSON document."""
        special = {"special": self.special} if self.special else {}
        return {"by": self.by, "value": self.text, "name": self.part, **special}


def tell_names(prog: str, groups: Iterable[Group]) -> None:
    """Say which names in Mackerel differ from the values that they stand for (``--verbose``)."""
    from kojuto.common.cli import complain

    for group in groups:
        if group.part != group.text:
            complain(prog, f"{group.by} {group.text} is called {group.part} in metric names")


def unique(text: str, name: str, reserved: Sequence[str] = ()) -> str:
    """`text` as a name that no other text has.

    Args:
        text: what is to be named.
        name: it, with what a name cannot have replaced. Where that changed something, and where
            the text might be mistaken for another's name, it gets a short hash of the text.
        reserved: names that mean something else.
    """
    ending = text[-10:]
    hashed = ending[:2] == "--" and all(c in "0123456789abcdef" for c in ending[2:])
    if name == text and text not in reserved and not hashed:
        return text
    return f"{name}--{short_hash(text.encode(errors='surrogateescape'))}"


def short_hash(raw: bytes) -> str:
    """CRC-32 in hexadecimal: enough to tell the few names of one file apart."""
    from binascii import crc32

    return f"{crc32(raw):08x}"


def key_name(text: str) -> str:
    """A ``--key-prefix`` as it stands in Mackerel names: as a value, but it may have dots."""
    return unique(text, name_part(text, "-_."))


def name_part(text: str, more: str = "-_") -> str:
    """`text` as one part of a metric name: other than ``[-a-zA-Z0-9_]`` becomes ``_``.

    Different texts may become the same part: see `unique`.
    """
    if text.isascii() and text.replace("-", "_").isidentifier():
        return text
    if more not in _kept:
        _kept[more] = bytes(
            at if at < 128 and (chr(at).isalnum() or chr(at) in more) else ord("_")
            for at in range(256)
        )
    # A character that is not ASCII, half of a pair too, is one question mark.
    return text.encode("ascii", "replace").translate(_kept[more]).decode() or "_"


_kept: dict[str, bytes] = {}
"""By what a name may have beside letters and digits: each byte, or what stands in its place."""
