"""The page of a report as a person has it: in a browser, at three widths, in two themes, on paper,
by mouse and by keys alone.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.tools.report.columns import rows_of
from kojuto.tools.report.page.packed import shown
from tests.conftest import wait_until
from tests.peers.chromium import Browser, Page, texts
from tests.peers.servers import Peer
from tests.report.fake import START_S, FakeReport, Request, made, slices, step
from tests.report.pages import hostile_requests, page_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

NAMES = "tr.row .open"
SEEN = "getComputedStyle(document.querySelector('{}')).{}"
REQUESTS = made(lines=3000, endpoints=10, span_s=5000)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages, by what they are of."""
    folder = tmp_path_factory.mktemp("pages")
    instant = [Request(START_S, b"GET /one", b"/one", 200, 0.25)]
    zeros = [replace(instant[0], time_s=time_s) for time_s in (0.0, 0.0, 0.0, 0.001, 0.002)]
    pages = {
        "few": page_of(REQUESTS),
        "many": page_of(made(lines=8000, endpoints=5000)),
        "hostile": page_of(hostile_requests()),
        "untimed": page_of(made(lines=300, endpoints=5, timed=False)),
        "instant": page_of(instant),
        "zeros": page_of([*zeros, *(replace(one, at_s=one.at_s + 9) for one in zeros)]),
        "empty": page_of([]),
    }
    found = {}
    for name, content in pages.items():
        found[name] = folder / f"{name}.html"
        found[name].write_bytes(content)
    return found


class Proxy:
    """Counts who asks it for anything, and gives nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.peer = Peer(self._refuse)

    def _refuse(self, conn: socket.socket) -> None:
        self.asked.append(conn.recv(1000).decode(errors="replace").partition("\r\n")[0])
        conn.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    started = Proxy()
    yield started
    started.peer.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, proxy: Proxy) -> Iterator[Browser]:
    """All that its pages ask for, even of this machine, goes to the proxy."""
    started = Browser(
        tmp_path_factory.mktemp("chromium"),
        f"--proxy-server=127.0.0.1:{proxy.peer.port}",
        "--proxy-bypass-list=<-loopback>",
    )
    yield started
    started.close()


class Opener:
    """Opens pages, and closes them at the end, when none of them may have complained."""

    def __init__(self, browser: Browser, files: dict[str, Path]) -> None:
        self.browser = browser
        self.files = files
        self.pages: list[Page] = []

    def __call__(self, name: str, **how: Any) -> Page:
        page = self.browser.open(self.files[name], **how)
        self.pages.append(page)
        page.wait_for(
            "document.documentElement.dataset.ready && document.fonts.status === 'loaded'"
        )
        return page

    def close(self) -> None:
        complaints = [told for page in self.pages for told in page.complaints()]
        for page in self.pages:
            page.close()
        assert complaints == []


@pytest.fixture
def show(browser: Browser, files: dict[str, Path]) -> Iterator[Opener]:
    opener = Opener(browser, files)
    yield opener
    opener.close()


def names(page: Page) -> list[str]:
    """The endpoints in the table, in their order."""
    return [text.replace("\xa0", " ") for text in texts(page, NAMES)]


def rows() -> list[dict[str, Any]]:
    """The endpoints of the few requests, the costliest first."""
    return rows_of(FakeReport(REQUESTS), [50, 99])


def ordered(key: str, *, down: bool = True) -> list[str]:
    found = [row for row in rows() if row[key] is not None]
    return [shown(row["endpoint"]) for row in sorted(found, key=lambda row: row[key], reverse=down)]


FAINT = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => rgb(text).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgb(colour)[3] !== 0) return colour;
    }
    return 'rgb(255,255,255)';
  };
  const faint = [];
  const kinds = new Map();
  for (const element of document.querySelectorAll('main *, footer *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const kind = `${element.tagName} ${element.className} ${element.parentElement.className}`;
    kinds.set(kind, (kinds.get(kind) || 0) + 1);
    if (kinds.get(kind) > 3) continue;
    const [one, other] = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) faint.push(`${element.textContent.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return { seen: kinds.size, faint: faint.slice(0, 5) };
})()"""
CUT = """[...document.querySelectorAll('.tile dd, td:not(.c-endpoint), th button, h1, h2')]
  .filter((one) => !one.matches('.note'))
  .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1
    && getComputedStyle(one).display !== 'inline')
  .map((one) => one.textContent).slice(0, 5)"""


