"""The upstreams of ppdp: UNIX sockets, and addresses of names that are resolved again and again."""

from __future__ import annotations

from kojuto.common.server import forever, listen, relay
from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import Relay
    from kojuto.common.cli import Values
    from kojuto.common.server.logs import Logger

UNIX = "unix:"
"""What the path of a UNIX socket has before it; its port counts for nothing."""
MOST_PATH_BYTES = 107
"""The longest path of a UNIX socket (unix(7))."""


def upstream(text: str) -> tuple[str, int]:
    """A reader for options: ``HOST:PORT`` with a host, or ``unix:/PATH``.

    Raises:
        ValueError: it is neither.
    """
    if not text.startswith(UNIX):
        return listen.upstream(text)
    path = text.removeprefix(UNIX)
    if not path.startswith("/"):
        raise ValueError("not an absolute path (write unix:/run/mysqld/mysqld.sock)")
    try:
        count = len(path.encode())
    except UnicodeEncodeError:
        raise ValueError("the path is no UTF-8") from None
    if count > MOST_PATH_BYTES:
        raise ValueError(
            f"the path has {count} bytes, and that of a UNIX socket {MOST_PATH_BYTES} at most: "
            "use a shorter one, by a symbolic link to its directory"
        )
    return text, 0


def text_of(host: str, port: int) -> str:
    """The opposite of `upstream`."""
    return host if host.startswith(UNIX) else listen.address_text(host, port)


def _resolve(host: str, port: int) -> list[tuple[str, int]]:
    return [(host, port)] if host.startswith(UNIX) else relay.resolve(host, port)


class Refresher:
    """Keeps the engine's list of upstreams as the names resolve.

    Raises:
        KojutoError: a name cannot be resolved at the start.
    """

    def __init__(self, engine: Relay, log: Logger, values: Values) -> None:
        from threading import Event

        self._engine = engine
        self._log = log
        self._interval_s = values.refresh_interval
        self._wanted = Event()
        self._failing: set[tuple[str, int]] = set()
        self._known: dict[tuple[str, int], list[tuple[str, int]]] = {}
        self.pool = engine.add_pool(
            values.balancing,
            max_fails=values.max_fails,
            fail_timeout_s=values.fail_timeout,
            host=values.upstream[0][0],
        )
        for host, port in values.upstream:
            try:
                self._known[host, port] = _resolve(host, port)
            except OSError as error:  # noqa: PERF203
                raise KojutoError(
                    f"--upstream {host}: {words(error)}",
                    "the name must resolve at the start; later failures keep the last addresses",
                ) from None
        engine.set_upstreams(self.pool, self.addresses)
        for upstream in self._known:
            self._tell(upstream)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Those of all names, each once."""
        return list(dict.fromkeys(one for found in self._known.values() for one in found))

    def start(self) -> None:
        """Resolve again and again, in a thread that ends with the process."""
        forever.begin("refresh", self._run, self._log)

    def _tell(self, upstream: tuple[str, int]) -> None:
        names = [text_of(*address) for address in self._known[upstream]]
        self._log.info("Upstreams", host=upstream[0], addresses=names)

    def now(self) -> None:
        """Resolve at once rather than at the next interval."""
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait(self._interval_s or None)
            self._wanted.clear()
            changed = [upstream for upstream in self._known if self._look_up(upstream)]
            self._engine.set_upstreams(self.pool, self.addresses)
            for upstream in changed:
                self._tell(upstream)

    def _look_up(self, upstream: tuple[str, int]) -> bool:
        """Resolve a name again; whether it has other addresses now."""
        host, port = upstream
        try:
            found = _resolve(host, port)
        except OSError as error:
            if upstream not in self._failing:
                self._log.warn(
                    "Failed to refresh upstreams, the last ones are kept",
                    host=host,
                    error=words(error),
                )
            self._failing.add(upstream)
            return False
        if upstream in self._failing:
            self._failing.remove(upstream)
            self._log.info("Refreshing upstreams works again", host=host)
        changed = set(found) != set(self._known[upstream])
        self._known[upstream] = found
        return changed
