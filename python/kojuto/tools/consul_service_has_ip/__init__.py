"""``consul-service-has-ip``: is this address in that Consul service? Over HTTP."""

from __future__ import annotations

import sys

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.server import listen, options, service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto.common.server.logs import Logger
    from kojuto.tools.consul_service_has_ip.accesslog import AccessLog
    from kojuto.tools.consul_service_has_ip.consul import Settings
    from kojuto.tools.consul_service_has_ip.endpoint import Endpoint

MAX_WAIT = "10m"
"""Consul waits no longer (its documentation, "Blocking Queries")."""
IDLE_TIMEOUT_S = 75.0
THREADS = 32
"""Requests that may wait for Consul at a time; more queue."""


def _endpoint(text: str) -> Endpoint:
    from kojuto.tools.consul_service_has_ip.endpoint import Endpoint

    return Endpoint(text)


def _rule(text: str) -> str:
    from kojuto.tools.consul_service_has_ip.consul import picker

    picker(text)
    return text


def _service(text: str) -> str:
    from kojuto._native import Membership

    name, _, query = text.partition("?")
    return Membership.key(name, query)


def _ranges(text: str) -> list[str]:
    from kojuto.common.server.relay import check_ranges

    return check_ranges(text)


COMMAND = Command(
    "consul-service-has-ip",
    "Answers over HTTP whether an address belongs to a passing instance of a Consul service. Each "
    "service that is asked about is watched, so that answers come from memory.",
    [
        Option(
            "--consul-api-endpoint",
            metavar="URL",
            read=_endpoint,
            help="where Consul's HTTP API is, http://127.0.0.1:8500; CONSUL_HTTP_ADDR when it is "
            "not given",
        ),
        Option(
            "-l",
            "--listen",
            metavar="IP",
            default="0.0.0.0",  # noqa: S104
            help="the address to accept on when neither Server::Starter nor systemd hands a socket "
            "down",
        ),
        Option(
            "-p",
            "--port",
            metavar="PORT",
            read=units.integer(0, 65535),
            default="3000",
            help="the port to accept on",
        ),
        Option(
            "--read-timeout",
            metavar="TIME",
            read=units.timed("1ms", "24h"),
            default="30s",
            help="how long a request may take to arrive",
        ),
        Option(
            "--write-timeout",
            metavar="TIME",
            read=units.timed("1ms", "24h"),
            default="90s",
            help="how long to wait for a client to take an answer",
        ),
        options.shutdown_timeout("10s", "requests", group=None),
        Option(
            "--timeout",
            metavar="TIME",
            read=units.timed("1ms", "1h"),
            default="30s",
            help="how long to wait for a connection to Consul, and for its answer",
        ),
        Option(
            "--access-log-dir",
            metavar="DIR",
            empty_ok=True,
            help="write the access log to files there, a new one each day; stdout for standard "
            "output, none for no access log; without DIR it is part of the log on standard error",
        ),
        Option(
            "--access-log-format",
            metavar="FORMAT",
            choices=("json", "ltsv"),
            default="json",
            help="json (as the original: status 0 is 200) or ltsv; neither shows a query",
        ),
        Option(
            "--access-log-rotate",
            metavar="DAYS",
            read=units.integer(0, 36500, "days"),
            default="30",
            help="remove access log files after this many days; 0 keeps them",
        ),
        options.metrics_listen(group=None),
        Option(
            "--stale-if-error",
            metavar="TIME",
            read=units.timed("1ms", "365d", zero=True),
            default="0",
            help="while Consul is away, answer for this long from what was known, with the header "
            "X-Consul-Stale: SECONDS; 0 answers 500 at once",
            group="Consul",
        ),
        Option(
            "--address",
            metavar="WHICH",
            read=_rule,
            default="any",
            offers=("any", "node", "service", "tagged:wan"),
            help="an instance's addresses: any (its node's and its own), node, service (its own, "
            "or its node's when it has none), tagged:NAME (tagged:wan)",
            group="Consul",
        ),
        Option(
            "--token-file",
            metavar="FILE",
            help="holds the ACL token (X-Consul-Token); read again when Consul refuses and at "
            "SIGHUP; CONSUL_HTTP_TOKEN_FILE and CONSUL_HTTP_TOKEN work too",
            group="Consul",
        ),
        Option(
            "--ca-file",
            metavar="FILE",
            help="verify an https Consul by these certificates (CONSUL_CACERT)",
            group="Consul",
        ),
        Option(
            "--stale",
            help="let any Consul server answer, not only the leader (?stale)",
            group="Consul",
        ),
        Option(
            "--cached",
            help="let the local agent answer from its cache (?cached)",
            group="Consul",
        ),
        Option(
            "--service",
            metavar="NAME",
            read=_service,
            repeat=True,
            help="watch this service from the start and for ever; NAME?dc=tokyo too",
            group="Consul",
        ),
        Option(
            "--wait",
            metavar="TIME",
            read=units.timed("1s", MAX_WAIT),
            default="5m",
            help="how long a blocking query waits for a change, 1s to 10m; shorter where "
            "something between cuts silent connections",
            group="Consul",
        ),
        Option(
            "--consul-connections",
            metavar="N",
            read=units.integer(2, 10000),
            default="64",
            help="the most connections to Consul at a time; its agents allow 200 to all programs "
            "of a host together. A quarter is kept for single questions",
            group="Consul",
        ),
        Option(
            "--max-watches",
            metavar="N",
            read=units.integer(0, 10000),
            default="48",
            help="the most services watched at a time, within three quarters of "
            "--consul-connections; for more, Consul is asked each time",
            group="Consul",
        ),
        Option(
            "--watch-idle",
            metavar="TIME",
            read=units.timed("1ms", "365d", zero=True),
            default="10m",
            help="stop watching a service that nobody has asked about for this long; 0 for never",
            group="Consul",
        ),
        Option(
            "--max-answer-size",
            metavar="SIZE",
            read=units.sized("1KiB", "4GiB"),
            default="64MiB",
            help="the largest answer that is taken from Consul, in bytes",
            group="Consul",
        ),
        Option(
            "--allow-from",
            metavar="CIDR,…",
            read=_ranges,
            help="who may ask, besides UNIX sockets; anybody when it is not given",
        ),
        Option(
            "--trusted-proxies",
            metavar="CIDR,…",
            read=_ranges,
            default="127.0.0.0/8,::1",
            help="believe the address header and the argument ip of these, and of UNIX sockets",
            group="/auth",
        ),
        Option(
            "--address-header",
            metavar="NAME",
            default="X-Real-IP",
            choices=("X-Real-IP", "X-Forwarded-For"),
            help="the one header that names the client: X-Real-IP, or X-Forwarded-For (the last "
            "address in it that is not a trusted proxy)",
            group="/auth",
        ),
    ],
    usage="--consul-api-endpoint URL [options]",
    epilog="""
GET /has/SERVICE/IP         200 {"error":0}, 404 not in the service, 500 no answer from Consul
GET /auth?service=SERVICE   the same for nginx's auth_request: 200, 403, 500
GET /, /live                200 OK
Both questions take ?dc=, ?tag= (several: all of them), ?filter=, ?ns= and ?partition=.

/auth asks about the client that a trusted proxy names in --address-header, or in the argument
ip; about the peer itself when that is not a trusted proxy. In nginx:

  location /admin/ { auth_request /in-service; … }
  location = /in-service {
      internal;
      proxy_pass http://127.0.0.1:3000/auth?service=bastion;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Real-IP $remote_addr;
  }

Example:
  consul-service-has-ip --consul-api-endpoint http://127.0.0.1:8500 --stale-if-error 5m
""",
)


