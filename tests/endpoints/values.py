"""Values as they stand in paths: ids of every length, names of every language, from fixed seeds.

Whole numbers alone decide (no float, no clock, no hash of an object), so that the same values
come on every machine and version of Python.
"""

from __future__ import annotations

import base64
import functools
import ipaddress
import random
import re
import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.conftest import DATA

if TYPE_CHECKING:
    from collections.abc import Callable

LOWER = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
BASE36 = DIGITS + LOWER
BASE62 = BASE36 + LOWER.upper()
BASE64URL = BASE62 + "-_"
HEX = "0123456789abcdef"
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
UPPER = LOWER.upper()
UPPER36 = DIGITS + UPPER
BASE32HEX = BASE36[:32]
ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"
NIX = "0123456789abcdfghijklmnpqrsvwxyz"


@functools.cache
def words() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    text = (DATA / "report/words.txt").read_text(encoding="utf-8")
    for part in text.split("\n[")[1:]:
        name, _, rest = part.partition("]\n")
        groups[name] = rest.split()
    return groups


class Dice(random.Random):
    """Random choices, all made of `getrandbits`: how the others draw may change with Python."""

    def below(self, end: int) -> int:
        return self.getrandbits(32) * end >> 32

    def between(self, least: int, end: int) -> int:
        return least + self.below(end - least)

    def one(self, of: str | list[str]) -> str:
        return of[self.below(len(of))]

    def chance(self, per_cent: int) -> bool:
        return self.below(100) < per_cent

    def text(self, alphabet: str, least: int, most: int = 0) -> str:
        length = least if most == 0 else self.between(least, most + 1)
        return "".join(self.one(alphabet) for _ in range(length))

    def mixed(self, alphabet: str, least: int, most: int = 0) -> str:
        """A text with both letters and digits: without one of them it would be another shape."""
        while True:
            found = self.text(alphabet, least, most)
            if re.search(r"\d", found) and re.search(r"[A-Za-z]", found):
                return found

    def word(self, group: str = "word") -> str:
        return self.one(words()[group])

    def number(self, least: int, most: int) -> str:
        """A number with this many digits."""
        length = self.between(least, most + 1)
        first = self.one(DIGITS if length == 1 else DIGITS[1:])
        return first + self.text(DIGITS, length - 1)


def uuid_of(d: Dice) -> str:
    version = (1, 4, 4, 4, 7)[d.below(5)]
    found = str(uuid.UUID(int=d.getrandbits(128), version=version if version < 6 else 4))
    if version == 7:
        found = f"018f{d.text(HEX, 4)}-{d.text(HEX, 4)}-7{d.text(HEX, 3)}{found[18:]}"
    return found.upper() if d.chance(20) else found


def hex_of(d: Dice) -> str:
    found = d.mixed(HEX, (8, 8, 10, 12, 16, 24, 32, 40, 56, 64, 96, 128)[d.below(12)])
    return found.upper() if d.chance(20) else found


def hex8(d: Dice) -> str:
    """Of eight, as of a short hash: one of eight has digits alone, more than chance would give."""
    return d.text(DIGITS, 8) if d.chance(12) else d.mixed(HEX, 8)


def hash_of(d: Dice) -> str:
    """The hash in a file's name: of webpack, Rollup, Sprockets, Django, a checksum tool."""
    length = (6, 7, 8, 8, 8, 10, 12, 16, 20, 32, 40, 64, 128)[d.below(13)]
    return d.mixed(HEX if d.chance(75) else BASE36, length)


def stamp(d: Dice) -> str:
    day = date(d)
    hour, minute = d.below(24), d.below(60)
    tail = ("Z", "", ":07Z", ":07.123Z", ":59+09:00", ":00+00:00")[d.below(6)]
    return f"{day}T{hour:02}:{minute:02}{tail}"


def date(d: Dice) -> str:
    return f"{d.between(1998, 2027)}-{d.between(1, 13):02}-{d.between(1, 29):02}"


def decimal(d: Dice) -> str:
    sign = ("", "", "-", "+")[d.below(4)]
    return f"{sign}{d.number(1, 3)}.{d.text(DIGITS, 1, 6)}"


