"""What the relay commands share: their options, their life, their metrics."""

from __future__ import annotations

from kojuto.common import units
from kojuto.common.cli import Option
from kojuto.common.prometheus import Family
from kojuto.common.server import listen, options, service

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable
    from typing import Any

    from kojuto._native import Relay
    from kojuto.common.cli import Values
    from kojuto.common.server import exporter
    from kojuto.common.server.logs import Logger

OPTIONS = [
    Option(
        "--idle-timeout",
        metavar="TIME",
        read=units.timed("1ms", "365d", zero=True),
        default="0",
        help="end a connection after this long without a byte; 0 for never",
        group="Connections",
    ),
    Option(
        "--half-close-timeout",
        metavar="TIME",
        read=units.timed("1ms", "365d", zero=True),
        default="1h",
        help="the same once one side has ended its half; 0 for never",
        group="Connections",
    ),
    Option(
        "--busy-poll",
        metavar="TIME",
        read=units.timed("1us", "1s", zero=True),
        default="80us",
        help="where the next bytes are due within so little time, poll for them instead of "
        "sleeping, while a core is idle; 0 to sleep always",
        group="Connections",
    ),
    options.max_connections(),
    options.shutdown_timeout("24h"),
    Option(
        "--send-proxy",
        metavar="VERSION",
        choices=("v1", "v2"),
        help="begin each upstream connection with a PROXY header, v1 or v2",
        group="Connections",
    ),
    options.metrics_listen(),
]


def connect_timeout(peer: str) -> Option:
    """``--proxy-connect-timeout``, which `engine_options` reads; `peer` is who is connected to."""
    return Option(
        "--proxy-connect-timeout",
        metavar="TIME",
        read=units.timed("1ms", "1h"),
        default="60s",
        help=f"how long an attempt to reach {peer} may take",
    )


def tunnel_options(values: Values) -> dict[str, Any]:
    """The arguments of `kojuto._native.Relay` of a command whose connections are handed to it."""
    return {
        "idle_timeout_s": values.idle_timeout,
        "half_close_timeout_s": values.half_close_timeout,
        "busy_poll_s": values.busy_poll,
    }


def engine_options(values: Values) -> dict[str, Any]:
    """The arguments of `kojuto._native.Relay` from `OPTIONS` and `connect_timeout`."""
    return {
        **tunnel_options(values),
        "connect_timeout_s": values.proxy_connect_timeout,
        "max_connections": values.max_connections,
        "header_out": values.send_proxy or "off",
    }


def pick(*names: str) -> list[Option]:
    """Those of `OPTIONS` for a command that relays in another way."""
    return [option for option in OPTIONS if option.names[0] in names]


def run(
    engine: Relay,
    log: Logger,
    values: Values,
    metrics: exporter.Port | None,
    refresh: Callable[[], None],
    *,
    server: service.Servable | None = None,
    more: Callable[[], list[Family]] = list,
    label: Callable[[dict[str, Any]], dict[str, str]] = lambda _: {},
) -> int:
    """Serve until a signal ends it; returns the exit status.

    Args:
        engine: moves the bytes.
        log: told of each step.
        values: of `OPTIONS`.
        metrics: of `exporter.open_port`.
        refresh: what SIGHUP does.
        server: what is to be stopped when it is not the engine alone.
        more: metrics beside the engine's.
        label: more labels of an upstream, from its entry in the engine's ``stats()``.
    """
    if metrics is not None:
        metrics.pages["/connections"] = engine.connections
    return service.run(
        server or engine,
        log,
        shutdown_timeout_s=values.shutdown_timeout,
        metrics=metrics,
        collect=lambda: families(engine, label) + more(),
        on_hangup=refresh,
    )


