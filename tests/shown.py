"""The command lines that documents and helps show."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from kojuto.tools.install import tree
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kojuto.common.cli import Command

PROGRAMS = {node.name: node for node in tree.programs()}
BEHIND = tree.behind_kojuto(list(PROGRAMS.values()))
CONTROL = {";", "&", "&&", "|", "||", "(", ")", "$(", "do", "then", "{", "\n"}
BEFORE = {"exec", "--", "$h", "sudo", "do"}
"""Words behind which a command of ours begins, too."""

PICTURE = re.compile(r"myps top  \d\d:\d\d:\d\d  ")
"""The first line of a picture of ``myps top``, which begins as a command does."""


class Line(NamedTuple):
    """A line as one would type it."""

    where: str
    text: str


def documents() -> dict[str, str]:
    """The texts, by what they are called."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    files += sorted((ROOT / "docs/coming-from").glob("*.md"))
    files += sorted((ROOT / "docs/commands").glob("*.md"))
    found = {str(path.relative_to(ROOT)): path.read_text() for path in files}
    for program in PROGRAMS.values():
        for node in program.all():
            # In a help examples stand in by two.
            epilog = re.sub(r"^  ", "    ", node.command.epilog, flags=re.M)
            found[f"{node.name} --help"] = "\n\n" + epilog + "\n"
    return found


def blocks(text: str) -> Iterator[list[str]]:
    """The lines of each indented or fenced block."""
    block: list[str] = []
    fenced = False
    for line in [*text.splitlines(), ""]:
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            block.append(line if fenced else line[4:])
            continue
        if block:
            yield block
        block = []


def lines() -> list[Line]:
    """All command lines in which one of our commands is called."""
    found: dict[str, Line] = {}
    for where, text in documents().items():
        for block in blocks(text):
            typed = [line[2:] for line in block if line.startswith("$ ")] or block
            for line in re.sub(r"\\\n|(?<=\|)\n", " ", "\n".join(typed)).splitlines():
                if calls(line.strip()):
                    found.setdefault(line.strip(), Line(where, line.strip()))
    return list(found.values())


def words(text: str) -> list[str]:
    """The words of a line and the operators between them; none where it is no line of a shell."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.commenters = ""
    lexer.whitespace_split = True
    try:
        found = list(lexer)
    except ValueError:
        return []
    comment = next((i for i, word in enumerate(found) if word.startswith("#")), len(found))
    return found[:comment]


def calls(text: str) -> list[tuple[Command, list[str]]]:
    """The commands of ours that a line calls, each with its arguments."""
    found = []
    typed = words(text)
    for i, word in enumerate(typed):
        name = word.rpartition("/")[2]
        before = typed[i - 1] if i else ";"
        begins = before in CONTROL | BEFORE or re.match(r"\w+=", before)
        if (inner := word.partition("=")[2]) and inner.partition(" ")[0] in PROGRAMS:
            found += calls(inner)  # ProxyCommand=…
        if name not in PROGRAMS or not begins or PICTURE.match(text):
            continue
        rest = typed[i + 1 :]
        end = next((k for k, each in enumerate(rest) if _ends(each)), len(rest))
        arguments = rest[:end]
        if end < len(rest) and rest[end][0] in "<>" and arguments[-1:] == ["2"]:
            arguments.pop()
        found.append(_called(name, arguments))
    return found


def _ends(word: str) -> bool:
    return word in CONTROL or set(word) <= set("<>&|;()")


def _called(name: str, arguments: list[str]) -> tuple[Command, list[str]]:
    """The command of a command that is meant, with what is its own of the arguments."""
    node = PROGRAMS[name]
    if name == "kojuto" and arguments and arguments[0] in BEHIND:
        node, arguments = BEHIND[arguments[0]], arguments[1:]
    for i, word in enumerate(arguments):
        if word in node.nodes:
            return node.nodes[word].command, arguments[:i] + arguments[i + 1 :]
        if word == "--":
            break
    return node.command, arguments
