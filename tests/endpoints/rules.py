"""The spec's rules, as a check on the table: does each row want what they demand of its log?

Nothing here folds a log. What a row wants is taken as given, and each of its lines, each name in
each place and each threshold is held against it.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.endpoints.table import Line, lines

FOLD_ABOVE = 50
FIRST_FOLD_ABOVE = 200
MARGIN = 10
"""Names beyond a threshold where a place folds, so that no way of counting decides."""
DEEPEST = 8
OF_PLACE = 10
OF_ALL = 100
NEAR = 1.1
"""How far a name keeps from a tenth and a hundredth."""

NUMBER = r"[-+]?\d+(?:\.\d+)?"
VARIABLES = {
    "{n}": rf"{NUMBER}(?:,{NUMBER})*",
    "{uuid}": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "{ulid}": r"[0-7][0-9A-HJKMNP-TV-Z]{25}",
    "{hex}": r"(?=[a-fA-F]*\d)(?:[0-9a-f]{8,}|[0-9A-F]{8,})",
    "{hash}": (
        r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
        r"|(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[0-9A-Za-z]{6,})"
    ),
    "{token}": r"(?=[^\d/]*\d)(?=[^A-Za-z/]*[A-Za-z])[0-9A-Za-z_.%-]{20,}",
    "{date}": r"\d{4}-\d\d(?:-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?)?",
    "{ip}": r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f:]*:[0-9a-f:]*)",
    "{email}": r"[\w.+-]+@[\w.-]+\.[a-z]+",
}
WHOLE_TOKEN = re.compile(r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[0-9A-Za-z]{20,}")
"""What nobody takes for words with hyphens between them."""
EXTENSION = re.compile(r"[^.]\.([A-Za-z][A-Za-z0-9]{0,4})$")
UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
SIGNS = "@~$:"
MIDDLE = "a hash in the middle"


@dataclass
class Name:
    """What stands at one place of the tree, with all that is below it."""

    lines: int = 0
    time_ms: int = 0
    refused: bool = True
    """Of all its lines 4xx."""
    wanted: set[str] = field(default_factory=set)
    opinion: bool = False

    @property
    def folds(self) -> bool:
        return any("*" in want for want in self.wanted)

    @property
    def shaped(self) -> bool:
        return any("{" in want for want in self.wanted)


Place = dict[str, Name]


def canonical(target: str) -> list[str]:
    """The segments of a target's one form."""
    if "://" in target:
        target = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?]*", "", target)
    found: list[str] = []
    for segment in target.partition("?")[0].split("/"):
        bare = segment.partition(";")[0]
        if "%" in bare:
            bare = re.sub("%[0-9A-Fa-f]{2}", decoded, bare)
        if bare == "..":
            del found[-1:]
        elif bare not in ("", "."):
            found.append(bare)
    return found


def decoded(escape: re.Match[str]) -> str:
    plain = unquote(escape[0], errors="replace")
    return plain if UNRESERVED.fullmatch(plain) else escape[0].upper()


@functools.cache
def paths(log: str) -> list[tuple[Line, list[str], list[str]]]:
    """The lines of a log that have a path, its segments as they came and as they are wanted."""
    found = []
    for line in lines(log):
        wanted = line.endpoint.path.partition("?")[0]
        if wanted.startswith("/"):
            target = line.request.partition(" ")[2].removesuffix(" HTTP/1.1")
            found.append((line, canonical(target), wanted[1:].split("/") if wanted != "/" else []))
    return found


@functools.cache
def pattern(wanted: str) -> re.Pattern[str]:
    """What a path that is wanted as this may be."""
    parts = re.split(r"(\{\w+\}|/\*\*$|\*)", wanted)
    known = {**VARIABLES, "*": "[^/]+", "/**": "(?:/[^/]+)+"}
    return re.compile("".join(known.get(part) or re.escape(part) for part in parts))


def wrong_lines(log: str) -> list[str]:
    """Lines that what their row wants cannot stand for."""
    found = []
    for line, names, wanted in paths(log):
        deep = wanted[-1:] == ["**"]
        fits = pattern("/" + "/".join(wanted)).fullmatch("/" + "/".join(names))
        if deep != (len(names) > DEEPEST) or (not fits and not line.endpoint.row.opinion):
            found.append(f"row {line.endpoint.row.number}: {line.endpoint.path}: {line.request}")
    return found


@functools.cache
def places(log: str) -> dict[tuple[str, ...], Place]:
    """The tree: a place is what is wanted before it, its names are as they came."""
    tree: dict[tuple[str, ...], Place] = defaultdict(dict)
    for line, names, wanted in paths(log):
        for depth, (segment, want) in enumerate(zip(names, wanted, strict=False)):
            if want == "**":
                break
            name = tree[tuple(wanted[:depth])].setdefault(segment, Name())
            name.lines += 1
            name.time_ms += time_of(line)
            name.refused &= 400 <= line.status < 500
            name.wanted.add(want)
            name.opinion |= line.endpoint.row.opinion
    return dict(tree)


