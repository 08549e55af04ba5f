"""Checks the tokens that the gate leaves to Python, and replaces the configuration as a whole."""

from __future__ import annotations

from kojuto.common import jwt
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kojuto._native import HttpRequest, TokenGate
    from kojuto.common.gateway.jwks import KeySource
    from kojuto.common.server.logs import Logger
    from kojuto.tools.deteco.services import Service

RENEW_SOONEST_S = 30.0

Answer = tuple[int, list[tuple[str, str]], bytes]


class State:
    """What the configuration file `conf` says now: services by name, their gate and its tokens.

    What is found out under a state goes to this state's gate only, so that a token which was
    checked under an old configuration is never known to a new one.

    Raises:
        KojutoError: naming the file and, where there is one, the service and the key or path.
    """

    def __init__(
        self,
        conf: str,
        log: Logger,
        *,
        endpoint: str = "/auth",
        freshness_s: float,
        leeway_s: float | None = None,
        cache_size: int = 0,
        prune_size: int = 1,
        log_allowed: bool = True,
        sources: dict[str, KeySource] | None = None,
        renew: Callable[[], object] = lambda: None,
        after: State | None = None,
    ) -> None:
        from kojuto._native import TokenGate
        from kojuto.tools.deteco.services import load

        services = load(conf, lambda what: log.warn("Passed over", what=what))
        known = {} if sources is None else sources
        wanted = dict.fromkeys(service.jwks for service in services if service.jwks is not None)
        _fetch(list(wanted), known, log)
        for service in services:
            if service.jwks is not None:
                service.keys = [*service.keys, *known[service.jwks].keys]
        self._renew = renew
        # One key of each kind, the first.
        first = {key.algorithms: key for service in reversed(services) for key in service.keys}
        self._keys = list(first.values())
        self.by_name = {service.id: (at, service) for at, service in enumerate(services)}
        self._freshness_s = freshness_s
        self._leeway_s = leeway_s
        try:
            self.gate: TokenGate = TokenGate(
                log.writer,
                endpoint,
                [self._native(service) for service in services],
                cache_size=cache_size,
                prune_size=prune_size,
                log_allowed=log_allowed,
                after=after.gate if after else None,
            )
        except ValueError as error:
            raise KojutoError(
                f"{conf}: {error}", "paths are written as the backend sees them"
            ) from None

    def _native(self, service: Service) -> dict[str, Any]:
        """A service as the gate takes it."""
        late_s, early_s = self._leeway(service)
        return {
            "id": service.id,
            "rules": service.rules,
            "keys": [each for key in service.keys for each in jwt.for_native(key)],
            "freshness_s": self._freshness_s,
            "late_s": late_s,
            "early_s": early_s,
            "kinds": service.kinds,
            "require": list(service.require.items()),
            "shown": list(service.headers.items()),
            "renewed": service.jwks is not None,
        }

    def _leeway(self, service: Service) -> tuple[float, float]:
        """How much later and earlier than its times a token may be."""
        own = self._leeway_s if service.leeway_s is None else service.leeway_s
        return (0.0, jwt.IAT_LEEWAY_S) if own is None else (own, own)

    def answer(self, request: HttpRequest) -> Answer:
        """Check the token of a request and answer it."""
        from time import time

        token = ""
        try:
            token = jwt.bearer(request.header("authorization"), bare=True)
            at, service = self.service(token)
            # A wrong signature is wrong for ever; the claims are looked at once it is right.
            jwt.signed_payload(token, service.keys, service.kinds)
        except jwt.NoKeyError as error:
            self._spend(token)
            if service.jwks is not None:
                self._renew()
            else:
                self.gate.remember_bad(token)
            return self.gate.refuse(error.reason, request)
        except jwt.TokenError as error:
            if isinstance(error, jwt.ClaimError):
                self._spend(token)
            if token:
                self.gate.remember_bad(token)
            return self.gate.refuse(error.reason, request)
        now = time()
        try:
            claims = self.verify(token, service, now)
        except jwt.TokenError as error:
            return self.gate.refuse(error.reason, request)
        shown = [
            text if isinstance(text := claims.get(claim), str) else None
            for claim in service.headers.values()
        ]
        self.gate.admit(token, at, self.life(claims, service), now, shown)
        return self.gate.answer(at, shown, request)

    def _spend(self, token: str) -> None:
        """Take the time of a verification: how long a refusal takes tells no names of services."""
        from contextlib import suppress

        with suppress(jwt.TokenError):
            jwt.signed_payload(token, self._keys, ("jwt", "at+jwt"))

    def service(self, token: str) -> tuple[int, Service]:
        """The service that a token claims to be of.

        Raises:
            TokenError: there is none of that name, or the token's form is wrong.
        """
        found = self.by_name.get(jwt.unverified_subject(token))
        if found is None:
            raise jwt.ClaimError("sub", "the claim sub names no service")
        return found

    def verify(self, token: str, service: Service, now: float) -> dict[str, Any]:
        """The claims of a good token.

        Raises:
            TokenError: it is not a good token of the service.
        """
        late_s, early_s = self._leeway(service)
        return jwt.verify(
            token,
            service.keys,
            now=now,
            freshness_s=self._freshness_s,
            require=service.require,
            leeway_s=late_s,
            early_s=early_s,
            kinds=service.kinds,
        )

    def life(self, claims: dict[str, Any], service: Service) -> tuple[float, float]:
        """From and until when a good token stays good, in seconds since 1970."""
        late_s, early_s = self._leeway(service)
        issued = float(claims["iat"])
        begins = max(float(claims.get("nbf", 0)), issued) - early_s
        return begins, min(float(claims["exp"]), issued + self._freshness_s) + late_s


def _fetch(wanted: list[str], sources: dict[str, KeySource], log: Logger) -> None:
    """Read and fetch sets of keys; those of an address that does not answer are the last ones.

    Raises:
        KojutoError: a file cannot be used, or it is no address to take keys from.
    """
    if not wanted:
        return
    from kojuto.common.gateway.jwks import KeySource, renew_together

    for where in wanted:
        if where not in sources:
            sources[where] = KeySource(where)
        if not sources[where].is_address:
            sources[where].renew()
    addresses = [sources[where] for where in wanted if sources[where].is_address]
    for source, error in renew_together(addresses, RENEW_SOONEST_S):
        left = "the last ones are kept" if source.keys else "tokens that they sign are refused"
        log.warn(f"Failed to fetch keys, {left}", error=str(error))
