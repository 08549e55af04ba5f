"""What the options of consul-service-has-ip come to: its settings, its watches, its access log."""

from __future__ import annotations

import os

from kojuto.common import cli
from kojuto.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import Membership
    from kojuto.common.cli import Values
    from kojuto.common.server.logs import Logger
    from kojuto.tools.consul_service_has_ip.accesslog import AccessLog
    from kojuto.tools.consul_service_has_ip.consul import Settings
    from kojuto.tools.consul_service_has_ip.endpoint import Endpoint
    from kojuto.tools.consul_service_has_ip.watch import Watches

OTHER_DESCRIPTORS = 32
"""Of listeners, logs, files that are read again, and what threads wait with."""


def find_endpoint(values: Values) -> Endpoint:
    """The endpoint of the option, else of the environment.

    Raises:
        UsageError: there is none, or it is wrong.
    """
    from kojuto.tools.consul_service_has_ip.endpoint import Endpoint

    if values.consul_api_endpoint is not None:
        endpoint: Endpoint = values.consul_api_endpoint
        return endpoint
    text = os.environ.get("CONSUL_HTTP_ADDR", "")
    if not text:
        raise UsageError(
            "--consul-api-endpoint is required",
            "'consul-service-has-ip --help' lists the options; CONSUL_HTTP_ADDR works too",
        )
    tls = os.environ.get("CONSUL_HTTP_SSL", "").lower() in ("1", "t", "true")
    try:
        return Endpoint(text, tls=tls)
    except ValueError as error:
        raise UsageError(f"CONSUL_HTTP_ADDR: {error}") from None


def settings(values: Values, endpoint: Endpoint) -> Settings:
    """How Consul is asked.

    Raises:
        KojutoError: a file cannot be used.
    """
    from kojuto.tools.consul_service_has_ip.consul import Settings, picker
    from kojuto.tools.consul_service_has_ip.endpoint import Token, find_proxy, tls_context

    suffix = ("&stale" if values.stale else "") + ("&cached" if values.cached else "")
    return Settings(
        endpoint,
        Token(values.token_file),
        picker(values.address),
        timeout_s=values.timeout,
        max_bytes=values.max_answer_size,
        suffix=suffix,
        tls=tls_context(values.ca_file) if endpoint.tls else None,
        server_name=os.environ.get("CONSUL_TLS_SERVER_NAME") or None,
        proxy=find_proxy(endpoint),
    )


def watches(values: Values, table: Membership, settings: Settings, log: Logger) -> Watches:
    """The watches of the services, those of ``--service`` already begun."""
    from kojuto.tools.consul_service_has_ip.watch import Watches

    singles, most = budget(values, log)
    watches = Watches(
        table,
        settings,
        log,
        wait_s=values.wait,
        most=most,
        singles=singles,
        idle_s=values.watch_idle,
    )
    for key in values.service:
        watches.pin(key)
    return watches


def budget(values: Values, log: Logger) -> tuple[int, int]:
    """How many connections single questions and watches may have.

    Raises:
        UsageError: there is no room for the services that are always watched.
    """
    connections: int = values.consul_connections
    singles = max(1, connections // 4)
    room, pinned = connections - singles, len(set(values.service))
    if pinned > room:
        raise UsageError(
            f"--service: {pinned} services, --consul-connections {connections} has room for {room}",
            f"--consul-connections {pinned + max(1, -(-pinned // 3))} has",
        )
    if "max_watches" in values.given and values.max_watches > room:
        log.warn(
            "--max-watches is more than --consul-connections has room for",
            max_watches=values.max_watches,
            watches=room,
        )
    return singles, max(min(values.max_watches, room), pinned)


def most_clients(values: Values) -> int:
    """How many clients leave descriptors for the connections to Consul; 0: any number does."""
    from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

    limit = getrlimit(RLIMIT_NOFILE)[1]  # the soft one is raised to it
    if limit == RLIM_INFINITY:
        return 0
    taken = OTHER_DESCRIPTORS + int(values.consul_connections)
    return max(limit - taken, limit // 4)


def open_access_log(values: Values, log: Logger) -> AccessLog | None:
    """The access log that the options ask for.

    Raises:
        KojutoError: its directory cannot be written to.
    """
    from kojuto.tools.consul_service_has_ip.accesslog import NONE, STDOUT, AccessLog

    where = values.access_log_dir or ""
    if where == NONE:
        return None

    if where == STDOUT:
        cli.must_be_open(1, "standard output")
    return AccessLog(where, values.access_log_rotate, log)


def warn(log: Logger, settings: Settings) -> None:
    """Warn of what is not safe."""
    if settings.tls is not None and not settings.tls.check_hostname:
        log.warn("Consul's certificate is not verified: CONSUL_HTTP_SSL_VERIFY is false")
    endpoint = settings.endpoint
    local = endpoint.unix is not None or endpoint.host in ("localhost", "127.0.0.1", "::1")
    if settings.token.text and not endpoint.tls and not local:
        log.warn("The token goes to Consul unencrypted", consul=endpoint.name)
