"""Asks the Docker engine for the containers with some labels, and for what happens to them."""

from __future__ import annotations

import contextlib
import time

from kojuto.errors import KojutoError
from kojuto.tools.motarei.containers import Container, Details, signal_number
from kojuto.tools.motarei.refusals import hint, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from docker import APIClient

API_TIMEOUT_S = 5
RETRY_S = 0.5
CREATED_TIMEOUT_S = 10.0
"""One that was created longer ago and does not run is not expected to run any more."""


class Finder:
    """Asks the Docker engine for the containers that carry some labels.

    Args:
        labels: ``KEY=VALUE`` or ``KEY``, all of them.
        connect_ip: where ports published on all addresses are reached.
    """

    def __init__(self, labels: Sequence[str], connect_ip: str) -> None:
        self._labels = list(labels)
        self._connect_ip = connect_ip
        self._client: APIClient | None = None
        self._details: dict[str, Details] = {}
        self._first_seen: dict[str, float] = {}
        self._stopping: set[str] = set()
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
        """The running containers with a published TCP port, newest first.

        Raises:
            KojutoError: the engine does not answer.
        """
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            if self._client is None:
                self._client = self._connect()
            wanted = {"label": self._labels, "status": ["running", "created"]}
            rows = self._client.containers(filters=wanted, all=True)
            self._look_up(self._client, rows)
        except (DockerException, RequestException, OSError) as error:
            self._client = None
            raise KojutoError(
                f"Docker does not answer: {reason(error)}",
                hint(error),
            ) from None
        self.expected = any(_is_new(row) for row in rows if row.get("State") == "created")
        found = [
            Container(row, self._connect_ip, self._details[row["Id"]])
            for row in rows
            if row["Id"] in self._details
        ]
        found = [container for container in found if container.ports]
        for container in found:
            container.stopping = container.id in self._stopping
            container.first_seen_s = self._first_seen[container.id]
        return sorted(found, key=lambda container: container.age, reverse=True)

    def _look_up(self, client: APIClient, rows: Sequence[dict[str, Any]]) -> None:
        """Ask once for the details of each running container."""
        from docker.errors import APIError

        known, self._details = self._details, {}
        for row in rows:
            if row.get("State", "running") != "running":
                continue
            name = str(row["Id"])
            with contextlib.suppress(APIError):  # gone since the list was made
                self._details[name] = known.get(name) or Details(client.inspect_container(name))
        self._first_seen = {
            name: self._first_seen.get(name, time.monotonic()) for name in self._details
        }
        self._stopping &= set(self._details)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` at each event of a container with the labels, for ever."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        while True:
            try:
                stream = self._connect().events(
                    decode=True, filters={"type": "container", "label": self._labels}
                )
                changed()  # what came before the stream began
                for event in stream:
                    self._note(event)
                    changed()
            except (DockerException, RequestException, OSError, ValueError):
                pass  # the list says what is wrong
            time.sleep(RETRY_S)

    def _note(self, event: dict[str, Any]) -> None:
        """Remember who was told to stop: the next list says so only once it has stopped."""
        actor = event.get("Actor") or {}
        name, action = str(actor.get("ID") or ""), event.get("Action")
        if action == "kill":
            number = signal_number(str((actor.get("Attributes") or {}).get("signal", "")))
            details = self._details.get(name)
            if details is not None and number in details.stop_signals:
                self._stopping.add(name)
        elif action == "start":
            self._stopping.discard(name)


def _is_new(row: dict[str, Any]) -> bool:
    return time.time() - int(row["Created"]) < CREATED_TIMEOUT_S
