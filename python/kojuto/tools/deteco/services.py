"""The configuration of deteco: which service may reach what, and who signs for it."""

from __future__ import annotations

import sys

from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kojuto.common.jwt import Key

MAX_FILE_BYTES = 16 << 20
MEMBERS = {"id", "methods", "paths", "pss", "public_keys", "require"}


class Service:
    """One service.

    Args:
        id: the ``sub`` of its tokens.
        rules: what it may reach, with all below, and by which methods (upper-case; none for all).
        keys: any of which may have signed a token.
        require: claims a token must have, each with its allowed values.
    """

    __slots__ = ("id", "keys", "require", "rules")

    def __init__(
        self,
        id: str,  # noqa: A002
        rules: list[tuple[str, list[str]]],
        keys: list[Key],
        require: dict[str, list[str]],
    ) -> None:
        self.id = id
        self.rules = rules
        self.keys = keys
        self.require = require


def load(path: str) -> list[Service]:
    """Read the services of a configuration file.

    Raises:
        KojutoError: naming the file and, where there is one, the service and the key.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KojutoError(f"{path}: {words(error)}") from None
    if len(data) > MAX_FILE_BYTES:
        raise KojutoError(f"{path}: over the limit of {MAX_FILE_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode())
        return _services(document)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KojutoError(f"{path}: not TOML: {error}") from None
    except KojutoError as error:
        raise KojutoError(f"{path}: {error}", error.hint) from None


def _services(document: dict[str, Any]) -> list[Service]:
    if extra := set(document) - {"services"}:
        raise KojutoError(f"{min(extra)}: no such setting", "all settings go under [[services]]")
    entries = document.get("services")
    if not isinstance(entries, list) or not entries:
        raise KojutoError("there is no service in it", "each begins with a line [[services]]")
    services: list[Service] = []
    known: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        service = _service(entry, number)
        if service.id in known:
            raise KojutoError(f"two services have the id {service.id}")
        known.add(service.id)
        services.append(service)
    return services


def _service(entry: Any, number: int) -> Service:
    from kojuto.common import jwt

    if not isinstance(entry, dict):
        raise KojutoError(f"service number {number}: not a table", "write [[services]] above it")
    name = entry.get("id")
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 1024:
        raise KojutoError(f"service number {number}: id must be a printable string")
    title = f"service {name}"
    if extra := set(entry) - MEMBERS:
        raise KojutoError(f"{title}: {min(extra)}: no such setting", ", ".join(sorted(MEMBERS)))
    pss = entry.get("pss", False)
    if not isinstance(pss, bool):
        raise KojutoError(f"{title}: pss must be true or false")
    keys = []
    for position, pem in enumerate(_texts(entry, "public_keys", title), start=1):
        keys += jwt.load_public_keys(
            pem.encode(), f"public_keys entry {position} of {title}", pss=pss
        )
    rules = _rules(entry, _methods(entry, title), title)
    return Service(name, rules, keys, _require(entry.get("require", {}), title))


def _rules(entry: dict[str, Any], methods: list[str], title: str) -> list[tuple[str, list[str]]]:
    """Each path with its methods, which are the service's where it names none."""
    rules: list[tuple[str, list[str]]] = []
    paths = entry.get("paths")
    if not isinstance(paths, list) or not paths:
        raise KojutoError(f"{title}: paths must be a list with at least one path")
    for item in paths:
        table = {"path": item} if isinstance(item, str) else item
        if not isinstance(table, dict) or not isinstance(table.get("path"), str):
            raise KojutoError(
                f"{title}: paths are strings or tables such as {{path = '/a', methods = ['GET']}}"
            )
        if extra := set(table) - {"path", "methods"}:
            raise KojutoError(f"{title}: path {table['path']}: {min(extra)}: no such setting")
        rules.append((table["path"], _methods(table, title) or methods))
    return rules


def _methods(entry: dict[str, Any], title: str) -> list[str]:
    methods = _texts(entry, "methods", title) if "methods" in entry else []
    if any(not (m.isascii() and m.isalpha() and m.isupper()) for m in methods):
        raise KojutoError(f"{title}: methods are upper-case names such as GET")
    return methods


def _texts(entry: dict[str, Any], member: str, title: str) -> list[str]:
    values = entry.get(member)
    if not isinstance(values, list) or not values:
        raise KojutoError(f"{title}: {member} must be a list with at least one string")
    if not all(isinstance(value, str) for value in values):
        raise KojutoError(f"{title}: {member} must be a list of strings")
    return values


def _require(value: Any, title: str) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise KojutoError(f"{title}: require must be a table such as {{aud = 'api'}}")
    found: dict[str, list[str]] = {}
    for claim, wanted in value.items():
        texts = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            raise KojutoError(f"{title}: require.{claim} must be a string or a list of strings")
        found[claim] = texts
    return found
