"""The tokens of ``wsgate-client``: signed with a key of its own, or Google id_tokens for IAP.

No message holds a token, a part of one, or what a token endpoint answered beside its error code.
"""

from __future__ import annotations

import time

from kojuto.common import jwt
from kojuto.common.server import forever
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kojuto.common.server.logs import Logger

KEY_TOKEN_S = 60
"""As the original's: ``exp`` is so much after ``iat``."""
KEY_RENEWAL_S = 10.0
IAP_EARLIEST_S = 600.0
"""An id_token lasts an hour; it is renewed so long before its end, or after half its life."""
RETRY_S = 10.0
SET_BACK_S = 1.0
"""A clock that goes back by more was set."""
FETCH_TIMEOUT_S = 20.0
_SHORT_ID = r"\d{6,}-[0-9a-z]{20,}"
_ID_SUFFIX = ".apps.googleusercontent.com"


class Held:
    """A token, and how long it is good for.

    Its times are the clock's, which may be set while it is held: at the start of a machine whose
    clock was wrong, most of all. So its age is what passed since by whichever clock shows more (the
    monotonic one stands still while a machine is suspended), and a token that was made later than
    now is none: who checks it does not take what comes from the future.

    Args:
        token: the token.
        expires: when it does, in seconds since 1970.
        renews: when it is to be renewed.
    """

    def __init__(self, token: str, expires: float, renews: float) -> None:
        self.token = token
        self._made = time.time()
        self._made_monotonic = time.monotonic()
        self._life_s = expires - self._made
        self._renewed_after_s = renews - self._made

    def left_s(self) -> float:
        """How long it is good for yet; nothing or less when it is not."""
        return self._life_s - self._age_s()

    def renewal_s(self) -> float:
        """When it is to be renewed; now when that is nothing or less."""
        return min(self._renewed_after_s - self._age_s(), self.left_s())

    def _age_s(self) -> float:
        passed_s = time.time() - self._made
        if passed_s < -SET_BACK_S:
            return float("inf")
        return max(passed_s, time.monotonic() - self._made_monotonic)


class Renewed:
    """A token that is renewed in the background; all methods may be called by any thread.

    Args:
        fetch: makes a token; answers it, the time it expires and the time to renew it, both in
            seconds since 1970. Raises `KojutoError`.
        log: told of renewals that fail.
    """

    def __init__(self, fetch: Callable[[], tuple[str, float, float]], log: Logger) -> None:
        from threading import Condition

        self._fetch = fetch
        self._log = log
        self._changed = Condition()
        self._fetching = False
        self._held = Held("", 0.0, 0.0)
        self._problem: tuple[float, KojutoError] | None = None

    def start(self) -> None:
        """Fetch now and then again and again, in a thread that ends with the process."""
        forever.begin("token", self._run, self._log)

    def get(self, within_s: float | None = None) -> str:
        """A token that has not expired; fetched on the spot when there is none.

        Args:
            within_s: how long that may take; None for as long as it does.

        Raises:
            KojutoError: there is no valid token and a new one cannot be fetched, or not in time.
        """
        if token := self._valid():
            return token
        from threading import Thread

        with self._changed:
            if not self._fetching:
                if token := self._valid():  # fetched meanwhile
                    return token
                # Those who come while none can be had do not each try again.
                if self._problem is not None and time.monotonic() - self._problem[0] < 1:
                    raise self._problem[1]
                try:
                    Thread(target=self._renew_aside, name="token", daemon=True).start()
                except RuntimeError:
                    raise KojutoError("no token: no thread can be started") from None
                self._fetching = True
            if not self._changed.wait_for(lambda: not self._fetching, within_s):
                raise KojutoError("no token within --connect-timeout")
            if token := self._valid():
                return token
            raise self._problem[1] if self._problem else KojutoError("the token had expired")

    def _valid(self) -> str:
        held = self._held
        return held.token if held.left_s() > 0 else ""

    def _renew(self) -> None:
        """Fetch, and let those know who wait for it; `_fetching` is set already."""
        found, problem = None, None
        try:
            found = self._fetch()
        except KojutoError as error:
            problem = error
            raise
        except Exception as error:  # of the libraries that fetch it: who waits is told something
            problem = KojutoError(f"unexpected {type(error).__name__}: {error}")
            raise problem from error
        finally:
            with self._changed:
                if found is not None:
                    self._held = Held(*found)
                self._problem = (time.monotonic(), problem) if problem else None
                self._fetching = False
                self._changed.notify_all()

    def _renew_aside(self) -> None:
        from contextlib import suppress

        with suppress(KojutoError):  # who waits for it is told
            self._renew()

    def _renew_when_due(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._fetching)
            due = self._held.renewal_s() <= 0  # who asked first may have just fetched it
            self._fetching = due
        if due:
            self._renew()

    def _run(self) -> None:
        failing = False
        while True:
            try:
                self._renew_when_due()
                if failing:
                    self._log.info("The token can be renewed again")
                failing = False
            except KojutoError as error:
                text = "the old one is kept" if self._valid() else "there is none"
                self._log.warn(f"The token cannot be renewed, {text}", error=str(error))
                failing = True
            pause = RETRY_S if failing else self._held.renewal_s()
            time.sleep(min(max(pause, 0.2), 3600.0))


