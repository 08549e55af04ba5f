"""The command lines that documents and helps show: each is one that its command takes."""

from __future__ import annotations

import re
from contextlib import nullcontext

import pytest

from kojuto.common import parser
from tests import shown
from tests.conftest import ROOT

LINES = shown.lines()


@pytest.mark.parametrize("line", LINES, ids=[line.text[:60] for line in LINES])
def test_a_shown_line_is_taken_by_its_command(
    line: shown.Line, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its options and their values; `tests/release/check_shown.py` runs it."""
    called = shown.calls(line.text)
    assert called
    for command, arguments in called:
        with pytest.raises(SystemExit) if "--help" in arguments else nullcontext():
            parser.parse(command, arguments)
    assert capsys.readouterr().err == ""


def test_lines_are_found_wherever_they_stand() -> None:
    assert len(LINES) > 100
    assert {"docs/commands/ppdp.md", "docs/report.md", "docs/operations.md"} <= {
        line.where for line in LINES
    }
    text = "x | percentile --key a 2>&1 && exec sabo --size 1; ls ppdp # percentile"
    assert [(c.prog, a) for c, a in shown.calls(text)] == [
        ("percentile", ["--key", "a"]),
        ("sabo", ["--size", "1"]),
    ]
    ((command, arguments),) = shown.calls("kojuto deteco --conf x check T GET / &")
    assert (command.prog, arguments) == ("deteco check", ["--conf", "x", "T", "GET", "/"])
    ((command, _),) = shown.calls("ssh -o ProxyCommand='wsgate-client stdio https://x/y' host")
    assert command.prog == "wsgate-client"
    assert shown.calls("mackerel-plugin-axslog: 'it") == []
    blocks = list(shown.blocks("a\n\n    b\n    c\n\nd\n```\ne\n\nf\n```\n"))
    assert blocks == [["b", "c"], ["e", "", "f"]]


def rows(text: str) -> list[list[str]]:
    found = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in found]


@pytest.mark.parametrize("name", ["rotatelogs", "haproxy", "pt-kill", "alp", "goaccess"])
def test_a_guide_names_options_that_are_there(name: str) -> None:
    """Of the columns of ours, which are headed by a command in backquotes."""
    nodes = {each.name: each for program in shown.PROGRAMS.values() for each in program.all()}
    text = (ROOT / f"docs/coming-from/{name}.md").read_text()
    head, *others = rows(text)
    (column, ours), *_ = [
        (i, cell.strip("`")) for i, cell in enumerate(head) if cell.strip("`") in nodes
    ]
    options = {n for option in nodes[ours].command.options for n in option.names}
    seen = set()
    for cells in others[1:]:
        assert len(cells) == len(head), cells
        for option, value in re.findall(r"`(-[\w-]+)(?: ([^`]+))?`", cells[column]):
            assert option in options, (name, option)
            seen.add(option)
            if value:
                (found,) = (o for o in nodes[ours].command.options if option in o.names)
                assert found.choices is None or value in found.choices
                found.read(value)
    assert len(seen) > 5
