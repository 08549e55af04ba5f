"""Checks the tokens that are not known yet, and replaces the configuration as a whole."""

from __future__ import annotations

from kojuto.common import jwt
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kojuto._native import HttpRequest, TokenGate
    from kojuto.common.server.logs import Logger
    from kojuto.tools.deteco.services import Service

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
        cache_size: int = 0,
        prune_size: int = 1,
        after: State | None = None,
    ) -> None:
        from kojuto._native import TokenGate
        from kojuto.tools.deteco.services import load

        services = load(conf)
        self.by_name = {service.id: (at, service) for at, service in enumerate(services)}
        self._freshness_s = freshness_s
        try:
            self.gate: TokenGate = TokenGate(
                log.writer,
                endpoint,
                [(service.id, service.rules) for service in services],
                cache_size=cache_size,
                prune_size=prune_size,
                after=after.gate if after else None,
            )
        except ValueError as error:
            raise KojutoError(
                f"{conf}: {error}", "paths are written as the backend sees them"
            ) from None

    def answer(self, request: HttpRequest) -> Answer:
        """Check the token of a request and answer it."""
        from time import time

        token = ""
        try:
            token = jwt.bearer(request.header("authorization"))
            at, service = self.service(token)
            # A wrong signature is wrong for ever; the claims are looked at once it is right.
            jwt.signed_payload(token, service.keys)
        except jwt.TokenError as error:
            if token:
                self.gate.remember_bad(token)
            return self.gate.refuse(error.reason, request)
        now = time()
        try:
            claims = self.verify(token, service, now)
        except jwt.TokenError as error:
            return self.gate.refuse(error.reason, request)
        self.gate.admit(token, at, *self.life(claims), now)
        return self.gate.answer(at, request)

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
        return jwt.verify(
            token, service.keys, now=now, freshness_s=self._freshness_s, require=service.require
        )

    def life(self, claims: dict[str, Any]) -> tuple[float, float]:
        """From and until when a good token stays good, in seconds since 1970."""
        issued = float(claims["iat"])
        begins = max(float(claims.get("nbf", 0)), issued - jwt.IAT_LEEWAY_S)
        return begins, min(float(claims["exp"]), issued + self._freshness_s)
