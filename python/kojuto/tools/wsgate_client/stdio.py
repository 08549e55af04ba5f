"""``wsgate-client stdio URL``: one tunnel for standard input and output."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from time import sleep

from kojuto.common import streams
from kojuto.common.cli import must_be_open
from kojuto.common.server import relay
from kojuto.errors import KojutoError, UsageError, words
from kojuto.tools.wsgate_client.backend import Address, Opener
from kojuto.tools.wsgate_client.errors import OpenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kojuto.common.cli import Values
    from kojuto.common.server.logs import Logger
    from kojuto.tools.wsgate_client.backend import Headers, Trust

PIECE = 1 << 18
HANG_UP_S = 1.0
"""How long after SIGHUP a tunnel may go on whose standard input has not ended."""


def through(
    url: str,
    values: Values,
    log: Logger,
    *,
    headers: Headers,
    token: Callable[[float], str] | None,
    trust: Trust,
) -> int:
    """Open a tunnel and be its client until both directions have ended.

    Returns:
        The exit status.

    Raises:
        KojutoError: it cannot be opened.
    """
    from threading import Thread

    from kojuto._native import Relay
    from kojuto.tools.wsgate_client.gateways import Gateways

    must_be_open(0, "standard input")
    must_be_open(1, "standard output")
    try:
        address = Address(url)
    except ValueError as error:
        # Whatever may be a password or a token in it stays out of the message.
        scheme, slashes, rest = url.partition("?")[0].partition("//")
        host = rest.rpartition("@")[2]
        shown = f"{scheme}{slashes}{'***@' if host != rest else ''}{host}"
        raise UsageError(f"stdio {shown}: {error}") from None
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    Thread(target=_hang_up, name="hang-up", daemon=True).start()
    engine = Relay(log.writer, threads=1, **relay.tunnel_options(values))
    gateways = Gateways(engine, log, values, [], headers=headers, token=token, trust=trust)
    opener = Opener(address, headers, token, trust, values.connect_timeout)
    ours, theirs = socket.socketpair()
    try:
        gateways.tunnel(opener, theirs, "stdio", "stdio")
    except OpenError as error:
        raise KojutoError(str(error)) from None
    theirs.close()
    engine.stop()
    problems: list[str] = []
    sender = Thread(target=_send, args=(ours, problems), name="stdin", daemon=True)
    sender.start()
    _receive(ours)
    # The peer has ended its half. What we have still to send goes on; but an open standard input
    # that says nothing must not keep us when the peer is gone.
    engine.wait(1)
    while not sender.is_alive() and not engine.wait(1):
        pass
    if problems:
        raise KojutoError(problems[0])
    return 1 if engine.stats()["failed"] else 0


def _hang_up() -> None:
    """End by SIGHUP, but leave the tunnel the time to end properly.

    ssh sends it to its ProxyCommand whenever it has finished, a moment before the pipes are closed.
    """
    signal.sigwait({signal.SIGHUP})
    sleep(HANG_UP_S)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    os.kill(os.getpid(), signal.SIGHUP)


def _send(sock: socket.socket, problems: list[str]) -> None:
    try:
        while data := streams.take(0, PIECE):
            try:
                sock.sendall(data)
            except OSError:  # noqa: PERF203
                return  # the other direction tells
    except OSError as error:
        problems.append(f"standard input: {words(error)}")
        sock.shutdown(socket.SHUT_RDWR)
        return
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def _receive(sock: socket.socket) -> None:
    try:
        while data := _read(sock):
            streams.give(1, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KojutoError(f"standard output: {words(error)}") from None


def _read(sock: socket.socket) -> bytes:
    try:
        return sock.recv(PIECE)
    except OSError:
        return b""  # a reset: the log says so
