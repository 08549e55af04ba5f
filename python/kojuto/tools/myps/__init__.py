"""``myps``: grep, kill and watch the threads of a MySQL or MariaDB server."""

from __future__ import annotations

import sys

from kojuto.common import cli
from kojuto.common.cli import Command, Values
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "myps",
    "Like pgrep and pkill for the threads of a MySQL or MariaDB server: grep lists those that "
    "match, kill ends them, blockers tells who waits for whom, top shows them live.",
    [],
    usage="{grep | kill | blockers | top} [options] [INFO]",
    positional="COMMAND …",
    stop_at_positional=True,
    commands={
        "grep": "kojuto.tools.myps.options:GREP",
        "kill": "kojuto.tools.myps.options:KILL",
        "blockers": "kojuto.tools.myps.options:BLOCKERS",
        "top": "kojuto.tools.myps.options:TOP",
    },
    epilog="""
Commands:
  grep      list the threads that match
  kill      list them, ask, and kill those that still run the same statement
  blockers  who waits for whom, by row locks and metadata locks
  top       a live view: sort, filter, kill

'myps COMMAND --help' shows the options. Examples:
  myps grep --time 10 --info 'select%'
  myps kill --time 60 --user app --query-only
  myps kill --blockers --time 60
  myps kill --time 60 --user app --yes --interval 5s --run-time 10m --log /var/log/myps.ltsv
""",
)


_FILTERS = ("time", "user", "host", "db", "command", "state", "info")


def _work(_: Values, arguments: list[str]) -> int:
    from kojuto.tools.myps import options

    name, *rest = arguments or [""]
    command = {
        "grep": options.GREP, "kill": options.KILL, "blockers": options.BLOCKERS,
        "top": options.TOP,
    }.get(name)  # fmt: skip
    if command is None:
        text = f"{name}: no such command" if name else "no command given"
        raise UsageError(text, "myps grep, myps kill, myps blockers or myps top")
    return cli.run(command, lambda values, words: _run(name, values, words), rest)


def _run(name: str, values: Values, arguments: list[str]) -> int:
    """Do what the command says.

    Args:
        name: a key of the commands.
        values: its options.
        arguments: the statement to look for, or nothing.

    Raises:
        KojutoError: it failed.
    """
    if name == "blockers":
        from kojuto.tools.myps.blockers import blockers

        return blockers(values)
    if len(arguments) > 1:
        raise UsageError(f"{arguments[1]}: unexpected argument", "put the statement in quotes")
    if arguments and values.info is None:
        setattr(values, "info", arguments[0])  # noqa: B010
    if name == "top":
        from kojuto.tools.myps.top import top

        return top(values)
    blocking = name == "kill" and values.blockers
    if not blocking and all(getattr(values, filter_) is None for filter_ in _FILTERS):
        raise KojutoError(
            "no matching criteria specified", f"try 'myps {name} --help' for more information"
        )
    if name == "kill":
        from kojuto.tools.myps.kill import kill

        return kill(values)
    from kojuto.tools.myps.grep import grep

    return grep(values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``myps`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
