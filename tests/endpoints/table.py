"""Reads the table of endpoints and writes the logs that it stands for.

    for log in logs():
        path.write_bytes(log_bytes(log, "ltsv"))
        ...  # kojuto report, with log.options; count of lines by endpoint
    judge({log.name: counts})

`tests/data/report/README.md` tells how the table is read.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tests.conftest import DATA
from tests.endpoints.kinds import pool
from tests.endpoints.values import Dice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = DATA / "report"
START = dt.datetime(2026, 3, 2, tzinfo=dt.timezone.utc)
Item = TypeVar("Item")
SLOT = re.compile(r"\{(\w+)(?::(\d+))?\}|\{=([^}]*)\}")
EACH = re.compile(r"\{each=([^}]*)\}")
USUAL_POOL = 150
FACTORS = (30, 45, 55, 62, 70, 76, 82, 88, 94, 100, 106, 113, 122, 135, 155, 180, 220, 290)
"""Per cent of the row's time: skewed as latencies are, and bounded, so that no single line of a
name is a hundredth of the log's time."""


@dataclass(frozen=True)
class Log:
    name: str
    digest: str
    """Of its bytes in both forms, so that no other machine or Python writes another log."""
    options: tuple[str, ...]
    """Of `kojuto report`."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    number: int
    service: str
    log: str
    how: str
    """What must fold it: `shape`, `tree`, or nothing: `stays`."""
    opinion: bool
    """The spec leaves it open: counted by itself."""
    method: str
    lines: int
    statuses: tuple[tuple[int, int], ...]
    time_ms: int
    templates: tuple[str, ...]
    wanted: str
    source: str

    @property
    def kind(self) -> str:
        return "opinion" if self.opinion else self.how


@dataclass(frozen=True)
class Endpoint:
    """What the report must show: a row, or with `{each=a,b}` one of those it stands for."""

    row: Row
    method: str
    templates: tuple[str, ...]
    path: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}" if self.path[0] in "/*" else self.path


@dataclass(frozen=True)
class Line:
    endpoint: Endpoint
    request: str
    """As it stands in the log: method, target and version, or what came instead."""
    status: int
    time_ms: int


@dataclass
class Score:
    right: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)

    def share(self, kind: str) -> float:
        return self.right[kind] / self.rows[kind]


def table(name: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of a table with their numbers; columns are two or more blanks apart."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        if line and not line.startswith("#"):
            yield number, re.split(r" {2,}", line.rstrip())


@functools.cache
def services() -> dict[str, tuple[str, str]]:
    """The log and the documentation of each service."""
    return {name: (log, source) for _, (name, log, source) in table("services.txt")}


@functools.cache
def logs() -> list[Log]:
    return [
        Log(name, digest, () if options == "-" else tuple(options.split(" ")))
        for _, (name, digest, options) in table("logs.txt")
    ]


@functools.cache
def rows() -> list[Row]:
    found = []
    for number, columns in table("endpoints.txt"):
        assert len(columns) == 9, f"endpoints.txt:{number}: {len(columns)} columns of 9"
        service, how, method, lines, statuses, ms, template, wanted, source = columns
        found.append(
            Row(
                number=number,
                service=service,
                log=services()[service][0],
                how=how.rstrip("?"),
                opinion=how.endswith("?"),
                method=method,
                lines=int(lines),
                statuses=parse_statuses(statuses),
                time_ms=int(ms),
                templates=tuple(template.split(" || ")),
                wanted=template if wanted == "=" else wanted,
                source=source,
            )
        )
    return found


def parse_statuses(text: str) -> tuple[tuple[int, int], ...]:
    """`200:9,404:1`: statuses and their weights."""
    pairs = [part.partition(":") for part in text.split(",")]
    return tuple((int(status), int(weight or 1)) for status, _, weight in pairs)


@functools.cache
def endpoints(log: str) -> list[Endpoint]:
    found = []
    for row in rows():
        if row.log != log:
            continue
        each = EACH.search(row.templates[0])
        for choice in each[1].split(",") if each else [""]:
            templates = tuple(EACH.sub(choice, template) for template in row.templates)
            path = EACH.sub(choice, row.wanted).replace("{each}", choice)
            found.append(Endpoint(row, row.method, templates, path))
    return found


def draws(dice: Dice, values: tuple[str, ...], lines: int) -> list[str]:
    """Seven of ten lines have a value of their own as long as there are any; the first values
    are drawn more often than the last."""
    order = list(values)
    shuffle(dice, order)
    found = order[: max(1, lines * 7 // 10)]
    while len(found) < lines:
        found.append(values[min(dice.below(len(values)), dice.below(len(values)))])
    shuffle(dice, found)
    return found


def shuffle(dice: Dice, items: list[Item]) -> None:
    """As random.shuffle, whose way of drawing may change with the version of Python."""
    for last in range(len(items) - 1, 0, -1):
        other = dice.below(last + 1)
        items[last], items[other] = items[other], items[last]


def targets(endpoint: Endpoint) -> list[str]:
    """The targets of an endpoint's lines: its templates in turn, each slot with its own draws."""
    row = endpoint.row
    dice = Dice(f"{row.log} {endpoint.name}")
    forms: list[Iterator[str]] = []
    for index, template in enumerate(endpoint.templates):
        lines = len(range(index, row.lines, len(endpoint.templates)))
        slots = []
        for kind, size, choices in SLOT.findall(template):
            values = (
                tuple(choices.split(","))
                if choices
                else pool(row.log, kind, int(size or USUAL_POOL))
            )
            slots.append(draws(dice, values, lines))
        forms.append(fill(template, slots, lines))
    return [next(forms[line % len(forms)]) for line in range(row.lines)]


