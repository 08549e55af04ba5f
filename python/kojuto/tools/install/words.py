"""What a shell may offer where a word of a command line is to come, and words in quotes."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.common.cli import Command, Option

FILE, DIRECTORY, HOST, COMMAND_LINE = "file", "directory", "host", "command line"


def of_value(option: Option) -> str | tuple[str, ...]:
    """The values of an option: one of the kinds above, or the words themselves (or none)."""
    if option.choices or option.offers:
        return tuple(option.choices or option.offers)
    if option.metavar is None:
        return ()
    called = set(re.findall(r"[A-Z]+", option.metavar))
    for kind, names in ((FILE, {"FILE", "PATH"}), (DIRECTORY, {"DIR"})):
        if called & names:
            return kind
    return HOST if option.metavar == "HOST" else ()


def of_arguments(command: Command) -> str | tuple[str, ...]:
    """The arguments that are no options, but for the names of commands: likewise."""
    named = command.positional or ""
    if command.runs_program:
        return COMMAND_LINE
    if {"FILE", "LOG", "PROGRAM"} & set(re.findall(r"[A-Z]+", named)):
        return FILE
    if "DIR" in named:
        return DIRECTORY
    return tuple(re.findall(r"\b[a-z]+\b", named))  # words that are typed as they stand


def takes_next(option: Option) -> bool:
    """Whether its value may be the next argument."""
    return option.metavar is not None and option.bare is None


def is_long(name: str) -> bool:
    """Whether it is a long name; ``-4`` and ``-l`` are short."""
    return name.startswith("--")


def quoted(text: str) -> str:
    """A word for bash and zsh, always in quotes: there are no others in what is written."""
    return "'" + text.replace("'", "'\\''") + "'"
