"""The figures on standard output, in a textfile and, with ``--sketch``, in a sketch."""

from __future__ import annotations

import sys

from kojuto.common import cli

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kojuto.common.cli import Values
    from kojuto.tools.percentile.reading import Figures, Result

SPECIAL = {"other": "pooled", "missing": "no value", "bytes": "not valid UTF-8"}
"""What the head of a group says of it in the text, when it is not a value as it stands."""


def modules(values: Values) -> Iterator[str]:
    """What `write` imports; numbers may come for hours before."""
    if values.sketch is not None:
        yield "kojuto.common.outfile"
    if values.plot:
        yield from ("kojuto.common.histogram", "kojuto.common.terminal")
    if values.textfile is not None:
        yield "kojuto.common.plugin.textfile"
    if values.textfile is not None or values.output != "text":
        yield "kojuto.tools.percentile.documents"
    if values.textfile is not None or values.output in ("prometheus", "openmetrics"):
        yield "kojuto.common.prometheus"
    if values.by is not None or values.output in ("prometheus", "openmetrics"):
        yield "kojuto.common.plugin.metrics"


def write(
    values: Values,
    numbers: Figures,
    results: list[Result],
    skipped: int,
    names: list[str],
) -> None:
    """Print the figures, and write the sketch if one is asked for.

    Args:
        values: the parsed options.
        numbers: what was read.
        results: the figures of each group; none when there were no numbers.
        skipped: how many lines were no numbers.
        names: the files that were read.

    Raises:
        OSError: something could not be written.
    """
    if values.sketch is None:
        _print(values, numbers, results, skipped, names)
        return
    from kojuto.common import outfile

    content = numbers.sketch() or b""
    if values.sketch == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        _print(values, numbers, results, skipped, names)
        sys.stdout.flush()
    finally:  # both are results: neither is lost with the other
        outfile.write(values.sketch, content)


def _print(
    values: Values,
    numbers: Figures,
    results: list[Result],
    skipped: int,
    names: list[str],
) -> None:
    if not results:
        return
    if values.textfile is not None:
        from kojuto.common.plugin.textfile import replace
        from kojuto.common.prometheus import document
        from kojuto.tools.percentile import documents

        families = documents.families(results, values, names)
        replace(values.textfile, document(families))
    elif values.output == "json":
        from kojuto.tools.percentile import documents

        sketchy = values.merge or values.sketch is not None
        accuracy = numbers.accuracy if sketchy else None
        sys.stdout.write(documents.json(results, values, skipped, accuracy))
    elif values.output in ("prometheus", "openmetrics"):
        from kojuto.common.plugin.metrics import write_document
        from kojuto.common.prometheus import document
        from kojuto.tools.percentile import documents

        families = documents.families(results, values, names)
        write_document(document(families, openmetrics=values.output == "openmetrics"))
    else:
        for piece in _text(results, values, numbers):
            sys.stdout.write(piece)


def _text(results: list[Result], values: Values, numbers: Figures) -> Iterator[str]:
    for result in results:
        if result.group is not None:
            # The pool and a value that is called as it is have heads of their own.
            special = result.group.special
            by = cli.one_line(values.by) + (f" ({SPECIAL[special]})" if special else "")
            yield ("\n" if result.index else "") + f"{by}: {cli.one_line(result.group.text)}\n"
        yield f"count: {result.count}\n"
        ends = (_shown(figure) for figure in (result.max, result.avg, result.min))
        yield "max: {}\navg: {}\nmin: {}\n".format(*ends)
        for (name, _), value in zip(values.percentile_set, result.values, strict=True):
            yield f"{name}pt: {_shown(value)}\n"
        if values.plot:
            yield from _plot(result, numbers)


def _shown(value: float) -> str:
    """With four decimals; what is nothing with them has no sign."""
    text = f"{value:.4f}"
    return "0.0000" if text == "-0.0000" else text


def _plot(result: Result, numbers: Figures) -> Iterator[str]:
    from shutil import get_terminal_size

    from kojuto.common import histogram, terminal

    def count(edges: Sequence[float]) -> list[int]:
        return numbers.histogram(result.index, edges)

    edges = histogram.edges_for(result.min, result.max, count)
    yield "\n"
    for line in histogram.draw(
        edges,
        count(edges),
        get_terminal_size().columns,
        colour=terminal.shows_colour(),
        unicode=terminal.shows_unicode(),
    ):
        yield line + "\n"