@pytest.mark.parametrize("name", ["few", "many", "hostile"])
def test_it_fits_and_can_be_read_at_three_widths_in_both_themes(show: Opener, name: str) -> None:
    page = show(name, width=375)
    page.value("document.querySelector('.open').click()")
    for width in (375, 1024, 1920):
        page.resize(width, 900)
        page.wait_for(f"innerWidth === {width}")
        charts = "[...document.querySelectorAll('.uplot')].map((e) => e.offsetWidth)"
        boxes = "[...document.querySelectorAll('.plot')].map((e) => Math.floor(e.clientWidth))"
        page.wait_for(f"String({charts}) === String({boxes})")
        assert page.value("document.documentElement.scrollWidth") == width
        assert page.value(CUT) == []
        opened = "document.querySelector('.detail > td').offsetWidth"
        assert page.value(f"{opened} / document.querySelector('.table').offsetWidth") > 0.98
        for dark in (False, True):
            page.emulate(dark=dark)
            contrast = page.value(FAINT)
            assert contrast["seen"] > 25
            assert contrast["faint"] == []
            ground = page.value("getComputedStyle(document.documentElement).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", ground))) < 150) is dark


PAINTED = """((at) => {{
  const canvas = document.querySelectorAll('canvas')[{chart}];
  const x = Math.round(canvas.width * {x}), y = Math.round(canvas.height * {y});
  return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data];
}})()"""
SHADES = """(() => {
  const canvas = document.querySelectorAll('canvas')[%d];
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let at = 0; at < data.length; at += 4) seen.add(data.slice(at, at + 4).join());
  return seen.size;
})()"""


def test_the_charts_are_drawn_in_the_theme_and_change_with_it(show: Opener) -> None:
    page = show("few", width=1024)
    page.wait_for("document.querySelectorAll('canvas').length === 2")
    page.wait_for(f"{SHADES % 0} > 4")
    page.wait_for(f"{SHADES % 1} > 20")
    bar = PAINTED.format(chart=0, x=0.3, y=0.6)
    light = page.value(bar)
    assert light[3] == 255
    page.emulate(dark=True)
    page.wait_for(f"JSON.stringify({bar}) !== '{str(light).replace(' ', '')}'")
    dark = page.value(bar)
    assert sum(dark[:3]) < sum(light[:3])
    page.click("button.theme")
    page.wait_for(f"JSON.stringify({bar}) === '{str(light).replace(' ', '')}'")


def test_the_figures_are_those_of_the_report(show: Opener) -> None:
    page = show("few", width=1920)
    assert names(page) == ordered("sum")
    first = rows()[0]
    cells = dict(
        zip(texts(page, "thead button"), texts(page, "tr.row:first-child td"), strict=True)
    )
    assert cells["count"] == f"{first['count']:,}"
    assert cells["share"] == f"{first['share']:.1%}".replace("%", " %")
    assert cells["5xx"] == str(first["5xx"] or "·")
    tiles = dict(zip(texts(page, ".tile dt"), texts(page, ".tile dt + dd"), strict=True))
    assert tiles["Requests"] == f"{len(FakeReport(REQUESTS).requests):,}"
    failed = sum(r.status >= 500 for r in REQUESTS) / len(REQUESTS)
    assert tiles["Server errors"] == f"{failed * 100:.1f} %"
    begin = datetime.fromtimestamp(START_S, timezone(timedelta(hours=9)))
    assert texts(page, "header .when")[0].startswith(f"{begin:%Y-%m-%d %H:%M:%S} to ")
    assert "UTC+09:00" in texts(page, "header .when")[0]
    assert len(texts(page, ".plain tbody tr")) == 10


