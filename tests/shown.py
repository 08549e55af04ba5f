"""The command lines that documents and helps show, and what is shown below them."""

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


MEASURED = re.compile(r"(?<![\w.])\d+(?:\.(\d+))?(?![\w.])")
"""A number that stands for itself: no part of an address, a name or a key."""


class Line(NamedTuple):
    """A line as one would type it."""

    where: str
    text: str


class Output(NamedTuple):
    """A line behind ``$``, and what is shown below it."""

    typed: str
    printed: str

    def words(self) -> list[str]:
        """Those of the line behind the program's name."""
        return words(self.typed)[1:]

    def compare(self, said: bytes, *, exactly: bool = False) -> None:
        """Fail where `said` is not what is shown: lines and their order, keys, words and the
        decimals of each number, with `exactly` the numbers too. ``…`` stands for what is left out:
        whole lines, or a part of one.
        """
        form = str if exactly else _form
        pattern = "".join(
            "(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + "\n"
            for line in form(self.printed).splitlines()
        )
        text = said.decode()
        assert re.fullmatch(pattern, form(text)), f"{text}is shown as\n{self.printed}"


def _form(text: str) -> str:
    """With zeros for the digits of each number; there are as many decimals."""
    return MEASURED.sub(lambda number: f"{0:.{len(number[1] or '')}f}", text)


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


def outputs() -> list[Output]:
    """Those of all documents."""
    found: list[Output] = []
    for text in documents().values():
        for block in blocks(text):
            for piece in re.split(r"^\$ ", "\n".join(block) + "\n", flags=re.M)[1:]:
                typed, _, printed = piece.partition("\n")
                if printed:
                    found.append(Output(typed, printed))
    return found


def output(typed: str, instead: dict[str, str] | None = None) -> Output:
    """The one below the line that begins so, with what stands for files, addresses and the like
    where the test runs. `tests/test_shown.py` wants each asked for.
    """
    (found,) = (each for each in outputs() if each.typed.startswith(typed))
    for word, other in (instead or {}).items():
        assert word in found.typed + found.printed
        found = Output(*(text.replace(word, other) for text in found))
    return found


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