def families(
    engine: Relay, label: Callable[[dict[str, Any]], dict[str, str]] = lambda _: {}
) -> list[Family]:
    """The metrics of a relay, its upstreams' with the labels that `label` adds."""
    stats = engine.stats()
    found = [
        Family("kojuto_relay_connections_open", "gauge", "Connections open now.").add(
            stats["open"]
        ),
        Family("kojuto_relay_connections_accepted_total", "counter", "Connections accepted.").add(
            stats["accepted"]
        ),
        Family("kojuto_relay_connections_ended_total", "counter", "Connections by their end.")
        .add(stats["succeeded"], result="succeeded")
        .add(stats["failed"], result="failed"),
        Family("kojuto_relay_bytes_total", "counter", "Payload bytes by direction.")
        .add(stats["read_bytes"], direction="to_upstream")
        .add(stats["write_bytes"], direction="to_client"),
        Family(
            "kojuto_relay_connect_failures_total", "counter", "Attempts to connect that failed."
        ).add(stats["connect_failures"]),
        Family(
            "kojuto_relay_header_failures_total", "counter", "Connections refused for their header."
        ).add(stats["header_failures"]),
        Family(
            "kojuto_relay_clients_refused_total",
            "counter",
            "Connections refused for their address.",
        ).add(stats["refused"]),
        Family("kojuto_relay_probes_total", "counter", "PROXY headers that said LOCAL.").add(
            stats["probes"]
        ),
        Family("kojuto_relay_accept_pauses_total", "counter", "Times that accepting paused.").add(
            stats["pauses"]
        ),
    ]
    took = Family("kojuto_relay_connect_seconds", "histogram", "Time to reach an upstream.")
    bounds = [bound / 1e6 for bound in stats["connect_bounds_us"]]
    found.append(took.add_histogram(bounds, stats["connect_times"], stats["connect_us"] / 1e6))
    rows = [
        ("open_connections", "gauge", "Connections open to an upstream.", "open"),
        ("connections_total", "counter", "Connections made to an upstream.", "connected"),
        ("connect_failures_total", "counter", "Failed attempts at an upstream.", "failed"),
        ("up", "gauge", "1 unless the upstream is left out for its failures.", "up"),
    ]
    for name, kind, text, key in rows:
        one = Family(f"kojuto_relay_upstream_{name}", kind, text)
        for member in stats["upstreams"]:
            names = {"pool": str(member["pool"]), "upstream": member["name"], **label(member)}
            one.add(int(member[key]), **names)
        found.append(one)
    return found


def resolve(host: str, port: int) -> list[tuple[str, int]]:
    """All A and AAAA records of a name, each once, in the resolver's order.

    One that means something on one link only (fe80::1%eth0) has the link's number: ``fe80::1%2``.

    Raises:
        OSError: the name cannot be resolved.
    """
    import socket

    found: list[tuple[str, int]] = []
    for *_, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        ip = str(where[0])
        if len(where) == 4 and where[3] and "%" not in ip:
            ip += f"%{where[3]}"
        found.append((ip, port))
    return list(dict.fromkeys(found))


def reached_by(upstream: tuple[str, int], sockets: Iterable[socket.socket]) -> str | None:
    """The one of our listening sockets that a connection to an address would come to, if any.

    Args:
        upstream: an address as `resolve` has it, and a port; or ``unix:PATH``.
        sockets: listening, of any family.
    """
    ip = _plain(upstream[0])
    for sock in sockets:
        if listen.name_of(sock) == upstream[0]:  # a UNIX socket
            return upstream[0]
        name = sock.getsockname()
        if not isinstance(name, tuple) or name[1] != upstream[1]:
            continue
        own = _plain(name[0], everything=True)
        if own == ip or (own in listen.ANY and _takes(sock, ip) and _is_local(ip)):
            return listen.name_of(sock)
    return None


def _plain(ip: str, *, everything: bool = False) -> str:
    """An address as it is compared; all addresses are this machine's own unless `everything`."""
    ip = ip.partition("%")[0]
    mapped = ip.removeprefix("::ffff:")
    ip = mapped if "." in mapped else ip
    return ip if everything else {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(ip, ip)  # noqa: S104


def _takes(sock: socket.socket, ip: str) -> bool:
    """Whether a socket that listens on all addresses does so for this one's family."""
    import socket as sockets

    if sock.family == sockets.AF_INET6 and ":" not in ip:
        return not sock.getsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY)
    return (sock.family == sockets.AF_INET6) == (":" in ip)


def _is_local(ip: str) -> bool:
    """Whether an address is one of this machine: it can be bound to."""
    import socket as sockets

    family = sockets.AF_INET6 if ":" in ip else sockets.AF_INET
    try:
        with sockets.socket(family, sockets.SOCK_DGRAM) as sock:
            sock.bind((ip, 0))
    except OSError:
        return False
    return True


def check_ranges(text: str) -> list[str]:
    """A reader for a comma-separated list of address ranges.

    Raises:
        ValueError: one of them is not an address range.
    """
    import ipaddress

    ranges = [part.strip() for part in text.split(",") if part.strip()]
    for part in ranges:
        try:
            ipaddress.ip_network(part)
        except ValueError as error:  # noqa: PERF203
            raise ValueError(f"{error} (write 192.0.2.0/24,2001:db8::/32)") from None
    if not ranges:
        raise ValueError("not an address range (write 192.0.2.0/24)")
    return ranges