def time_of(line: Line) -> int:
    """A connection that went over to another protocol has no time of its own."""
    return 0 if line.status == 101 else line.time_ms


def totals(log: str) -> tuple[int, int]:
    return len(lines(log)), sum(time_of(line) for line in lines(log))


def stays_by(name: Name, of: int, total: tuple[int, int], near: float) -> set[str]:
    """Which of the three rules keep a name of a place that folds."""
    shares = {
        "place": name.lines * OF_PLACE / of,
        "lines": name.lines * OF_ALL / total[0],
        "time": name.time_ms * OF_ALL / total[1],
    }
    return {rule for rule, share in shares.items() if share > near}


def above(where: tuple[str, ...]) -> int:
    return FOLD_ABOVE if where else FIRST_FOLD_ABOVE


def wrong_places(log: str) -> list[str]:
    """Where a threshold says another thing than the table."""
    found = []
    for where, names in places(log).items():
        at = "/" + "/".join(where)
        found += [
            f"{at}: {name} is wanted as {n.wanted}"
            for name, n in names.items()
            if len(n.wanted) > 1
        ]
        folding = {name: n for name, n in names.items() if n.folds and n.wanted != {name}}
        still = {name: n for name, n in names.items() if n.wanted == {name}}
        served = sum(not n.refused for n in folding.values())
        if not folding:
            named = sum(not n.refused for n in still.values())
            if named > above(where) or len(still) - named > FOLD_ABOVE:
                found.append(f"{at}: {len(still)} names would not stay")
        elif not served:
            if len(folding) < FOLD_ABOVE + MARGIN:
                found.append(f"{at}: {len(folding)} refused names would stay")
            found += [f"{at}: {name} was only refused" for name, n in still.items() if n.refused]
        elif served < above(where) + MARGIN:
            found.append(f"{at}: {served} names would stay")
        else:
            found += wrong_shares(log, at, folding, still, sum(n.lines for n in names.values()))
    return found


def wrong_shares(log: str, at: str, folding: Place, still: Place, all_lines: int) -> list[str]:
    """Of a place that folds: names that are wanted apart and would not be, or the other way.

    Whether ids count as lines of the place decides nowhere.
    """
    total = totals(log)
    named_lines = sum(n.lines for n in (folding | still).values())
    found = [
        f"{at}: {name} would stay by its {rules}"
        for name, n in folding.items()
        if (rules := stays_by(n, named_lines, total, 1 / NEAR))
    ]
    for name, n in still.items():
        if n.refused or not stays_by(n, all_lines, total, NEAR):
            found.append(f"{at}: {name} would fold")
    return found


def wrong_names(log: str) -> list[str]:
    """Names that are wanted whole, or as `*`, and have a certain shape, a sign or an extension."""
    found = []
    for where, names in places(log).items():
        at = "/" + "/".join(where)
        for name, n in names.items():
            if not n.opinion:
                found += [f"{at}: {name}: {why}" for why in wrong_name(name, n)]
        surely = [n for n in names.values() if not n.opinion]
        if any(n.shaped for n in surely) and any(n.folds for n in surely):
            found.append(f"{at}: ids beside folded names")
        lengths = {len(name) for name, n in names.items() if n.wanted == {"{hex}"}}
        found += [
            f"{at}: {name} is as long as a {{hex}}"
            for name, n in names.items()
            if n.wanted == {"{n}"} and len(name) in lengths
        ]
    return found


def wrong_name(name: str, n: Name) -> list[str]:
    want = min(n.wanted)
    shape = certain(name)
    if want == name:
        return [f"stays, and is {shape}"] if shape else []
    if not n.folds:
        return []
    found = []
    if shape not in ("", "{token}", MIDDLE):
        found.append(f"is wanted as {want}, and is {shape}")
    if name[0] in SIGNS and want[0] != name[0]:
        found.append("begins with a sign, which stays")
    if want.endswith("*") and (end := EXTENSION.search(name)) and not n.refused:
        found.append(f"ends with .{end[1]}, which stays")
    return found


def certain(name: str) -> str:
    """The certain shape of a whole name, or of its middle; nothing when it has none."""
    for variable in ("{n}", "{uuid}", "{ulid}", "{hex}", "{date}", "{ip}", "{email}"):
        if re.fullmatch(VARIABLES[variable], name):
            return variable
    if WHOLE_TOKEN.fullmatch(name):
        return "{token}"
    middle = re.split(r"[._~-]", name)[1:-1]
    return MIDDLE if any(re.fullmatch(VARIABLES["{hash}"], part) for part in middle) else ""
