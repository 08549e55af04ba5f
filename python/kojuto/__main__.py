"""``kojuto``: lists the commands and runs any of them as ``kojuto NAME …``."""

from __future__ import annotations

import sys

from kojuto import commands
from kojuto.common import cli
from kojuto.common.cli import Command, Values
from kojuto.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "kojuto",
    "The toolbox of a site-reliability engineer. Without arguments it lists the commands; "
    "'kojuto NAME …' runs the command NAME.",
    [],
    positional="NAME …",
    usage="[NAME [argument …]]",
    stop_at_positional=True,
    commands={
        "report": "kojuto.tools.report:COMMAND",
        "install": "kojuto.tools.install:COMMAND",
        "demo": "kojuto.demo:COMMAND",
    },
)


def _list() -> str:
    from kojuto.common.helptext import row, text_width, wrap

    width = text_width()
    left = max(map(len, commands.COMMANDS)) + 4
    rows = [row(f"  {name}", about, width, left) for name, (_, about) in commands.COMMANDS.items()]
    return "\n".join(
        [
            wrap("Commands (each is installed under its own name too):", width),
            "",
            *rows,
            "",
            wrap(
                "'kojuto NAME --help' shows how to use one, where NAME may be short: axslog, "
                "pinging, process-status. 'kojuto report LOG' tells which endpoints of an access "
                "log cost the most; 'kojuto demo' shows axslog and the report at work.",
                width,
            ),
        ]
    )


def _work(_: Values, arguments: list[str]) -> int:
    if not arguments:
        print(_list())
        return cli.DONE
    name, *rest = arguments
    if name in COMMAND.commands:
        from importlib import import_module

        return int(import_module(COMMAND.commands[name].partition(":")[0]).main(rest))
    found = commands.find(name)
    if found is None:
        near = commands.like(name)
        hint = f"did you mean {near}?" if near else "'kojuto' lists the commands"
        raise UsageError(f"{name}: no such command", hint)
    return commands.load(found)(rest)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``kojuto`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
