"""Asks the Docker engine for the containers with some labels, and for what happens to them."""

from __future__ import annotations

import math
import time
from contextlib import suppress

from kojuto.tools.motarei.containers import Container, Details, signal_number
from kojuto.tools.motarei.refusals import RefusalError, as_error, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from docker import APIClient
    from requests import Response

API_TIMEOUT_S = 5
RETRY_S = 0.5
ASK_AGAIN_S = 30.0
"""The time until what was refused is asked for again."""
LATER_S = 0.1
"""The engine tells that a container has entered a network before its list has the new ports."""
CREATED_TIMEOUT_S = 10.0
"""One that was created longer ago and does not run is not expected to run any more."""


class Finder:
    """Asks the Docker engine for the containers that carry some labels.

    Args:
        labels: ``KEY=VALUE`` or ``KEY``, all of them.
        connect_ip: where ports published on all addresses are reached.
        warn: told once of each thing that is refused and can be done without; nobody if None.
    """

    def __init__(
        self, labels: Sequence[str], connect_ip: str, warn: Callable[..., None] | None = None
    ) -> None:
        self._labels = list(labels)
        self._filters = {"type": "container", "label": self._labels}
        self._connect_ip = connect_ip
        self._warn = warn
        self._told: set[str] = set()
        self._ask_again_at: dict[str, float] = {}
        self._client: APIClient | None = None
        self._details: dict[str, Details] = {}
        self._first_seen: dict[str, float] = {}
        self._signals: dict[str, dict[int, float]] = {}
        """Which a container was sent and when first, by the monotonic clock."""
        self._starts: dict[str, int] = {}
        """How often a container was seen to start."""
        self._since_s = 0
        """What is known of events: until then, by the engine's clock; 0 before it was asked."""
        self.expected = False
        """Whether a container was created that is about to run, as of the last list."""

    def _connect(self) -> APIClient:
        """A client that speaks the engine's API version."""
        from docker import APIClient
        from docker.utils import kwargs_from_env

        class Client(APIClient):
            """One whose ``ca.pem`` wins over REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE."""

            def merge_environment_settings(
                self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
            ) -> Any:
                chosen = self.verify if verify is None else verify
                return super().merge_environment_settings(url, proxies, stream, chosen, cert)

        return Client(version="auto", timeout=API_TIMEOUT_S, **kwargs_from_env())

    def running(self) -> list[Container]:
        """The running and the paused containers with a published TCP port, newest first.

        Raises:
                KojutoError: the engine does not answer, or refuses the list.
        """
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            if self._client is None:
                self._client = self._connect()
            if not self._since_s:
                self._catch_up(self._client)
            wanted = {"label": self._labels, "status": ["running", "paused", "created"]}
            rows = self._client.containers(filters=wanted, all=True)
            self._look_up(self._client, rows)
        except (DockerException, RequestException, OSError) as error:
            self._client = None
            raise as_error(error) from None
        self.expected = any(_is_new(row) for row in rows if row.get("State") == "created")
        found = [
            Container(row, self._connect_ip, self._details[row["Id"]])
            for row in rows
            if row["Id"] in self._details
        ]
        found = [container for container in found if container.ports]
        for container in found:
            details, signals = container.details, self._signals.get(container.id, {})
            told = [at for number, at in list(signals.items()) if number in details.stop_signals]
            if told:
                container.stopping = True
                left_s = min(told) + details.stop_timeout_s - time.monotonic()
                container.ending = left_s > 0 or details.stop_timeout_s < 0
            container.first_seen_s = self._first_seen[container.id]
            container.starts = self._starts.get(container.id, 0)
        return sorted(found, key=lambda container: container.age, reverse=True)

    def _look_up(self, client: APIClient, rows: Sequence[dict[str, Any]]) -> None:
        """Ask once for the details of each running container; the list serves without them."""
        from docker.errors import APIError, NotFound

        known, self._details = self._details, {}
        now = time.monotonic()
        for row in rows:
            if row.get("State", "running") not in ("running", "paused"):
                continue
            name = str(row["Id"])
            details = known.get(name)
            if details is None or now >= self._ask_again_at.get(name, math.inf):
                self._ask_again_at.pop(name, None)
                try:
                    details = Details(client.inspect_container(name))
                except NotFound:  # gone since the list was made
                    continue
                except APIError as error:
                    self._ask_again_at[name] = now + ASK_AGAIN_S
                    details = details or Details({})
                    self._tell(
                        "Docker refuses details, the list of containers serves", refusal(error)
                    )
            self._details[name] = details
        self._ask_again_at = {
            name: at for name, at in self._ask_again_at.items() if name in self._details
        }
        self._first_seen = {
            name: self._first_seen.get(name, time.monotonic()) for name in self._details
        }
        for name in set(self._signals) - set(self._details):
            self._signals.pop(name, None)
        for name in set(self._starts) - set(self._details):
            self._starts.pop(name, None)

    def _catch_up(self, client: APIClient) -> None:
        """Learn who was told to stop before anybody listened: the list has them run as before.

        By the engine's clock, which may be another machine's. Where it or the events are refused,
        nothing is known of what was.
        """
        from email.utils import parsedate_to_datetime
        from json import loads

        from docker.utils import convert_filters
        from requests.exceptions import RequestException

        def ask(path: str, **about: Any) -> Response:
            return client.get(f"{client.base_url}{path}", params=about, timeout=API_TIMEOUT_S)

        with suppress(RequestException, ValueError, KeyError):
            date = ask("/_ping").headers["Date"]
            self._since_s = int(parsedate_to_datetime(date).timestamp())
            about = {"since": 1, "until": self._since_s, "filters": convert_filters(self._filters)}
            past = ask(f"/v{client.api_version}/events", **about)
            for line in past.text.splitlines() if past.ok else ():
                event = loads(line)
                self._note(event, max(self._since_s - int(event["time"]), 0))

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` at each event of a container with the labels, for ever."""

        def note(event: dict[str, Any]) -> None:
            self._note(event)
            self._since_s = int(event.get("time") or self._since_s)
            changed()

        while True:
            self._listen(self._filters, changed, note)

    def watch_networks(self, changed: Callable[[], None]) -> None:
        """Call `changed` when a container enters or leaves a network, for ever.

        Docker publishes its ports anew, on others, where that changes its way out.
        """
        filters = {"type": "network", "event": ["connect", "disconnect"]}

        def note(_: object) -> None:
            changed()
            time.sleep(LATER_S)
            changed()

        while True:
            self._listen(filters, changed, note)

    def _listen(
        self,
        filters: dict[str, Any],
        begun: Callable[[], None],
        note: Callable[[dict[str, Any]], None],
    ) -> None:
        """Hear events until their stream ends, and wait until it may be asked for again."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        wait_s = RETRY_S
        try:
            stream = self._connect().events(
                decode=True, since=self._since_s or None, filters=filters
            )
            response: Response = vars(stream)[
                "_response"
            ]  # docker-py looks at the status of all other answers
            if response.status_code >= 400:
                wait_s = ASK_AGAIN_S
                self._tell(
                    "Docker refuses its events, the list tells of changes every second",
                    RefusalError(response, None),
                )
                response.close()
                return
            begun()  # what came before the stream began
            for event in stream:
                note(event)
        except (DockerException, RequestException, OSError, ValueError):
            pass  # the list says what is wrong
        finally:
            time.sleep(wait_s)

    def _tell(self, message: str, error: RefusalError) -> None:
        if self._warn is not None and message not in self._told:
            self._told.add(message)
            self._warn(message, error=str(error), hint=error.hint)

    def _note(self, event: dict[str, Any], age_s: float = 0.0) -> None:
        """Remember who was told to stop and who starts anew: the list may show neither."""
        actor = event.get("Actor") or {}
        name, action = str(actor.get("ID") or ""), event.get("Action")
        if action == "kill":
            number = signal_number(str((actor.get("Attributes") or {}).get("signal", "")))
            self._signals.setdefault(name, {}).setdefault(number, time.monotonic() - age_s)
        elif action == "start":
            self._signals.pop(name, None)
            self._starts[name] = self._starts.get(name, 0) + 1


def _is_new(row: dict[str, Any]) -> bool:
    return time.time() - int(row["Created"]) < CREATED_TIMEOUT_S
