"""Sets of public keys (JWK Set, RFC 7517) from a file or from an address, kept and renewed."""

from __future__ import annotations

from functools import partial

from kojuto.common.jwt import Key, Signers, public_key
from kojuto.common.server import connecting
from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Thread
    from typing import Any

MAX_BYTES = 1 << 20
FETCH_TIMEOUT_S = 10.0
"""All of a fetch: looking up the name, each hop, and an answer that comes byte by byte."""
_FAMILIES = ("RSA", "EC", "OKP")


def load(document: bytes, source: str) -> list[Key]:
    """The keys of a set that may check signatures; each has a name of its own.

    Keys of unknown types or curves, with broken members, for encryption, and without a ``kid`` are
    left out (RFC 7517, section 5). A member that is null is none, as are empty ``key_ops``, and a
    key that is there twice, as one that several issuers share, is there once.

    Raises:
        KojutoError: it is not a JWK Set, has no key to verify with, two different keys of one kid,
            or a secret key.
    """
    from json import loads

    try:
        keys = loads(document)["keys"]
        members = [_members(key) for key in keys]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KojutoError(f"{source}: not a JWK Set") from None
    found: dict[str, Key] = {}
    broken: KojutoError | None = None
    for member in members:
        if member.get("kty") == "oct" or "d" in member:
            raise KojutoError(f"{source}: it has a secret key, public ones are expected")
        kid = member.get("kid")
        if not isinstance(kid, str) or not _may_verify(member):
            continue
        try:
            key = _key(member, kid, source)
        except KojutoError as error:
            broken = broken or error
            continue
        if not _same(found.setdefault(kid, key), key):
            raise KojutoError(f"{source}: two keys have the kid {kid}")
    if not found and broken is not None:
        raise broken
    if not found:
        raise KojutoError(f"{source}: no key with a kid that may verify signatures")
    return list(found.values())


def _members(key: Any) -> dict[str, Any]:
    """Those of a key that are set: serialisers write null, and [], for those that are not."""
    members = {name: value for name, value in dict(key).items() if value is not None}
    if members.get("key_ops") == []:
        del members["key_ops"]
    return members


def _same(one: Key, other: Key) -> bool:
    return one.algorithms == other.algorithms and one.fingerprint() == other.fingerprint()


def _may_verify(member: dict[str, Any]) -> bool:
    operations = member.get("key_ops", ["verify"])
    return (
        member.get("kty") in _FAMILIES
        and member.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )


