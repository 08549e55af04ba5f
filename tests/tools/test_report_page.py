"""The page of a report as bytes: one file, in which a log is nothing but text."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from base64 import b64encode
from html.parser import HTMLParser
from typing import Any

import pytest

from kojuto.common.parser import parse
from kojuto.tools.report import page, printing
from kojuto.tools.report.options import COMMAND
from tests.conftest import ROOT
from tests.report.fake import FakeReport, made
from tests.report.pages import HOSTILE, hostile_requests, page_of


class Elements(HTMLParser):
    """The elements of a page with their attributes, and what stands in scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.policy = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"] or ""

    def handle_data(self, data: str) -> None:
        last = self.found[-1][0] if self.found else ""
        if last in ("script", "style") and data.strip():
            self.inside.append((last, data))


def data_of(content: bytes) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', content.decode())
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def hostile() -> bytes:
    return page_of([*hostile_requests(), *made(lines=500, endpoints=12)])


def test_it_refers_to_nothing_outside_itself(hostile: bytes) -> None:
    elements = Elements(hostile.decode())
    assert {tag for tag, _ in elements.found} == {
        "html", "head", "meta", "title", "style", "body", "main", "noscript", "p", "footer",
        "details", "summary", "pre", "script",
    }  # fmt: skip
    named = {name for _, attributes in elements.found for name in attributes}
    assert named == {"lang", "charset", "http-equiv", "content", "name", "type", "id"}
    for kind, text in elements.inside:
        if kind == "style":
            assert "url(" not in text
            assert "@import" not in text


def test_its_policy_has_the_hash_of_each_script_and_style_and_allows_nothing_else(
    hostile: bytes,
) -> None:
    elements = Elements(hostile.decode())
    allowed = dict(part.split(" ", 1) for part in elements.policy.split("; "))
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    assert allowed["require-trusted-types-for"] == "'script'"
    assert set(allowed) == {
        "default-src", "script-src", "style-src", "base-uri", "form-action",
        "require-trusted-types-for", "trusted-types",
    }  # fmt: skip
    data, *scripts = [text for kind, text in elements.inside if kind == "script"]
    assert json.loads(data)["total"]["count"] > 500
    for name, texts in (
        ("script-src", scripts),
        ("style-src", [text for kind, text in elements.inside if kind == "style"]),
    ):
        digests = [b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert len(digests) == 2
        assert allowed[name] == " ".join(f"'sha256-{digest}'" for digest in digests)


def test_what_the_log_holds_cannot_end_its_element(hostile: bytes) -> None:
    text = hostile.decode()
    start = text.index('id="data">') + len('id="data">')
    inside = text[start : text.index("</script>", start)]
    assert not set("<>&\u2028\u2029\x00\r") & set(inside)
    assert text.count("<script") == 3
    names = data_of(hostile)["columns"]["endpoint"]
    assert "GET /</script><script>window.hacked = 1</script>" in names
    assert "GET /{data}{policy}${window.hacked=4}\\u003cb\\u003e" in names
    assert "GET /\\u202efdp.exe\\u2066\\u200b" in names
    assert "GET /\\x00\\x1b[31m\\r\\n\\x7f" in names
    assert len(names) == len(HOSTILE) + 12 + 7


def test_names_are_cut_at_200_characters(hostile: bytes) -> None:
    data = data_of(hostile)
    names = data["columns"]["endpoint"]
    assert max(map(len, names)) == 200
    assert f"GET /{'x' * 194}…" in names
    assert max(map(len, data["columns"]["example"])) <= 200
    assert max(len(line["request"]) for line in data["slowest"]) <= 200


def test_the_title_is_of_the_files_and_is_escaped() -> None:
    told = {"files": ["/var/log/nginx/<b>.log", "-", "c.log", "d.log"]}
    assert page._title(told) == "<b>.log, standard input, c.log and 1 more"
    assert page._title({"files": []}) == page._title({}) == "Access log"
    content = page_of(made(lines=50, endpoints=3))
    assert b"<title>access.log</title>" in content


def test_uplots_licence_is_in_it(hostile: bytes) -> None:
    text = hostile.decode()
    assert "Copyright (c) 2022 Leon Sorokin" in text
    assert "THE SOFTWARE IS PROVIDED &quot;AS IS&quot;" in text


def test_with_5000_endpoints_it_is_under_2_mb() -> None:
    content = page_of(made(lines=20_000, endpoints=5000))
    assert len(data_of(content)["columns"]["endpoint"]) == 5000
    assert 500_000 < len(content) < 2_000_000


def test_with_long_names_and_much_in_its_charts_it_is_under_2_mb_too() -> None:
    steps = dict.fromkeys(range(90), 1_234_567)
    slices = [
        {"start_s": n * 64, "width_s": 64, "count": 10**9, "2xx": 10**9, "steps": steps}
        for n in range(32)
    ]
    figures = {f"p{n}": 0.0012345 for n in range(50, 70)}
    rows = [
        {"endpoint": f"GET /{n}{'<' * 300}", "example": f"/{'&' * 300}", "count": 10**9, "sum": 1e9,
         **figures}
        for n in range(6000)
    ]  # fmt: skip
    told = {
        "lines": 6, "bad": {}, "from": None, "to": None, "format": "ltsv", "keys": {},
        "slowest": [], "endpoints": rows, "other": {"count": 0, "off_by": 0},
        "total": {"count": 6 * 10**12, "sum": 6e12, **figures},
    }  # fmt: skip
    content = page.page(told, slices, dict.fromkeys(range(100), slices))
    assert 1_700_000 < len(content) < 2_000_000
    data = data_of(content)
    assert data["left_out"]["rows"] > 4000
    assert "Not on this page" in data["left_out"]["words"]


def test_output_html_is_the_page_with_the_zone_and_the_percentiles_asked_for(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    data = FakeReport(made(lines=100, endpoints=3))
    words = ["--output", "html", "--tz", "+02:00", "--percentiles", "75,99.5", "access.log"]
    printing.write(data, parse(COMMAND, words)[0])
    sys.stdout.flush()
    found = data_of(capfdbinary.readouterr().out)
    assert found["percentiles"] == ["p75", "p99.5"]
    assert found["from"].endswith("+02:00")
    assert len(found["maps"]) == len(found["columns"]["endpoint"]) == 10
    assert data_of(page_of(made(lines=100, endpoints=3)))["from"].endswith("+09:00")


def test_the_pictures_of_the_docs_are_small_and_all_shown() -> None:
    text = (ROOT / "docs/report-page.md").read_text()
    pictures = sorted((ROOT / "docs/pictures").glob("report-*.png"))
    assert len(pictures) == 3
    for picture in pictures:
        assert f"pictures/{picture.name}" in text
        assert picture.stat().st_size < 150_000
        assert picture.read_bytes().startswith(b"\x89PNG")
