"""The manual and the pages of the site: whole, true to the table of options, and well formed."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from kojuto.commands import COMMANDS
from kojuto.tools.install import man, roff, site, tree
from tests.conftest import ROOT, need_program

if TYPE_CHECKING:
    from pathlib import Path

    from kojuto.tools.install.tree import Node

PAGES = tree.pages()
NAMES = [node.page for node in PAGES]
page = pytest.mark.parametrize("node", PAGES, ids=NAMES)


def printed(text: str) -> str:
    """What a page shows, in one line and without fonts."""
    text = re.sub(r"\\f[BRI]", "", text).replace("\\&", "")
    text = re.sub(r"\\\[u([0-9A-F]{4,})\]", lambda found: chr(int(found[1], 16)), text)
    for name, character in (("aq", "'"), ("ga", "`"), ("ha", "^"), ("ti", "~"), ("dq", '"')):
        text = text.replace(f"\\({name}", character)
    return " ".join(text.replace("\\-", "-").replace("\\e", "\\").split())


def test_each_command_has_a_page_and_each_page_a_command() -> None:
    assert {*COMMANDS, "kojuto", "kojuto-report", "kojuto-demo", "kojuto-install"} == set(NAMES)
    assert {f"{name}.md" for name in NAMES} == {
        path.name for path in (ROOT / "docs/commands").iterdir()
    }
    sections = [each.name for node in PAGES for each in node.sections()]
    assert {"deteco check", "myps top", "no-excl-open doctor", "sabo set"} <= set(sections)


def test_mandoc_finds_nothing_to_say(tmp_path: Path) -> None:
    files = []
    for node in PAGES:
        files.append(tmp_path / f"{node.page}.1")
        files[-1].write_text(man.page(node, "2026-11-30"))
    done = subprocess.run(
        [need_program("mandoc"), "-T", "lint", *files], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@page
def test_a_page_has_every_option_with_its_default(node: Node) -> None:
    text = man.page(node, "2026-11-30")
    shown, pure = printed(text), site.page_of(node)
    assert text.isascii()
    for each in (node, *node.sections()):
        for option in each.command.options:
            assert f".TP {', '.join(option.names)}" in shown, (each.name, option.title)
            assert " ".join(option.help.split()) in shown
            assert f"| `{option.names[0]}`" in pure
            if isinstance(option.default, str) and option.default:
                assert f"(default: {option.default})" in shown
        assert " ".join(each.command.epilog.split()) in shown.replace(" .nf", "").replace(
            " .fi", ""
        )
        assert each.command.epilog.strip("\n") in pure


@page
def test_a_page_says_what_one_needs_to_know(node: Node) -> None:
    heads = re.findall(r"^\.SH (.*)", man.page(node, "2026-11-30"), re.M)
    assert heads[:4] == ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"]
    assert {"EXAMPLES", "EXIT STATUS", "SEE ALSO"} <= set(heads)
    assert len(heads) == len(set(heads))


def every_option() -> set[str]:
    nodes = [each for program in tree.programs() for each in program.all()]
    return {name for each in nodes for option in each.command.options for name in option.names}


# Of systemctl, systemd-run, start_server and docker, which the prose names, and the word for any.
FOREIGN = {"--now", "--scope", "--port", "--rm", "--value"}


@page
def test_the_prose_names_no_option_that_is_gone_and_no_page_that_is_not(node: Node) -> None:
    with open(node.prose, encoding="utf-8") as file:
        prose = file.read()
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose)) - every_option() <= FOREIGN
    assert set(re.findall(r"\(([a-z-]+)\.md\)", prose)) <= set(NAMES)
    for target in re.findall(r"\]\(([^):]+\.md)\)", prose):
        assert (ROOT / "docs/commands" / target).resolve().exists() or (
            ROOT / "docs" / target.removeprefix("../")
        ).exists()
    assert "\n# " not in f"\n{prose}", "the title is the name of the command"


def test_markdown_becomes_roff() -> None:
    begin, sections = roff.prose(
        "Of `a-b` and *c*,\n'd' [page](sabo.md), [out](https://x.example/), \\\\ é.\n\n"
        "- one\n\n      code 'x'\n\n  more\n- two\n  1. first\n\n"
        "## Files\n\n.not a request\n\n    .a\n    '\\b\n\n"
        "| a | b |\n| --- | --- |\n| `x` | y |\n\n### Below `it`\n\nEnd.\n"
    )
    assert begin == [
        ".PP",
        r"Of \fBa\-b\fR and \fIc\fR, \(aqd\(aq \fBsabo\fR(1), out <https://x.example/>,",
        r"\e \[u00E9].",
        r".IP \(bu 4", "one", ".PP", ".RS 4", ".nf", r"code \(aqx\(aq", ".fi", ".RE", ".IP", "more",
        r".IP \(bu 4", "two", ".RS 4", ".IP 1. 4", "first", ".RE",
    ]  # fmt: skip
    assert sections == [
        ".SH FILES", ".PP", r"\&.not a request", ".PP", ".RS 4", ".nf", r"\&.a", r"\(aq\eb", ".fi",
        ".RE", ".TP 28", r"\fBx\fR", "y", ".SS Below it", ".PP", "End.",
    ]  # fmt: skip


class SitePage:
    """What mkdocs hands to a hook, as far as ours looks at it."""

    def __init__(self, path: str) -> None:
        self.file = self
        self.src_uri = path


def test_the_site_has_the_commands_in_place_of_their_prose_and_a_list_of_them() -> None:
    shown = site.on_page_markdown("prose", page=SitePage("commands/kojuto-report.md"))
    assert shown.startswith("# kojuto report\n\n```text\nkojuto report [options] LOG …\n```\n")
    assert "\n### Two sides\n" in shown
    begin = (ROOT / "docs/index.md").read_text()
    index = site.on_page_markdown(begin, page=SitePage("index.md"))
    for node in PAGES:
        assert f"\n| [{node.name}](commands/{node.page}.md) | " in index
    assert site.on_page_markdown("as it is", page=SitePage("coming-from/alp.md")) == "as it is"
    assert site.on_page_markdown("as it is", page=SitePage("report.md")) == "as it is"
