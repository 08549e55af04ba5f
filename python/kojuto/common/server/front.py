"""What the HTTP servers share: how they begin, say so, and end."""

from __future__ import annotations

from kojuto.common.server import listen, service

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from kojuto._native import HttpServer
    from kojuto.common.cli import Values
    from kojuto.common.prometheus import Family
    from kojuto.common.server.exporter import Port
    from kojuto.common.server.logs import Logger


def run(
    server: HttpServer,
    sockets: Sequence[socket.socket],
    log: Logger,
    values: Values,
    *,
    metrics: Port | None,
    collect: Callable[[], list[Family]],
    on_hangup: Callable[[], None],
    finish: Callable[[], None] | None = None,
    **shown: str | int,
) -> int:
    """Serve until a signal ends it; returns the exit status.

    Args:
        server: accepts already.
        sockets: what it listens on; they are closed here, it has its own.
        log: told of each step.
        values: of the command.
        metrics: of `exporter.open_port`.
        collect: what it answers.
        on_hangup: what SIGHUP does.
        finish: done at the very end.
        shown: said beside each address that is listened on.

    Raises:
        OSError: the system gives no thread for the metrics.
    """
    for sock in sockets:
        log.info("Start listen", listener=listen.name_of(sock), **shown)
        sock.close()
    return service.run(
        server,
        log,
        shutdown_timeout_s=values.shutdown_timeout,
        metrics=metrics,
        collect=collect,
        on_hangup=on_hangup,
        finish=finish,
    )