def fill(template: str, slots: list[list[str]], lines: int) -> Iterator[str]:
    fixed = SLOT.split(template)[:: SLOT.groups + 1]
    for line in range(lines):
        parts = [fixed[0]]
        for slot, text in zip(slots, fixed[1:], strict=True):
            parts += [slot[line], text]
        yield "".join(parts)


def spread(dice: Dice, row: Row) -> list[int]:
    """The statuses of a row's lines, each with its share."""
    total = sum(weight for _, weight in row.statuses)
    found = [status for status, weight in row.statuses for _ in range(row.lines * weight // total)]
    found += [row.statuses[0][0]] * (row.lines - len(found))
    shuffle(dice, found)
    return found


@functools.cache
def lines(log: str) -> list[Line]:
    """All lines of a log in their order, the endpoints mixed."""
    found = []
    for endpoint in endpoints(log):
        row = endpoint.row
        dice = Dice(f"{row.log} {endpoint.name} lines")
        for target, status in zip(targets(endpoint), spread(dice, row), strict=True):
            request = target if row.method == "-" else f"{row.method} {target} HTTP/1.1"
            time_ms = max(1, row.time_ms * FACTORS[dice.below(len(FACTORS))] // 100)
            found.append(Line(endpoint, request, status, time_ms))
    shuffle(Dice(log), found)
    return found


@functools.cache
def log_bytes(log: Log, form: str) -> bytes:
    """A log as `ltsv`, or as `combined` with the time at the end; a day long."""
    every = lines(log.name)
    dice = Dice(f"{log.name} rest")
    written = []
    for number, line in enumerate(every):
        at = START + dt.timedelta(seconds=number * 86_400 // len(every))
        when = at.strftime("%d/%b/%Y:%H:%M:%S +0000")
        host = f"192.0.2.{dice.between(1, 255)}"
        size = dice.between(20, 60_000)
        seconds = f"{line.time_ms // 1000}.{line.time_ms % 1000:03}"
        if form == "ltsv":
            written.append(
                f"time:{when}\thost:{host}\treq:{line.request}\tstatus:{line.status}"
                f"\tsize:{size}\treqtime:{seconds}"
            )
        else:
            written.append(
                f'{host} - - [{when}] "{line.request}" {line.status} {size} "-" "-" {seconds}'
            )
    return "".join(text + "\n" for text in written).encode()


def digest(log: Log) -> str:
    both = log_bytes(log, "ltsv") + log_bytes(log, "combined")
    return hashlib.sha256(both).hexdigest()[:12]


def wanted(log: str) -> dict[str, int]:
    """Endpoint to its lines, as the report must have them."""
    return {endpoint.name: endpoint.row.lines for endpoint in endpoints(log)}


def judge(found: Mapping[str, Mapping[str, int]]) -> Score:
    """How many rows are as wanted, by what folds them; log to endpoint to lines.

    A row is right when the report has its endpoint with exactly its lines: one line elsewhere, or
    one of another row, and it is not. What the spec leaves open is of the kind `opinion`.
    """
    score = Score()
    for row in rows():
        seen = {
            endpoint.name: found[row.log].get(endpoint.name, 0)
            for endpoint in endpoints(row.log)
            if endpoint.row is row
        }
        wrong = [
            f"endpoints.txt:{row.number}: {name}: {count} of {row.lines} lines"
            for name, count in seen.items()
            if count != row.lines
        ]
        score.rows[row.kind] += 1
        score.right[row.kind] += not wrong
        score.missed += wrong
    return score
