"""Made-up access logs that look like real ones: line lengths, fields and their spread."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
