"""The picture of ``kojuto report --follow`` and its keys, without a terminal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.errors import UsageError
from kojuto.tools.report.live import Live
from tests.report.fake import FakeReport, made

if TYPE_CHECKING:
    from kojuto._native import ReportData

LOG = ("access.log", None, None, False)


def options(**given: Any) -> Any:
    values: dict[str, Any] = {
        "output": "table", "percentiles": None, "columns": None, "sort": None, "reverse": False,
        "limit": 0, "tz": None, "given": set(given), "window": 300.0, "format": "auto",
    }  # fmt: skip
    return SimpleNamespace(**{**values, **given})


def live(endpoints: int = 40, **given: Any) -> Live:
    return Live(options(**given), report(endpoints))


def report(endpoints: int = 40, lines: int = 3000) -> ReportData:
    return FakeReport(made(lines=lines, endpoints=endpoints))


def names(drawn: list[str]) -> list[str]:
    """The endpoints of a picture."""
    head = next(n for n, line in enumerate(drawn) if line.startswith("endpoint"))
    return [line.split("  ")[0] for line in drawn[head + 1 : -1] if line]


def press(screen: Live, *keys: str) -> list[str]:
    for key in keys:
        screen.key(key)
    return screen.draw(100, 20)


def test_each_screen_is_filled_and_no_line_is_wider() -> None:
    for width, height in ((200, 60), (80, 24), (40, 10), (20, 4)):
        drawn = live().draw(width, height)
        assert len(drawn) == height
        # The screen cuts what is too narrow for even the fewest columns.
        assert all(len(line) <= max(width, 40) for line in drawn), (width, height)
        assert names(drawn), (width, height)


def test_the_first_line_tells_the_window_and_the_order_and_the_last_one_the_keys() -> None:
    drawn = live().draw(100, 24)
    assert drawn[0] == "the last 5m, by sum"
    assert drawn[-1].startswith("1 to ")
    assert drawn[-1].endswith("q quit  s sort  r reverse  p pause  arrows scroll  ? help")


def test_s_sorts_by_the_next_column_and_r_the_other_way_round() -> None:
    screen = live()
    first = names(screen.draw(100, 20))
    assert "by avg" in press(screen, "s")[0]
    assert "by sum" in press(screen, "S")[0]
    assert names(press(screen)) == first
    assert "by sum, reversed" in press(screen, "r")[0]
    assert names(press(screen, "\x1b[F"))[-2:] == first[1::-1]
    # Past the last column comes the first.
    orders = {press(screen, "s")[0] for _ in range(len(screen.view.columns) - 1)}
    assert len(orders) == len(screen.view.columns) - 1


def test_arrows_and_pages_scroll_to_the_ends_and_no_further() -> None:
    screen = live()
    first = names(screen.draw(100, 20))
    assert names(press(screen, "\x1b[B"))[:-1] == first[1:]
    assert names(press(screen, "k", "k")) == first
    second = names(press(screen, "\x1b[6~"))
    assert not set(first) & set(second)
    assert names(press(screen, "\x1b[5~")) == first
    last = names(press(screen, "G", "j"))
    assert len(last) == len(first)
    assert names(press(screen, "\x1b[A"))[1:] == last[:-1]
    assert names(press(screen, "g")) == first


def test_p_stands_still_and_goes_on() -> None:
    screen = live()
    before = press(screen, "p")
    assert before[0].endswith("  PAUSED")
    screen.show(report(lines=50), [LOG])
    assert press(screen) == before
    count = report(lines=50).total([])["count"]
    assert press(screen, "p")[1].startswith(f"{count} lines")


def test_help_tells_the_keys_and_what_the_lines_were_read_as_until_any_key() -> None:
    screen = live()
    before = screen.draw(100, 20)
    helped = "\n".join(press(screen, "?"))
    assert "sort by the next column" in helped
    assert "read as " in helped
    assert press(screen, "x") == before
    assert not screen.done
    press(screen, "q")
    assert screen.done


def test_news_of_a_log_are_in_the_last_line_until_a_key_was_pressed() -> None:
    screen = live()
    gone = ("access.log", "access.log: No such file or directory", None, False)
    screen.show(report(), [gone, ("\x1b[31mb", None, None, True)])
    told = screen.draw(100, 20)[-1]
    assert told == "access.log: No such file or directory (and 1 more)"
    assert press(screen, "x")[-1].endswith("? help")
    screen.show(report(), [("\x1b[31mb", None, "lines were lost", True)])
    assert screen.draw(100, 20)[-1] == "lines were lost"


def test_nothing_of_a_log_acts_on_the_terminal() -> None:
    screen = live(endpoints=60)
    pictures = [screen.draw(150, 120), press(screen, "?")]
    assert all(
        character.isprintable() for lines in pictures for line in lines for character in line
    )


def test_rows_are_as_many_as_were_asked_for_and_the_rest_is_told() -> None:
    drawn = live(limit=3).draw(100, 24)
    assert len(names(drawn)) == 4
    assert names(drawn)[-1].startswith("other (")


def test_an_unknown_column_is_told_before_anything_is_drawn() -> None:
    for given in ({"sort": "nope"}, {"columns": ["count", "nope"]}):
        with pytest.raises(UsageError, match="'nope' is not a column"):
            live(**given)
