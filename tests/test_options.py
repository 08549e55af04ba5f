"""Every option of every command: defaults as they are typed, nasty values, help at any width."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import kojuto
from kojuto import __main__, commands
from kojuto.common import helptext, parser
from kojuto.errors import UsageError
from kojuto.tools import percentile, sabo
from tests.conftest import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from kojuto.common.cli import Command, Option


def every_command() -> dict[str, Command]:
    """The commands and their commands, by name."""
    waiting = [__main__.COMMAND]
    waiting += [importlib.import_module(m).COMMAND for m, _ in commands.COMMANDS.values()]
    found: dict[str, Command] = {}
    while waiting:
        command = waiting.pop()
        found[command.prog] = command
        for where in command.commands.values():
            module, _, name = where.partition(":")
            waiting.append(getattr(importlib.import_module(module), name))
    return found


EVERY = every_command()
OPTIONS = [
    pytest.param(command, option, id=f"{name} {option.title}")
    for name, command in sorted(EVERY.items())
    for option in command.options
]
WITH_VALUE = [each for each in OPTIONS if each.values[1].metavar is not None]  # type: ignore[union-attr]
NASTY = (
    "", " ", "-1", "-0", "0", "1ns", "1e-400", "0.1", "1e30", "1e308", "1e999", "nan", "inf",
    "-inf", "9" * 25, "9" * 10_000, "1EB", "2EB", "100000h", "1e6d", "0x10", "1_000", "\u0663",
    "\u00b2", "\uff11", "\u4eac", "a" * 10_000, "1,2,,3", ",", ":", "[", "[::", "99999:", ":99999",
    "=",
    "\\", "(", "%", "\udcff", "a\nb", "\x1b[31m", "1s1", "..", "/", "{}", "null", "true",
)  # fmt: skip


PERCENTILES = {
    "percentile": "--percentile-set",
    "mackerel-plugin-axslog": "--percentiles",
    "mackerel-plugin-pinging": "--percentile",
    "kojuto report": "--percentiles",
}


@pytest.mark.parametrize("name", PERCENTILES)
@pytest.mark.parametrize("part", ["", "x", "-1", "100.1", "nan", "inf", "9_9", "\u0665"])
def test_a_list_of_percentiles_is_refused_in_the_same_words(name: str, part: str) -> None:
    (option,) = (o for o in EVERY[name].options if PERCENTILES[name] in o.names)
    with pytest.raises(ValueError, match="is not a percentile") as refused:
        option.read(f"50,{part},99")
    assert str(refused.value).startswith(f"'{part}' is not a percentile (write numbers ")
    assert str(refused.value).endswith(" 100: 99.9,99,50)")
    assert len(option.read("50, 99.9,100")) == 3


def test_every_command_is_here() -> None:
    names = {
        "kojuto",
        "kojuto demo",
        "kojuto report",
        "deteco jwtgen",
        "deteco keygen",
        "deteco check",
        "myps grep",
    }
    names |= {"motarei status", "motarei explain", "motarei wait", "ppdp connections"}
    assert names | {"myps kill", "myps top", "no-excl-open doctor"} < EVERY.keys()
    assert len(OPTIONS) > 250


def test_no_help_is_written_twice() -> None:
    """An option that several commands have stands once, and each of them takes it from there."""
    helps: Counter[str] = Counter()
    for file in Path(str(kojuto.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "help":
                helps[ast.unparse(node.value)] += isinstance(
                    node.value, ast.Constant | ast.JoinedStr
                )
    assert helps.total() > 200
    assert [text for text, count in helps.items() if count > 1] == []


SAME_NAME = {
    "--by", "--ca-file", "--dry-run", "--format", "--host", "--idle-timeout", "--interval", "--key",
    "--key-prefix", "--limit", "--listen", "--logfile", "--max-age", "--merge", "--metrics-listen",
    "--output", "--pattern", "--percentiles", "--plot", "--private-key", "--private-key-user",
    "--ptime-key", "--regex", "--size", "--status-key", "--threads", "--time-unit", "--timeout",
    "--trusted-proxies", "--verbose", "--wait", "--write-timeout",
}  # fmt: skip
"""Options of one name that are different things: another meaning, default or range."""


def test_an_option_that_several_commands_have_is_written_once() -> None:
    places: dict[str, list[str]] = {}
    for file in Path(str(kojuto.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Option":
                for name in node.args:
                    if isinstance(name, ast.Constant) and str(name.value).startswith("--"):
                        places.setdefault(str(name.value), []).append(f"{file.name}:{node.lineno}")
    assert len(places) > 100
    several = {name: where for name, where in places.items() if len(where) > 1}
    assert {name: where for name, where in several.items() if name not in SAME_NAME} == {}
    assert several.keys() >= SAME_NAME


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_a_default_is_what_one_would_type(command: Command, option: Option) -> None:
    """What ``--help`` shows as the default, typed, is what holds without the option."""
    shown = re.findall(r"\(default: (.*?)\)", " ".join(_block(command, option).split()))
    assert len(shown) == (1 if option.default else 0)
    if option.metavar is None:
        assert option.absent() is False
        return
    if not option.default:
        assert option.absent() in (None, [])
        return
    typed = shown[0].split(", ") if option.repeat else [shown[0]]
    read = [option.read(text) for text in typed]
    assert option.absent() == (read if option.repeat else read[0])
    assert option.choices is None or set(typed) <= set(option.choices)


def _block(command: Command, option: Option) -> str:
    """The lines of one option in the help."""
    return helptext.row(helptext._head(option), helptext.about(option), 98)


@pytest.mark.parametrize(("command", "option"), WITH_VALUE)
def test_no_value_is_more_than_refused(command: Command, option: Option) -> None:
    """Whatever is typed: a value, or an error of one line that names the option."""
    for text in NASTY:
        try:
            value = parser.Parser(command)._read(option, text)
            # What is taken is a number that the engine behind it can hold.
            assert not isinstance(value, int | float) or abs(value) < 1 << 63, text
            parser.parse(command, [f"{option.title}={text}"])
        except UsageError as error:  # noqa: PERF203
            named = str(error)
            assert option.title in named or "required" in named, (text, named)
            assert len(named) < 1000
            assert error.hint, text
    if not option.empty_ok:
        with pytest.raises(UsageError, match="empty value"):
            parser.Parser(command)._read(option, "")


@pytest.mark.parametrize("name", sorted(EVERY))
@pytest.mark.parametrize("columns", [1, 10, 20, 36, 40, 80, 200])
def test_help_fits_every_terminal(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No word is cut; only one that is wider than the terminal goes beyond its edge."""
    monkeypatch.setenv("COLUMNS", "500")
    command = EVERY[name]
    words = helptext.help_text(command).split()
    monkeypatch.setenv("COLUMNS", str(columns))
    text = helptext.help_text(command)
    assert text.split() == words
    examples = command.epilog.strip("\n").splitlines()
    for line in text.splitlines():
        room = max(columns, 20)
        assert (
            len(line) <= room
            or line in examples
            or len(line.split()) == 1
            or (max(map(len, line.split())) + 8 > room)
        ), line


