"""The pictures of the docs: pages of a made site, as a browser shows them.

.venv/bin/python -m tests.report.pictures
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.conftest import ROOT
from tests.peers.chromium import Browser
from tests.report.fake import Request
from tests.report.pages import page_of

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = ROOT / "docs/pictures"
LINES = 60_000
START_S = 1_794_438_000.0
SPAN_S = 11 * 3600
ENDPOINTS = [  # name, how many of the lines, median time, its spread, share of 5xx
    ("GET /api/timeline", 0.22, 0.120, 0.7, 0.004),
    ("GET /users/{n}/posts", 0.12, 0.045, 0.8, 0.002),
    ("GET /api/search", 0.05, 0.38, 0.6, 0.012),
    ("POST /api/posts", 0.03, 0.085, 0.5, 0.006),
    ("GET /image/{n}.jpg", 0.25, 0.0021, 0.9, 0.0),
    ("GET /", 0.06, 0.035, 0.4, 0.001),
    ("POST /login", 0.012, 0.31, 0.25, 0.003),
    ("GET /posts/{n}", 0.1, 0.022, 0.6, 0.001),
    ("GET /@*", 0.05, 0.06, 0.7, 0.001),
    ("GET /api/notifications", 0.07, 0.012, 0.8, 0.0005),
    ("DELETE /api/posts/{n}", 0.003, 0.06, 0.5, 0.01),
    ("GET /admin/export/{date}", 0.0006, 6.2, 0.5, 0.15),
    ("GET /static/app.{hash}.js", 0.03, 0.0007, 0.6, 0.0),
]
ROOMS = ("orders", "carts", "items", "reviews", "shops", "coupons", "invoices", "teams", "hooks")


def _endpoints(dice: Random) -> Iterator[tuple[str, float, float, float, float]]:
    yield from ENDPOINTS
    for place, room in enumerate(ROOMS):
        for method, tail in (("GET", ""), ("GET", "/{n}"), ("POST", ""), ("GET", "/{n}/{uuid}")):
            rare, median_s = 0.02 / (place + 4), dice.lognormvariate(-3.5, 1.1)
            errors = dice.choice((0.0, 0.0, 0.001, 0.02))
            yield f"{method} /api/v2/{room}{tail}", rare, median_s, dice.uniform(0.3, 0.9), errors


def site(seed: int = 3) -> list[Request]:
    """A day of a made site: more at noon, a slow hour in the afternoon."""
    dice = Random(seed)
    endpoints = list(_endpoints(dice))
    found = []
    for name, _, median_s, spread, errors in dice.choices(
        endpoints, [one[1] for one in endpoints], k=LINES
    ):
        part = dice.random()
        while dice.random() > 0.35 + 0.65 * math.sin(math.pi * part) ** 2:
            part = dice.random()
        slow = 0.62 < part < 0.68 and median_s > 0.01
        time_s = dice.lognormvariate(math.log(median_s * (4.5 if slow else 1)), spread)
        status = dice.choices((404, 499, 200), (1.2, 0.4, 98.4))[0]
        if dice.random() < errors * (25 if slow else 1):
            status = dice.choice((500, 502, 503, 504))
        target = name.partition(" ")[2]
        for variable, value in (
            ("{n}", str(dice.randrange(90_000))), ("{hash}", "9f3ac81d"), ("{date}", "2026-11"),
            ("*", "alice"), ("{uuid}", "6f1c52c4-8a86-4d0e-9d3c-1f7d3f6f8a11"),
        ):  # fmt: skip
            target = target.replace(variable, value)
        found.append(
            Request(
                START_S + SPAN_S * part, name.encode(), target.encode(), status,
                round(max(time_s, 0.001), 3), int(dice.lognormvariate(8.5, 1.2)),
            )
        )  # fmt: skip
    return found


def main() -> int:
    """Draw all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "report.html")
        file.write_bytes(page_of(site()))
        browser = Browser(Path(folder, "chromium"))
        for name, width, height, dark, opened in (
            ("report-page.png", 1440, 960, True, ""),
            ("report-endpoint.png", 1280, 700, False, "tr.row:nth-child(2)"),
            ("report-phone.png", 390, 844, False, ""),
        ):
            page = browser.open(file, width=width, height=height, dark=dark)
            page.wait_for("document.documentElement.dataset.ready")
            if opened:
                page.click(opened)
                page.value(f"document.querySelector('{opened}').scrollIntoView()")
            (FOLDER / name).write_bytes(page.picture())
            page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
