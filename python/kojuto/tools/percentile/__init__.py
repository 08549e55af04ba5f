"""``percentile``: count, extremes, average and percentiles of numbers."""

from __future__ import annotations

import os
import sys

from kojuto.common import cli, infile, streams, units
from kojuto.common.cli import Command, Option, Values
from kojuto.errors import UsageError
from kojuto.tools.percentile import printing, reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROG = "percentile"
MAX_PERCENTILES = 1000
MEMORY_HINT = "--sketch FILE keeps a sketch of a few MiB instead of every number"


def _percentiles(text: str) -> list[tuple[str, float]]:
    """Each percentile as it was written, and as a fraction."""
    found = [(label, percent / 100) for label, percent in units.percentiles(text)]
    if len(found) > MAX_PERCENTILES:
        raise ValueError(f"more than {MAX_PERCENTILES} percentiles")
    return found


def _accuracy(text: str) -> float:
    """``1%`` or ``0.01``."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 0.2:
        raise ValueError("not an accuracy (write 1% or 0.01; 0.1% to 20% are possible)")
    return value


COMMAND = Command(
    PROG,
    "Count, largest, average, smallest and percentiles of numbers, one a line, from the files or "
    "from standard input ('-'). Lines that are not numbers are skipped and counted on standard "
    "error. What gzip, xz, zstd or bzip2 packed is unpacked.",
    [
        Option("--percentile-set", metavar="LIST", default="99,95,90,75", read=_percentiles,
               help="the percentiles to show, 0 to 100, fractions such as 99.9 too"),
        Option("--output", metavar="FORM", default="text",
               choices=("text", "json", "prometheus", "openmetrics"),
               help="how to print: text, json, prometheus or openmetrics"),
        cli.TEXTFILE,
        Option("--plot", help="draw a histogram below the figures"),
        Option("--strict", help="fail at the first line that is not a number and name it"),
        Option("--key", metavar="KEY", group="Fields",
               help="read this field of LTSV, JSON or combined lines instead of whole lines"),
        Option("--by", metavar="KEY", group="Fields",
               help="one result for each value of this field, the most frequent first"),
        Option("--format", metavar="FORM", default="auto",
               choices=("auto", "ltsv", "json", "combined"), group="Fields",
               help="how the lines of --key are written: ltsv, json (whatever stands before it), "
               "combined (Apache and nginx; ptime is the time behind the fields), or auto, by each "
               "file's first line that has the field"),
        cli.max_groups("the most groups to keep apart", most=1_000_000, default="1000",
                       group="Fields"),
        Option("--sketch", metavar="FILE", group="Many hosts",
               help="keep a small sketch instead of all numbers (with --by one for each group) and "
               "write it to FILE ('-': to standard output, without figures)"),
        Option("--merge", group="Many hosts",
               help="the FILEs are sketches, or reports of kojuto report --save: show the "
               "percentiles of all of them together, or of each group or endpoint"),
        Option("--accuracy", metavar="PART", default="1%", read=_accuracy, group="Many hosts",
               help="relative error of a sketch's percentiles, 0.1% to 20%; count, "
               "max, avg and min are always exact"),
    ],
    positional="[FILE …]",
    epilog="""
A percentile P of n numbers is the one at place round(n * P / 100) when they are sorted. All
numbers are kept, in 8 bytes each, unless --sketch is given.

Examples:
  cut -f 3 access.tsv | percentile
  percentile --key ptime --by status access.log
  percentile --key ptime --sketch web1.sketch access.log     # on each host
  percentile --merge web1.sketch web2.sketch                 # of all hosts
  percentile --key ptime --by uri --sketch - access.log | ssh stats 'cat >>all.sketch'
""",
)  # fmt: skip


def _check(values: Values) -> None:
    """Refuse combinations that have no meaning."""

    def clash(name: str, why: str, hint: str) -> None:
        raise UsageError(f"{name} {why}", hint)

    if values.key is None:
        for name in ("by", "format", "max_groups"):
            if name in values.given and not values.merge:
                title = "--" + name.replace("_", "-")
                clash(
                    title,
                    "needs --key",
                    f"--key FIELD {title} … reads LTSV, JSON or combined lines",
                )
    elif values.by is None and "max_groups" in values.given and not values.merge:
        clash("--max-groups", "needs --by", "--by FIELD makes the groups")
    sketchy = values.merge or values.sketch is not None
    if "accuracy" in values.given and not sketchy:
        clash("--accuracy", "needs --sketch", "without a sketch all figures are exact")
    if values.merge:
        if values.by is not None:
            clash("--by", "cannot go with --merge", "the sketches say of which groups they are")
        for name in ("key", "format", "strict"):
            if name in values.given:
                clash(f"--{name}", "cannot go with --merge", "a sketch has no lines to read")
    cli.check_textfile(values)
    if values.plot and values.textfile is not None:
        clash("--plot", "cannot go with --textfile", "a plot is text")
    if values.plot and values.output != "text":
        clash("--plot", f"cannot go with --output {values.output}", "a plot is text")
    if values.sketch == "-":
        if values.plot or values.output != "text":
            clash("--sketch -", "prints the sketch and nothing else", "give it a FILE instead")
        if sys.stdout.isatty():
            clash("--sketch -", "would fill the terminal with bytes", "redirect it: > FILE")
    if values.sketch is not None:
        from kojuto.common import outfile

        outfile.must_be("--sketch", values.sketch, "sketch", (b"kjsketch", b"kjreport"))


def _work(values: Values, names: list[str]) -> int:
    _check(values)
    if not names and os.isatty(0):
        from kojuto.common.helptext import help_text

        streams.say(help_text(COMMAND) + "\n")
        return cli.FAILED
    names = names or ["-"]
    cli.stay(*printing.modules(values))
    from kojuto._native import Numbers

    # Sketches that are merged bring theirs, unless one is asked for.
    writes = values.sketch is not None and not values.merge
    accuracy = values.accuracy if writes or "accuracy" in values.given else None
    numbers = Numbers(
        key=None if values.key is None else os.fsencode(values.key),
        by=None if values.by is None else os.fsencode(values.by),
        form=None if values.format == "auto" else values.format,
        max_groups=values.max_groups,
        accuracy=accuracy,
        strict=values.strict,
    )
    skipped = reading.Skipped()
    figures: reading.Figures = numbers
    if values.merge:
        from kojuto.tools.report import reading as reports

        names = reports.paths(PROG, names)
        figures = reading.merge(numbers, names)
        if figures is not numbers:
            from kojuto.tools.percentile import reported

            reported.check(values)
        by = None if figures.by is None else os.fsdecode(figures.by)
        setattr(values, "by", by)  # noqa: B010
    else:
        names = infile.each_once(PROG, names)
        skipped = reading.read(numbers, names, strict=values.strict)
    fractions = [fraction for _, fraction in values.percentile_set]
    results = [
        reading.Result(index, row, values.by)
        for index, row in enumerate(figures.summaries(fractions))
    ]
    skipped.tell(PROG)
    printing.write(values, figures, results, skipped.bad, names)
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``percentile`` and return its exit status."""
    return cli.run(COMMAND, _work, argv, memory_hint=MEMORY_HINT)
