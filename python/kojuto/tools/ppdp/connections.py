"""``ppdp connections``: what a running ppdp has open."""

from __future__ import annotations

from kojuto.common import cli, terminal
from kojuto.common.cli import Command, Option, Values
from kojuto.common.server import ask, listen
from kojuto.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PATH = "/connections"

COMMAND = Command(
    "ppdp connections",
    "Lists the open connections of a running ppdp, the oldest first.",
    [
        Option(
            "--metrics-listen",
            metavar="ADDRESS",
            read=listen.address,
            required=True,
            help="ask the ppdp that was started with this",
        ),
        ask.JSON,
    ],
    epilog="""
READ are bytes from the client, WRITE bytes to it; IDLE is the time without either. USER and DB are
known with --dump-mysql.

Examples:
  ppdp connections --metrics-listen 127.0.0.1:9100
  ppdp connections --metrics-listen 127.0.0.1:9100 --json | jq '.connections | length'
""",
)


def run(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    return cli.run(COMMAND, _work, argv)


def _work(values: Values, arguments: list[str]) -> int:
    if arguments:
        raise UsageError(f"{arguments[0]}: unexpected argument", "see ppdp connections --help")
    found = ask.ask(values.metrics_listen, PATH, "connections", "ppdp")
    if values.json:
        print(terminal.json_text(found, indent=2))
    else:
        print("\n".join(_table(found["connections"])))
    return cli.DONE


def _table(connections: Sequence[dict[str, Any]]) -> list[str]:
    logins = any("user" in one for one in connections)
    heads = ["STATE", "AGE", "IDLE", "READ", "WRITE", "CLIENT", "LISTENER", "UPSTREAM"]
    rows = [heads + ["USER", "DB"] * logins]
    for one in connections:
        row = [
            one["state"],
            _time(one["age_s"]),
            _time(one["idle_s"]) if "idle_s" in one else "-",
            str(one["read_bytes"]),
            str(one["write_bytes"]),
            one["client"],
            one["listener"],
            one.get("upstream", "-"),
        ]
        rows.append(row + [one.get("user", "-"), one.get("db", "-")] * logins)
    return ask.table(rows, right=range(1, 5))


def _time(seconds: float) -> str:
    """Two units at most: ``0.3s``, ``7m05s``, ``3h20m``, ``12d07h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02}m"
    return f"{whole // 86400}d{whole // 3600 % 24:02}h"
