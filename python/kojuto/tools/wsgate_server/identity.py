"""Who asks for a tunnel: a signed token, Google's Identity-Aware Proxy, or nobody checked."""

from __future__ import annotations

import time

from kojuto.common import jwt
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from kojuto.common.gateway.jwks import KeySource
    from kojuto.common.jwt import Key
    from kojuto.common.server.logs import Logger

    class Headers(Protocol):
        """The headers of a request."""

        def get_all(self, key: str) -> Sequence[str]:
            """All values of one header."""


IAP_ISSUER = "https://cloud.google.com/iap"
IAP_LEEWAY_S = 30.0
RENEW_S = 3600.0
RENEW_SOONEST_S = 30.0


class UnavailableError(Exception):
    """There are no keys yet to check tokens with."""


class Identity:
    """Checks requests.

    Args:
        public_key: a file of PEM keys; None to ask for no token.
        freshness_s: how old a token may be.
        audiences: those of ``X-Goog-IAP-JWT-Assertion``; empty to ask for none.
        iap_keys: where Google's keys are.
        log: told of keys that cannot be fetched.

    Raises:
        KojutoError: a key file cannot be used.
    """

    def __init__(
        self,
        public_key: str | None,
        freshness_s: float,
        audiences: Sequence[str],
        iap_keys: KeySource | None,
        log: Logger,
    ) -> None:
        self._path = public_key
        self._freshness_s = freshness_s
        self._audiences = audiences
        self._iap = iap_keys
        self._log = log
        self._failing = False
        self._keys: list[Key] = self._read()
        if self._iap is not None:
            if self._iap.is_address:
                from threading import Thread

                Thread(target=self._renew_for_ever, name="keys", daemon=True).start()
            else:
                self._iap.renew()

    @property
    def checks(self) -> bool:
        """Whether anybody is checked."""
        return bool(self._path or self._iap)

    def reload(self) -> None:
        """Read the key files again.

        Raises:
            KojutoError: one cannot be used; all the old keys stay.
        """
        keys = self._read()
        if self._iap is not None and not self._iap.is_address:
            self._iap.renew()
        self._keys = keys  # when nothing can fail any more

    def _read(self) -> list[Key]:
        if self._path is None:
            return []
        return jwt.load_public_keys(jwt.read_key_file(self._path), self._path)

    def user(self, headers: Headers) -> str:
        """Who it is, as the log shows it; empty for somebody unknown who was not checked.

        Raises:
            TokenError: the token is refused.
            UnavailableError: there are no keys to check with.
        """
        found = ""
        if self._iap is not None:
            found = self._iap_user(headers, self._iap)
        if self._path is not None:
            claims = jwt.verify(
                jwt.bearer(headers.get_all("Authorization")),
                self._keys,
                now=time.time(),
                freshness_s=self._freshness_s,
            )
            return str(claims.get("sub", ""))
        if self._iap is None:
            return next(iter(headers.get_all("X-Goog-Authenticated-User-Email")), "")
        return found

    def _iap_user(self, headers: Headers, source: KeySource) -> str:
        values = headers.get_all("X-Goog-IAP-JWT-Assertion")
        if not values:
            raise jwt.NoTokenError("no X-Goog-IAP-JWT-Assertion headers")
        if len(values) > 1:
            raise jwt.FormError(f"{len(values)} X-Goog-IAP-JWT-Assertion headers")
        if not source.keys:
            raise UnavailableError
        claims = jwt.verify(
            values[0],
            source.keys,
            now=time.time(),
            freshness_s=None,
            require={"aud": self._audiences, "iss": IAP_ISSUER},
            leeway_s=IAP_LEEWAY_S,
        )
        email = claims.get("email", claims.get("sub", ""))
        if not isinstance(email, str) or not email.isprintable():
            raise jwt.ClaimError("email", "the claim email is not a printable string")
        return email

    def renew(self) -> bool:
        """Fetch keys again when the last time is long enough ago; may wait.

        Returns:
            Whether there are newer ones.
        """
        if self._iap is None or not self._iap.is_address:
            return False
        try:
            return self._iap.renew(RENEW_SOONEST_S)
        except KojutoError as error:
            self._complain(error)
            return False

    def _renew_for_ever(self) -> None:
        assert self._iap is not None
        while True:
            try:
                self._iap.renew()
                if self._failing:
                    self._log.info("Keys are available again", source=self._iap.where)
                self._failing = False
            except KojutoError as error:
                self._complain(error)
            time.sleep(RENEW_SOONEST_S if self._failing else RENEW_S)

    def _complain(self, error: KojutoError) -> None:
        if not self._failing:
            self._log.warn("Failed to renew the keys, the last ones are kept", error=str(error))
        self._failing = True
