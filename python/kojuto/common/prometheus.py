"""The one writer of Prometheus text and OpenMetrics, for plugins and servers.

The text exposition format is that of the Prometheus documentation (``exposition_formats.md``,
version 0.0.4), OpenMetrics that of its specification, version 1.0.0.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

KINDS = ("counter", "gauge", "histogram", "summary")


class Family:
    """A metric family: its type, its help and its series, each of which it holds once.

    A sample that is not a finite number is left out. A series that comes twice is an error where
    ``KOJUTO_STRICT`` is set, as in the tests; elsewhere the first one stays, since one series
    given twice makes Prometheus refuse the whole document.

    OpenMetrics has no summary of negative numbers: "Count and Sum values are counters so MUST NOT
    be NaN or negative", "Quantile values MUST NOT be negative" (Metric Types, Summary). There the
    quantiles are then gauges of the same names and labels, without a sum and a count. `negative`
    is set by a negative sample, or by who knows of a number that no sample shows.

    Args:
        name: with its base unit, and ``_total`` for a counter.
        kind: counter, gauge, histogram or summary.
        help: one line.
    """

    __slots__ = ("_series", "help", "kind", "name", "negative")

    def __init__(self, name: str, kind: str, help: str) -> None:  # noqa: A002
        if kind not in KINDS or (kind == "counter") != name.endswith("_total"):
            raise ValueError(f"{name}: no name or type of a metric family: {kind}")
        self.name = name
        self.kind = kind
        self.help = help
        self._series: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}
        self.negative = False

    def add(
        self,
        value: float,
        suffix: str = "",
        /,
        labels: Mapping[str, str] | None = None,
        **more: str,
    ) -> Family:
        """Add a sample and return the family.

        Args:
            value: an `int` is printed as one.
            suffix: ``_bucket``, ``_sum`` or ``_count`` of a histogram or summary.
            labels: its labels.
            more: more labels.

        Raises:
            ValueError: the series was given before (only under ``KOJUTO_STRICT``).
        """
        if value - value != 0:  # NaN and the infinities
            return self
        self.negative |= value < 0
        # A label without a value is none at all, and their order tells nothing.
        given = {name: text for name, text in {**(labels or {}), **more}.items() if text}
        inner = ",".join(f'{name}="{_escape(text)}"' for name, text in given.items())
        text = f"{suffix}{{{inner}}} {value!r}\n" if inner else f"{suffix} {value!r}\n"
        self._put((suffix, frozenset(given.items())), text)
        return self

    def add_histogram(
        self,
        bounds: Sequence[float],
        counts: Sequence[float],
        total: float,
        labels: Mapping[str, str] | None = None,
    ) -> Family:
        """Add a histogram and return the family.

        Args:
            bounds: the upper bounds, ascending, each of them included in its bucket.
            counts: how many samples each bucket has by itself; one more than bounds, the last for
                what is above them all.
            total: the sum of all samples.
            labels: its labels.
        """
        given = dict(labels or {})
        passed = 0.0
        for bound, count in zip([*map(number, bounds), "+Inf"], counts, strict=True):
            passed += count
            self.add(whole(passed), "_bucket", {**given, "le": bound})
        return self.add(total, "_sum", given).add(whole(passed), "_count", given)

    def absorb(self, other: Family) -> None:
        """Take over the series of a family of the same name."""
        if strict():
            raise ValueError(f"the family {other.name} is given twice")
        self.negative |= other.negative
        for series, text in other._series.items():
            self._put(series, text)

    def _put(self, series: tuple[str, frozenset[tuple[str, str]]], text: str) -> None:
        if series in self._series:
            if strict():
                raise ValueError(f"given twice: {self.name}{text.strip()}")
            return
        self._series[series] = text

    def text(self, *, openmetrics: bool = False) -> str:
        """Its lines; nothing without a sample."""
        kind, series = self.kind, self._series
        if openmetrics and kind == "summary" and self.negative:
            kind, series = "gauge", {key: text for key, text in series.items() if not key[0]}
        if not series:
            return ""
        head = self.name
        about = self.help.replace("\\", "\\\\").replace("\n", "\\n")
        if openmetrics:
            head = head.removesuffix("_total") if kind == "counter" else head
            about = about.replace('"', '\\"')
        lines = [f"# HELP {head} {about}\n", f"# TYPE {head} {kind}\n"]
        lines += [self.name + text for text in series.values()]
        return "".join(lines)


def strict() -> bool:
    """Whether what is given twice is an error: in tests, by the environment."""
    return bool(os.environ.get("KOJUTO_STRICT"))


def document(families: Iterable[Family], *, openmetrics: bool = False) -> bytes:
    """A whole document: each family once, in the order in which they came.

    Raises:
        ValueError: a family is given twice (only under ``KOJUTO_STRICT``).
    """
    merged: dict[str, Family] = {}
    for family in families:
        known = merged.setdefault(family.name, family)
        if known is not family:
            known.absorb(family)
    text = "".join(family.text(openmetrics=openmetrics) for family in merged.values())
    # A lone surrogate stands for a byte of an argument that is not UTF-8.
    return (text + ("# EOF\n" if openmetrics else "")).encode(errors="backslashreplace")


def number(value: float) -> str:
    """A bound or quantile as the value of a label: a float, always spelt alike (``1.0``).

    Twelve digits: 99.9 per cent is 0.999, whatever the division by 100 gives.
    """
    return repr(float(f"{value:.12g}"))


def whole(value: float) -> float:
    """A count, as `int` as long as it can be."""
    return int(value) if value.is_integer() else value


def label_name(text: str) -> str:
    """`text` as the name of a label: other than ``[a-zA-Z0-9_]`` becomes ``_``."""
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in text)
    return name if name[:1].isalpha() else f"by_{name}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def wants_openmetrics(accept: str) -> bool:
    """Whether an ``Accept`` header prefers OpenMetrics 1.0.0 to the text format (RFC 9110, 12.5.1).

    Prometheus asks for ``application/openmetrics-text;version=1.0.0;q=0.6,…``.
    """
    wanted = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        if kind not in wanted or given.get("version", "1.0.0") not in ("1.0.0", "0.0.4"):
            continue
        try:
            quality = float(given.get("q", "1"))
        except ValueError:
            continue
        wanted[kind] = max(wanted[kind], quality)
    openmetrics, text = wanted.values()
    return openmetrics > 0 and openmetrics >= text
