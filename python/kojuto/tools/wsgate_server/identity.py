"""Who asks for a tunnel: a signed token, Google's Identity-Aware Proxy, or nobody checked."""

from __future__ import annotations

import time

from kojuto.common import jwt
from kojuto.common.server import forever
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

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


class Who:
    """Who asks for a tunnel.

    Args:
        name: as the log shows it; empty for somebody unknown.
        claims: of the verified token that names it; none when nobody is checked.
        key: that has signed it.
        iap_key: that has signed the IAP assertion, if one is asked for; the same where that names.
    """

    __slots__ = ("claims", "email", "groups", "iap_key", "key", "name", "sub")

    def __init__(
        self,
        name: str,
        claims: dict[str, Any] | None = None,
        key: Key | None = None,
        iap_key: Key | None = None,
    ) -> None:
        self.name = name
        self.claims = claims or {}
        self.key = key
        self.iap_key = iap_key
        self.sub = str(self.claims.get("sub", ""))
        email = self.claims.get("email")
        proven = self.claims.get("email_verified", True) in (True, "true")
        self.email = email if isinstance(email, str) and proven else ""
        groups = self.claims.get("groups")
        groups = [groups] if isinstance(groups, str) else groups
        held = groups if isinstance(groups, list) else []
        self.groups = [one for one in held if isinstance(one, str)]


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
        self._signers = self._read()
        if self._iap is not None and not self._iap.is_address:
            self._iap.renew()

    def start(self) -> None:
        """Fetch the keys that are at an address, now and again and again."""
        if self._iap is not None and self._iap.is_address:
            forever.begin("keys", self._renew_for_ever, self._log)

    @property
    def checks(self) -> bool:
        """Whether anybody is checked."""
        return bool(self._path or self._iap)

    def fetch(self) -> None:
        """Fetch the keys that are at an address, now.

        Raises:
            KojutoError: they cannot be had.
        """
        if self._iap is not None and self._iap.is_address:
            self._iap.renew()

    def reload(self) -> None:
        """Read the key files again.

        Raises:
            KojutoError: one cannot be used; all the old keys stay.
        """
        signers = self._read()
        if self._iap is not None and not self._iap.is_address:
            self._iap.renew()
        self._signers = signers  # when nothing can fail any more

    def knows(self, bearer: str, assertion: str) -> bool:
        """Whether the keys that signed the tokens of a request count still.

        Those at an address come and go without anybody's doing: none of them is taken away.

        Args:
            bearer: the fingerprint of the key of the Bearer token; empty where none was asked for.
            assertion: the same for the IAP assertion.
        """
        if bearer and all(key.fingerprint() != bearer for key in self._signers.keys):
            return False
        if assertion and self._iap is not None and not self._iap.is_address:
            return any(key.fingerprint() == assertion for key in self._iap.keys)
        return True

    def _read(self) -> jwt.Signers:
        if self._path is None:
            return jwt.Signers(())
        return jwt.Signers(jwt.load_public_keys(jwt.read_key_file(self._path), self._path))

    def who(self, headers: Headers) -> Who:
        """Who sent a request: by the Bearer token where both kinds of token are asked for.

        Raises:
            TokenError: the token is refused.
            UnavailableError: there are no keys to check with.
        """
        found = None
        if self._iap is not None:
            values = headers.get_all("X-Goog-IAP-JWT-Assertion")
            if not values:
                raise jwt.NoTokenError("no X-Goog-IAP-JWT-Assertion headers")
            if len(values) > 1:
                raise jwt.FormError(f"{len(values)} X-Goog-IAP-JWT-Assertion headers")
            found = self._of_assertion(values[0], self._iap)
        if self._path is not None:
            who = self._of_bearer(jwt.bearer(headers.get_all("Authorization")))
            who.iap_key = found.iap_key if found is not None else None
            return who
        if found is None:
            return Who(next(iter(headers.get_all("X-Goog-Authenticated-User-Email")), ""))
        return found

    def of_token(self, token: str) -> Who:
        """Whose token it is that names the user in the log.

        Raises:
            TokenError: it is refused.
            UnavailableError: there are no keys to check with.
        """
        if self._path is None and self._iap is not None:
            return self._of_assertion(token, self._iap)
        return self._of_bearer(token)

    def _of_bearer(self, token: str) -> Who:
        key, payload = self._signers.signed_by(token)
        claims = jwt.check_claims(payload, now=time.time(), freshness_s=self._freshness_s)
        return Who(str(claims.get("sub", "")), claims, key)

    def _of_assertion(self, token: str, source: KeySource) -> Who:
        if not source.keys:
            raise UnavailableError
        key, payload = source.signers.signed_by(token)
        claims = jwt.check_claims(
            payload,
            now=time.time(),
            freshness_s=None,
            require={"aud": self._audiences, "iss": IAP_ISSUER},
            leeway_s=IAP_LEEWAY_S,
        )
        email = claims.get("email", claims.get("sub", ""))
        if not isinstance(email, str) or not email.isprintable():
            raise jwt.ClaimError("email", "the claim email is not a printable string")
        return Who(email, claims, key, key)

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
