"""The page of a command for the site: its prose, with the options as tables."""

from __future__ import annotations

from kojuto.common import helptext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kojuto.common.cli import Command, Option
    from kojuto.tools.install.tree import Node

COMMANDS = "<!-- commands -->"
"""What the table of the commands takes the place of."""


def page_of(node: Node) -> str:
    """The page in Markdown.

    Args:
        node: a command with prose.
    """
    with open(node.prose, encoding="utf-8") as file:
        prose = file.read()
    begin, heading, sections = prose.partition("\n## ")
    parts = [f"# {node.name}", f"```text\n{_usage(node.command)}\n```", node.command.summary, begin]
    parts += ["## Options", *_options(node.command, "###")]
    for each in node.sections():
        parts += [f"## {each.name}", f"```text\n{_usage(each.command)}\n```", each.command.summary]
        parts += _options(each.command, "###")
    return "\n\n".join(part.strip("\n") for part in parts) + f"\n{heading}{sections}"


def _usage(command: Command) -> str:
    return f"{command.prog} {helptext.usage(command)}"


def _options(command: Command, heading: str) -> list[str]:
    parts: list[str] = []
    for title, options in helptext.grouped(command).items():
        if parts or title != helptext.OPTIONS:
            parts.append(f"{heading} {title}")
        rows = [f"| {_head(option)} | {_cell(helptext.about(option))} |" for option in options]
        parts.append("\n".join(["| option | meaning |", "| --- | --- |", *rows]))
    if command.epilog:
        parts.append("```text\n" + command.epilog.strip("\n") + "\n```")
    return parts


def _head(option: Option) -> str:
    return helptext.head(option, lambda name: f"`{name}`", lambda value: f"*{_cell(value)}*")


def _cell(text: str) -> str:
    """Plain text in a cell of a table, where nothing of it is Markdown or HTML."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, "\\" + character)
    return text.replace("\\<", "&lt;").replace("\\>", "&gt;")


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """For mkdocs, which calls it for each page (its `Page`): puts in what is generated."""
    from kojuto.tools.install import tree

    folder, _slash, name = page.file.src_uri.rpartition("/")
    if folder == "commands":
        return page_of(next(node for node in tree.pages() if f"{node.page}.md" == name))
    if name == "index.md" and not folder:
        return markdown.replace(COMMANDS, _table(tree.pages()))
    return markdown


def _table(nodes: list[Node]) -> str:
    rows = [f"| [{node.name}](commands/{node.page}.md) | {_cell(node.about)} |" for node in nodes]
    return "\n".join(["| command | what it is for |", "| --- | --- |", *rows])
