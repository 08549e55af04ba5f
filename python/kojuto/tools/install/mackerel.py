"""Fragments of mackerel-agent.conf for the plugins, and links to them."""

from __future__ import annotations

import os

from kojuto.tools.install.place import File, link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.tools.install.tree import Node

FOLDER = "etc/mackerel-agent/conf.d"
KERNEL_READS = 255
"""Bytes of a script's first line (BINPRM_BUF_SIZE of linux/binfmts.h, with a NUL)."""
EXAMPLES = {
    "axslog": ["--logfile", "/var/log/nginx/access.log", "--format", "auto", "--key-prefix", "web"],
    "log-incr-rate": [
        "--log-file", "/var/log/nginx/error.log", "--base-log-file", "/var/log/nginx/access.log",
        "--key-prefix", "web",
    ],
    "postfix-log": ["--logfile", "/var/log/mail.log"],
    "pinging": ["--host", "192.0.2.1=gateway"],
    "linux-process-status": ["--unit", "nginx", "--key-prefix", "nginx"],
}  # fmt: skip
"""Arguments of the plugins, by their names without ``mackerel-plugin-``."""
FRAGMENT = """\
# {name}: {about}
#
# mackerel-agent reads this when its configuration says
#   include = "{folder}/*.conf"
# Take the # off below, and say what is to be measured; 'man {name}' has all options.

# [plugin.metrics.{short}]
# command = {command}
"""


def files(programs: list[Node], prefix: str, folder: str) -> list[File]:
    """The fragments, and the links where the programs are elsewhere.

    Args:
        programs: all commands.
        prefix: below what is installed.
        folder: where the programs are.
    """
    from json import dumps  # of strings and lists of them it writes what TOML reads

    found = []
    for node in programs:
        short = node.name.removeprefix("mackerel-plugin-")
        if short == node.name:
            continue
        own = os.path.join(prefix, "bin")
        program = os.path.join(folder, node.name)
        if _starts(program):
            called = [os.path.join(own, node.name)]
        else:
            called = [os.path.join(folder, "kojuto"), node.name]
        fragment = FRAGMENT.format(
            name=node.name,
            about=node.about,
            folder=os.path.join(prefix, FOLDER),
            short=short,
            command=dumps([*called, *EXAMPLES[short]], ensure_ascii=False),
        )
        found.append(File(f"{FOLDER}/kojuto-{short}.conf", fragment, "#"))
        if len(called) == 1 and os.path.realpath(own) != os.path.realpath(folder):
            found.append(link(f"bin/{node.name}", program))
    return found


def _starts(program: str) -> bool:
    """Whether the agent, which asks no shell, can start a launcher by its first line.

    The kernel ends the interpreter's name at a blank (docs/install.md), and reads 255 bytes; pip
    gives its own scripts, of which ``kojuto`` is one, another first line then.
    """
    try:
        with open(program, "rb") as file:
            first = file.readline(KERNEL_READS + 1)
    except OSError:
        return True  # it is not there: what is to be, by its name
    words = first.removeprefix(b"#!").split()
    return not first.startswith(b"#!") or (first.endswith(b"\n") and os.path.exists(words[0]))
