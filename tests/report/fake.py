"""A stand-in for `kojuto._native.ReportData` in pure Python: exact figures of made requests.

    data = FakeReport(made(lines=5000, endpoints=40))
    data.columns([50, 99])["endpoint"]

It has what the native class has, in its shapes; percentiles are nearest rank and exact.
"""

from __future__ import annotations

import math
import pickle
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Any

from kojuto.tools.report.columns import percentile_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kojuto._native import ReportData as Face
else:
    Face = object

START_S = 1_764_374_400.0
"""2025-11-29 00:00:00 UTC."""
CLASSES = ("1xx", "2xx", "3xx", "4xx", "499", "5xx", "other_status")
MOST_SLICES = 32
COSTLIEST = 300

HOSTILE = (
    b"GET /<script>alert(1)</script>",
    b"GET /\x1b[31mred\x07",
    "GET /\u202egnp.exe".encode(),
    b"GET /\xff\xfe",
    b"GET /a\tb\nc\r",
    "GET /京都/{n}".encode(),
    b'GET /"quoted",\'|`&amp;',
)
"""Names as attackers write them; each has a few lines in a made report."""


@dataclass(frozen=True)
class Request:
    """One line of a log."""

    at_s: float
    endpoint: bytes
    target: bytes
    status: int
    time_s: float | None
    size: int = 1000

    @property
    def method(self) -> bytes:
        return self.endpoint.partition(b" ")[0]


def status_class(status: int) -> str:
    """The column in which a status counts."""
    if status == 499:
        return "499"
    return f"{status // 100}xx" if 100 <= status < 600 else "other_status"


def step(time_s: float) -> int:
    """The latency step: step i is [1.25^i, 1.25^(i+1)) microseconds; -1 is below."""
    return math.floor(math.log(time_s * 1e6) / math.log(1.25)) if time_s >= 1e-6 else -1


def rank(ordered: Sequence[float], percent: float) -> float | None:
    """The nearest rank of sorted numbers."""
    if not ordered:
        return None
    return ordered[max(math.floor(len(ordered) * percent / 100 + 0.5) - 1, 0)]


def made(*, lines: int = 5000, endpoints: int = 40, span_s: float = 3600.0, seed: int = 1,
         timed: bool = True) -> list[Request]:  # fmt: skip
    """Requests as a site has them: a few endpoints busy, some slow, an outage in the middle.

    Args:
        lines: how many.
        endpoints: of how many names, beside those of `HOSTILE`.
        span_s: from the first to the last.
        seed: another one makes another log.
        timed: whether the log has times; without, none of the lines has one.
    """
    dice = Random(seed)
    words = ("users", "orders", "items", "search", "login", "cart", "feed", "files", "api", "admin")
    names = [
        f"{dice.choice(('GET', 'GET', 'GET', 'POST', 'PUT'))} /{words[n % 10]}"
        f"{'/{n}' * (n // 10 % 3)}{f'/{words[n // 30 % 10]}{n // 300 or str()}' if n >= 30 else ''}"
        for n in range(endpoints)
    ]
    weights = list(accumulate(1 / (place + 1) for place in range(endpoints)))
    slow = [dice.lognormvariate(-4, 1.2) for _ in names]
    found = []
    for line in range(lines):
        at_s = START_S + span_s * line / lines
        place = (
            dice.choices(range(endpoints), cum_weights=weights)[0] if line >= endpoints else line
        )
        broken = 0.45 < line / lines < 0.5
        status = dice.choice((200,) * 90 + (304,) * 4 + (404,) * 3 + (499, 500, 503))
        if broken and dice.random() < 0.3:
            status = 502
        time_s = dice.lognormvariate(math.log(slow[place]), 0.7) * (5 if broken else 1)
        has_time = timed and status != 304
        target = names[place].partition(" ")[2].replace("{n}", str(line * 7919 % 100_000))
        found.append(Request(
            at_s, names[place].encode(), f"{target}?page={line % 9}".encode(), status,
            round(time_s, 6) if has_time else None, dice.randrange(200, 60_000),
        ))  # fmt: skip
    for place, hostile in enumerate(HOSTILE):
        raw = hostile.partition(b" ")[2]
        found += [
            Request(START_S + 60 * place + n, hostile, raw, 404, 0.001 * (n + 1) if timed else None)
            for n in range(3)
        ]
    return found


