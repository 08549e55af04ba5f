"""The configuration of deteco: which service may reach what, and who signs for it."""

from __future__ import annotations

from kojuto.common import tomlfile
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from kojuto.common.jwt import Key

NoneType = type(None)
MEMBERS = (
    "allow_weak_keys", "headers", "id", "jwks", "leeway", "methods", "paths", "pss", "public_keys",
    "require", "typ",
)  # fmt: skip
KINDS = ("jwt", "at+jwt")
"""Values of a token's ``typ`` that are taken when a service names none (RFC 7519, RFC 9068)."""


class Service:
    """One service.

    Args:
        id: the ``sub`` of its tokens.
        rules: what it may reach, with all below, and by which methods (upper-case; none for all).
        keys: any of which may have signed a token.
        require: claims a token must have, each with its allowed values.
        kinds: values of a token's ``typ``.
        leeway_s: allowed difference of clocks, where it is not that of all services.
        headers: of the answer, each with the claim that it shows.
        jwks: a file or an address with more keys.
    """

    __slots__ = ("headers", "id", "jwks", "keys", "kinds", "leeway_s", "require", "rules")

    def __init__(
        self,
        id: str,  # noqa: A002
        rules: list[tuple[str, list[str]]],
        keys: list[Key],
        require: dict[str, list[str]],
        *,
        kinds: list[str],
        leeway_s: float | None,
        headers: dict[str, str],
        jwks: str | None,
    ) -> None:
        self.id = id
        self.rules = rules
        self.keys = keys
        self.require = require
        self.kinds = kinds
        self.leeway_s = leeway_s
        self.headers = headers
        self.jwks = jwks


def load(path: str, warn: Callable[[str], object]) -> list[Service]:
    """Read the services of a configuration file.

    Args:
        path: of the file.
        warn: told of what is passed over.

    Raises:
        KojutoError: naming the file and, where there is one, the service and the key.
    """
    document = tomlfile.read(path)
    try:
        return _services(document, lambda what: warn(f"{path}: {what}"))
    except KojutoError as error:
        raise KojutoError(f"{path}: {error}", error.hint) from None


def _known(
    table: dict[str, Any], names: Sequence[str], title: str, warn: Callable[[str], object]
) -> dict[str, Any]:
    """The settings of a table by their names, which are written in any case.

    Raises:
        KojutoError: one is there twice.
    """
    found: dict[str, Any] = {}
    for written, value in table.items():
        name = written.lower()
        if name not in names:
            warn(f"{title}{written}: no such setting, it is passed over")
        elif name in found:
            raise KojutoError(f"{title}{written}: it is there twice, in another case")
        else:
            found[name] = value
    return found


def _services(document: dict[str, Any], warn: Callable[[str], object]) -> list[Service]:
    document = _known(document, ["services"], "", warn)
    entries = document.get("services")
    if not isinstance(entries, list) or not entries:
        raise KojutoError("there is no service in it", "each begins with a line [[services]]")
    services: list[Service] = []
    known: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        service = _service(entry, number, warn)
        if service.id in known:
            raise KojutoError(f"two services have the id {service.id}")
        known.add(service.id)
        services.append(service)
    return services


def _service(entry: Any, number: int, warn: Callable[[str], object]) -> Service:
    from kojuto.common import jwt

    if not isinstance(entry, dict):
        raise KojutoError(f"service number {number}: not a table", "write [[services]] above it")
    written = {key.lower(): value for key, value in entry.items()}
    name = written.get("id")
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 1024:
        raise KojutoError(f"service number {number}: id must be a printable string")
    title = f"service {name}"
    entry = _known(entry, MEMBERS, f"{title}: ", warn)
    pss, weak = (_flag(entry, member, title) for member in ("pss", "allow_weak_keys"))
    keys = []
    jwks = entry.get("jwks")
    if not isinstance(jwks, (str, NoneType)) or jwks == "":
        raise KojutoError(f"{title}: jwks must be a file or an address of a JWK Set")
    texts = _texts(entry, "public_keys", title) if "public_keys" in entry or not jwks else []
    for position, pem in enumerate(texts, start=1):
        where = f"public_keys entry {position} of {title}"
        try:
            keys += jwt.load_public_keys(pem.encode(), where, pss=pss, weak=weak)
        except jwt.WeakKeyError as error:
            raise KojutoError(str(error), f"allow_weak_keys = true in {title} takes it") from None
    kinds = _texts(entry, "typ", title) if "typ" in entry else list(KINDS)
    return Service(
        name,
        _rules(entry, _methods(entry, title), title),
        keys,
        _require(entry.get("require", {}), title),
        kinds=[kind.lower().removeprefix("application/") for kind in kinds],
        leeway_s=_leeway(entry, title),
        headers=_headers(entry.get("headers", {}), title),
        jwks=jwks,
    )


def _flag(entry: dict[str, Any], member: str, title: str) -> bool:
    value = entry.get(member, False)
    if not isinstance(value, bool):
        raise KojutoError(f"{title}: {member} must be true or false")
    return value


def _leeway(entry: dict[str, Any], title: str) -> float | None:
    from kojuto.common import units

    value = entry.get("leeway")
    if value is None:
        return None
    try:
        return units.timed("0s", "1h", zero=True)(str(value))
    except ValueError as error:
        raise KojutoError(f"{title}: leeway: {error}") from None


def _headers(value: Any, title: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(claim, str) for claim in value.values()):
        raise KojutoError(f"{title}: headers must be a table such as {{X-Email = 'email'}}")
    for name in value:
        if name.lower() in ("x-deteco-user", "content-length", "content-type", "connection"):
            raise KojutoError(f"{title}: headers: {name} has a meaning of its own")
    return dict(value)


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
