"""The manual page of a command: its options by the table of options, the rest by its prose."""

from __future__ import annotations

from kojuto import __version__
from kojuto.common import helptext
from kojuto.tools.install import roff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.common.cli import Command, Option
    from kojuto.tools.install.tree import Node

HEADINGS = (".SH", ".SS")


def page(node: Node, date: str) -> str:
    """The page.

    Args:
        node: a command with prose.
        date: what the page shows as its date, 2026-11-30.
    """
    with open(node.prose, encoding="utf-8") as file:
        begin, sections = roff.prose(file.read())
    below = list(node.sections())
    names = [roff.text(each.page) for each in (node, *below)]
    lines = [
        f'.TH {node.page.upper()} 1 {date} "kojuto {__version__}" "kojuto manual"',
        ".SH NAME",
        *roff.lines(f"{', '.join(names)} \\- {roff.text(node.about)}"),
        ".SH SYNOPSIS",
    ]
    for each in (node, *below):
        lines += _usage(each.command)
    lines += [".SH DESCRIPTION", *roff.lines(roff.text(node.command.summary)), ".PP", *begin]
    lines += [".SH OPTIONS", *_options(node.command, ".SS")]
    if below:
        lines.append(".SH COMMANDS")
    for each in below:
        lines += [f".SS {roff.text(each.name)}", *roff.lines(roff.text(each.command.summary))]
        lines += _options(each.command, ".PP")
    return "\n".join(_tidy([*lines, *sections])) + "\n"


def _tidy(lines: list[str]) -> list[str]:
    """Without the paragraphs that a heading or the next paragraph begins anyway."""
    followed = zip(["", *lines], lines, [*lines[1:], ""], strict=False)
    return [
        line
        for before, line, after in followed
        if line != ".PP" or not (before[:3] in HEADINGS or after[:3] in (".PP", *HEADINGS))
    ]


def _usage(command: Command) -> list[str]:
    return [
        ".PP",
        *roff.lines(rf"\fB{roff.text(command.prog)}\fR {roff.text(helptext.usage(command))}"),
    ]


def _options(command: Command, heading: str) -> list[str]:
    lines: list[str] = []
    for title, options in helptext.grouped(command).items():
        if lines or title != helptext.OPTIONS:
            lines += [f".SS {roff.text(title)}"] if heading == ".SS" else [".PP", roff.text(title)]
        for option in options:
            lines += [".TP", _head(option), *roff.lines(roff.text(helptext.about(option)))]
    return lines + (roff.literal(command.epilog.strip("\n")) if command.epilog else [])


def _head(option: Option) -> str:
    return helptext.head(
        option,
        lambda name: rf"\fB{roff.text(name)}\fR",
        lambda value: rf"\fI{roff.text(value)}\fR",
    )