def pair(d: Dice) -> str:
    sides = [("-" if d.chance(40) else "") + d.number(1, 3) for _ in range(2)]
    return ",".join(f"{side}.{d.text(DIGITS, 1, 7)}" for side in sides)


def numbers(d: Dice) -> str:
    return ",".join(d.number(1, 7) for _ in range(d.between(1, 9)))


def ip4(d: Dice) -> str:
    return str(ipaddress.IPv4Address(d.getrandbits(32)))


def ip6(d: Dice) -> str:
    host = d.getrandbits(64 if d.chance(50) else 16)
    return str(ipaddress.IPv6Address((0x20010DB8 << 96) | host))


def email(d: Dice) -> str:
    name = d.word("first") + d.one(["", ".", "_", "+"]) + d.one([d.word("last"), d.number(1, 4)])
    return f"{name}@{d.word()}{d.one(['.com', '.co.jp', '.org', '-mail.net', '.example'])}"


def jwt(d: Dice) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').rstrip(b"=").decode()
    return f"{head}.eyJ{d.mixed(BASE64URL, 40, 200)}.{d.mixed(BASE64URL, 43, 86)}"


def base64_of(d: Dice) -> str:
    raw = d.getrandbits(8 * 48).to_bytes(48, "big")[: d.between(17, 49)]
    return quote(base64.b64encode(raw).decode(), safe="")


def user(d: Dice) -> str:
    first, last = d.word("first"), d.word("last")
    kinds = (first + last, f"{first}_{last}", f"{first}-{last}", first[0] + last, last + first[0])
    found = kinds[d.below(5)]
    if d.chance(40):
        found += d.one(["", "_"]) + d.number(1, 4)
    if d.chance(15):
        found = found.title().replace("_", "").replace("-", "")
    return d.word() + d.number(1, 3) if d.chance(15) else found


def slug(d: Dice) -> str:
    parts = [d.word() for _ in range(d.between(1, 9))]
    if d.chance(30):
        parts.insert(d.below(len(parts) + 1), d.word("unit"))
    return "-".join(parts)


def repo(d: Dice) -> str:
    found = d.one(["", "", "", "go-", "node-", "py"]) + d.word() + d.one(["", "-", "_"]) + d.word()
    return found + d.one(["", "", "", "2", "-rs", "-cli", "-operator", "3d"])


def version(d: Dice) -> str:
    found = f"{d.below(12)}.{d.below(30)}.{d.below(40)}"
    return found + d.one(["", "", "", "", f"-beta.{d.below(9)}", f"-rc{d.below(9)}"])


def pod(d: Dice) -> str:
    name = d.word("service") + d.one(["", "-" + d.word()])
    tail = d.text("bcdfghjklmnpqrstvwxz2456789", 5)
    middle = d.mixed("bcdfghjklmnpqrstvwxz2456789", 9, 10)
    return d.one([f"{name}-{middle}-{tail}", f"{name}-{d.below(9)}", f"{name}-{tail}"])


def title(d: Dice) -> str:
    """A title as a wiki writes it into a path."""
    if d.chance(25):
        return quote("".join(d.word("unicode") for _ in range(d.between(1, 3))))
    parts = [d.word() for _ in range(d.between(1, 5))]
    if d.chance(15):
        parts.append(f"({d.one(['film', 'album', '1984_novel', 'river', 'given_name'])})")
    found = "_".join([parts[0].title(), *parts[1:]])
    if d.chance(10):
        found += "%27s_" + d.word()
    return f"{d.number(4, 4)}_{found}" if d.chance(8) else found


def unicode(d: Dice) -> str:
    """Escaped UTF-8, in capitals or not, with plain words among it."""
    found = "-".join(quote(d.word("unicode")) for _ in range(d.between(1, 4)))
    return found.lower() if d.chance(30) else found


def raw_unicode(d: Dice) -> str:
    return "-".join(d.word("unicode") for _ in range(d.between(1, 4)))


def code(least: int, most: int, alphabet: str = BASE62) -> Callable[[Dice], str]:
    """A short code, below what makes a token."""
    return lambda d: d.mixed(alphabet, least, most)