def from_key(path: str, user: str, log: Logger) -> Renewed:
    """Tokens signed with the private key of a file, for a minute each.

    Raises:
        KojutoError: the file holds none.
    """
    key = jwt.load_private_key(jwt.read_key_file(path), path)

    def fetch() -> tuple[str, float, float]:
        now = time.time()
        issued = int(now)
        claims = {"sub": user, "iss": "wsgate-client", "iat": issued, "exp": issued + KEY_TOKEN_S}
        # What is handed out last still has time to travel.
        return jwt.sign(key, claims), issued + KEY_TOKEN_S - 5, now + KEY_RENEWAL_S

    return Renewed(fetch, log)


def audience_of(client_id: str) -> str:
    """The audience for a client id; the end that Google's ids have may be left out."""
    import re

    return client_id + _ID_SUFFIX if re.fullmatch(_SHORT_ID, client_id) else client_id


def from_service_account(path: str, client_id: str, log: Logger) -> Renewed:
    """Google id_tokens for a client id, by the key of a service account (a JSON file).

    Raises:
        KojutoError: the file is none.
    """
    from functools import partial
    from warnings import catch_warnings, simplefilter

    with catch_warnings():
        simplefilter("ignore")  # that this Python will not be supported for ever
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
        from google.oauth2.service_account import IDTokenCredentials

    info = _service_account(path)
    try:
        make: Any = IDTokenCredentials.from_service_account_info
        credentials = make(info, target_audience=audience_of(client_id))
    except (GoogleAuthError, ValueError, TypeError, AttributeError):
        raise KojutoError(f"{path}: its private_key cannot be read") from None
    request = partial(Request(), timeout=FETCH_TIMEOUT_S)
    endpoint = str(info["token_uri"])

    def fetch() -> tuple[str, float, float]:
        began = time.time()
        try:
            credentials.refresh(request)
            expires = credentials.expiry.replace(tzinfo=_utc()).timestamp()
        except Exception as error:
            raise KojutoError(f"no token from {endpoint}: {_reason(error)}") from None
        life = expires - began
        if life <= 0:
            raise KojutoError(f"no token from {endpoint}: it had expired when it came")
        return credentials.token, expires, expires - min(IAP_EARLIEST_S, life / 2)

    return Renewed(fetch, log)


def _utc() -> Any:
    from datetime import timezone

    return timezone.utc


def _service_account(path: str) -> dict[str, Any]:
    from contextlib import suppress
    from ipaddress import ip_address
    from json import loads
    from urllib.parse import urlsplit

    try:
        info = loads(jwt.read_key_file(path))
    except (ValueError, RecursionError):
        raise KojutoError(f"{path}: no JSON") from None
    wanted = ("client_email", "private_key", "token_uri")
    if not isinstance(info, dict) or not all(isinstance(info.get(key), str) for key in wanted):
        raise KojutoError(
            f"{path}: not a service account key ({', '.join(wanted)} are needed)",
            "'gcloud iam service-accounts keys create FILE' makes one",
        )
    endpoint = urlsplit(info["token_uri"])
    local = endpoint.hostname == "localhost"
    with suppress(ValueError):
        local = local or ip_address(endpoint.hostname or "").is_loopback
    if endpoint.scheme != "https" and not (endpoint.scheme == "http" and local):
        raise KojutoError(f"{path}: its token_uri is not an https address")
    return info


def _reason(error: Exception) -> str:
    """Why, in words that hold nothing secret."""
    from google.auth.exceptions import RefreshError, TransportError
    from requests.exceptions import Timeout

    if isinstance(error, TransportError):
        cause = error.args[0] if error.args else error
        while isinstance(cause, Exception):
            if isinstance(cause, (Timeout, TimeoutError)):
                return "it did not answer in time"
            inner = cause.__cause__ or cause.__context__ or getattr(cause, "reason", None)
            if isinstance(cause, OSError) and cause.strerror:
                return str(cause.strerror)
            if not isinstance(inner, Exception) or inner is cause:
                break
            cause = inner
        return "it cannot be reached"
    if isinstance(error, RefreshError):
        answer = error.args[1] if len(error.args) > 1 else None
        code = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(code, str) and len(code) <= 100 and code.isprintable():
            return f"it answered {code}"
        return "its answer holds no id_token"
    return "its answer cannot be read"
