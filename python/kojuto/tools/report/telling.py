"""What a report says on standard error: what was taken as what, which lines it could not read."""

from __future__ import annotations

from kojuto.common import cli
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.report.columns import rows_of, text_of
from kojuto.tools.report.reading import title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from kojuto._native import ReportData

SHOWN_CHARS = 300
"""Of a bad line."""
SAVED = b"KJREPORT"
"""How a saved report begins."""
ROLES = {"request_time": "time taken", "uri": "path", "time": "when"}
"""How those roles of keys are called whose names do not say it."""
ADD_TIMES = (
    "nginx: put rt=$request_time at the end of log_format; Apache: put rt=%Dus at the end of "
    "LogFormat"
)


def found_in(facts: Mapping[str, Any]) -> str:
    """What was found: ``json in docker; status: status, time taken: duration in ms``."""
    inside = f" in {facts['envelope']}" if facts["envelope"] else ""
    keys = [
        f"{ROLES.get(role, role)}: {text_of(key)}{f' in {unit}' if unit else ''}"
        for role, (key, unit) in facts["keys"].items()
    ]
    return f"{facts['format']}{inside}" + (f"; {', '.join(keys)}" if keys else "")


def tell(prog: str, names: Sequence[str], facts: Mapping[str, Any], *, timed: bool) -> None:
    """Say what the lines were taken as, which were bad, and what is missing."""
    if not facts["lines"] and not facts.get("failed"):
        cli.complain(prog, f"{_names(names)}: no lines")
    if facts["format"] is None:
        return  # nothing was read
    cli.complain(prog, f"read as {found_in(facts)}")
    bad = sum(facts["bad"].values())
    if bad:
        cli.complain(prog, f"{_lines(bad)} not counted ({_reasons(facts)}){_first(facts)}")
    left_out = facts["left_out"]
    if left_out and left_out == facts["lines"] - bad:
        none = f"none of {_lines(left_out)} of {_names(names)} is one that was asked for"
        cli.complain(prog, none, "are --since, --until and --where as meant?")
    elif not timed:
        cli.complain(
            prog, f"no line of {_names(names)} has the time taken; sorted by count", ADD_TIMES
        )


def tell_absent(prog: str, data: ReportData, facts: Mapping[str, Any]) -> None:
    """Say which keys of ``--group-by`` no line has: they may be typed wrong."""
    keys = facts.get("group_by") or ()
    rows = rows_of(data, [], keys) if keys else []
    for key in keys:
        if rows and all(row[key] in ("", "-") for row in rows):
            cli.complain(prog, f"no line has a value for {key!r} of --group-by", "is it spelt so?")


def tell_failed(prog: str, facts: Mapping[str, Any]) -> int:
    """Name the logs that could not be read, and return the exit status.

    Raises:
        KojutoError: none of them could.
    """
    failed: Sequence[tuple[str, str]] = facts.get("failed") or ()
    messages = [f"{name}: {why}" if name not in why else why for name, why in failed]
    if failed and not facts["lines"]:
        raise KojutoError(messages[0])
    for message in messages:
        cli.complain(prog, f"error: {message}; the others are reported")
    return cli.FAILED if failed else cli.DONE


def refuse_nothing(
    names: Sequence[str],
    form: str,
    facts: Mapping[str, Any],
    counted: int,
    *,
    may_be_empty: bool = False,
) -> None:
    """Refuse logs of which no line could be read, and saved reports.

    Args:
        names: the logs.
        form: the format that was asked for.
        facts: what was found.
        counted: the lines that were counted.
        may_be_empty: logs without a line are a report, too.

    Raises:
        UsageError: there is none; the first line and the formats that were tried are named.
    """
    if (facts["first_bad"] or b"").startswith(SAVED):
        one = "it is" if len(names) == 1 else "one of them is"
        raise UsageError(f"{_names(names)}: {one} a saved report", "--merge FILE … reads those")
    if counted or facts.get("left_out") or facts.get("failed"):
        return
    if not facts["bad"]:
        if may_be_empty:
            return
        raise UsageError(f"{_names(names)}: no lines", "take a log with some lines in it")
    tried = (
        "tried: JSON, LTSV, combined and the forms of docs/formats.md; --log-format and --regex "
        "tell of any other"
        if form == "auto"
        else f"tried: {form}; --format auto finds out"
    )
    bad = sum(facts["bad"].values())
    message = f"{_names(names)}: none of {_lines(bad)} can be read ({_reasons(facts)})"
    raise UsageError(message + _first(facts), tried)


def _lines(count: int) -> str:
    return f"{count:,} line{'s' * (count != 1)}"


def _names(names: Sequence[str]) -> str:
    return title(names[0]) if len(names) == 1 else f"{len(names):,} files"


def _reasons(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{reason}: {count:,}" for reason, count in facts["bad"].items())


def _first(facts: Mapping[str, Any]) -> str:
    line = facts["first_bad"]
    if line is None:
        return ""
    text = text_of(line)
    return f"; the first: '{text[:SHOWN_CHARS]}{'…' if len(text) > SHOWN_CHARS else ''}'"