def prefixed(prefix: str, length: int) -> Callable[[Dice], str]:
    return lambda d: prefix + d.mixed(BASE62, length)


def key(d: Dice) -> str:
    return f"{d.one(['OPS', 'WEB', 'K8S', 'PROJ', 'ABC2', 'INFRA'])}-{d.number(1, 6)}"


def file_path(d: Dice) -> str:
    parts = [d.word() for _ in range(d.between(1, 5))]
    return "%2F".join([d.one(["app", "lib", "src", "spec"]), *parts])


def snapshot(d: Dice) -> str:
    return f"{d.one(['IMG', 'DSC', 'photo', 'scan'])}_{d.number(3, 5)}"


def document(d: Dice) -> str:
    return " ".join(d.word().title() for _ in range(d.between(2, 5))) + d.one(["", " 2024", " v2"])


def run_id(d: Dice) -> str:
    return d.one(["scheduled__", "manual__"]) + f"{date(d)}T{d.below(24):02}:00:00+00:00"


def probe(d: Dice) -> str:
    found = d.word("probe")
    return d.word() + d.one([".php", ".asp", ".cgi", ".bak", ".zip"]) if d.chance(40) else found


def org(d: Dice) -> str:
    return d.word() + d.one(["", "", "-", "hq", "io", "labs"]) + d.word()


def stem(d: Dice) -> str:
    return f"{d.word()}_{d.word()}" + d.one(["", "", "_2", "-" + d.word()])


def thumb(d: Dice) -> str:
    return f"{d.word()}-{d.word()}-" + d.one(["300x200", "150x150", "1024x768", "768x512"])


def branch(d: Dice) -> str:
    return d.one(["feature%2F", "fix%2F", "", "release-"]) + d.word() + "-" + d.word()


def namespace(d: Dice) -> str:
    return d.one(["team-", "prod-", "staging-", ""]) + d.word() + d.one(["", "-system"])


def emoji(d: Dice) -> str:
    """One of Unicode's, or a guild's own with its name and number."""
    return quote(d.word("emoji")) if d.chance(60) else f"{d.word()}%3A{d.number(17, 19)}"


def queue(d: Dice) -> str:
    event = d.one(["created", "retry", "dlq", "updated"])
    return d.word("service") + d.one(["_", "-", ":"]) + event + d.one(["", "_" + d.word()])


def job(d: Dice) -> str:
    task = d.one(["build", "deploy", "nightly", "test"])
    return task + d.one(["-", "%20", "_"]) + d.word() + d.one(["", "-2", "-" + d.word()])


def index(d: Dice) -> str:
    return d.word() + d.one(["", "-" + d.word()]) + d.one(["", "-v2", "-000001", "_prod"])


def daily(d: Dice) -> str:
    return d.one(["logstash-", "filebeat-", "apm-"]) + date(d).replace("-", ".")


def sku(d: Dice) -> str:
    return f"{d.word().upper()[:3]}-{d.number(3, 6)}" + d.one(["", "-BLK", "-XL"])


def article(d: Dice) -> str:
    return "-".join([d.number(12, 12), *(d.word().title() for _ in range(d.between(2, 7)))])


def segment(d: Dice) -> str:
    return d.one(["seg", "segment", "chunk"]) + d.one(["-", "_"]) + d.number(1, 5)


def webhook(d: Dice) -> str:
    return f"WH-{d.mixed(UPPER36, 17)}-{d.mixed(UPPER36, 17)}"


def tls(d: Dice) -> str:
    """The beginning of a ClientHello as nginx and Apache write it into a log."""
    rest = (rf"\x{d.between(128, 256):02X}" for _ in range(d.between(1, 40)))
    return r"\x16\x03\x01" + "".join(rest)


def domain(d: Dice) -> str:
    return d.word() + d.one(["", "-" + d.word()]) + d.one([".com", ".org", ".net", ".jp", ".dev"])


def escaped(make: Callable[[Dice], str]) -> Callable[[Dice], str]:
    return lambda d: quote(make(d), safe="")