@pytest.mark.parametrize("name", sorted(EVERY))
def test_each_heading_of_a_help_comes_once_with_all_of_its_options(name: str) -> None:
    command = EVERY[name]
    lines = helptext.help_text(command).splitlines()
    for heading in {f"{option.group or 'Options'}:" for option in command.options}:
        assert lines.count(heading) == 1, heading


def test_the_list_of_commands_fits_too() -> None:
    for columns in ("1", "30", "80"):
        done = run("kojuto", env={"COLUMNS": columns})
        assert done.returncode == 0
        assert b"mackerel-plugin-axslog" in done.stdout


def test_the_progress_of_a_pipe_is_cut_to_the_terminal_and_ends_with_100_percent() -> None:
    import pty
    import struct
    from fcntl import ioctl
    from pathlib import Path
    from tempfile import TemporaryDirectory
    from termios import TIOCSWINSZ

    from tests.conftest import script

    def shown(columns: int) -> list[str]:
        ours, theirs = pty.openpty()
        ioctl(theirs, TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        with TemporaryDirectory() as folder, Path(os.devnull).open("wb") as nowhere:
            process = subprocess.Popen(
                [script("sabo"), "--max-bandwidth", "100K", "--work-dir", folder, "--progress",
                 "--size", "40000", "--stats-interval", "100ms"],
                stdin=subprocess.PIPE, stdout=nowhere, stderr=theirs,
            )  # fmt: skip
            os.close(theirs)
            assert process.stdin is not None
            process.stdin.write(bytes(40_000))
            process.stdin.close()
            told = b""
            try:
                while piece := os.read(ours, 4096):
                    told += piece
            except OSError:  # its last holder has ended
                pass
            assert process.wait() == 0
        os.close(ours)
        lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[K", "", told.decode()))
        return [line for line in lines if line]

    for columns in (30, 80):
        lines = shown(columns)
        assert len(lines) >= 2
        assert all(len(line) < columns for line in lines)
        assert ", 100 %, " in lines[-1]
        assert ", 100 %, " not in "".join(lines[:-2])


@pytest.mark.parametrize(
    ("read", "inside", "outside", "message"),
    [
        (percentile._percentiles, "50," * 999 + "50", "50," * 1000 + "50", "more than 1000 perc"),
        (sabo.bandwidth, "1000", "999", "below the minimum of 1K bytes a second"),
        (
            sabo.bandwidth,
            "1000P",
            "1000000000000000001",
            "above the maximum of 1EB",
        ),
    ],
)
def test_an_options_value_has_its_bounds(
    read: Callable[[str], object], inside: str, outside: str, message: str
) -> None:
    read(inside)
    with pytest.raises(ValueError, match=message):
        read(outside)
