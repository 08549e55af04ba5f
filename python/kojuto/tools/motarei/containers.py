"""Which Docker containers take connections: labels, published ports, health, probes."""

from __future__ import annotations

import contextlib
import signal
import socket
import time

from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from docker import APIClient

API_TIMEOUT_S = 5
PROBE_TIMEOUT_S = 0.5
PROBE_HOLD_S = 0.1
"""So long a probe must stay open: docker-proxy accepts whether the container does or not, and
closes at once if not."""
RETRY_S = 0.5
START_TIMEOUT_S = 300.0
"""A container that has been running for longer is not expected to begin to accept any more."""
CREATED_TIMEOUT_S = 10.0
"""One that was created longer ago and does not run is not expected to run any more."""
ANY = {"0.0.0.0": "", "::": "::1", "": ""}  # noqa: S104
NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}
"""OpenSSL's codes for an engine that does not speak TLS at all."""


class Container:
    """A running container.

    Args:
        row: one entry of ``GET /containers/json``.
        connect_ip: where ports published on all addresses of its family are reached.
        details: what ``GET /containers/ID/json`` adds, see `Details`.
    """

    def __init__(
        self, row: dict[str, Any], connect_ip: str, details: Details | None = None
    ) -> None:
        self.id = str(row["Id"])
        self.short_id = self.id[:12]
        self.created = int(row["Created"])
        self.ports = _ports(row.get("Ports") or [], connect_ip)
        self.health = _health(row)
        self.details = details or Details({})
        self.stopping = False
        """It was told to stop: it may run for a while yet, but takes no new connections."""

    @property
    def age(self) -> tuple[int, int, str]:
        """Newer is larger: creation time, then id.

        The list has whole seconds only, and two generations of one deploy can be created within
        the same one: the rest of the time comes from the details.
        """
        return (self.created, self.details.created_ns, self.id)


class Details:
    """What the list of containers does not say of one, and what never changes.

    Args:
        answer: of ``GET /containers/ID/json``; empty when unknown.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        self.created_ns = fraction_ns(str(answer.get("Created") or ""))
        config = answer.get("Config") or {}
        self.stop_signals = {
            signal.SIGTERM,
            signal.SIGKILL,
            signal_number(str(config.get("StopSignal") or "TERM")),
        }


def fraction_ns(text: str) -> int:
    """The nanoseconds within the second of an RFC 3339 time; 0 without any."""
    fraction = text.partition(".")[2]
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    return int(digits[:9].ljust(9, "0"))


def signal_number(text: str) -> int:
    """``SIGQUIT``, ``QUIT`` or ``3`` as 3; 0 for a name that this system does not have."""
    if text.isascii() and text.isdigit():
        return int(text)
    name = text if text.startswith("SIG") else f"SIG{text}"
    return int(getattr(signal, name, 0))


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
            conn.settimeout(PROBE_HOLD_S)
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
        self._details: dict[str, Details] = {}
        self._first_seen: dict[str, float] = {}
        self._stopping: set[str] = set()
        self._expected = False

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
                f"Docker does not answer: {_reason(error)}",
                _hint(error),
            ) from None
        self._expected = any(_is_new(row) for row in rows if row.get("State") == "created")
        found = [
            Container(row, self._connect_ip, self._details[row["Id"]])
            for row in rows
            if row["Id"] in self._details
        ]
        found = [container for container in found if container.ports]
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

    def ready(self) -> tuple[list[Container], bool]:
        """The containers that take connections, newest first.

        One with a health check counts while it is healthy, one without from the moment its ports
        have accepted. Those that were told to stop come after all others, and not at all while a
        newer one is about to follow: it is safer to wait for that than to catch the old one's end.

        Returns:
            The containers, and whether a newer one is about to follow.

        Raises:
            KojutoError: the engine does not answer.
        """
        running = self.running()
        known = {(container.id, port) for container in running for port in container.ports}
        self._accepting &= known
        found, pending = [], self._expected
        for container in running:
            container.stopping = container.id in self._stopping
            if container.health == "healthy" or (
                container.health == "none" and self._probe(container)
            ):
                found.append(container)
            elif not found and not container.stopping and container.health != "unhealthy":
                pending |= time.monotonic() - self._first_seen[container.id] < START_TIMEOUT_S
        found.sort(key=lambda container: container.stopping)
        if pending:
            found = [container for container in found if not container.stopping]
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


def _hint(error: Exception) -> str:
    import ssl

    from docker.errors import TLSParameterError

    chain = _chain(error)
    no_tls = any(isinstance(one, ssl.SSLError) and one.reason in NO_TLS for one in chain)
    if any(isinstance(one, (ssl.SSLError, TLSParameterError)) for one in chain) and not no_tls:
        return (
            "DOCKER_CERT_PATH needs ca.pem (who signed the engine's certificate), cert.pem and "
            "key.pem (signed by whom the engine trusts)"
        )
    return "is the engine running, and is DOCKER_HOST right?"


def _reason(error: Exception) -> str:
    """The innermost words of an exception chain, in one line."""
    import ssl

    inner = _chain(error)[-1]
    if isinstance(inner, ssl.SSLEOFError):
        # The engine may hang up before its alert is read (TLS 1.3, RFC 8446, 4.4.2.4).
        return "the engine ended the TLS handshake, as for a certificate it does not trust"
    return " ".join(words(inner).split())


def _chain(error: Exception) -> list[Exception]:
    """An exception, the one that it was made of, and so on to the first.

    Of some that requests and urllib3 wrap, only the argument tells.
    """
    chain: list[Exception] = []
    inner: object = error
    while isinstance(inner, Exception) and inner not in chain:
        chain.append(inner)
        inner = inner.__cause__ or inner.__context__ or next(iter(inner.args), None)
    return chain
