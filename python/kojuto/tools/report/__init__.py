"""``kojuto report``: which endpoints of access logs cost the most, and how they fare."""

from __future__ import annotations

import sys

from kojuto.common import cli
from kojuto.errors import UsageError
from kojuto.tools.report import scanning
from kojuto.tools.report.options import COMMAND, PROG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from kojuto._native import ReportData
    from kojuto.common.cli import Values

__all__ = ["COMMAND", "main"]


def _check(values: Values) -> None:
    """Refuse combinations that have no meaning."""
    for option, form in (("regex", "regex"), ("log_format", "log-format")):
        if getattr(values, option) is None:
            continue
        if "format" in values.given and values.format != form:
            raise UsageError(f"--{form} cannot go with --format {values.format}")
        setattr(values, "format", form)  # noqa: B010
    if values.format == "regex" and values.regex is None:
        raise UsageError("--format regex needs --regex PATTERN")
    if values.merge:
        for name in scanning.OPTIONS:
            if name in values.given:
                title = "--" + name.replace("_", "-")
                raise UsageError(
                    f"{title} cannot go with --merge", "a saved report has no lines to read"
                )
    if values.dask is not None and "jobs" in values.given:
        raise UsageError("--jobs cannot go with --dask", "the cluster has its own threads")
    if values.no_fold and "fold_above" in values.given:
        raise UsageError("--fold-above cannot go with --no-fold", "leave one of them out")
    for name in ("slowest", "plot"):
        if name in values.given and values.output in ("csv", "tsv", "arrow"):
            raise UsageError(
                f"--{name} cannot go with --output {values.output}", "it is for a table or markdown"
            )
    if values.plot and values.output in ("json", "html"):
        raise UsageError(f"--plot cannot go with --output {values.output}", "a plot is text")
    for name in ("sort", "reverse", "limit", "columns"):
        if name in values.given and values.output == "html":
            raise UsageError(
                f"--{name} cannot go with --output html",
                "the page has every endpoint, and sorts and filters where it is read",
            )
    if values.output == "arrow" and sys.stdout.isatty():
        raise UsageError("--output arrow would fill the terminal with bytes", "redirect it: > FILE")
    if values.html == "-":
        raise UsageError("--html needs a file", "--output html prints the page")
    if values.save == "-":
        if "output" in values.given or values.plot:
            raise UsageError(
                "--save - writes the report and nothing else", "give it a FILE instead"
            )
        if sys.stdout.isatty():
            raise UsageError("--save - would fill the terminal with bytes", "redirect it: > FILE")
    if {"columns", "sort"} & values.given and not (values.merge or values.compare):
        from kojuto.tools.report import printing

        printing.check_columns(values)
    if values.save is not None or values.html is not None:
        _check_files(values)


def _check_files(values: Values) -> None:
    """Refuse to write over what is not such a file: a log is soon named for one."""
    from kojuto.common import outfile

    if values.save is not None:
        outfile.must_be("--save", values.save, "saved report", (b"kjreport",))
    if values.html is not None:
        outfile.must_be("--html", values.html, "HTML page", (b"<!doctype html", b"<html"))


def _options(values: Values) -> dict[str, Any]:
    """The options of lines that were given."""
    return {
        name: getattr(values, name)
        for name in scanning.OPTIONS
        if getattr(values, name) is not None and (name in values.given or name == "format")
    }


def _scanned(values: Values, paths: list[str]) -> ReportData:
    """Count the lines of the logs, and tell what was found."""
    from kojuto.tools.report import telling

    options = _options(values)
    slowest = max(values.slowest or 0, scanning.KEPT_SLOWEST)
    data = scanning.scan_with_progress(PROG, paths, options, slowest=slowest)
    facts, total = data.facts(), data.total([])
    # A quiet host has a report, too: its old one would count again where all are merged.
    telling.refuse_nothing(
        paths, values.format, facts, total["count"], may_be_empty=values.save is not None
    )
    telling.tell(PROG, paths, facts, timed=bool(total["timed"]))
    telling.tell_absent(PROG, data, facts)
    return data


def _write_files(data: ReportData, values: Values) -> None:
    """The files that were asked for beside what is printed; neither is lost with the other."""
    from kojuto.common import outfile

    try:
        if values.save not in (None, "-"):
            outfile.write(values.save, data.to_bytes())
    finally:
        if values.html is not None:
            from kojuto.tools.report import printing

            outfile.write(values.html, printing.page_of(data, values))


def _work(values: Values, names: list[str]) -> int:
    _check(values)
    if values.follow:
        from kojuto.tools.report import follow

        return follow.work(values, names, _options(values))
    if "window" in values.given:
        raise UsageError("--window needs --follow", "--since -5m shows what is there of a log")
    if values.compare:
        from kojuto.tools.report import sides

        sides.check(values, names)
        return sides.work(values, names, _scanned)
    if values.fail_above is not None:
        raise UsageError("--fail-above needs --compare")
    if values.html is not None or values.output == "html":
        from kojuto.tools.report import page

        page.library.read()  # what is missing is told before a long log is read
        page.preload()
    from kojuto.tools.report import printing, reading, telling

    cli.stay(*printing.modules(values))
    paths = reading.paths(PROG, names)
    data = reading.merged(paths) if values.merge else _scanned(values, paths)
    status = telling.tell_failed(PROG, data.facts())
    try:
        if values.save == "-":
            sys.stdout.buffer.write(data.to_bytes())
        else:
            printing.write(data, values)
        sys.stdout.flush()
    finally:  # all are results: none is lost with another
        if values.save is not None or values.html is not None:
            _write_files(data, values)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``kojuto report`` and return its exit status."""
    told: list[int | None] = []

    def work(values: Values, names: list[str]) -> int:
        told[:] = [None] if values.compare else []
        status = _work(values, names)
        if told:
            told[0] = status
        return status

    status = cli.run(COMMAND, work, argv)
    # With --compare 1 is an endpoint that is slower: nothing that failed is to be taken for one.
    is_error = bool(told) and status == cli.FAILED and told[0] != status
    return cli.USAGE if is_error else status
