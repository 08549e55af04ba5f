"""README shows what is so: its picture what the program prints now, its links what is there."""

from __future__ import annotations

import re
from html import unescape
from xml.etree import ElementTree as ET

import pytest
import tomllib  # type: ignore[import-not-found]  # the tests need 3.11, the package 3.10

from tests.conftest import ROOT
from tests.report import terminal

README = (ROOT / "README.md").read_text()
HOME = "kojuto/kojuto"
MOST_LINES = 70
"""Of a page that is read in a minute."""
TEXT = "{http://www.w3.org/2000/svg}text"


def lines_of(picture: str) -> list[str]:
    """The lines of a terminal that a picture shows, without the blanks at their ends."""
    rows: dict[float, str] = {}
    for element in ET.fromstring(picture).iter(TEXT):
        text = unescape(element.text or "").replace("\xa0", " ")
        if text.isspace() or not element.get("clip-path"):  # a title is cut to nothing
            continue
        height, left = float(element.attrib["y"]), float(element.attrib["x"])
        column = round(left * len(text) / float(element.attrib["textLength"]))
        rows[height] = rows.get(height, "").ljust(column) + text  # blanks alone are not drawn
    return [row.rstrip() for _, row in sorted(rows.items())]


def test_the_picture_has_what_the_program_prints_now() -> None:
    """`make pictures` draws it again."""
    printed = re.sub(r"\x1b\[\d*m", "", terminal.shown())
    assert printed.count("\n") > 15
    committed = terminal.PICTURE.read_text()
    wanted = [line.rstrip() for line in printed.splitlines() if line.strip()]
    assert [line for line in lines_of(committed) if line] == wanted
    assert committed.count("fill:") > 4, "its colours"


def test_the_picture_is_shown_is_small_and_fetches_nothing() -> None:
    path = terminal.PICTURE.relative_to(ROOT)
    assert f"](https://raw.githubusercontent.com/{HOME}/main/{path})" in README
    text = terminal.PICTURE.read_text()
    assert len(text) < 40_000
    assert "url(http" not in text
    assert "@import" not in text


def test_every_link_leads_somewhere_from_the_page_of_the_package_too() -> None:
    """There nothing is beside README, so that links are whole; they lead to what is here."""
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    assert len(targets) > 8
    for target in targets:
        found = re.fullmatch(
            rf"https://(?:raw\.githubusercontent|github)\.com/{HOME}/(?:(?:blob|tree)/)?main/(.+)",
            target,
        )
        assert found, target
        assert (ROOT / found[1]).exists(), target


def test_the_package_is_at_home_where_the_links_lead() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    assert all(f"github.com/{HOME}" in url for url in urls.values())


def test_it_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    "figure",
    ["0.016", "0.7 to 1.0, by machine", "a seventh of the CPU of HAProxy", "3.1 to 3.2 times"],
)
def test_its_figures_are_the_measured_ones(figure: str) -> None:
    measured = " ".join((ROOT / "docs/measured.md").read_text().split())
    assert figure in " ".join(README.split())
    assert figure in measured
