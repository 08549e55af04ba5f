"""``kojuto install``: what pip does not put where the system looks for it."""

from __future__ import annotations

import os
import sys

from kojuto.common import cli
from kojuto.common.cli import Command, Option, Values, complain
from kojuto.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto.tools.install.place import File

COMMAND = Command(
    "kojuto install",
    "Puts manual pages, shell completions, units of systemd and fragments of configurations below "
    "DIR, and prints the name of each file. DIR is /usr/local for root, and ~/.local for others, "
    "when it is left out.",
    [
        Option("--man", help="the manual pages"),
        Option("--completion", help="what completes command lines in bash, zsh and fish"),
        Option(
            "--systemd",
            help="a service and a socket for each server; nothing is enabled or started",
        ),
        Option(
            "--mackerel",
            help="for each plugin a fragment of mackerel-agent.conf, commented out, and a link to "
            "it in DIR/bin",
        ),
        Option("--nginx", help="fragments of nginx's configuration, for those who include them"),
        Option("--force", help="replace files that are not ours, or were changed, too"),
        Option("--dry-run", help="print the names of the files and write nothing"),
    ],
    positional="[DIR]",
    epilog="""
Without any of them it is --man and --completion.

Examples:
  kojuto install
  kojuto install --completion ~/.local
  kojuto install --systemd --nginx /usr/local
""",
)


def _man(_: str) -> list[File]:
    """The manual pages, and a link for each command that is a section of another's page."""
    from kojuto.tools.install import man, tree
    from kojuto.tools.install.place import File, link

    files = []
    for node in tree.pages():
        files.append(File(f"share/man/man1/{node.page}.1", man.page(node, _date()), '.\\"'))
        others = (f"share/man/man1/{each.page}.1" for each in node.sections())
        files += [link(path, f"{node.page}.1") for path in others]
    return files


def _completion(_: str) -> list[File]:
    from kojuto.tools.install import bash, fish, tree, zsh
    from kojuto.tools.install.place import File, link

    programs = tree.programs()
    behind = tree.behind_kojuto(programs)
    first, *others = programs
    folder = "share/bash-completion/completions"
    files = [File(f"{folder}/{first.name}", bash.script(programs, behind), "#")]
    files += [link(f"{folder}/{node.name}", first.name) for node in others]
    files.append(File("share/zsh/site-functions/_kojuto", zsh.script(programs, behind), "#"))
    for node in programs:
        text = fish.script(node, behind if node is first else {})
        files.append(File(f"share/fish/vendor_completions.d/{node.name}.fish", text, "#"))
    return files


def _systemd(_: str) -> list[File]:
    from kojuto.tools.install import systemd, tree

    folder = _programs()
    for what, where, path in (
        ("the programs are", folder, os.path.join(folder, "ppdp")),
        ("their modules are", os.path.dirname(__file__), __file__),
        ("their Python is", sys.base_prefix, os.__file__),
    ):
        hidden = systemd.unseen(path)
        if hidden is not None:
            complain(COMMAND.prog, f"warning: {what} in {where}, and {hidden[0]}", hidden[1])
    known = systemd.version() >= systemd.NOTIFY_RELOAD
    return systemd.units(tree.programs(), folder, notify_reload=known)


def _mackerel(prefix: str) -> list[File]:
    from kojuto.tools.install import mackerel, tree

    return mackerel.files(tree.programs(), prefix, _programs())


def _nginx(prefix: str) -> list[File]:
    from kojuto.tools.install import nginx, tree

    return nginx.files(tree.programs(), prefix)


MAKERS = {
    "man": _man,
    "completion": _completion,
    "systemd": _systemd,
    "mackerel": _mackerel,
    "nginx": _nginx,
}
"""By option, what makes its files for a prefix."""


def _scripts() -> str:
    """Where pip puts the commands."""
    import sysconfig

    return sysconfig.get_path("scripts")


def _programs() -> str:
    """The folder of the commands: that of this one, else where pip puts them.

    A folder such as /usr/local/bin may have links to some of them alone.
    """
    from kojuto.commands import COMMANDS

    called = os.path.abspath(sys.argv[0])
    usual = _scripts()
    for folder in (*map(os.path.dirname, (called, os.path.realpath(called))), usual):
        if all(os.path.exists(os.path.join(folder, name)) for name in COMMANDS):
            return folder
    complain(
        COMMAND.prog,
        f"warning: the programs are not in {usual}, which the files name",
        "run the kojuto that pip put beside them; one that is a single file (pex, shiv) has none",
    )
    return usual


def _date() -> str:
    """The date of the pages: SOURCE_DATE_EPOCH, else when this version was installed."""
    import time

    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(epoch) if epoch.isascii() and epoch.isdigit() else os.stat(__file__).st_mtime
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _work(values: Values, arguments: list[str]) -> int:
    if len(arguments) > 1:
        raise UsageError(f"{arguments[1]}: unexpected argument", "there is one DIR")
    folder = arguments[0] if arguments else ("/usr/local" if os.getuid() == 0 else "~/.local")
    if not folder:
        raise UsageError("DIR is empty", "a variable that is not set?")
    from kojuto.tools.install import place

    folder = os.path.abspath(os.path.expanduser(folder))
    asked = [name for name in MAKERS if getattr(values, name)] or ["man", "completion"]
    files = [file for name in asked for file in MAKERS[name](folder)]
    untold: OSError | None = None
    for path in place.put(files, folder, force=values.force, dry_run=values.dry_run):
        untold = untold or _tell(path)
    if untold is not None:
        raise untold
    return cli.DONE


def _tell(path: str) -> OSError | None:
    """Print it; a failure is for later, so that all files are put in their places."""
    try:
        print(path, flush=True)
    except OSError as error:
        return error
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``kojuto install`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)
