"""A strict reader of the Prometheus text format and of OpenMetrics, from their specifications.

It shares no code with the writer. What a scraper would refuse or misread is a `ValueError`: a
series twice, a family in two pieces, a type that does not fit the names, a bad escape, no line
feed at the end, buckets that fall.
"""

from __future__ import annotations

import math
import re
import subprocess
from typing import NamedTuple

import pytest

from tests.conftest import need_program

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
PAIR = re.compile(rf'({LABEL})="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|\+Inf|-Inf|NaN")
SUFFIXES = {
    "counter": ("",),
    "gauge": ("",),
    "untyped": ("",),
    "summary": ("", "_sum", "_count"),
    "histogram": ("_bucket", "_sum", "_count"),
}


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given twice is an error then, in us and in all that is started."""
    monkeypatch.setenv("KOJUTO_STRICT", "1")


class Sample(NamedTuple):
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(NamedTuple):
    name: str
    kind: str
    help: str
    samples: list[Sample]


def parse(document: bytes, *, openmetrics: bool = False) -> dict[str, Family]:
    """The families of a document.

    Raises:
        ValueError: it is not what the specification asks for.
    """
    text = document.decode("utf-8")
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no line feed")
    lines = text.split("\n")[:-1]
    if openmetrics and (not lines or lines.pop() != "# EOF"):
        raise ValueError("no # EOF at the end")
    families: dict[str, Family] = {}
    current: Family | None = None
    about: tuple[str, str] | None = None
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for line in lines:
        if line.startswith("# HELP "):
            name, _, words = line.removeprefix("# HELP ").partition(" ")
            if about is not None or name in families:
                raise ValueError(f"HELP twice, or behind the samples: {line}")
            about, current = (name, _help(words, openmetrics=openmetrics)), None
        elif line.startswith("# TYPE "):
            name, _, kind = line.removeprefix("# TYPE ").partition(" ")
            if name in families or (about is not None and about[0] != name):
                raise ValueError(f"a family in two pieces: {line}")
            if kind not in SUFFIXES or not re.fullmatch(NAME, name):
                raise ValueError(f"no type or name: {line}")
            if kind == "counter" and openmetrics == name.endswith("_total"):
                raise ValueError(f"a counter with a wrong name: {line}")
            current = families[name] = Family(name, kind, about[1] if about else "", [])
            about = None
        elif line.startswith("#") or not line:
            raise ValueError(f"no line of ours: {line!r}")
        else:
            if current is None:
                raise ValueError(f"a sample without a TYPE: {line}")
            sample = _sample(line)
            key = (sample.name, frozenset(sample.labels))
            if key in seen:
                raise ValueError(f"a series twice: {line}")
            seen.add(key)
            _belongs(sample, current, openmetrics=openmetrics)
            current.samples.append(sample)
    if about is not None:
        raise ValueError(f"HELP without a TYPE: {about[0]}")
    for family in families.values():
        if not family.samples:
            raise ValueError(f"a family without samples: {family.name}")
        if family.kind == "histogram":
            _buckets(family)
    return families


def checked(document: bytes) -> dict[str, Family]:
    """The families, after both the strict reader and promtool have taken the document."""
    families = parse(document)
    assert families
    tool = need_program("promtool")
    done = subprocess.run(
        [tool, "check", "metrics"], input=document, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), document.decode()
    return families


def _help(words: str, *, openmetrics: bool) -> str:
    escape = r"\\[\\n\"]" if openmetrics else r"\\[\\n]"
    plain = r'[^\\"]' if openmetrics else r"[^\\]"
    if not re.fullmatch(rf"(?:{plain}|{escape})+", words):
        raise ValueError(f"no help text: {words!r}")
    return words


def _sample(line: str) -> Sample:
    found = SAMPLE.fullmatch(line)
    if found is None:
        raise ValueError(f"no sample: {line!r}")
    name, inner, number = found.groups()
    if not NUMBER.fullmatch(number):
        raise ValueError(f"no number: {line}")
    labels: list[tuple[str, str]] = []
    at = 0
    while inner and at < len(inner):
        pair = PAIR.match(inner, at)
        if pair is None or (pair[3] == "," and pair.end() == len(inner)):
            raise ValueError(f"no labels: {line}")
        label, text, _ = pair.groups()
        if label in dict(labels) or label.startswith("__"):
            raise ValueError(f"a label twice, or a reserved one: {line}")
        unescaped = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text)
        labels.append((label, unescaped))
        at = pair.end()
    return Sample(name, tuple(labels), float(number.replace("Inf", "inf")))


def _belongs(sample: Sample, family: Family, *, openmetrics: bool) -> None:
    suffix = sample.name.removeprefix(family.name)
    allowed = SUFFIXES[family.kind]
    if openmetrics and family.kind == "counter":
        allowed = ("_total",)
    if not sample.name.startswith(family.name) or suffix not in allowed:
        raise ValueError(f"{sample.name} is no sample of the {family.kind} {family.name}")
    labels = dict(sample.labels)
    # OpenMetrics has no summary of negative numbers; gauges may have their quantiles.
    free = openmetrics and family.kind == "gauge"
    if ("le" in labels) != (suffix == "_bucket") or (
        not free and ("quantile" in labels) != (family.kind == "summary" and suffix == "")
    ):
        raise ValueError(f"le or quantile where it does not belong: {sample}")
    if "quantile" in labels and not 0 <= float(labels["quantile"]) <= 1:
        raise ValueError(f"no quantile: {sample}")
    if family.kind == "counter" and not 0 <= sample.value < math.inf:
        raise ValueError(f"no count: {sample}")
    # OpenMetrics 1.0, Metric Types, Histogram and Summary: sums, counts and quantiles.
    if openmetrics and family.kind in ("summary", "histogram") and not sample.value >= 0:
        raise ValueError(f"a negative sample of a {family.kind}: {sample}")


def _buckets(family: Family) -> None:
    series: dict[tuple[tuple[str, str], ...], dict[str, list[Sample]]] = {}
    for sample in family.samples:
        rest = tuple(sorted(pair for pair in sample.labels if pair[0] != "le"))
        suffix = sample.name.removeprefix(family.name)
        series.setdefault(rest, {}).setdefault(suffix, []).append(sample)
    for rest, parts in series.items():
        buckets = parts.get("_bucket", [])
        bounds = [float(dict(sample.labels)["le"].replace("Inf", "inf")) for sample in buckets]
        counts = [sample.value for sample in buckets]
        if not bounds or bounds != sorted(set(bounds)) or bounds[-1] != math.inf:
            raise ValueError(f"{family.name}{rest}: bounds out of order or without +Inf")
        if counts != sorted(counts):
            raise ValueError(f"{family.name}{rest}: buckets fall")
        if len(parts.get("_count", [])) != 1 or len(parts.get("_sum", [])) != 1:
            raise ValueError(f"{family.name}{rest}: no _count or _sum")
        if parts["_count"][0].value != counts[-1]:
            raise ValueError(f"{family.name}{rest}: _count is not the +Inf bucket")