class FakeReport(Face):  # type: ignore[misc]  # the native class is final
    """`ReportData` over requests that are all kept."""

    def __init__(self, requests: Iterable[Request], *, bad: dict[str, int] | None = None,
                 first_bad: bytes | None = None, zone_s: int = 9 * 3600,
                 other: dict[str, float] | None = None) -> None:  # fmt: skip
        self.requests = sorted(requests, key=lambda request: request.at_s)
        self.bad = dict(bad or {})
        self.first_bad = first_bad
        self.zone_s = zone_s
        self.other = other or {"count": 0, "sum": 0.0, "off_by": 0}

    def facts(self) -> dict[str, Any]:
        times = [request.at_s for request in self.requests]
        timed = any(request.time_s is not None for request in self.requests)
        keys = {"time": ("time", ""), "request": ("req", ""), "status": ("status", ""),
                "bytes": ("size", "")}  # fmt: skip
        if timed:
            keys["request_time"] = ("reqtime", "s")
        return {
            "lines": len(self.requests),
            "left_out": 0,
            "bad": self.bad,
            "first_bad": self.first_bad,
            "from_s": min(times, default=None),
            "to_s": max(times, default=None),
            "zone_s": self.zone_s,
            "format": "ltsv",
            "envelope": None,
            "keys": keys,
            "files": ["access.log"],
            "hosts": [],
            "other": self.other,
            "resolution_s": 0.001,
        }

    def _named(self) -> dict[bytes, list[Request]]:
        found: dict[bytes, list[Request]] = {}
        for request in self.requests:
            found.setdefault(request.endpoint, []).append(request)
        return found

    def columns(self, percentiles: Sequence[float]) -> dict[str, list[Any]]:
        rows = [
            {"endpoint": name, **figures(requests, percentiles), "example": requests[0].target}
            for name, requests in self._named().items()
        ]
        rows.sort(key=lambda row: (-(row["sum"] or 0), -row["count"], row["endpoint"]))
        names = rows[0] if rows else {"endpoint": b"", **figures([], percentiles), "example": b""}
        return {name: [row[name] for row in rows] for name in names}

    def total(self, percentiles: Sequence[float]) -> dict[str, Any]:
        return figures(self.requests, percentiles)

    def timeline(self) -> list[dict[str, Any]]:
        return slices(self.requests)

    def map(self, endpoint: bytes | str) -> list[dict[str, Any]] | None:
        name = endpoint.encode() if isinstance(endpoint, str) else endpoint
        if name not in self.columns([])["endpoint"][:COSTLIEST]:
            return None
        return slices(self._named()[name])

    def slowest(self) -> list[dict[str, Any]]:
        timed = [request for request in self.requests if request.time_s is not None]
        timed.sort(key=lambda request: -(request.time_s or 0))
        return [
            {"time_s": r.time_s, "at_s": r.at_s, "method": r.method, "target": r.target,
             "status": r.status, "endpoint": r.endpoint}
            for r in timed[:100]
        ]  # fmt: skip

    def merge(self, other: Face) -> None:
        assert isinstance(other, FakeReport)
        self.__init__(  # type: ignore[misc]
            [*self.requests, *other.requests],
            bad=dict(Counter(self.bad) + Counter(other.bad)),
            first_bad=self.first_bad or other.first_bad,
            zone_s=self.zone_s,
            other={key: self.other[key] + other.other[key] for key in self.other},
        )

    def to_bytes(self) -> bytes:
        return pickle.dumps(self)

    @staticmethod
    def from_bytes(data: bytes, files: Sequence[str] = ()) -> FakeReport:  # noqa: ARG004
        found = pickle.loads(data)
        assert isinstance(found, FakeReport)
        return found


def figures(requests: Sequence[Request], percentiles: Sequence[float]) -> dict[str, Any]:
    """The columns of some requests, all but the name and the example."""
    classes = Counter(status_class(request.status) for request in requests)
    times = sorted(request.time_s for request in requests if request.time_s is not None)
    mean = math.fsum(times) / len(times) if times else None
    return {
        "count": len(requests),
        "timed": len(times),
        **{name: classes[name] for name in CLASSES},
        "sum": math.fsum(times) if times else None,
        "min": times[0] if times else None,
        "max": times[-1] if times else None,
        "avg": mean,
        "stddev": None if mean is None
        else math.sqrt(math.fsum((time - mean) ** 2 for time in times) / len(times)),
        "bytes": sum(request.size for request in requests),
        **{percentile_name(percent): rank(times, percent) for percent in percentiles},
    }  # fmt: skip


def slices(requests: Sequence[Request]) -> list[dict[str, Any]]:
    """Slices of one width of 2^k seconds aligned at the epoch, at most 32; empty ones are out."""
    if not requests:
        return []
    width, first, last = 1, requests[0].at_s, requests[-1].at_s
    while last // width - first // width + 1 > MOST_SLICES:
        width *= 2
    found: dict[int, list[Request]] = {}
    for request in requests:
        found.setdefault(int(request.at_s // width), []).append(request)
    return [
        {
            "start_s": place * width,
            "width_s": width,
            "count": len(some),
            **{name: sum(status_class(r.status) == name for r in some) for name in CLASSES[:-1]},
            "steps": dict(Counter(step(r.time_s) for r in some if r.time_s is not None)),
        }
        for place, some in sorted(found.items())
    ]