def _key(member: dict[str, Any], kid: str, source: str) -> Key:
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
    from jwt.exceptions import PyJWTError

    readers: dict[str, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
    name = f"key {kid} of {source}"
    try:
        public = readers[member["kty"]].from_jwk(member)
    except (PyJWTError, ValueError, TypeError, KeyError):
        raise KojutoError(f"{name} cannot be read") from None
    key = public_key(public, name, pss=True, kid=kid)
    bound = member.get("alg")
    if bound is not None:
        if bound not in key.algorithms:
            raise KojutoError(f"{name}: its alg does not fit its type")
        key.algorithms = (bound,)
    return key


class KeySource:
    """A set of keys in a file or at an http(s) address; all methods may be called by any thread.

    Args:
        where: a path, or an address.

    Raises:
        KojutoError: an address without TLS that is not of this machine.
    """

    def __init__(self, where: str) -> None:
        from threading import Lock

        _check_address(where)
        self.where = where
        self.keys: Sequence[Key] = ()
        self.signers = Signers(())
        self._tried = float("-inf")
        self._lock = Lock()

    @property
    def is_address(self) -> bool:
        """Whether it is fetched rather than read."""
        return self.where.startswith(("https://", "http://"))

    def renew(self, unless_younger_s: float = 0.0) -> bool:
        """Read or fetch the set; the old one stays when that fails.

        Args:
            unless_younger_s: do nothing when it was tried that recently, by whichever thread.

        Returns:
            Whether it was read.

        Raises:
            KojutoError: it cannot be read or fetched, or is not a JWK Set.
        """
        from time import monotonic

        with self._lock:
            if monotonic() - self._tried < unless_younger_s:
                return False
            self._tried = monotonic()
            self.keys = load(self._fetch() if self.is_address else self._read(), self.where)
            self.signers = Signers(self.keys)
            return True

    def _read(self) -> bytes:
        try:
            with open(self.where, "rb") as file:
                return self._bounded(file.read(MAX_BYTES + 1))
        except OSError as error:
            raise KojutoError(f"{self.where}: {words(error)}") from None

    def _fetch(self) -> bytes:
        from time import monotonic

        ends = monotonic() + FETCH_TIMEOUT_S
        found: list[bytes | KojutoError] = []
        # A lookup of a name has no time-out, and those of a socket begin anew with each byte.
        thread = _aside(lambda: found.append(self._ask(ends)))
        if thread is not None:
            thread.join(FETCH_TIMEOUT_S)
        answer = found[0] if found else KojutoError(f"{self.where}: timed out")
        if isinstance(answer, KojutoError):
            raise answer
        return self._bounded(answer)

    def _ask(self, ends: float) -> bytes | KojutoError:
        """What the address answers until then, or why there is nothing."""
        from http.client import HTTPException, IncompleteRead
        from time import monotonic
        from urllib.request import HTTPRedirectHandler, build_opener

        class Redirects(HTTPRedirectHandler):
            """Follows to where an address could have led itself."""

            def redirect_request(self, *about: Any) -> Any:
                _check_address(about[-1])
                return super().redirect_request(*about)

        document = bytearray()
        try:
            with build_opener(Redirects, *_openers()).open(
                self.where, timeout=FETCH_TIMEOUT_S
            ) as answer:
                while len(document) <= MAX_BYTES and (part := answer.read1(1 << 16)):
                    document += part
                    if monotonic() > ends:
                        return KojutoError(f"{self.where}: timed out")
                if answer.length and len(document) <= MAX_BYTES:
                    raise IncompleteRead(b"")
                coding = answer.headers.get("Content-Encoding", "").strip().lower()
        except KojutoError as error:
            # Not that one: what led to it holds the socket.
            return KojutoError(str(error), error.hint)
        except IncompleteRead:
            return KojutoError(f"{self.where}: the answer ended before it was whole")
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            return KojutoError(f"{self.where}: {reason}")
        return _decoded(document, coding, self.where)

    def _bounded(self, document: bytes) -> bytes:
        if len(document) > MAX_BYTES:
            raise KojutoError(f"{self.where}: over {MAX_BYTES} bytes")
        return document


def _decoded(document: bytearray, coding: str, where: str) -> bytes | KojutoError:
    """A document without its content coding (RFC 9110, section 8.4), or why there is none.

    Stores that keep a file packed send it so unasked. Of what is over the bound, enough to tell.
    """
    if coding in ("", "identity") or len(document) > MAX_BYTES:
        return bytes(document)
    if coding not in ("gzip", "x-gzip"):
        return KojutoError(f"{where}: the answer is packed ({coding}), which was not asked for")
    from zlib import MAX_WBITS, decompressobj, error

    packed = decompressobj(MAX_WBITS | 16)
    try:
        plain = packed.decompress(document, MAX_BYTES + 1)
    except error:
        return KojutoError(f"{where}: the answer cannot be unpacked")
    if not packed.eof and len(plain) <= MAX_BYTES:
        return KojutoError(f"{where}: the answer ended before it was whole")
    return plain


def renew_together(
    sources: Sequence[KeySource], unless_younger_s: float
) -> list[tuple[KeySource, KojutoError]]:
    """Fetch sets side by side: those that do not answer cost one time-out, not one each.

    Args:
        sources: of which each may be here once.
        unless_younger_s: as of `KeySource.renew`.

    Returns:
        Those that could not be fetched and why, in their order; they keep the keys that they had.
    """
    failed: dict[int, KojutoError] = {}

    def renew(at: int, source: KeySource) -> None:
        try:
            source.renew(unless_younger_s)
        except KojutoError as error:
            failed[at] = error

    threads = [_aside(partial(renew, at, source)) for at, source in enumerate(sources)]
    for thread in threads:
        if thread is not None:
            thread.join()
    return [(sources[at], failed[at]) for at in sorted(failed)]


def _openers() -> list[Any]:
    """What opens http and https: a dead address of a host costs a moment, not all the time."""
    from time import monotonic
    from urllib.request import HTTPHandler, HTTPSHandler

    def connect(address: tuple[str, int], timeout_s: float, _: object) -> Any:
        return connecting.connect(*address, monotonic() + timeout_s)

    def of(kind: Any) -> Callable[..., Any]:
        def make(*about: Any, **options: Any) -> Any:
            made = kind(*about, **options)
            made._create_connection = connect
            return made

        return make

    class Http(HTTPHandler):
        def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
            return super().do_open(of(http_class), req, **options)

    class Https(HTTPSHandler):
        def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
            return super().do_open(of(http_class), req, **options)

    return [Http, Https]


def _aside(work: Callable[[], object]) -> Thread | None:
    """Have a thread of its own do it; without one to be had it is done when this returns."""
    from threading import Thread

    thread = Thread(target=work, name="keys", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        work()
        return None
    return thread


def _check_address(where: str) -> None:
    """Refuse an address without TLS that is not of this machine.

    Raises:
        KojutoError: it is one.
    """
    if where.startswith(("http://", "ftp://")) and not _is_local(where):
        raise KojutoError(
            f"{where}: keys from another machine are not fetched without TLS",
            "write https://, or name a file",
        )


def _is_local(where: str) -> bool:
    """Whether an address is one of this machine."""
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    try:
        host = urlsplit(where).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
