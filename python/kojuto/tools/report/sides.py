"""``--compare``: two sides read, compared and printed."""

from __future__ import annotations

import os
import sys

from kojuto.common import cli, terminal
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.report import compare, printing, reading, scanning
from kojuto.tools.report.columns import DEFAULT_PERCENTILES, TABLE_PERCENTILES
from kojuto.tools.report.options import PROG, TABLE_ROWS
from kojuto.tools.report.stores import Stored, is_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kojuto._native import ReportData
    from kojuto.common.cli import Values

    Scan = Callable[[Values, list[str]], ReportData]

MAGIC = b"KJREPORT"
OF_ONE_REPORT = ("merge", "save", "html", "sort", "reverse", "columns", "slowest", "plot")
"""Options that have no meaning for two sides."""
OUTPUTS = ("table", "markdown", "csv", "tsv", "json")


def check(values: Values, names: Sequence[str]) -> None:
    """Refuse what has no meaning for two sides.

    Raises:
        UsageError: an option, or another number of sides than two.
    """
    for name in OF_ONE_REPORT:
        if name in values.given:
            raise UsageError(f"--{name} cannot go with --compare", "it is for one report")
    if values.output not in OUTPUTS:
        hint = f"write any of {', '.join(OUTPUTS)}"
        raise UsageError(f"--output {values.output} cannot go with --compare", hint)
    if len(names) != 2:
        found = "nothing is named" if not names else f"{len(names)} are named"
        raise UsageError(
            f"--compare needs two sides, and {found}", f"{PROG} --compare before.log after.log"
        )


def work(values: Values, names: Sequence[str], scan: Scan) -> int:
    """Compare, print, and return the exit status.

    Args:
        values: the options.
        names: both sides, as they were written.
        scan: counts the lines of logs.
    """
    from kojuto._native import report_compare

    # Both sides may take hours to read.
    cli.stay(*(f"kojuto.tools.report.{name}" for name in ("document", "plain", "text", "times")))
    old, new = (_runs(side, values, scan) for side in names)
    percentiles = list(values.percentiles or DEFAULT_PERCENTILES)
    needed = list(dict.fromkeys([*percentiles, *TABLE_PERCENTILES]))
    try:
        found = report_compare(old, new, needed, values.fail_above)
    except ValueError as error:
        raise KojutoError(str(error), "make both sides with the same options") from None
    comparison = compare.Comparison(found, values.fail_above)
    for line in _lines(comparison, percentiles, values, old[0].facts()["zone_s"]):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()
    why = compare.words(comparison)
    if why is not None:
        cli.complain(PROG, why)
    return comparison.status()


def _lines(
    comparison: compare.Comparison, percentiles: list[float], values: Values, zone_s: int | None
) -> list[str]:
    zone = printing.zone(values, zone_s)
    if values.output in ("csv", "tsv"):
        limit = values.limit or 0
        return list(compare.plain(comparison, percentiles, values.output, limit=limit))
    if values.output == "json":
        from kojuto.tools.report.document import dumps

        limit = values.limit or 0
        found = compare.document(comparison, percentiles, zone, limit=limit)
        return [dumps(found, only_ascii=not terminal.shows_unicode())]
    limit = TABLE_ROWS if values.limit is None else values.limit
    if values.output == "markdown":
        above = [f"- {printing.plain(line)}" for line in compare.summary(comparison)]
        return [*above, "", *compare.markdown(comparison, limit=limit)]
    shown = compare.table(
        comparison,
        limit=limit,
        room=terminal.width(),
        colour=terminal.shows_colour(),
        unicode=terminal.shows_unicode(),
    )
    return [*compare.summary(comparison), "", *shown]


def _runs(side: str, values: Values, scan: Scan) -> list[ReportData]:
    """The runs of a side, each once: saved reports as they are, logs counted.

    A run that counts twice would be two that agree, and chance be taken for a change.
    """
    found = []
    known: dict[object, str] = {}
    for run in compare.runs(side, [side] if os.path.lexists(side) else []):
        paths = reading.paths(PROG, [run], known=known)
        if not paths:
            continue
        if not _is_saved(paths[0]):
            found.append(scan(values, paths))
            continue
        for name in scanning.OPTIONS:
            if name in values.given:
                option = "--" + name.replace("_", "-")
                raise UsageError(
                    f"{option} cannot go with a saved report ({reading.title(run)})",
                    "it has no lines to read",
                )
        found.append(reading.merged(paths))
    return found


def _is_saved(path: str) -> bool:
    """Whether a file is a saved report; standard input is a log."""
    if path == "-":
        return False
    if is_url(path):
        from kojuto.tools.report import parts

        return parts.begun(Stored(path).chunks(None))[0].startswith(MAGIC)
    # Nothing is taken out of a pipe.
    import stat

    if not stat.S_ISREG(os.stat(path).st_mode):
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC
