"""The text of ``--help``, made from the table of options; loaded only when it is shown."""

from __future__ import annotations

from shutil import get_terminal_size
from textwrap import fill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kojuto.common.command import Command, Option

WIDEST, NARROWEST = 98, 18
"""The columns of text in the widest and the narrowest terminal."""
BESIDE = 58
"""From this width on the explanations stand beside the options, below them otherwise."""
LEFT, BELOW = 28, 6
"""The columns before an explanation: beside its option, or below it."""
OPTIONS = "Options"
"""The heading of those that have no group."""


def text_width() -> int:
    """Columns for text on this terminal (COLUMNS wins), two less than it has."""
    return min(max(get_terminal_size().columns - 2, NARROWEST), WIDEST)


def wrap(text: str, width: int, first: str = "", rest: str = "") -> str:
    """`text` in lines of at most `width`, cut between words only.

    Args:
        text: one paragraph.
        width: columns; a word that is wider has a line of its own.
        first: what the first line begins with.
        rest: what all others begin with.
    """
    return fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def row(head: str, text: str, width: int, left: int = LEFT) -> str:
    """A line of a list: what it is, and beside or below that what it does.

    Args:
        head: the name with its indentation.
        text: the explanation.
        width: columns.
        left: where the explanations begin when there is room beside the heads.
    """
    if width < BESIDE:
        indent = " " * BELOW
        return wrap(head.strip(), width, "  ", indent) + "\n" + wrap(text, width, indent, indent)
    body = wrap(text, width, " " * left, " " * left)
    return head.ljust(left) + body[left:] if len(head) < left - 1 else head + "\n" + body


def help_text(command: Command) -> str:
    """The help of a command for this terminal."""
    width = text_width()
    lines = [
        wrap(f"Usage: {command.prog} {usage(command)}", width, rest=" " * BELOW),
        "",
        wrap(command.summary, width),
    ]
    for heading, options in grouped(command).items():
        lines += ["", wrap(f"{heading}:", width)]
        lines += [row(_head(option), about(option), width) for option in options]
    if command.epilog:
        lines += ["", command.epilog.strip("\n")]
    return "\n".join(lines)


def usage(command: Command) -> str:
    """The usage line without the name."""
    if command.usage is not None:
        return command.usage
    required = [f"{o.title} {o.metavar}" for o in command.options if o.required]
    return " ".join([*required, "[options]", *([command.positional] if command.positional else [])])


def grouped(command: Command) -> dict[str, list[Option]]:
    """The options by their headings, in the order of the help."""
    groups: dict[str, list[Option]] = {}
    for option in command.options:
        groups.setdefault(option.group or OPTIONS, []).append(option)
    return groups


def head(option: Option, name: Callable[[str], str], value: Callable[[str], str]) -> str:
    """The names and the value of an option as a help, a manual or a page shows them.

    Args:
        option: the option.
        name: how a name is written there.
        value: how what stands for the value is.
    """
    names = ", ".join(map(name, option.names))
    if option.metavar is None:
        return names
    called = value(option.metavar)
    return f"{names}[={called}]" if option.bare is not None else f"{names} {called}"


def _head(option: Option) -> str:
    """That of the help, aligned where there is no short name."""
    indent = "      " if option.names[0].startswith("--") else "  "
    return indent + head(option, str, str)


def about(option: Option) -> str:
    """What an option does, its choices where the text does not name them, its default."""
    text = option.help
    if option.choices and not any(choice in text for choice in option.choices):
        text += f" ({', '.join(option.choices)})"
    if option.repeat:
        text += "; repeatable"
    if option.default:
        default = option.default
        text += f" (default: {default if isinstance(default, str) else ', '.join(default)})"
    return text
