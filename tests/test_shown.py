"""The command lines that documents and helps show: each is one that its command takes.

What is shown below a line is what it prints: here where that takes no peer, else beside the tests
that have one.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from kojuto.common import parser
from tests import shown
from tests.conftest import ROOT, run
from tests.peers.axslog import age
from tests.peers.process_status import IDLE, NAME, python

if TYPE_CHECKING:
    from pathlib import Path

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


# -- what is shown below a line -------------------------------------------------------------------


def test_each_output_that_is_shown_is_compared() -> None:
    """By a test that asks for it by the beginning of its line."""
    found = [each.typed for each in shown.outputs()]
    assert len(found) >= 9
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    asked = tuple(re.findall(r'shown\.output\(\s*"([^"]+)"', tests))
    assert not [typed for typed in found if not typed.startswith(asked)]


def test_percentile_prints_what_is_shown(tmp_path: Path) -> None:
    output = shown.output("percentile ")
    times = [0.041, *[0.1] * 58, 0.176, *[0.2705] * 58, 1.812, 1.934]
    (tmp_path / "times.txt").write_text("\n".join(map(str, times)))
    output.compare(run("percentile", *output.words(), cwd=tmp_path).stdout, exactly=True)


def test_axslog_prints_what_is_shown(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    output = shown.output(
        "mackerel-plugin-axslog --logfile", {"/var/log/nginx/access.log": str(log)}
    )
    line = "status:200\tptime:0.25\n"
    log.write_text(line)
    run("mackerel-plugin-axslog", *output.words())
    age(workdir, 60)
    log.write_text(line * 3)
    output.compare(run("mackerel-plugin-axslog", *output.words()).stdout)


def test_axslog_explains_a_line_as_is_shown(workdir: Path) -> None:
    output = shown.output("mackerel-plugin-axslog --format auto --explain")
    output.compare(run("mackerel-plugin-axslog", *output.words()).stdout, exactly=True)


def test_process_status_prints_what_is_shown(workdir: Path) -> None:
    with python(IDLE) as process:
        pid = {"54321": str(process.pid)}
        output = shown.output("mackerel-plugin-linux-process-status ", pid)
        first, second = (run(NAME, *output.words()) for _ in range(2))
    assert first.returncode == 0, first.stderr
    output.compare(second.stdout)


@pytest.mark.parametrize(
    ("said", "equal"),
    [
        ("a.99\t2.25\nid 7\nlast 1.2\n", True),
        ("a.99\t2.25\nmore\nmore\nid 7\nlast one 1.2\n", True),
        ("a.99\t2.250\nid 7\nlast 1.2\n", False),
        ("a.98\t2.25\nid 7\nlast 1.2\n", False),
        ("a.99\t2.25\nid 7\nlast 1.2\nmore\n", False),
        ("id 7\na.99\t2.25\nlast 1.2\n", False),
        ("a.99\t2.25\nid 7\n", False),
    ],
)
def test_an_output_is_compared_by_its_form(said: str, *, equal: bool) -> None:
    output = shown.Output("x", "a.99\t1.00\n…\nid 42\nlast… 3.4\n")
    with nullcontext() if equal else pytest.raises(AssertionError):
        output.compare(said.encode())
    with nullcontext() if said == output.printed else pytest.raises(AssertionError):
        output.compare(said.encode(), exactly=True)


# -- guides ---------------------------------------------------------------------------------------


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
