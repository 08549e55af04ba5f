"""The life of a server: ready, signals, the deadline for open connections, the end."""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from kojuto.common.prometheus import Family
    from kojuto.common.server.exporter import Port
    from kojuto.common.server.logs import Logger

    class Servable(Protocol):
        """What a server can do, each without waiting except `wait`."""

        def stop(self) -> None:
            """Stop accepting; end with the last connection."""

        def abort(self) -> None:
            """End all connections now."""

        def wait(self, timeout_s: float) -> bool:
            """Whether it has ended, at the latest after the time-out."""


INTERRUPTED = 130
CUT_TIMEOUT_S = 10.0
"""How long connections that are cut may take to end."""
DRAIN_LOOK_S = 0.05
TOKENS = (
    "cryptography.hazmat.backends.openssl.backend",
    "cryptography.hazmat.bindings.openssl.binding",
    "cryptography.x509",
    "jwt.algorithms",
    "jwt.api_jws",
)
"""What `kojuto.common.jwt` and `kojuto.common.gateway.jwks` use, for `preload`."""
WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def hold_signals() -> None:
    """Keep the signals that `run` waits for until it does.

    To be called before the first thread is started and before the first connection is accepted:
    from then on SIGTERM must not end the process on the spot.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)


def preload(*modules: str) -> None:
    """Import what is used later only: a server that is ready needs no file of a package any more.

    Packages are replaced under running servers (``pip install -U``), and a broken one is to stop
    the start, not a request.
    """
    from importlib import import_module

    for module in modules:
        import_module(module)


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens without it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.sendall(state.encode())
        except OSError:
            pass  # the service works without


class Watchdog:
    """Tells systemd that the process goes on, twice in each ``WatchdogSec=`` of its unit.

    Source: sd_watchdog_enabled(3): ``WATCHDOG_USEC``, and ``WATCHDOG_PID`` where it is set.
    """

    def __init__(self) -> None:
        text, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        wanted = text.isascii() and text.isdigit() and pid in ("", str(os.getpid()))
        self._interval_s = int(text) / 2e6 if wanted else 0.0
        self._due_s = time.monotonic()

    def feed(self) -> float | None:
        """Tell it when it is time; the seconds until the next time, None when nobody watches."""
        if not self._interval_s:
            return None
        now_s = time.monotonic()
        if now_s >= self._due_s:
            notify("WATCHDOG=1")
            self._due_s = now_s + self._interval_s
        return self._due_s - now_s


def reload(on_hangup: Callable[[], None] | None) -> None:
    """What SIGHUP does, and systemd is told of its begin and end (``Type=notify-reload``)."""
    monotonic_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify(f"RELOADING=1\nMONOTONIC_USEC={monotonic_us}")
    if on_hangup is not None:
        on_hangup()
    notify("READY=1")


def run(
    server: Servable,
    log: Logger,
    *,
    shutdown_timeout_s: float,
    metrics: Port | None = None,
    collect: Callable[[], list[Family]] = list,
    on_hangup: Callable[[], None] | None = None,
    finish: Callable[[], None] | None = None,
) -> int:
    """Serve until a signal ends it.

    SIGTERM stops accepting and waits for open connections, at most `shutdown_timeout_s`; a second
    one ends them at once. SIGINT ends at once too. Server::Starter tells all old generations
    again at each restart, so a repeated SIGTERM from it does not count as a second one.

    Args:
        server: what serves, already accepting.
        log: told of each step.
        shutdown_timeout_s: how long open connections may go on.
        metrics: of `exporter.open_port`; SIGTERM leaves it to a next generation at once.
        collect: what it answers.
        on_hangup: what SIGHUP does; nothing when left out. systemd is told of it as of a reload.
        finish: done at the very end, when a SIGTERM that is repeated cannot interrupt it yet.

    Returns:
        The exit status: 0 after SIGTERM, 130 after SIGINT.
    """
    hold_signals()
    if metrics is not None:
        metrics.serve(collect, log)
    notify("READY=1")
    status = 0
    watchdog = Watchdog()
    try:
        number = _end_signal(on_hangup, watchdog)
        notify("STOPPING=1")
        if number == signal.SIGINT:
            status = INTERRUPTED
            log.info("Interrupted")
        else:
            log.info("Signal received", signal="SIGTERM")
            log.info("Go shutdown", timeout=shutdown_timeout_s)
            server.stop()
            if metrics is not None:
                metrics.close()
            if _drain(server, shutdown_timeout_s, watchdog):
                log.info("Complete shutdown")
                return status
            log.warn("Open connections are cut")
        server.abort()
        _await_end(server, watchdog)
    finally:
        if finish is not None:
            finish()
        while signal.sigtimedwait(WATCHED, 0) is not None:
            pass  # told again meanwhile, which is no reason to end by a signal now
        # Nor is to read again what will not be used.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED - {signal.SIGHUP})
    return status


def _end_signal(on_hangup: Callable[[], None] | None, watchdog: Watchdog) -> int:
    """Wait for a signal that ends the server; a SIGHUP before it only calls `on_hangup`."""
    while True:
        left_s = watchdog.feed()
        if left_s is None:
            number = int(signal.sigwait(WATCHED))
        else:
            came = signal.sigtimedwait(WATCHED, left_s)
            number = came.si_signo if came is not None else 0
        if number == signal.SIGHUP:
            reload(on_hangup)
        elif number:
            return number


def _await_end(server: Servable, watchdog: Watchdog) -> None:
    """Wait for connections that are being cut, at most `CUT_TIMEOUT_S`."""
    deadline = time.monotonic() + CUT_TIMEOUT_S
    while (left_s := deadline - time.monotonic()) > 0:
        fed_s = watchdog.feed()
        if server.wait(left_s if fed_s is None else min(left_s, fed_s)):
            return


def _drain(server: Servable, timeout_s: float, watchdog: Watchdog) -> bool:
    """Wait for the last connection; False after the deadline or a second signal."""
    deadline = time.monotonic() + timeout_s
    supervisor = os.getppid() if "SERVER_STARTER_GENERATION" in os.environ else None
    while not server.wait(0):
        watchdog.feed()
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        came = signal.sigtimedwait(WATCHED, min(left, DRAIN_LOOK_S))
        if came is None or came.si_signo == signal.SIGHUP:
            continue
        if came.si_signo != signal.SIGTERM or came.si_pid != supervisor:
            return False
    return True
