"""Made-up access logs that look like real ones: line lengths, fields and their spread."""

from __future__ import annotations

import itertools
import json
import random
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DISTINCT = 20_000
"""So many different lines are made and then repeated: too many for a branch predictor to learn."""

AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.0.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15",
    "curl/7.88.1",
    "kube-probe/1.27",
)
STATUSES = (200,) * 18 + (204, 301, 304, 304, 400, 404, 404, 499, 500, 503)


def _fields(generator: random.Random, number: int) -> dict[str, str | int]:
    time_s = generator.expovariate(8)
    return {
        "time": f"2026-11-22T21:{number // 60 % 60:02}:{number % 60:02}+00:00",
        "host": f"10.{number % 256}.{number % 77}.{number % 99}",
        "method": generator.choice(("GET", "GET", "GET", "POST")),
        "uri": f"/api/v1/items/{generator.randrange(10**6)}?page={generator.randrange(50)}",
        "status": generator.choice(STATUSES),
        "size": generator.randrange(50_000),
        "referer": "-",
        "ua": generator.choice(AGENTS),
        "ptime": f"{time_s:.3f}",
        "apptime": f"{time_s * 0.9:.3f}",
        "vhost": "www.example.com",
    }


def _ltsv(fields: dict[str, str | int]) -> str:
    return "\t".join(f"{key}:{value}" for key, value in fields.items())


def _json(fields: dict[str, str | int]) -> str:
    members = (
        f'"{key}":{value}' if isinstance(value, int) else f'"{key}":"{value}"'
        for key, value in fields.items()
    )
    return "{" + ",".join(members) + "}"


def _combined(fields: dict[str, str | int]) -> str:
    return (
        f"{fields['host']} - - [22/Nov/2026:21:00:00 +0000] "
        f'"{fields["method"]} {fields["uri"]} HTTP/1.1" {fields["status"]} {fields["size"]} '
        f'"{fields["referer"]}" "{fields["ua"]}" {fields["ptime"]}'
    )


def _docker(line: str) -> str:
    entry = {"log": f"{line}\n", "stream": "stdout", "time": "2026-11-22T21:00:00.123456789Z"}
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False)


def access_log_of_groups(path: Path, lines: int, groups: int) -> Path:
    """Write an LTSV log in which `groups` values of ``user`` take turns, unless it is there."""
    if path.exists():
        return path
    generator = random.Random(7)
    texts = [_ltsv(_fields(generator, n)) for n in range(DISTINCT)]
    with open(path, "w", encoding="utf-8") as file:
        for number in range(lines):
            user = number * 7919 % groups
            file.write(f"{texts[number % DISTINCT]}\tuser:u{user:06}\n")
    return path


def access_log(path: Path, form: str, lines: int, *, docker: bool = False) -> Path:
    """Write an access log of `lines` lines (``ltsv``, ``json``, ``combined``), unless it is there.

    With `docker` each line is in an entry of docker's json-file driver.
    """
    if path.exists():
        return path
    generator = random.Random(7)
    write = {"ltsv": _ltsv, "json": _json, "combined": _combined}[form]
    texts = (write(_fields(generator, n)) for n in range(min(lines, DISTINCT)))
    made = [f"{_docker(text) if docker else text}\n".encode() for text in texts]
    whole, rest = divmod(lines, len(made))
    body = b"".join(made)
    with open(path, "wb") as file:
        for _ in range(whole):
            file.write(body)
        file.write(b"".join(made[:rest]))
    return path


ENDPOINTS = 500
URLS = 100_000
LINES_A_SECOND = 100
KINDS = ("{n}", "{n}", "{n}", "{uuid}", "{hex}", "slug")
"""What stands at the end of the URLs of an endpoint, in turn."""
WORDS = ("alpha", "bravo", "copper", "delta", "ember", "forest", "glacier", "harbour", "island",
         "juniper", "kettle", "lantern", "meadow", "nickel", "orchid", "pepper", "quartz",
         "river", "saddle", "timber")  # fmt: skip


def _id(generator: random.Random, kind: str) -> str:
    if kind == "{n}":
        return str(generator.randrange(10**6))
    if kind == "{uuid}":
        return str(uuid.UUID(int=generator.getrandbits(128), version=4))
    if kind == "{hex}":
        return f"{generator.getrandbits(96):024x}"
    return "-".join(generator.choices(WORDS, k=4))


def _urls(generator: random.Random) -> list[tuple[str, str]]:
    """(method, URL): as many of each endpoint, a third with a query."""
    urls: set[tuple[str, str]] = set()
    for endpoint in range(ENDPOINTS):
        method = ("GET", "GET", "GET", "POST")[endpoint % 4]
        kind = KINDS[endpoint % len(KINDS)]
        place = f"/api/v{endpoint % 3 + 1}/{WORDS[endpoint % 20]}s-{endpoint}"
        wanted = len(urls) + URLS // ENDPOINTS
        while len(urls) < wanted:
            query = f"?page={generator.randrange(50)}" if generator.random() < 1 / 3 else ""
            urls.add((method, f"{place}/{_id(generator, kind)}{query}"))
    return sorted(urls)


def _report_lines(form: str) -> Iterator[bytes]:
    """Lines without end, whose URLs all come as often: no cache of a processor holds what is known
    of them, while those of a real log are skewed.
    """
    generator = random.Random(7)
    urls = _urls(generator)
    write = {"ltsv": _ltsv, "json": _json}[form]
    tails = [_fields(generator, number) for number in range(DISTINCT)]
    for number in itertools.count():
        if number % URLS == 0:
            generator.shuffle(urls)
        fields = tails[number * 7919 % DISTINCT]
        second = number // LINES_A_SECOND
        clock = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
        fields["time"] = f"2026-11-{22 + second // 86400}T{clock}+00:00"
        fields["method"], fields["uri"] = urls[number % URLS]
        yield f"{write(fields)}\n".encode()


def report_log(path: Path, form: str, lines: int) -> Path:
    """Write a log (``ltsv`` or ``json``) of 500 endpoints and 100,000 different URLs, unless it is
    there.
    """
    if path.exists():
        return path
    with open(path, "wb") as file:
        file.writelines(itertools.islice(_report_lines(form), lines))
    return path


def slug_log(path: Path, lines: int) -> Path:
    """Write an LTSV log of which no two lines have one URL, nor an id of a certain shape."""
    if path.exists():
        return path
    generator = random.Random(7)
    fields = [_fields(generator, number) for number in range(DISTINCT)]
    consonants, vowels = "bcdfghjklmnprstvwz", "aeiou"
    sounds = [a + b for a in consonants for b in vowels]
    with open(path, "w", encoding="utf-8") as file:
        for number in range(lines):
            line, rest, slug = fields[number % DISTINCT], number, ""
            for _ in range(4):
                rest, sound = divmod(rest, len(sounds))
                slug += sounds[sound]
            line["uri"] = f"/{WORDS[number % 20]}s/{slug}"
            file.write(f"{_ltsv(line)}\n")
    return path
