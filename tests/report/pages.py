"""Pages of made reports, for those who look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kojuto.tools.report import page
from tests.report.fake import START_S, FakeReport, Request, slices

if TYPE_CHECKING:
    from collections.abc import Iterable

HOSTILE = {
    "a script": b"GET /</script><script>window.hacked = 1</script>",
    "a picture": b"GET /<img src=x onerror=window.hacked=2>",
    "a comment": b"GET /<!--<script>",
    "quotes": b"GET /\"'`onload=window.hacked=3",
    "an entity": b"GET /&lt;b&gt;&amp;",
    "a template": b"GET /{data}{policy}${window.hacked=4}\\u003cb\\u003e",
    "from right to left": "GET /\u202efdp.exe\u2066\u200b".encode(),
    "Hebrew": "GET /\u05d0\u05d1/{n}".encode(),
    "control characters": b"GET /\x00\x1b[31m\r\n\x7f",
    "no UTF-8": b"GET /\xff\xc3(",
    "line separators": "GET /\u2028\u2029".encode(),
    "a tower of accents": ("GET /a" + "\u0301" * 190).encode(),
    "long": b"GET /" + b"x" * 10_000,
    "long and strange": b"GET /" + b"\x01" * 10_000,
    "a name of the language": b"__proto__",
    "no request": b"(no request)",
}
"""Names as attackers write them."""


class Report(FakeReport):  # type: ignore[misc]  # the native class is final
    """A made report whose many endpoints are sorted out once."""

    def __init__(self, requests: Iterable[Request], **facts: Any) -> None:
        super().__init__(requests, **facts)
        self._by_name = super()._named()

    def _named(self) -> dict[bytes, list[Request]]:
        return self._by_name

    def map(self, endpoint: bytes | str) -> list[dict[str, Any]] | None:
        return slices(self._by_name[endpoint]) if isinstance(endpoint, bytes) else None


def hostile_requests() -> list[Request]:
    """A few lines of each hostile name, slow enough to be among the costliest."""
    return [
        Request(START_S + 100 * place + n, name, name.partition(b" ")[2] or name, 200 + n % 4 * 100,
                0.5 + place / 100)
        for place, name in enumerate(HOSTILE.values())
        for n in range(5)
    ]  # fmt: skip


def page_of(requests: Iterable[Request], **facts: Any) -> bytes:
    """The page of these requests."""
    return page.of_report(Report(requests, **facts))
