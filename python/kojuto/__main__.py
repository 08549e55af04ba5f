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
)


def _list() -> str:
    width = max(map(len, commands.COMMANDS), default=0)
    rows = [f"  {name:{width}}  {about}" for name, (_, about) in commands.COMMANDS.items()]
    return "\n".join(
        [
            "Commands (each is installed under its own name too):",
            "",
            *rows,
            "",
            "'kojuto NAME --help' shows how to use one; 'kojuto demo' shows axslog at work.",
        ]
    )


def _work(_: Values, arguments: list[str]) -> int:
    if not arguments:
        print(_list())
        return cli.DONE
    name, *rest = arguments
    if name == "demo":
        from kojuto import demo

        return demo.main(rest)
    if name not in commands.COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, [*commands.COMMANDS, "demo"], n=1)
        hint = f"did you mean {near[0]}?" if near else "'kojuto' lists the commands"
        raise UsageError(f"{name}: no such command", hint)
    return commands.load(name)(rest)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``kojuto`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
