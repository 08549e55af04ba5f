"""``--explain``: what each field of a line is taken as, and whether the line counts."""

from __future__ import annotations

import os

from kojuto.common import cli
from kojuto.common.streams import print_whole, take
from kojuto.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import AccessLine, _AccessOptions
    from kojuto.common.cli import Values

MOST_BYTES = 1 << 20
"""What is read of standard input."""
MOST_SHOWN = 200
"""Of a text."""


def explain(values: Values, options: _AccessOptions) -> int:
    """Explain the line of ``--explain``, or those of standard input, and return the exit status."""
    from kojuto._native import explain_access_lines

    lines = os.fsencode(values.explain) if values.explain != "-" else _standard_input()
    try:
        found = explain_access_lines(lines + b"\n", options)
    except ValueError as error:
        raise UsageError(str(error)) from None
    print_whole("\n".join(_text(values, line) for line in found).removesuffix("\n"))
    return cli.DONE


def _standard_input() -> bytes:
    data = b""
    while len(data) < MOST_BYTES and (more := take(0, MOST_BYTES - len(data))):
        data += more
    return data.removesuffix(b"\n")


def _text(values: Values, found: AccessLine) -> str:
    about = [("line", _shown(found.line))]
    if found.envelope:
        about.append(("taken out of", found.envelope))
    about.append(("format", found.format + (" (found)" if values.format == "auto" else "")))
    about += [(f"  {_shown(name) or '(no name)'}", _field(values, found, text, role))
              for name, text, role in found.fields]  # fmt: skip
    about.append(_verdict(values, found))
    width = max(len(name) for name, _ in about[1:])
    return "".join(f"{name:{width}}  {text}".rstrip() + "\n" for name, text in about)


def _field(values: Values, found: AccessLine, text: bytes, role: str | None) -> str:
    shown = _shown(text)
    if role == "status":
        return f"{shown}  <- the status"
    if role == "group":
        return f"{shown}  <- the group of --by {values.by}"
    if role == "time":
        unit = f", unit: {found.unit}" if found.unit else ", which is no number"
        return f"{shown}  <- the time taken{unit}"
    return shown


def _verdict(values: Values, found: AccessLine) -> tuple[str, str]:
    if found.status is not None:
        name = "499" if found.status == 499 else f"{found.status // 100}xx"
        known = name if 100 <= found.status < 600 else "any other status"
        time = "without a time" if found.seconds is None else f"with {found.seconds:g} s"
        return "counts", f"as {known}, {time}"
    if found.reason is None:
        left_out = "with" if values.invert_filter else "without"
        return "does not count", f"--filter leaves out lines {left_out} {values.filter!r}"
    time_key, *status_keys = map(_shown, found.keys)
    if found.reason == "no time taken":
        return "does not count", f"no time taken: no field is called {time_key} (--ptime-key)"
    if found.reason == "no status":
        names = " or ".join(status_keys)
        return "does not count", f"no status: no field is called {names} (--status-key)"
    return "does not count", found.reason


def _shown(text: bytes) -> str:
    """A text on one line, with what a terminal would obey made visible, cut short."""
    whole = cli.one_line(text[:MOST_SHOWN].decode(errors="backslashreplace"))
    return whole + ("…" if len(text) > MOST_SHOWN else "")