def test_a_click_on_a_head_sorts_and_another_turns_it(show: Opener) -> None:
    page = show("few", width=1920)
    page.click("th[data-name=p99] button")
    assert names(page) == ordered("p99")
    assert page.value("document.querySelector('th[data-name=p99]').ariaSort") == "descending"
    page.click("th[data-name=p99] button")
    assert names(page) == ordered("p99", down=False)
    assert page.value("document.querySelector('th[data-name=p99]').ariaSort") == "ascending"
    assert page.value("document.querySelector('th[data-name=share]').ariaSort") == "none"
    page.click("th[data-name=endpoint] button")
    assert names(page) == sorted(names(page))


def test_typing_filters_by_words_and_against_those_with_a_minus(show: Opener) -> None:
    page = show("few", width=1024)
    page.click(".filter")
    page.press(*"GET or")
    assert names(page) == [name for name in ordered("sum") if "or" in name and "GET" in name]
    assert re.fullmatch(r"\d of 17 endpoints, [\d.]+ % of the time", texts(page, ".told")[0])
    page.value("document.querySelector('.filter').value = ''")
    page.press(*"-get")
    assert names(page) == [name for name in ordered("sum") if "GET" not in name]


def test_an_endpoint_opens_to_its_own_charts_and_figures(show: Opener) -> None:
    page = show("few", width=1024)
    page.click("tr.row:nth-child(2)")
    page.wait_for("document.querySelectorAll('.detail canvas').length === 2")
    page.wait_for(f"{SHADES % 3} > 5")
    second = rows()[1]
    pairs = dict(zip(texts(page, ".pairs dt"), texts(page, ".pairs dd"), strict=True))
    assert pairs["count"] == f"{second['count']:,}"
    assert {"p50", "p90", "p95", "p99", "p99.9", "min", "max", "stddev"} <= set(pairs)
    assert texts(page, ".example code") == [second["example"]]
    page.click("tr.row:first-child")
    page.wait_for("document.querySelectorAll('.detail canvas').length === 2")
    assert page.value("document.querySelector('.row.chosen').rowIndex") == 1
    page.click("tr.row:first-child")
    assert page.value("document.querySelectorAll('.detail').length") == 0
    page.click(".costs li:nth-child(3) button")
    assert texts(page, ".chosen .open") == [texts(page, NAMES)[2]]


def test_of_5000_endpoints_some_are_drawn_at_a_time_and_all_are_sorted(show: Opener) -> None:
    page = show("many", width=1024)
    assert len(names(page)) == 100
    assert texts(page, ".more") == ["Show 400 more of 4,900"]
    page.click(".more")
    assert len(names(page)) == 500
    page.click("th[data-name=endpoint] button")
    assert len(names(page)) == 100
    assert names(page) == sorted(names(page))
    page.click("th[data-name=endpoint] button")
    assert names(page)[0] > "PUT"
    assert "Not on this page: 7 more endpoints" in page.value(
        "document.querySelector('main').textContent"
    )
    # One of those without charts says so, and has its percentiles all the same.
    page.value("document.querySelectorAll('.open')[99].click()")
    assert page.value("document.querySelectorAll('.detail canvas').length") == 0
    assert "the 100 costliest endpoints only" in texts(page, ".detail .note")[-1]
    assert "p99" in texts(page, ".pairs dt")
    assert page.value("document.querySelectorAll('.detail .ladder i').length") == 7


def test_it_can_be_used_by_keys_alone(show: Opener) -> None:
    page = show("few", width=1024)
    focused = "document.activeElement.{}"
    page.press("Tab")
    assert page.value(focused.format("className")) == "theme"
    page.press("/")
    assert page.value(focused.format("className")) == "filter"
    page.press(*"get e", "ArrowDown")
    left = [name for name in ordered("sum") if "GET" in name and "e" in name[3:].lower()]
    assert page.value(focused.format("textContent")).replace("\xa0", " ") == left[0]
    page.press("ArrowDown", "Enter")
    assert texts(page, ".chosen .open")[0].replace("\xa0", " ") == left[1]
    assert page.value(focused.format("ariaExpanded")) == "true"
    page.press("Tab")
    assert page.value(focused.format("className")) == "plot"
    outline = page.value(SEEN.format(".detail .plot", "outlineStyle"))
    assert outline == "solid"
    page.press("Escape")
    assert page.value("document.querySelectorAll('.detail').length") == 0
    assert page.value(focused.format("textContent")).replace("\xa0", " ") == left[1]
    page.press("ArrowUp", "ArrowUp")
    assert page.value(focused.format("className")) == "filter"


