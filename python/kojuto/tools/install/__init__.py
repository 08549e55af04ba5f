"""``kojuto install``: manual pages and completions, where the system looks for them."""

from __future__ import annotations

import os

from kojuto.common import cli
from kojuto.common.cli import Command, Option, Values
from kojuto.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto.tools.install.place import File

COMMAND = Command(
    "kojuto install",
    "Puts the manual pages and the shell completions of all commands below DIR, where man, bash, "
    "zsh and fish look for them, and prints the name of each file. DIR is /usr/local for root, and "
    "~/.local for others, when it is left out.",
    [
        Option("--man", help="the manual pages"),
        Option("--completion", help="what completes command lines in bash, zsh and fish"),
        Option("--force", help="replace files that are not ours, or were changed, too"),
        Option("--dry-run", help="print the names of the files and write nothing"),
    ],
    positional="[DIR]",
    epilog="""
Without --man and --completion it is both.

Examples:
  kojuto install
  kojuto install --completion ~/.local
""",
)


def _man() -> list[File]:
    """The manual pages, and a link for each command that is a section of another's page."""
    from kojuto.tools.install import man, tree
    from kojuto.tools.install.place import File, link

    files = []
    for node in tree.pages():
        files.append(File(f"share/man/man1/{node.page}.1", man.page(node, _date()), '.\\"'))
        others = (f"share/man/man1/{each.page}.1" for each in node.sections())
        files += [link(path, f"{node.page}.1") for path in others]
    return files


def _completion() -> list[File]:
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

    both = not (values.man or values.completion)
    files = _man() if values.man or both else []
    files += _completion() if values.completion or both else []
    folder = os.path.abspath(os.path.expanduser(folder))
    print("\n".join(place.put(files, folder, force=values.force, dry_run=values.dry_run)))
    return cli.DONE


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``kojuto install`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)
