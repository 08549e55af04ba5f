"""The view of myps top: its keys, its lines on any screen, one whole statement."""

from __future__ import annotations

import os

import pytest
from rich.console import Console

from kojuto.common.screen import split_keys
from kojuto.tools.myps.processes import Process
from kojuto.tools.myps.view import View, age_style
from tests.conftest import ROOT


def process(number: int, **fields: object) -> Process:
    known = {
        "user": "app", "host": "10.0.0.7:1", "db": "shop", "command": "Query", "time": number,
        "state": "", "info": f"SELECT {number}", "statement": 100 + number,
    }  # fmt: skip
    return Process(number, **{**known, **fields})  # type: ignore[arg-type]


def view() -> View:
    return View(
        processes=[
            process(1, user="zoe"),
            process(70, user="bob", info="UPDATE x"),
            process(12, user="amy"),
            process(5, command="Sleep", info=""),
            process(99, user="system user", command="Slave_SQL"),
        ]
    )


def press(on: View, keys: str) -> object:
    result = None
    for key in split_keys(keys):
        result = on.key(key)
    return result


def asks(screen: View) -> bool:
    return screen.asked is not None


def ids(of: View) -> list[int]:
    return [each.id for each in of.rows()]


def test_sorting_by_each_column_and_back() -> None:
    screen = view()
    assert ids(screen) == [99, 70, 12, 1]
    press(screen, "u")
    assert [each.user for each in screen.rows()] == ["amy", "bob", "system user", "zoe"]
    press(screen, "r")
    assert [each.user for each in screen.rows()] == ["zoe", "system user", "bob", "amy"]
    press(screen, "rn")
    assert ids(screen) == [1, 12, 70, 99]
    press(screen, "ta")
    assert ids(screen) == [99, 70, 12, 5, 1]


def test_the_filter_is_typed_corrected_and_cleared() -> None:
    screen = view()
    press(screen, "/upq\x7fd")
    assert screen.pattern == "upd"
    assert ids(screen) == [70]
    press(screen, "\r")
    assert not screen.typing
    press(screen, "\x1b")
    assert ids(screen) == [99, 70, 12, 1]
    press(screen, "/zoe\x1b")
    assert not screen.pattern


def test_the_mark_stays_with_its_thread() -> None:
    screen = view()
    press(screen, "\x1b[B\x1b[B")
    assert screen.chosen == 12
    screen.processes = [process(500), *reversed(screen.processes)]
    found = screen.marked()
    assert found is not None
    assert found.id == 12
    press(screen, "r")
    press(screen, "G")
    assert screen.chosen == ids(screen)[-1]
    press(screen, "g\x1b[A")
    assert screen.chosen == ids(screen)[0]
    screen.processes = []
    press(screen, "j")
    assert screen.marked() is None


@pytest.mark.parametrize(("key", "query_only"), [("K", True), ("X", False)])
def test_a_kill_wants_y_and_keeps_to_what_was_asked_about(key: str, query_only: bool) -> None:
    screen = view()
    press(screen, "j" + key)
    assert screen.asked is not None
    assert "70 (bob: UPDATE x)? [y/N]" in screen.asked.question
    listed = screen.asked.process
    screen.processes = [process(70, info="SELECT innocent", statement=7777)]
    kill = press(screen, "y")
    assert kill is not None
    assert kill.process is listed  # type: ignore[attr-defined]
    assert kill.query_only == query_only  # type: ignore[attr-defined]
    for other in ("n", "\r", " ", "K", "\x1b"):
        assert press(screen, key + other) is None
        assert not asks(screen)
        assert screen.told == "nothing was killed"


def test_the_system_and_the_sleeping_cannot_be_killed_by_mistake() -> None:
    screen = view()
    assert press(screen, "gK") is None
    assert not asks(screen)
    assert "a thread of the system" in screen.told
    press(screen, "a/sleep\rK")
    assert not asks(screen)
    assert "runs no statement" in screen.told
    press(screen, "X")
    assert asks(screen)


def test_age_has_its_colour() -> None:
    styles = [age_style(process(1, time=seconds)) for seconds in (0, 9, 10, 59, 60)]
    assert styles == ["green", "green", "yellow", "yellow", "bold red"]
    assert age_style(process(1, command="Sleep", time=600)) == "dim"
    assert age_style(process(1, command="Binlog Dump", time=600)) == "cyan"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 6), (20, 3)])
def test_it_fits_any_terminal_and_shows_the_marked_row(width: int, height: int) -> None:
    screen = View(processes=[process(n, info="SELECT '\x1b[31m\n" + "x" * 300) for n in range(90)])
    screen.chosen = 45
    with open(os.devnull, "w") as sink:
        console = Console(width=width, height=height, force_terminal=True, record=True, file=sink)
        console.print(screen.draw("title", width, height))
        text = console.export_text()
    lines = text.rstrip("\n").split("\n")
    assert len(lines) <= max(height, 5)
    assert all(len(line) <= width for line in lines)
    assert "45" in text
    assert "\x1b[31m" not in text


