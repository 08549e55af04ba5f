"""The server of deteco: its sockets, its reload, its metrics."""

from __future__ import annotations

from kojuto.common import cli
from kojuto.common.prometheus import Family
from kojuto.common.server import exporter, forever, front, listen, service
from kojuto.errors import KojutoError
from kojuto.tools.deteco.gate import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import HttpRequest, HttpServer
    from kojuto.common.cli import Values
    from kojuto.common.gateway.jwks import KeySource
    from kojuto.common.server.logs import Logger
    from kojuto.tools.deteco.gate import Answer

RENEW_S = 3600.0
MAX_HEADER_BYTES = 64 << 10
"""A token of 16 KiB, a URI of 8 KiB, and what the client's own headers are."""


class Keeper:
    """Keeps the state that new requests see.

    Raises:
        KojutoError: the configuration is wrong.
    """

    def __init__(self, values: Values, log: Logger) -> None:
        from threading import Event, Lock

        self._values = values
        self._log = log
        self._sources: dict[str, KeySource] = {}
        self._wanted = Event()
        self._lock = Lock()
        self.state = self._read(None)

    def _read(self, after: State | None) -> State:
        values = self._values
        return State(
            values.conf,
            self._log,
            endpoint=values.auth_endpoint,
            freshness_s=values.jwt_freshness,
            leeway_s=values.leeway,
            log_allowed=not values.no_log_allowed,
            sources=self._sources,
            renew=self._wanted.set,
            cache_size=values.cache_size,
            prune_size=values.prune_size,
            after=after,
        )

    def answer(self, request: HttpRequest) -> Answer:
        """Answer a request under the state of now."""
        return self.state.answer(request)

    def renew_for_ever(self, server: HttpServer) -> None:
        """Fetch the key sets again each hour, and when a token names a key that is not known."""
        while True:
            self._wanted.wait(RENEW_S)
            self._wanted.clear()
            with self._lock:
                before = {where: source.keys for where, source in self._sources.items()}
                if not any(source.is_address for source in self._sources.values()):
                    continue
                try:
                    state = self._read(self.state)
                except KojutoError as error:
                    self._log.warn("Failed to renew the keys", error=str(error))
                    continue
                if before != {where: source.keys for where, source in self._sources.items()}:
                    self._take(state, server)

    def _take(self, state: State, server: HttpServer) -> None:
        # First what Python learns, then what is asked first: a request that the old gate left to
        # Python may be checked by the new rules, never the other way round.
        self.state = state
        server.set_at_hand(state.gate)

    def reload(self, server: HttpServer) -> None:
        """Read the file again; one that is wrong changes nothing."""
        try:
            with self._lock:
                state = self._read(self.state)
                self._take(state, server)
        except KojutoError as error:
            self._log.warn(
                "Failed to reload, the last configuration is kept",
                conf=self._values.conf,
                error=str(error),
                hint=error.hint,
            )
        else:
            self._log.info("Reloaded", conf=self._values.conf, services=len(state.by_name))


def run(values: Values) -> int:
    """Serve until a signal ends it; returns the exit status.

    Raises:
        KojutoError: the configuration is wrong, or an address cannot be bound.
    """
    from kojuto.common.server.logs import Logger

    log = Logger()
    try:
        keeper = Keeper(values, log)
        if values.dry_run:
            cli.complain("deteco", f"{values.conf}: {len(keeper.state.by_name)} services, all fine")
            return cli.DONE
        return _serve(values, keeper, log)
    finally:
        log.close()


def _serve(values: Values, keeper: Keeper, log: Logger) -> int:
    from kojuto._native import HttpServer

    service.preload(*service.TOKENS)
    metrics = exporter.open_port(values)
    sockets = listen.sockets(values.listen)
    service.hold_signals()
    server = HttpServer(
        log.writer,
        [sock.fileno() for sock in sockets],
        keeper.answer,
        at_hand=keeper.state.gate,
        header_timeout_s=values.header_timeout,
        idle_timeout_s=values.idle_timeout,
        write_timeout_s=values.write_timeout,
        max_header_bytes=MAX_HEADER_BYTES,
        pass_over_bodies=True,
        max_connections=values.max_connections,
    )
    forever.begin("keys", lambda: keeper.renew_for_ever(server), log)
    return front.run(
        server,
        sockets,
        log,
        values,
        metrics=metrics,
        collect=lambda: families(server, keeper.state),
        on_hangup=lambda: keeper.reload(server),
        services=len(keeper.state.by_name),
    )


def families(server: HttpServer, state: State) -> list[Family]:
    """The metrics of the server and its gate."""
    gate = state.gate.stats()
    return [
        *exporter.http_families(server.stats()),
        Family("kojuto_deteco_decisions_total", "counter", "Requests by what was decided.")
        .add(gate["allowed"], decision="allowed")
        .add(gate["forbidden"], decision="forbidden")
        .add(gate["unauthorized"], decision="unauthorized"),
        Family("kojuto_deteco_token_hits_total", "counter", "Tokens that were known already.").add(
            gate["hits"]
        ),
        Family("kojuto_deteco_tokens", "gauge", "Tokens that are kept.")
        .add(gate["good"], kind="good")
        .add(gate["bad"], kind="bad"),
        Family("kojuto_deteco_unlogged_total", "counter", "Refusals that were not logged.").add(
            gate["unlogged"]
        ),
    ]
