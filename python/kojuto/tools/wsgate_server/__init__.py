"""``wsgate-server``: TCP connections out of WebSockets, for those with a valid token."""

from __future__ import annotations

import sys

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.gateway import mapfile
from kojuto.common.gateway import options as gateway
from kojuto.common.server import exporter, listen, options, relay, service
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import Dump
    from kojuto.common.server.logs import Logger
    from kojuto.tools.wsgate_server.gate import Address, Gate
    from kojuto.tools.wsgate_server.identity import Identity

IAP_KEYS = "https://www.gstatic.com/iap/verify/public_key-jwk"

COMMAND = Command(
    "wsgate-server",
    "Answers WebSocket requests for /proxy/NAME by a connection to the address that the map file "
    "gives that name. wsgate-client is the other end.",
    [
        options.listen_at("127.0.0.1:8086"),
        gateway.map_file("name,host:port", required=True),
        Option(
            "--handshake-timeout",
            metavar="TIME",
            read=units.timed("1ms", "1h"),
            default="10s",
            help="how long a client may take to send its request",
        ),
        Option(
            "--dial-timeout",
            metavar="TIME",
            read=units.timed("1ms", "1h"),
            default="10s",
            help="how long the connection to an upstream may take",
        ),
        Option(
            "--write-timeout",
            metavar="TIME",
            read=units.timed("1ms", "1h"),
            default="10s",
            help="how long a client may take to accept the answer to its request",
        ),
        gateway.compression("agree to"),
        gateway.ping_interval("client"),
        options.dump_tcp(),
        Option(
            "--public-key",
            metavar="FILE",
            help="PEM keys, any of which must have signed the Bearer token of a request: RSA, EC, "
            "Ed25519; SIGHUP reads them again",
            group="Who may come",
        ),
        options.jwt_freshness("how long ago a token may have been issued", group="Who may come"),
        Option(
            "--iap-audience",
            metavar="AUDIENCE",
            repeat=True,
            help="ask for Google's signed X-Goog-IAP-JWT-Assertion with this audience: "
            "/projects/NUMBER/global/backendServices/ID",
            group="Who may come",
        ),
        Option(
            "--iap-keys",
            metavar="FILE|URL",
            default=IAP_KEYS,
            help="where Google's keys are (JWK Set)",
            group="Who may come",
        ),
        Option(
            "--allow-origin",
            metavar="ORIGIN",
            repeat=True,
            help="let web pages of this origin (https://example.com) open tunnels; * for all",
            group="Who may come",
        ),
        *relay.pick(
            "--idle-timeout",
            "--half-close-timeout",
            "--busy-poll",
            "--max-connections",
            "--shutdown-timeout",
            "--metrics-listen",
        ),
    ],
    epilog="""
Examples:
  wsgate-server --map map.txt --public-key keys.pem
  start_server --port 8086 -- wsgate-server --map map.txt --iap-audience /projects/1/apps/x
""",
)

LATER = (
    "kojuto.tools.wsgate_server.gate",
    "websockets.extensions.permessage_deflate",
    "websockets.server",
)
"""Used at the first request only; see `service.preload`."""


def _name(text: str) -> str:
    if not text or "/" in text:
        raise ValueError(f"'{text}' is not a name (it must not be empty or have a slash)")
    return text


def read_map(path: str) -> dict[str, Address]:
    """The addresses of a map file by their names.

    Raises:
        KojutoError: naming the line.
    """
    return mapfile.read(path, _name, listen.upstream, "name,host:port")


def _identity(values: Values, log: Logger) -> Identity:
    from kojuto.tools.wsgate_server.identity import Identity

    source = None
    if values.iap_audience:
        from kojuto.common.gateway.jwks import KeySource

        source = KeySource(values.iap_keys)
    return Identity(values.public_key, values.jwt_freshness, values.iap_audience or [], source, log)


def _reload(gate: Gate, identity: Identity, values: Values, log: Logger) -> None:
    """What SIGHUP does: the map and the keys again, or the old ones when they are bad."""
    try:
        targets = read_map(values.map)
        identity.reload()
    except KojutoError as error:
        log.error("Failed to reload the map and keys, the last ones are kept", error=str(error))
        return
    gate.targets = targets
    log.info("Reloaded", map_=values.map, names=len(targets))


def _work(values: Values, _: list[str]) -> int:
    from kojuto._native import Relay
    from kojuto.common.server.logs import Logger, silence_libraries
    from kojuto.tools.wsgate_server.gate import Gate

    service.preload(*LATER, *service.TOKENS)
    if "iap_keys" in values.given and not values.iap_audience:
        raise UsageError("--iap-keys has no meaning without --iap-audience")
    targets = read_map(values.map)
    log = Logger()
    silence_libraries()
    dump = None
    try:
        service.hold_signals()
        identity = _identity(values, log)
        metrics = exporter.open_port(values)
        sockets = listen.sockets(values.listen)
        if not identity.checks:
            log.warn("No authentication: neither --public-key nor --iap-audience is given")
        dump = _dump(values, log)
        engine = Relay(log.writer, dump=dump, **relay.tunnel_options(values))
        log.info("Read the map", map_=values.map, names=len(targets))
        gate = Gate(engine, log, identity, targets, values)
        for sock in sockets:
            gate.listen(sock)
        return relay.run(
            engine,
            log,
            values,
            metrics,
            lambda: _reload(gate, identity, values, log),
            server=gate,
            more=gate.families,
        )
    finally:
        if dump is not None:
            dump.close()
        log.close()


def _dump(values: Values, log: Logger) -> Dump | None:
    if not values.dump_tcp:
        return None
    from kojuto._native import Dump

    return Dump(log.writer, tcp=min(values.dump_tcp, 2))


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``wsgate-server`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
