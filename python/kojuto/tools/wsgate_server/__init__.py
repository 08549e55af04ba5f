"""``wsgate-server``: TCP connections out of WebSockets, for those with a valid token."""

from __future__ import annotations

import sys

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.gateway import options as gateway
from kojuto.common.server import exporter, listen, options, relay, service
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.wsgate_server.rules import Rules, check_tokens, identity_of
from kojuto.tools.wsgate_server.who import GROUP, MAP, WHO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import Dump
    from kojuto.common.server.logs import Logger
    from kojuto.tools.wsgate_server.gate import Gate
    from kojuto.tools.wsgate_server.identity import Identity

COMMAND = Command(
    "wsgate-server",
    "Answers WebSocket requests for /proxy/NAME by a connection to the address that the map file "
    "gives that name. wsgate-client is the other end.",
    [
        options.listen_at("127.0.0.1:8086"),
        MAP,
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
        *WHO,
        Option(
            "--allow-origin",
            metavar="ORIGIN",
            repeat=True,
            help="let web pages of this origin (https://example.com) open tunnels; * for all",
            group=GROUP,
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
    usage="--map FILE [options] [check …]",
    positional="COMMAND …",
    stop_at_positional=True,
    commands={"check": "kojuto.tools.wsgate_server.check:COMMAND"},
    epilog="""
'wsgate-server check --help': explain what is answered to a token for a name.

Examples:
  wsgate-server --map map.txt --public-key keys.pem
  start_server --port 8086 -- wsgate-server --map map.txt --iap-audience /projects/1/apps/x

The file of --users; one match suffices, and what one table allows no other takes away:
  [db]                           # a name of the map
  sub = ["alice", "batch"]       # by the claims sub, email or groups of the token
  groups = ["dba"]
  ["web-*"]                      # or a pattern: *, ?, [abc]
  email = ["bob@example.com"]
  [status]
  sub = ["*"]                    # everybody who has a token
""",
)

LATER = (
    "kojuto.tools.wsgate_server.gate",
    "websockets.extensions.permessage_deflate",
    "websockets.server",
)
"""Used at the first request only; see `service.preload`."""


def _reload(gate: Gate, identity: Identity, values: Values, log: Logger) -> None:
    """What SIGHUP does: the map, the keys and the users again, or all the old ones.

    Open tunnels that they do not allow any more end.
    """
    try:
        rules = Rules(values)
        identity.reload()
    except KojutoError as error:
        log.error("Failed to reload the map and keys, the last ones are kept", error=str(error))
        return
    gate.update(rules)
    log.info("Reloaded", map_=values.map, names=len(rules.targets))


def _work(values: Values, arguments: list[str]) -> int:
    if arguments:
        name = arguments[0]
        raise UsageError(f"{name}: no such command", "wsgate-server check TOKEN NAME")
    if "map" not in values.given:
        raise UsageError("--map is required", "'wsgate-server --help' lists the options")
    from kojuto._native import Relay
    from kojuto.common.server.logs import Logger, silence_libraries
    from kojuto.tools.wsgate_server.gate import Gate

    service.preload(*LATER, *service.TOKENS)
    check_tokens(values)
    rules = Rules(values)
    log = Logger()
    silence_libraries()
    dump = None
    try:
        service.hold_signals()
        identity = identity_of(values, log)
        identity.start()
        metrics = exporter.open_port(values)
        sockets = listen.sockets(values.listen)
        if not identity.checks:
            log.warn("No authentication: neither --public-key nor --iap-audience is given")
        dump = _dump(values, log)
        engine = Relay(log.writer, dump=dump, **relay.tunnel_options(values))
        log.info("Read the map", map_=values.map, names=len(rules.targets))
        gate = Gate(engine, log, identity, rules, values)
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
    line = sys.argv[1:] if argv is None else list(argv)

    def work(values: Values, arguments: list[str]) -> int:
        if arguments[:1] != ["check"]:
            return _work(values, arguments)
        from kojuto.tools.wsgate_server import check

        # What stands before the name is for that command too.
        before = line[: len(line) - len(arguments)]
        return cli.run(check.COMMAND, check.work, [*before, *arguments[1:]])

    return cli.run(COMMAND, work, line)


if __name__ == "__main__":
    sys.exit(main())