def test_arrow_keys_tell_the_values_of_a_chart(show: Opener) -> None:
    page = show("few", width=1024)
    page.wait_for("document.querySelectorAll('.plot .uplot').length >= 2")
    page.value("document.querySelectorAll('.plot')[0].focus()")
    page.press("ArrowRight", "ArrowRight")
    second = slices(FakeReport(REQUESTS).requests)[1]
    at = datetime.fromtimestamp(second["start_s"], timezone(timedelta(hours=9)))
    # Both charts tell of the same instant.
    assert texts(page, ".charts .when") == [f"{at:%Y-%m-%d %H:%M:%S}"] * 2
    told = dict(
        zip(texts(page, ".key li span:nth-child(2)"), texts(page, ".key .value"), strict=True)
    )
    assert float(told["2xx"]) == pytest.approx(second["2xx"] / second["width_s"], rel=0.01)
    value, unit = told["p50"].split()
    median_s = float(value) * {"ms": 1e-3, "s": 1.0}[unit]
    times = sorted(
        one.time_s
        for one in FakeReport(REQUESTS).requests
        if one.time_s is not None and 0 <= one.at_s - second["start_s"] < second["width_s"]
    )
    # Within a step of 25 %, and the log's resolution.
    assert abs(step(median_s) - step(times[len(times) // 2])) <= 1
    page.press("ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert texts(page, ".charts .when")[0] != f"{at:%Y-%m-%d %H:%M:%S}"


def test_times_below_the_logs_resolution_are_0_and_have_their_place(show: Opener) -> None:
    page = show("zeros", width=1024)
    page.wait_for("document.querySelectorAll('.plot .uplot').length >= 2")
    page.value("document.querySelectorAll('.plot')[1].focus()")
    page.press("ArrowRight")
    told = dict(
        zip(texts(page, ".key li span:nth-child(2)"), texts(page, ".key .value"), strict=True)
    )
    assert told["p50"] == "0"
    assert told["p99"] == "2.00 ms"
    assert page.value(PAINTED.format(chart=1, x=0.2, y=0.8))[3] == 255


def test_hostile_names_are_text_and_run_nothing(show: Opener) -> None:
    page = show("hostile", width=1024)
    for at in range(len(names(page))):
        page.value(f"document.querySelectorAll('.open')[{at}].click()")
    assert page.value("window.hacked") is None
    assert page.value("document.querySelectorAll('script').length") == 3
    assert page.value("document.querySelectorAll('img, iframe, a, svg, object').length") == 0
    found = names(page)
    assert "GET /</script><script>window.hacked = 1</script>" in found
    assert "GET /<img src=x onerror=window.hacked=2>" in found
    assert "GET /\\u202efdp.exe\\u2066\\u200b" in found
    assert "__proto__" in found
    assert max(map(len, found)) == 200
    # Hebrew letters do not move what stands behind them to their left.
    place = (
        "((e, at) => { const r = document.createRange(); r.setStart(e, at); r.setEnd(e, at + 1);"
        " return r.getBoundingClientRect().left; })"
    )
    row = found.index("GET /\u05d0\u05d1/{n}")
    page.value(f"window.path = document.querySelectorAll('{NAMES}')[{row}].querySelector('.path')")
    text = "[...path.childNodes].filter((n) => n.data)"
    assert page.value(f"{place}({text}.at(-1), 0)") > page.value(f"{place}({text}[0], 1)")
    # A tower of accents stays within its row.
    assert page.value(SEEN.format("td.c-endpoint", "overflow")) == "clip"


TRIES = """(async () => {
  const told = [];
  addEventListener('securitypolicyviolation', (event) => told.push(event.effectiveDirective));
  const fails = async (what) => { try { await what(); return false; } catch { return true; } };
  const add = (name, set) => document.body.append(Object.assign(document.createElement(name), set));
  const failed = [
    await fails(() => fetch('http://gone.test/fetch')),
    await fails(() => { document.body.innerHTML = '<b>markup</b>'; }),
    await fails(() => (0, eval)('1')),
  ];
  navigator.sendBeacon('http://gone.test/beacon');
  new WebSocket('ws://gone.test/socket').onerror = () => {};
  new EventSource('http://gone.test/events').onerror = () => {};
  add('img', { src: 'http://gone.test/image' });
  add('iframe', { src: 'http://gone.test/frame' });
  add('video', { src: 'http://gone.test/video' });
  add('link', { rel: 'stylesheet', href: 'http://gone.test/style' });
  add('link', { rel: 'prefetch', href: 'http://gone.test/prefetch' });
  add('form', { action: 'http://gone.test/form', method: 'post' });
  document.querySelector('form').submit();
  const deadline = Date.now() + 5000;
  const wanted = ['connect-src', 'form-action', 'frame-src', 'img-src', 'media-src',
    'require-trusted-types-for', 'style-src-elem'];
  while (!wanted.every((one) => told.includes(one)) && Date.now() < deadline) {
    await new Promise((then) => setTimeout(then, 10));
  }
  return { failed, missing: wanted.filter((one) => !told.includes(one)) };
})()"""


def test_not_even_a_script_that_was_smuggled_in_could_fetch_anything(
    browser: Browser, proxy: Proxy, files: dict[str, Path]
) -> None:
    page = browser.open(files["hostile"])
    page.wait_for("document.documentElement.dataset.ready")
    found = page.value(TRIES, allowUnsafeEvalBlockedByCSP=False)
    page.close()
    assert found["failed"] == [True, True, True]
    assert found["missing"] == []
    assert proxy.asked == []


def test_on_paper_it_is_light_and_short_and_has_no_controls(show: Opener) -> None:
    page = show("many", width=375, dark=True)
    printed = page.pdf()
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 6
    page.emulate(dark=True, media="print")
    page.resize(718, 1000)
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.value(ground) == "rgb(255, 255, 255)"
    visible = "[...document.querySelectorAll('{}')].filter((e) => e.checkVisibility()).length"
    assert page.value(visible.format(".theme, .filter, .more, .hint")) == 0
    assert page.value(visible.format("tr.row")) == 40
    assert page.value("document.querySelector('tr.row').children[0].offsetWidth") > 150
    contrast = page.value(FAINT)
    assert contrast["faint"] == []


def test_a_log_without_times_is_sorted_by_count_and_says_what_to_add(show: Opener) -> None:
    page = show("untimed", width=1024)
    heads = texts(page, "thead button")
    assert "share" not in heads
    assert "p99" not in heads
    assert "$request_time" in texts(page, ".warning")[0]
    counts = [int(text.replace(",", "")) for text in texts(page, "td.c-count")]
    assert counts == sorted(counts, reverse=True)
    assert texts(page, ".chart h3") == ["Requests per second"]
    page.value("document.querySelector('.open').click()")
    assert texts(page, ".detail .chart h3") == ["Requests per second"]


def test_a_log_of_one_line_and_of_none_are_pages_too(show: Opener) -> None:
    page = show("instant", width=375)
    assert names(page) == ["GET /one"]
    page.wait_for("document.querySelectorAll('canvas').length > 1")
    page.wait_for(f"{SHADES % 1} > 3")
    page = show("empty", width=375)
    assert names(page) == []
    assert texts(page, ".told") == ["0 endpoints"]


def test_no_page_asked_for_anything_while_one_without_a_policy_does(
    browser: Browser, proxy: Proxy, files: dict[str, Path], tmp_path: Path
) -> None:
    page = browser.open(files["few"])
    page.wait_for("document.documentElement.dataset.ready")
    page.close()
    assert proxy.asked == []  # by this page, and by all that the tests above have opened
    bare = tmp_path / "bare.html"
    bare.write_text(
        "<img src='http://asked.test/image'><script>fetch('http://asked.test/data')</script>"
    )
    page = browser.open(bare)
    wait_until(lambda: len(proxy.asked) >= 2, what=lambda: str(proxy.asked))
    page.close()
    asked = sorted(proxy.asked)
    proxy.asked.clear()
    assert asked[0].startswith("GET http://asked.test/data ")
    assert asked[1].startswith("GET http://asked.test/image ")
