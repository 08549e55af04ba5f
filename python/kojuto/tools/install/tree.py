"""Every command with its own commands, as the manual and the shells need them.

A command with a page of prose (``kojuto/manual/NAME.md``) has a page of the manual; one without is
a section of the page of the command that it belongs to.
"""

from __future__ import annotations

import os

from kojuto import commands
from kojuto.common.cli import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PROSE = os.path.join(os.path.dirname(commands.__file__), "manual")


class Node:
    """A command, what it is for in some words, and the commands that it has."""

    def __init__(self, command: Command, about: str = "") -> None:
        self.command = command
        self.name = command.prog
        self.about = about or first_sentence(command.summary)
        self.nodes = {word: Node(_command(where)) for word, where in command.commands.items()}

    @property
    def page(self) -> str:
        """The name of its page: ``kojuto-report``, ``deteco-check``."""
        return self.name.replace(" ", "-")

    @property
    def prose(self) -> str:
        """The file of its prose, which only a command with a page has."""
        return os.path.join(PROSE, f"{self.page}.md")

    def all(self) -> Iterator[Node]:
        """It and all below it."""
        yield self
        for node in self.nodes.values():
            yield from node.all()

    def sections(self) -> Iterator[Node]:
        """The commands below it that have no page of their own."""
        for node in self.nodes.values():
            if not os.path.exists(node.prose):
                yield node
                yield from node.sections()


def first_sentence(text: str) -> str:
    """Its first sentence, or what stands before a colon, without the full stop."""
    ends = [text.find(mark) for mark in (". ", ": ")]
    return text[: min((end for end in ends if end >= 0), default=len(text))].rstrip(".")


def _command(where: str) -> Command:
    from importlib import import_module

    module, _, name = where.partition(":")
    command = getattr(import_module(module), name)
    assert isinstance(command, Command)
    return command


def programs() -> list[Node]:
    """What is installed under a name of its own: ``kojuto`` and the commands."""
    found = [Node(_command("kojuto.__main__:COMMAND"), "the toolbox: lists and runs the commands")]
    found += [Node(_command(f"{m}:COMMAND"), about) for m, about in commands.COMMANDS.values()]
    return found


def pages() -> list[Node]:
    """The commands that have a page."""
    return [node for each in programs() for node in each.all() if os.path.exists(node.prose)]


def behind_kojuto(nodes: list[Node]) -> dict[str, Node]:
    """What may follow the word ``kojuto``, short names of plugins too, and what it means."""
    kojuto, *others = nodes
    names = dict(kojuto.nodes)
    for node in others:
        for prefix in commands.PREFIXES:
            if node.name.startswith(prefix):
                names[node.name.removeprefix(prefix)] = node
    return names
