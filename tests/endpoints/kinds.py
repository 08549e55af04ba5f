"""The kinds of values that the table's templates name, and pools of them."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.endpoints import values as v
from tests.endpoints.values import (
    BASE32HEX,
    BASE36,
    BASE62,
    BASE64URL,
    CROCKFORD,
    DIGITS,
    HEX,
    NIX,
    UPPER,
    UPPER36,
    ZBASE32,
    Dice,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CERTAIN = re.compile(
    r"[-+]?\d+(\.\d+)?(,[-+]?\d+(\.\d+)?)*"
    r"|(?=[0-9a-fA-F]*\d)([0-9a-f]{8,}|[0-9A-F]{8,})"
    r"|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|\d{4}-\d\d(-\d\d)?"
    r"|\d+(\.\d+){3}"
    r"|[^@]+@[^@]+\.[a-z]+"
)
"""What nobody may take for a name; the tokens, which slugs can look like, are left out."""


SHAPES: dict[str, Callable[[Dice], str]] = {
    "n": lambda d: d.number(1, 19),
    "id": lambda d: d.number(1, 6),
    "id10": lambda d: d.number(7, 11),
    "big": lambda d: d.number(17, 19),
    "small": lambda d: str(d.between(1, 100)),
    "signed": lambda d: d.one(["-", "+", ""]) + d.number(1, 9),
    "decimal": v.decimal,
    "numbers": v.numbers,
    "pair": v.pair,
    "day8": lambda d: v.date(d).replace("-", ""),
    "yyyy": lambda d: str(d.between(1999, 2027)),
    "mm": lambda d: f"{d.between(1, 13):02}",
    "dd": lambda d: f"{d.between(1, 32):02}",
    "ddd": lambda d: d.text(DIGITS, 3),
    "uuid": v.uuid_of,
    "ulid": lambda d: "01" + d.one("GHJK") + d.text(CROCKFORD, 23),
    "hex": v.hex_of,
    "hex8": v.hex8,
    "hex12": lambda d: d.mixed(HEX, 12),
    "hex16": lambda d: d.mixed(HEX, 16),
    "hex24": lambda d: "6" + d.mixed(HEX, 23),
    "hex32": lambda d: d.mixed(HEX, 32),
    "HEX32": lambda d: d.mixed(HEX, 32).upper(),
    "hex40": lambda d: d.mixed(HEX, 40),
    "hex64": lambda d: d.mixed(HEX, 64),
    "hex128": lambda d: d.mixed(HEX, 128),
    "hash": v.hash_of,
    "h8": lambda d: d.mixed(HEX, 8),
    "h12": lambda d: d.mixed(HEX, 12),
    "h16": lambda d: d.mixed(HEX, 16),
    "h20": lambda d: d.mixed(HEX, 20),
    "h64": lambda d: d.mixed(HEX, 64),
    "vite": lambda d: d.mixed(BASE62, 8),
    "digest": lambda d: d.one(["sha256:" + d.text(HEX, 64), "sha512:" + d.text(HEX, 128)]),
    "sha256": lambda d: "sha256:" + d.text(HEX, 64),
    "token": lambda d: d.mixed(BASE62, 20, 64),
    "token20": lambda d: d.mixed(BASE62, 20),
    "token22": lambda d: d.mixed(BASE62, 22),
    "token24": lambda d: d.mixed(BASE62, 24),
    "token27": lambda d: d.mixed(BASE62, 27),
    "token32": lambda d: d.mixed(BASE62, 32),
    "token43": lambda d: d.mixed(BASE64URL, 43),
    "token68": lambda d: d.mixed(BASE64URL, 68),
    "nanoid": lambda d: d.mixed(BASE64URL, 21),
    "cuid": lambda d: "cl" + d.mixed(BASE36, 23),
    "mattermost": lambda d: "no" + d.mixed(ZBASE32, 24),
    "nix32": lambda d: d.one("ghijk") + d.mixed(NIX, 31),
    "nix52": lambda d: "1" + d.one("ghijk") + d.mixed(NIX, 50),
    "base32hex": lambda d: d.one("ghij") + d.mixed(BASE32HEX, 25),
    "b16": lambda d: d.mixed(BASE62, 16),
    "b17": lambda d: d.mixed(BASE62, 17),
    "zone": lambda d: d.mixed(UPPER36, 20),
    "twilio": lambda d: d.mixed(HEX, 32),
    "channel": lambda d: "UC" + d.mixed(BASE64URL, 22),
    "drive": lambda d: "1" + d.mixed(BASE64URL, 32),
    "jwt": v.jwt,
    "base64": v.base64_of,
    "date": v.date,
    "month": lambda d: f"{d.between(2015, 2027)}-{d.between(1, 13):02}",
    "quarter": lambda d: f"{d.between(2022, 2026)}-{d.one(['01', '04', '07', '10'])}",
    "stamp": v.stamp,
    "ip4": v.ip4,
    "ip6": v.ip6,
    "ip": lambda d: v.ip6(d) if d.chance(30) else v.ip4(d),
    "email": v.email,
}
"""What has a certain shape."""

NAMES: dict[str, Callable[[Dice], str]] = {
    "user": v.user,
    "org": v.org,
    "repo": v.repo,
    "slug": v.slug,
    "stem": v.stem,
    "photo": v.snapshot,
    "thumb": v.thumb,
    "document": v.document,
    "version": v.version,
    "vversion": lambda d: "v" + v.version(d),
    "branch": v.branch,
    "namespace": v.namespace,
    "pod": v.pod,
    "service": lambda d: d.word("service") + "-" + d.one([d.word("service"), d.word()]),
    "node": lambda d: f"gke-{d.word()}-pool-{d.below(9)}-{d.mixed(HEX, 8)}-{d.text(HEX[10:], 4)}",
    "tag": lambda d: d.word() + d.one(["", "-" + d.word(), "ing", "2024"]),
    "unicode": v.unicode,
    "raw": v.raw_unicode,
    "emoji": v.emoji,
    "title": v.title,
    "space": lambda d: d.word().upper()[:6] + d.one(["", "2", "OPS"]),
    "key": v.key,
    "label": lambda d: d.word() + "_" + d.word("service"),
    "queue": v.queue,
    "job": v.job,
    "index": v.index,
    "daily": v.daily,
    "bucket": lambda d: d.word() + "-" + d.word() + d.one(["", "-prod", "-eu1", "-backup"]),
    "peer": lambda d: f"{d.word()}-{d.below(40)}:{d.one(['9100', '8080', '9090'])}",
    "link": lambda d: quote(f"{v.ip4(d)}:{d.number(5, 5)} -> 10.0.0.{d.below(9)}:5672", safe=""),
    "code5": v.code(5, 7),
    "youtube": v.code(11, 11, BASE64URL),
    "code7": v.code(7, 7),
    "code8": v.code(8, 8),
    "code9": v.code(9, 14),
    "code15": v.code(15, 15),
    "asin": lambda d: "B0" + d.mixed(UPPER36, 8),
    "sku": v.sku,
    "order": lambda d: f"ORD-{d.number(4, 7)}-{d.one('ABCXYZ')}",
    "coupon": lambda d: d.word().upper() + d.number(1, 3),
    "ups": lambda d: "1Z" + d.mixed(UPPER36, 6) + d.text(DIGITS, 10),
    "slack9": lambda d: d.one("TCDG") + "0" + d.mixed(UPPER36, 7, 9),
    "slackts": lambda d: "p17" + d.text(DIGITS, 14),
    "cus": v.prefixed("cus_", 14),
    "prod": v.prefixed("prod_", 14),
    "paypal": lambda d: d.mixed(UPPER36, 17),
    "salesforce": lambda d: "001D0000" + d.mixed(BASE62, 10),
    "wikidata": lambda d: "Q" + d.number(1, 9),
    "run": v.run_id,
    "article": v.article,
    "path": v.file_path,
    "office": lambda d: d.text(UPPER, 3),
    "segment": v.segment,
    "probe": v.probe,
    "odata": lambda d: f"{d.one(['Products', 'Orders', 'Customers'])}({d.number(1, 6)})",
    "dash12": lambda d: f"{v.slug(d)}-{d.mixed(HEX, 12)}",
    "slugtoken": lambda d: v.slug(d) if d.chance(50) else d.mixed(BASE62, 22),
    "domain": v.domain,
    "dotted": lambda d: d.word("first") + "." + d.word("last"),
}
"""What is a name, of any form: only the log shows that it varies."""

SPECIAL: dict[str, Callable[[Dice], str]] = {
    "group": lambda d: f"{d.word()}%2F{d.word()}-{d.word('service')}",
    "escaped_email": v.escaped(v.email),
    "escaped_numbers": lambda d: v.numbers(d).replace(",", "%2C"),
    "escaped_stamp": lambda d: quote(v.stamp(d), safe="+"),
    "webhook": v.webhook,
    "bot": lambda d: f"bot{d.number(9, 10)}:AA{d.mixed(BASE64URL, 33)}",
    "room": lambda d: f"%21{d.text(BASE62, 18)}%3A{v.domain(d)}",
    "hex2": lambda d: d.text(HEX, 2),
    "auth0": lambda d: "auth0%7C" + d.mixed(HEX, 24),
    "countup": lambda d: f"{d.between(4096, 1 << 22):x}",
    "tls": v.tls,
    "rollup": lambda d: d.text(BASE64URL, 8),
    "nothing": lambda d: d.text(DIGITS, 0),
    "host": v.domain,
    "port": lambda d: d.one(["443", "80", "8443", "25", "22", "6667"]),
}
"""What the spec leaves open, or what is no part of a path."""

KINDS = SHAPES | NAMES | SPECIAL


@functools.cache
def pool(seed: str, kind: str, size: int) -> tuple[str, ...]:
    """`size` different values of a kind, or all where it has fewer; the same for the same seed."""
    dice = Dice(f"{seed} {kind} {size}")
    make = KINDS[kind]
    found: dict[str, None] = {}
    for _ in range(size * 40):
        if len(found) == size:
            break
        value = make(dice)
        if kind not in NAMES or not CERTAIN.fullmatch(value):
            found[value] = None
    return tuple(found)
