"""What a report says on standard error: what was taken as what, which lines it could not read."""

from __future__ import annotations

from kojuto.common import cli
from kojuto.errors import UsageError
from kojuto.tools.report.columns import text_of
from kojuto.tools.report.reading import title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SHOWN_CHARS = 300
"""Of a bad line."""
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
    cli.complain(prog, f"read as {found_in(facts)}")
    bad = sum(facts["bad"].values())
    if bad:
        cli.complain(prog, f"{_lines(bad)} not counted ({_reasons(facts)}){_first(facts)}")
    if not timed:
        cli.complain(
            prog, f"no line of {_names(names)} has the time taken; sorted by count", ADD_TIMES
        )


def refuse_nothing(names: Sequence[str], form: str, facts: Mapping[str, Any]) -> None:
    """Refuse logs of which no line could be read.

    Raises:
        UsageError: there is none; the first line and the formats that were tried are named.
    """
    if facts["lines"]:
        return
    if not facts["bad"]:
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
