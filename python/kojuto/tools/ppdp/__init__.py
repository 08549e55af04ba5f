"""``ppdp``: a TCP relay with PROXY protocol, balancing and traffic dump."""

from __future__ import annotations

import os
import sys

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.server import exporter, listen, options, relay, service
from kojuto.errors import UsageError
from kojuto.tools.ppdp import upstreams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import Dump
    from kojuto.common.server.logs import Logger

MODES = ("optional", "lazy", "require", "off")


def _proxy_mode(text: str) -> tuple[str, str]:
    """``MODE`` or ``MODE@LISTENER`` as (mode, listener)."""
    mode, at, listener = text.partition("@")
    if mode not in MODES:
        raise ValueError(f"not one of {', '.join(MODES)}")
    if at and not listener:
        raise ValueError("no listener behind @ (write require@3306)")
    return mode, listener.lstrip(":")


COMMAND = Command(
    "ppdp",
    "Relays TCP connections to the addresses of a name: balanced, with half-closed connections "
    "kept whole, PROXY protocol in and out, and a dump of what passes.",
    [
        options.listen_at("0.0.0.0:3000", "-l", several=True),
        Option(
            "--upstream",
            metavar="HOST:PORT",
            read=upstreams.upstream,
            repeat=True,
            help="where to relay to: all A and AAAA records of the name; IPv6 in brackets; a UNIX "
            "socket as unix:/PATH; several make one list, and where a rule goes by the name it is "
            "the first's",
        ),
        Option(
            "--balancing",
            metavar="RULE",
            default="leastconn",
            choices=("leastconn", "iphash", "fixed", "remotehash"),
            help="how an address is chosen: leastconn (fewest connections), iphash (by the "
            "client's address), remotehash (by its address and port), fixed (always the same)",
        ),
        relay.connect_timeout("an upstream"),
        Option(
            "--max-connect-retry",
            metavar="N",
            read=units.integer(0, 10_000),
            default="3",
            help="the most addresses that are tried for one connection; 0 for all",
        ),
        Option(
            "--max-fails",
            metavar="N",
            read=units.integer(0, 1_000_000),
            default="1",
            help="failed attempts in a row after which an address rests; 0 for never",
        ),
        Option(
            "--fail-timeout",
            metavar="TIME",
            read=units.timed("10ms", "24h"),
            default="10s",
            help="how long it rests, twice as long each time that it fails again (60s at most); "
            "then one connection tries it",
        ),
        Option(
            "--refresh-interval",
            metavar="TIME",
            read=units.timed("10ms", "24h"),
            default="3s",
            help="how often the name is resolved again; SIGHUP does it at once",
        ),
        Option(
            "--proxy-protocol",
            metavar="MODE",
            read=_proxy_mode,
            bare="optional",
            offers=("optional", "require", "lazy", "off"),
            repeat=True,
            help="clients begin with a PROXY header (v1 or v2): optional relays those without "
            "one as they are, require refuses them, lazy connects to the upstream at once and "
            "takes the header if and when it comes (for servers that speak first); MODE@LISTENER "
            "(require@3306, off@10.0.0.1:3306) for one of several listeners",
        ),
        Option(
            "--trusted-proxies",
            metavar="CIDR,…",
            read=relay.check_ranges,
            help="believe only the headers of peers in these ranges and refuse the others'",
        ),
        Option(
            "--allow",
            metavar="CIDR,…",
            read=relay.check_ranges,
            repeat=True,
            help="accept clients of these addresses and refuse all others; the address is that of "
            "the PROXY header where one is believed",
        ),
        Option(
            "--deny",
            metavar="CIDR,…",
            read=relay.check_ranges,
            repeat=True,
            help="refuse clients of these addresses; looked at first: --allow does not let them in",
        ),
        Option(
            "--probe-upstream",
            help="connect the health checks of a proxy too (PROXY headers that say LOCAL); without "
            "it one that says nothing more is answered here, by having been accepted",
        ),
        *relay.OPTIONS,
        options.dump_tcp("Dump"),
        Option(
            "--dump-mysql",
            help="log each MySQL command with its SQL, times, rows and errors",
            group="Dump",
        ),
        Option("--dump-mysql-ping", help="show MySQL pings too", group="Dump"),
        Option(
            "--dump-pcap",
            metavar="FILE",
            help="write a capture that Wireshark opens (mode 0600; replaces FILE, but while "
            "another writes to it, and after a restart by start_server, it is the first of "
            "FILE.1, FILE.2 … that is free; - for standard output)",
            group="Dump",
        ),
        Option(
            "--dump-pcap-size",
            metavar="SIZE",
            read=units.sized("64KiB"),
            help="go on with the next of FILE.1, FILE.2 … when a file would be larger",
            group="Dump",
        ),
        Option(
            "--dump-pcap-files",
            metavar="N",
            read=units.integer(1, 10_000),
            default="10",
            help="of these keep so many; older ones are deleted",
            group="Dump",
        ),
        Option(
            "--dump-snaplen",
            metavar="SIZE",
            read=units.sized("64B", "256KiB"),
            default="256KiB",
            help="of each packet write no more than this, headers included",
            group="Dump",
        ),
        Option(
            "--dump-redact",
            metavar="REGEX",
            help="show what matches as asterisks; a match is found within one line of "
            "--dump-tcp, one command of --dump-mysql, one packet of --dump-pcap",
            group="Dump",
        ),
    ],
    usage="--upstream HOST:PORT [options] [connections …]",
    positional="COMMAND …",
    stop_at_positional=True,
    commands={"connections": "kojuto.tools.ppdp.connections:COMMAND"},
    epilog="""
Without a command it relays. 'ppdp connections' lists what a running ppdp has open;
'ppdp connections --help' shows its options.

Examples:
  ppdp -l 127.0.0.1:3306 --upstream db.example.com:3306
  start_server --port 3306 -- ppdp --upstream db.example.com:3306 --proxy-protocol=require
  ppdp -l :3306 --upstream unix:/run/mysqld/mysqld.sock --upstream db.example.com:3306
  ppdp -l 10.0.0.5:3306 -l 127.0.0.1:3306 --upstream db.example.com:3306 \\
      --proxy-protocol=require@10.0.0.5:3306
""",
)


