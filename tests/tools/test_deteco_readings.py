"""deteco: a URI passes if and only if every reading of it lies under the path.

The readers here are written for themselves, from what servers are known to do, and not from the
code: each has its habits, and one may stand behind another.
"""

from __future__ import annotations

import itertools
import random
import unicodedata
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kojuto._native import TokenGate
from kojuto.common.server.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/api/echo"


def of(path: str) -> dict[str, Any]:
    return {
        "id": path, "rules": [(path, [])], "keys": [], "freshness_s": 1.0, "late_s": 0.0,
        "early_s": 0.0, "kinds": [], "require": [], "shown": [], "renewed": False,
    }  # fmt: skip


@pytest.fixture(scope="module")
def gate() -> Iterator[TokenGate]:
    log = Logger()
    yield TokenGate(log.writer, "/auth", [of(PATH), of("/")])
    log.close()


class NoReadingError(Exception):
    """A reader answers 400."""


def decode(path: str) -> str:
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise NoReadingError from None
    if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text):
        raise NoReadingError
    return text


def resolve(path: str) -> str:
    """By a regular grammar of segments, as RFC 3986, 5.2.4, says it."""
    found: list[str] = []
    segments = path[1:].split("/")
    for at, segment in enumerate(segments):
        last = at == len(segments) - 1
        if segment in (".", ".."):
            if segment == ".." and found:
                found.pop()
            if last:
                found.append("")
        else:
            found.append(segment)
    return "/" + "/".join(found)


def fold(path: str) -> str:
    """NFKC of the characters that matter, and the code pages' best fits."""
    fits = {"\u2215": "/", "\u2216": "\\", "\u29f5": "\\", "\u29f8": "/", "\u29f9": "\\"}
    text = "".join(fits.get(c, c) for c in path)
    return "".join(
        n if set(n := unicodedata.normalize("NFKC", c)) <= set("./\\%;") else c for c in text
    )


def merge(path: str) -> str:
    kept = "/"
    for piece in path.split("/"):
        if piece:
            kept += piece + "/"
    return kept if path.endswith("/") else kept.removesuffix("/") or "/"


def cut(path: str) -> str:
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))


def backslash(path: str) -> str:
    return "/".join(path.split("\\"))


HABITS = (decode, resolve, fold, merge, cut, backslash)


def inside(path: str) -> bool:
    return f"{path}/".startswith(f"{PATH}/")


def by_the_book(uri: str) -> Iterator[str]:
    """The readings of the rule: one reader with constant habits, who decodes once or twice."""
    raw = uri.partition("?")[0]
    for times, slash, parameters, before, merged, folded in itertools.product(
        (1, 2), *[(False, True)] * 5
    ):
        path = resolve(raw) if before else raw
        for _ in range(times):
            path = decode(path)
            if folded:
                path = fold(path)
            if slash:
                path = backslash(path)
            if parameters:
                path = cut(path)
            if merged:
                path = merge(path)
        yield resolve(path)


def by_chance(uri: str, rng: random.Random) -> Iterator[str]:
    """Readings of several readers in a row, each with one habit; two of them decode."""
    for _ in range(60):
        path, decoded = uri.partition("?")[0], 0
        for habit in rng.choices(HABITS, k=rng.randint(1, 8)):
            decoded += habit is decode
            if decoded > 2:
                break
            path = habit(path)
            yield path


PIECES = [
    "/", "..", ".", "%2e", "%2E", "%2f", "%5c", "\\", ";", "%3b", "%25", "a", "api", "echo", "//",
    "secret", "%252e", "%252f", "%255c", "%253b", "\uff0e", "%EF%BC%8E", "\uff0f", "%EF%BC%8F",
    "\u2025", "\uff3c", "%EF%BC%BC", "\uff1b", "\uff05", "2e", "2f", "5c", "あ", "%E3%81%82", "v=1",
    "%20", "?", "%3f", "%23", "...", "+", "~",
]  # fmt: skip
URIS = st.lists(st.sampled_from(PIECES), max_size=9).map(lambda pieces: PATH + "".join(pieces))


@pytest.mark.timeout(600)
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(URIS, st.randoms(use_true_random=False))
def test_what_passes_has_no_reading_elsewhere(
    gate: TokenGate, uri: str, rng: random.Random
) -> None:
    if gate.decide(0, uri, "GET") is not None:
        return
    try:
        for reading in itertools.chain(by_the_book(uri), by_chance(uri, rng)):
            assert inside(reading), f"{uri} is read as {reading}"
    except NoReadingError:
        pytest.fail(f"{uri} has no reading")


# What readers that the rule does not name do: they cut at a decoded ? or #, drop blanks at the ends
# of a segment, or do not go on above the root. Only these may refuse what the rule lets pass.
BEYOND = ("%3f", "%23", "%20")


@pytest.mark.timeout(600)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(URIS)
def test_what_is_refused_has_a_reading_elsewhere_or_none(gate: TokenGate, uri: str) -> None:
    why = gate.decide(0, uri, "GET")
    if why is None or any(piece in uri for piece in BEYOND) or "above the root" in why:
        return
    try:
        found = set(by_the_book(uri))
        for seed in range(40):
            found.update(by_chance(uri, random.Random(seed)))
    except NoReadingError:
        return
    assert inside(uri.partition("?")[0]) is False or not all(map(inside, found)), (uri, why)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1), max_size=5))
def test_honest_names_pass_however_they_are_written(gate: TokenGate, names: list[str]) -> None:
    """Any names of letters, digits and signs that are not dots, with all in escapes or what needs
    to be."""
    kept = [name for name in names if not {".", "..", ""} & readings_of(name)]
    for safe in ("", "!$&'()*+,;=:@"):
        uri = "/".join([PATH, *(quote(name, safe=safe) for name in kept)])
        assert gate.decide(0, uri, "GET") is None, uri


def readings_of(name: str) -> set[str]:
    """The segments that somebody could see in a name."""
    texts = {name, fold(name)}
    for text in tuple(texts):
        texts.add(unquote_to_bytes(text).decode("utf-8", "replace"))
        texts.add(text.replace("?", "/").replace("#", "/"))
    pieces = {piece for text in texts for piece in backslash(text).split("/")}
    return {part for piece in pieces for part in (piece, piece.partition(";")[0], piece.strip())}


def test_the_readings_that_are_shown_are_those_that_are_judged(gate: TokenGate) -> None:
    found = TokenGate.readings("/api/echo/a%252Fb;v=1/%2e%2e/c?x=%zz")
    assert found[0] == "/api/echo/a%252Fb;v=1/%2e%2e/c"
    assert {"/api/echo/c", "/api/echo/a/c", "/api/echo/a/b/../c"} <= set(found)
    assert all(inside(reading) for reading in found)
    with pytest.raises(ValueError, match="a % without two hexadecimal digits in the path"):
        TokenGate.readings("/%zz")


def test_the_worst_uri_is_judged_in_no_time(gate: TokenGate) -> None:
    import time

    worst = ("/a;b\\..//%252e%25%EF%BC%8F." * 400)[:8000]
    began = time.monotonic()
    for path in (worst, "/" + "%25" * 2600, "/" + ";" * 8000, "/" + "\\" * 8000, "/." * 4000):
        gate.decide(1, path, "GET")
    assert time.monotonic() - began < 5
