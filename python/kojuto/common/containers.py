"""Which Docker containers take connections: labels, published ports, health, probes."""

from __future__ import annotations

import socket
import time

from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from docker import APIClient

API_TIMEOUT_S = 5
PROBE_TIMEOUT_S = 0.5
SETTLE_S = 0.1
"""docker-proxy accepts whether the container does or not, and closes at once if not."""
RETRY_S = 0.5
ANY = {"0.0.0.0": "", "::": "::1", "": ""}  # noqa: S104


class Container:
    """A running container.

    Args:
        row: one entry of ``GET /containers/json``.
        connect_ip: where ports published on all addresses of its family are reached.
    """

    def __init__(self, row: dict[str, Any], connect_ip: str) -> None:
        self.id = str(row["Id"])
        self.short_id = self.id[:12]
        self.created = int(row["Created"])
        self.ports = _ports(row.get("Ports") or [], connect_ip)
        self.health = _health(row)

    @property
    def age(self) -> tuple[int, str]:
        """Newer is larger: creation time, then id."""
        return (self.created, self.id)


def _ports(rows: Sequence[dict[str, Any]], connect_ip: str) -> dict[int, tuple[str, int]]:
    """Private TCP port to where it is published, preferring the family of `connect_ip`."""
    wanted_v6 = ":" in connect_ip
    found: dict[int, tuple[bool, tuple[str, int]]] = {}
    for row in rows:
        public, private = row.get("PublicPort"), int(row["PrivatePort"])
        if row.get("Type") != "tcp" or not public:
            continue
        ip = str(row.get("IP") or "")
        same = (":" in ip) == wanted_v6
        where = (ANY.get(ip, ip) if not (same and ip in ANY) else connect_ip) or "127.0.0.1"
        if private not in found or (same and not found[private][0]):
            found[private] = (same, (where, int(public)))
    return {private: where for private, (_, where) in found.items()}


def _health(row: dict[str, Any]) -> str:
    """``none``, ``starting``, ``healthy`` or ``unhealthy``."""
    state = row.get("Health")  # from API 1.52 on
    if isinstance(state, dict) and state.get("Status"):
        return str(state["Status"])
    text = str(row.get("Status") or "")
    for word, health in (
        ("(healthy)", "healthy"),
        ("(unhealthy)", "unhealthy"),
        ("(health: starting)", "starting"),
    ):
        if word in text:
            return health
    return "none"


def accepts(address: tuple[str, int]) -> bool:
    """Whether a connection is accepted and not closed at once."""
    try:
        with socket.create_connection(address, timeout=PROBE_TIMEOUT_S) as conn:
            conn.settimeout(SETTLE_S)
            try:
                return bool(conn.recv(1))
            except TimeoutError:
                return True
    except OSError:
        return False


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
        self._accepting: set[tuple[str, int]] = set()

    def _connect(self) -> APIClient:
        """A client that speaks the engine's API version."""
        from docker import APIClient
        from docker.utils import kwargs_from_env

        return APIClient(version="auto", timeout=API_TIMEOUT_S, **kwargs_from_env())

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
            rows = self._client.containers(filters={"label": self._labels, "status": "running"})
        except (DockerException, RequestException, OSError) as error:
            self._client = None
            raise KojutoError(
                f"Docker does not answer: {_reason(error)}",
                "is the engine running, and is DOCKER_HOST right?",
            ) from None
        found = [Container(row, self._connect_ip) for row in rows]
        found = [container for container in found if container.ports]
        return sorted(found, key=lambda container: container.age, reverse=True)

    def ready(self) -> tuple[list[Container], bool]:
        """The containers that take connections, newest first.

        One with a health check counts while it is healthy, one without from the moment its ports
        have accepted.

        Returns:
            The containers, and whether others may follow soon.

        Raises:
            KojutoError: the engine does not answer.
        """
        running = self.running()
        known = {(container.id, port) for container in running for port in container.ports}
        self._accepting &= known
        found, pending = [], False
        for container in running:
            if container.health == "healthy" or (
                container.health == "none" and self._probe(container)
            ):
                found.append(container)
            else:
                pending = True
        return found, pending

    def _probe(self, container: Container) -> bool:
        """Whether all ports have accepted once."""
        for port, address in container.ports.items():
            if (container.id, port) not in self._accepting:
                if not accepts(address):
                    return False
                self._accepting.add((container.id, port))
        return True

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
                for _ in stream:
                    changed()
            except (DockerException, RequestException, OSError, ValueError):
                pass  # the list says what is wrong
            time.sleep(RETRY_S)


def _reason(error: Exception) -> str:
    """The innermost words of an exception chain, in one line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        if not isinstance(inner, Exception):
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