def _check(values: Values) -> None:
    if not values.upstream:
        raise UsageError("--upstream is required", "see ppdp --help")
    if values.trusted_proxies and all(mode == "off" for mode, _ in values.proxy_protocol):
        raise UsageError(
            "--trusted-proxies has no meaning without --proxy-protocol",
            "add --proxy-protocol=require or --proxy-protocol",
        )
    _check_lazy(values)


def _check_lazy(values: Values) -> None:
    """Refuse what needs the client's address at a time when a lazy listener has not got it.

    Raises:
        UsageError: it was asked for.
    """
    if all(mode != "lazy" for mode, _ in values.proxy_protocol):
        return
    for option, asked in (
        ("--send-proxy", values.send_proxy),
        ("--allow", values.allow),
        ("--deny", values.deny),
        (f"--balancing {values.balancing}", values.balancing in ("iphash", "remotehash")),
    ):
        if asked:
            raise UsageError(
                f"--proxy-protocol=lazy cannot go with {option}",
                "that needs the client's address before the upstream is connected to: use "
                "--proxy-protocol=require, or optional",
            )


def _proxy_modes(modes: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, str]:
    """What each listener expects, by its name.

    Args:
        modes: as `_proxy_mode` read them; what names a listener wins over what names none.
        names: the listeners' addresses.

    Raises:
        UsageError: a mode is for a listener that is not there.
    """
    found = dict.fromkeys(names, "off")
    for mode, listener in sorted(modes, key=lambda entry: (entry[1] != "", ":" in entry[1])):
        named = [n for n in names if listener in ("", n, n.rpartition(":")[2])]
        one = listen.one_name(listener)
        named = named or [n for n in names if listen.one_name(n) == one]  # 0.0.0.0:P for [::]:P
        if not named:
            raise UsageError(
                f"--proxy-protocol {mode}@{listener}: nothing listens there",
                f"listeners: {', '.join(names)}",
            )
        found.update(dict.fromkeys(named, mode))
    return found


def _dump(values: Values, log: Logger) -> Dump | None:
    """The dump that the options ask for.

    Raises:
        UsageError: the expression of ``--dump-redact`` is wrong.
        OSError: the capture file cannot be written.
    """
    if not (values.dump_tcp or values.dump_mysql or values.dump_pcap):
        return None
    from kojuto._native import Dump

    try:
        return Dump(
            log.writer,
            tcp=min(values.dump_tcp, 2),
            pings=values.dump_mysql_ping,
            mysql=values.dump_mysql,
            pcap=values.dump_pcap,
            pcap_snaplen=values.dump_snaplen,
            pcap_max_bytes=values.dump_pcap_size or 0,
            pcap_files=values.dump_pcap_files,
            # What a generation before has written is not replaced.
            pcap_replaces=os.environ.get("SERVER_STARTER_GENERATION", "1") == "1",
            redact=values.dump_redact,
        )
    except ValueError as error:
        raise UsageError(f"--dump-redact: {error}") from None


def _work(values: Values) -> int:
    _check(values)
    from kojuto._native import Relay
    from kojuto.common.server.logs import Logger

    metrics = exporter.open_port(values)
    sockets = listen.inherited() or listen.bind_each(values.listen)
    modes = _proxy_modes(values.proxy_protocol, [listen.name_of(sock) for sock in sockets])
    log = Logger()
    dump = None
    try:
        dump = _dump(values, log)
        engine = Relay(
            log.writer,
            trusted=values.trusted_proxies or (),
            allow=[one for some in values.allow for one in some],
            deny=[one for some in values.deny for one in some],
            probe_upstream=values.probe_upstream,
            max_attempts=values.max_connect_retry,
            dump=dump,
            **relay.engine_options(values),
        )
        refresher = upstreams.Refresher(engine, log, values)
        for upstream in refresher.addresses:
            if (own := relay.reached_by(upstream, sockets)) is not None:
                name = upstreams.text_of(*upstream)
                raise UsageError(
                    f"--upstream {name} is this ppdp's own listener {own}",
                    "each connection would make another one, until no descriptor is left",
                )
        service.hold_signals()
        refresher.start()
        for sock in sockets:
            name = listen.name_of(sock)
            engine.listen(sock.fileno(), name, refresher.pool, header_in=modes[name])
            sock.close()
            log.info(
                "Start listen",
                listen=name,
                listener=name,
                upstream=",".join(upstreams.text_of(*one) for one in values.upstream),
            )
        return relay.run(engine, log, values, metrics, refresher.now)
    finally:
        if dump is not None:
            dump.close()
        log.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ppdp`` and return its exit status."""
    line = sys.argv[1:] if argv is None else list(argv)

    def work(values: Values, arguments: list[str]) -> int:
        if not arguments:
            return _work(values)
        name, *rest = arguments
        if name not in COMMAND.commands:
            raise UsageError(f"{name}: no such command", "ppdp connections")
        from kojuto.tools.ppdp import connections

        # What stands before the name is for that command too.
        before = line[: len(line) - len(arguments)]
        return connections.run([*before, *rest])

    return cli.run(COMMAND, work, line)


if __name__ == "__main__":
    sys.exit(main())