def _work(values: Values, _: list[str]) -> int:
    from kojuto._native import HttpServer, Membership
    from kojuto.common.server import exporter, front
    from kojuto.common.server.logs import Logger
    from kojuto.tools.consul_service_has_ip import setup
    from kojuto.tools.consul_service_has_ip.server import Answerer, families

    endpoint = setup.find_endpoint(values)
    settings = setup.settings(values, endpoint)
    metrics = exporter.open_port(values)
    sockets = listen.sockets((values.listen, values.port))
    log = Logger()
    access_log: AccessLog | None = None
    try:
        service.hold_signals()
        access_log = setup.open_access_log(values, log)
        setup.warn(log, settings)
        table = Membership(
            trusted=values.trusted_proxies,
            header=values.address_header,
            allowed=values.allow_from or [],
            stale_limit_s=values.stale_if_error,
        )
        watches = setup.watches(values, table, settings, log)
        server = HttpServer(
            log.writer,
            [sock.fileno() for sock in sockets],
            Answerer(table, watches, values.timeout).answer,
            at_hand=table,
            header_timeout_s=values.read_timeout,
            idle_timeout_s=max(IDLE_TIMEOUT_S, values.read_timeout),
            write_timeout_s=values.write_timeout,
            threads=THREADS,
            max_connections=setup.most_clients(values),
            pass_over_bodies=True,
            access_log=None if access_log is None else access_log.take,
            access_log_json=values.access_log_format == "json",
        )
        return front.run(
            server,
            sockets,
            log,
            values,
            metrics=metrics,
            collect=lambda: families(server, table, watches),
            on_hangup=lambda: _read_token_again(settings, log),
            finish=None if access_log is None else access_log.close,
            consul=endpoint.name,
        )
    finally:
        if access_log is not None:
            access_log.close()
        log.close()


def _read_token_again(settings: Settings, log: Logger) -> None:
    error = settings.token.again()
    if error is not None:
        log.error("Failed to read the token again, the last one is kept", error=error)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``consul-service-has-ip`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