def test_keys_are_cut_whatever_comes() -> None:
    assert split_keys("a\x1b[Bb\x1b[5~\x1bOA\x1b") == [
        "a",
        "\x1b[B",
        "b",
        "\x1b[5~",
        "\x1bOA",
        "\x1b",
    ]
    assert split_keys("\x1b[") == ["\x1b["]
    screen = view()
    press(screen, "\x1b[99;99Rü\x00\x07")
    assert "sort" in screen.told


def drawn(screen: View, width: int, height: int) -> list[str]:
    """The lines on a screen of this size."""
    with open(os.devnull, "w") as sink:
        console = Console(width=width, height=height, force_terminal=True, record=True, file=sink)
        console.print(screen.draw("title", width, height))
        return console.export_text().rstrip("\n").split("\n")


@pytest.mark.parametrize(("width", "height"), [(120, 30), (80, 24), (50, 24), (30, 12), (20, 12)])
def test_the_question_is_whole_on_lines_of_its_own(width: int, height: int) -> None:
    screen = View(processes=[process(123456, info="ALTER TABLE shop.orders ADD COLUMN note TEXT")])
    press(screen, "X")
    lines = drawn(screen, width, height)
    assert screen.question_drawn
    assert len(lines) <= height
    asked = lines[next(n for n, line in enumerate(lines) if line.startswith("Kill")) :]
    assert " ".join(line.strip() for line in asked) == screen.asked.question  # type: ignore[union-attr]


def test_a_question_that_does_not_fit_is_not_taken_for_drawn() -> None:
    screen = View(processes=[process(123456, info="x" * 60)])
    press(screen, "X")
    drawn(screen, 20, 5)
    assert not screen.question_drawn


STATEMENT = "SELECT a,\n\tb -- \x1b[31m\nFROM t WHERE c = '" + "long " * 100 + "\\'"


def test_enter_shows_the_whole_statement_and_scrolls() -> None:
    screen = View(processes=[process(7, info=STATEMENT), process(8)])
    press(screen, "j\r")
    assert screen.whole is not None
    lines = drawn(screen, 40, 10)
    assert len(lines) == 10
    assert lines[0].startswith("7 app 10.0.0.7:1 shop 7 s")
    assert [line.rstrip() for line in lines[1:4]] == [
        "SELECT a,",
        "    b -- \\x1b[31m",
        "FROM t WHERE c = 'long long long long",
    ]
    assert "lines 1 to 8 of " in lines[-1]
    press(screen, "\x1b[B")
    assert drawn(screen, 40, 10)[1].strip() == "b -- \\x1b[31m"
    press(screen, "G")
    assert drawn(screen, 40, 10)[-2].rstrip().endswith("\\'")
    press(screen, "\x1b[5~")
    press(screen, "g")
    assert drawn(screen, 40, 10)[1].rstrip() == "SELECT a,"
    assert press(screen, "K") is None
    assert not asks(screen)
    press(screen, "\r")
    assert "title" in drawn(screen, 40, 10)[0]


def test_a_statement_stays_while_the_list_goes_on() -> None:
    screen = View(processes=[process(7, info=STATEMENT)])
    press(screen, "\r")
    screen.processes = []
    assert drawn(screen, 80, 24)[1].startswith("SELECT a,")


# -- the pictures of the page --------------------------------------------------------------------

PICTURED = [
    process(1, user="event_scheduler", host="localhost", db="", command="Daemon", time=16, info=""),
    process(14, user="report", host="10.0.0.7:59393", time=16,
            info="SELECT customer, SUM(total) FROM orders GROUP BY customer"),
    process(19, user="batch", host="10.0.0.9:41022", time=7,
            info="ALTER TABLE shop.orders ADD COLUMN note TEXT",
            state="Waiting for table metadata lock"),
    process(21, user="app", host="10.0.0.7:59401", time=4,
            info="SELECT * FROM orders WHERE id = 5 FOR UPDATE", state="Statistics"),
]  # fmt: skip
TITLE = "myps top  23:12:52  /run/mysqld/mysqld.sock  10.11.19-MariaDB-0+deb12u1"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (50, 12), (30, 12)])
def test_the_readme_shows_what_is_drawn(width: int, height: int) -> None:
    screen = View(processes=PICTURED, load="152 queries/s, 5 running", chosen=19)
    press(screen, "X")
    with open(os.devnull, "w") as sink:
        console = Console(width=width, height=height, force_terminal=True, record=True, file=sink)
        console.print(screen.draw(TITLE, width, height))
        lines = [line.rstrip() for line in console.export_text().rstrip("\n").split("\n")]
    assert screen.question_drawn
    assert len(lines) == height
    picture = "\n".join(f"    {line}" for line in lines if line)
    assert f"\n{picture}\n" in (ROOT / "docs/commands/myps.md").read_text(), f"\n{picture}"
