"""The figures as a JSON document and as families for Prometheus."""

from __future__ import annotations

import os

from kojuto.common import cli
from kojuto.common.terminal import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.common.cli import Values
    from kojuto.common.plugin.metrics import Group
    from kojuto.common.prometheus import Family
    from kojuto.tools.percentile.reading import Result


def _group(group: Group) -> dict[str, str]:
    """A group in the JSON document; `special` marks what is no value of the lines."""
    return {"group": group.text, **({"special": group.special} if group.special else {})}


def json(results: list[Result], values: Values, skipped: int, accuracy: float | None) -> str:
    """The figures as one line of JSON.

    Args:
        results: the figures of each group, at least one.
        values: the parsed options.
        skipped: how many lines were no numbers.
        accuracy: the relative error of a sketch's percentiles, None for exact ones.
    """

    def figures(result: Result) -> dict[str, object]:
        return {
            **({} if result.group is None else _group(result.group)),
            "count": result.count,
            "max": result.max,
            "avg": result.avg,
            "min": result.min,
            "percentiles": {
                name: value
                for (name, _), value in zip(values.percentile_set, result.values, strict=True)
            },
        }

    document: dict[str, object] = (
        figures(results[0])
        if values.by is None
        else {"by": cli.one_line(values.by), "groups": [figures(result) for result in results]}
    )
    if not values.merge:
        document["skipped"] = skipped
    if accuracy is not None:
        document["accuracy"] = accuracy
    return json_text(document) + "\n"


def families(results: list[Result], values: Values, names: list[str]) -> list[Family]:
    """The figures for Prometheus; labels say what the numbers are, so that two runs stay apart.

    Args:
        results: the figures of each group.
        values: the parsed options.
        names: the files that were read.
    """
    from kojuto.common.prometheus import Family, label_name, number

    value = Family("percentile_value", "summary", "The numbers of this run and their quantiles.")
    most = Family("percentile_max", "gauge", "The largest number.")
    mean = Family("percentile_avg", "gauge", "The average.")
    least = Family("percentile_min", "gauge", "The smallest number.")
    # OpenMetrics has no count of the quantiles once a number is negative.
    many = Family("percentile_numbers", "gauge", "How many numbers there were.")
    about = {"source": _source(names, values.textfile), "key": _shown(values.key or "")}
    group_label = label_name(values.by or "")
    if group_label in ("source", "key", "quantile", "special", "le"):
        group_label = f"by_{group_label}"
    for result in results:
        labels = {**about, **(result.group.labels(group_label) if result.group else {})}
        # 99 and 99.0 are one quantile.
        found = dict(
            zip((number(part) for _, part in values.percentile_set), result.values, strict=True)
        )
        for quantile, figure in found.items():
            value.add(figure, "", {**labels, "quantile": quantile})
        value.add(result.avg * result.count, "_sum", labels)
        value.add(result.count, "_count", labels)
        most.add(result.max, "", labels)
        mean.add(result.avg, "", labels)
        least.add(result.min, "", labels)
        value.negative |= result.min < 0
        many.add(result.count, "", labels)
    return [value, most, mean, least, many]


def _source(names: list[str], textfile: str | None) -> str:
    """The files that were read; of a pipe the name of the textfile tells more."""
    if names == ["-"]:
        return "" if textfile is None else os.path.basename(textfile).removesuffix(".prom")
    return ",".join(map(_shown, names))


def _shown(name: str) -> str:
    """A name for a label: what is no UTF-8 in it is escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")
