"""``wsgate-client``: local TCP ports that lead through WebSockets to ``wsgate-server``."""

from __future__ import annotations

import os
import sys

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.gateway import options as gateway
from kojuto.common.server import exporter, listen, options, relay, service
from kojuto.errors import KojutoError, UsageError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto.common.server.logs import Logger
    from kojuto.tools.wsgate_client.backend import Address, Trust
    from kojuto.tools.wsgate_client.gateways import Gateways, Place
    from kojuto.tools.wsgate_client.tokens import Renewed

COMMAND = Command(
    "wsgate-client",
    "Accepts TCP connections and takes each through a WebSocket of its own to the backend that the "
    "map file names. 'wsgate-client stdio URL' does so for its standard input and output, as a "
    "ProxyCommand of ssh.",
    [
        gateway.map_file("host:port,https://HOST/proxy/NAME"),
        Option(
            "-L",
            "--forward",
            metavar="HOST:PORT=URL",
            repeat=True,
            help="one line of a map without the file: 127.0.0.1:3306=https://HOST/proxy/NAME",
        ),
        Option(
            "-q",
            "--quiet",
            help="log what fails, and nothing of tunnels that come and go",
        ),
        Option(
            "--connect-timeout",
            metavar="TIME",
            read=units.timed("1ms", "1h"),
            default="60s",
            help="how long the connection to a backend, its TLS and its answer may take together",
        ),
        gateway.compression("offer"),
        gateway.ping_interval("backend"),
        Option(
            "-H",
            "--headers",
            metavar="'NAME: VALUE'",
            repeat=True,
            help="add a header to each request; @FILE takes them from the lines of a file",
            group="Requests",
        ),
        Option(
            "--private-key",
            metavar="FILE",
            help="sign a Bearer token of one minute for each request with this PEM key: RSA, EC or "
            "Ed25519",
            group="Requests",
        ),
        Option(
            "--private-key-user",
            metavar="NAME",
            default="private-key-user",
            help="the subject (sub) of these tokens",
            group="Requests",
        ),
        Option(
            "--iap-credential",
            metavar="FILE",
            help="a Google service account key (JSON), for Identity-Aware Proxy",
            group="Requests",
        ),
        Option(
            "--iap-client-id",
            metavar="ID",
            help="the OAuth client id of that proxy, the audience (aud) of the tokens",
            group="Requests",
        ),
        Option(
            "--ca-file",
            "--ca",
            metavar="FILE",
            help="trust these authorities (PEM) rather than the system's",
            group="TLS",
        ),
        Option(
            "--cert",
            metavar="FILE",
            help="client certificate (PEM), for backends that ask for one",
            group="TLS",
        ),
        Option(
            "--key",
            metavar="FILE",
            help="its private key; in the file of --cert when left out",
            group="TLS",
        ),
        Option(
            "--sni",
            metavar="NAME",
            help="ask for this server name, and check it, instead of the address's",
            group="TLS",
        ),
        Option(
            "--insecure",
            help="do not verify certificates: anybody in between can read tokens and traffic",
            group="TLS",
        ),
        *relay.pick("--idle-timeout", "--half-close-timeout", "--busy-poll", "--max-connections"),
        options.shutdown_timeout("1h"),
        options.metrics_listen(),
    ],
    positional="[stdio URL]",
    epilog="""
Proxies are taken from https_proxy, http_proxy, all_proxy and no_proxy of the environment.

Examples:
  wsgate-client --map map.txt --private-key key.pem --private-key-user "$USER"
  wsgate-client -L 127.0.0.1:3306=https://gate.example.com/proxy/db --private-key key.pem
  ssh -o ProxyCommand='wsgate-client --quiet stdio https://gate.example.com/proxy/ssh' host
""",
)

HEADER = r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)"
"""RFC 9110, 5.1 and 5.5, ASCII only."""
FORBIDDEN = {"connection", "upgrade", "content-length", "transfer-encoding"}
MAX_HEADER_FILE_BYTES = 1 << 16


LATER = (
    "cryptography.x509",
    "kojuto.tools.wsgate_client.compressed",
    "kojuto.tools.wsgate_client.proxies",
    "websockets.client",
    "websockets.extensions.permessage_deflate",
    "websockets.uri",
)
"""Used at the first connection only; see `service.preload`."""


def read_headers(texts: Sequence[str]) -> list[tuple[str, str]]:
    """The headers of ``--headers``.

    Raises:
        UsageError: one is none; its value is not shown.
        KojutoError: a file of them cannot be read.
    """
    import re

    found = []
    for text in texts:
        lines = [text]
        if text.startswith("@"):
            lines = [line for line in _header_file(text) if line.strip() and line[0] != "#"]
        for line in lines:
            match = re.fullmatch(HEADER, line)
            if match is None:
                shown = line.partition(":")[0] if ":" in line else "the value"
                raise UsageError(
                    f"--headers: {shown} is not a header", "write --headers 'Name: value'"
                )
            name = match[1].lower()
            if name in FORBIDDEN or name.startswith("sec-websocket-"):
                raise UsageError(f"--headers: {match[1]} is set by the WebSocket handshake")
            found.append((match[1], match[2]))
    return found


def _header_file(text: str) -> list[str]:
    """The lines of ``--headers @FILE``."""
    try:
        with open(text[1:], "rb") as file:
            data = file.read(MAX_HEADER_FILE_BYTES + 1)
            size = max(os.fstat(file.fileno()).st_size, len(data))
        if len(data) > MAX_HEADER_FILE_BYTES:
            why = f"{size} bytes, above the limit of {MAX_HEADER_FILE_BYTES}"
            raise KojutoError(f"--headers {text}: {why}")
        return data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise KojutoError(f"--headers {text}: {words(error)}") from None
    except UnicodeDecodeError:
        raise KojutoError(f"--headers {text}: it is not UTF-8") from None


def _check(values: Values, headers: Sequence[tuple[str, str]]) -> None:
    if values.private_key and values.iap_credential:
        raise UsageError("--private-key and --iap-credential cannot be used together")
    if values.iap_credential and not values.iap_client_id:
        raise UsageError("--iap-credential needs --iap-client-id")
    if values.iap_client_id and not values.iap_credential:
        raise UsageError("--iap-client-id needs --iap-credential")
    signs = values.private_key or values.iap_credential
    if signs and any(name.lower() == "authorization" for name, _ in headers):
        raise UsageError("--headers Authorization and a token cannot be used together")
    if values.key and not values.cert:
        raise UsageError("--key needs --cert")
    if values.insecure and (values.ca_file or values.sni):
        raise UsageError("--insecure has no meaning beside --ca-file and --sni")


def _tokens(values: Values, log: Logger) -> Renewed | None:
    from kojuto.tools.wsgate_client import tokens

    if values.private_key:
        return tokens.from_key(values.private_key, values.private_key_user, log)
    if values.iap_credential:
        return tokens.from_service_account(values.iap_credential, values.iap_client_id, log)
    return None


def _trust(values: Values, log: Logger) -> Trust:
    from kojuto.common.jwt import read_key_file
    from kojuto.tools.wsgate_client.backend import Trust
    from kojuto.tools.wsgate_client.compressed import context

    if values.insecure:
        log.warn("--insecure: certificates are NOT checked, anybody in between can read and change")
    pem = None
    if values.ca_file:
        pem = read_key_file(values.ca_file)
        if b"-----BEGIN CERTIFICATE-----" not in pem:
            raise KojutoError(f"--ca-file {values.ca_file}: no certificate in it")
    identity = (values.cert, values.key or values.cert) if values.cert else None
    trust = Trust(pem, values.insecure, values.sni, identity)
    if identity is not None:
        try:
            context(trust)
        except (OSError, ValueError):
            text = f"--cert {values.cert}: no certificate with its private key (unencrypted PEM)"
            raise KojutoError(text) from None
    return trust


def _wanted(values: Values) -> dict[Place, Address]:
    """The lines of the map, and those of the command line."""
    from kojuto.tools.wsgate_client.gateways import read_forwards, read_map

    found = read_map(values.map) if values.map else {}
    if values.map and not found and not values.forward:
        raise KojutoError(f"--map {values.map}: no mappings in it, only blank lines and comments")
    return read_forwards(values.forward or [], found)


def _reload(gateways: Gateways, values: Values, log: Logger) -> None:
    """What SIGHUP does: the map again, or the old one when it is bad."""
    try:
        headers = read_headers(values.headers or [])
        _check(values, headers)
        wanted = _wanted(values)
        gateways.headers = headers
        gateways.update(wanted)
    except KojutoError as error:
        log.error("Failed to reload the map, the last one is kept", error=str(error))
        return
    log.info("Reloaded", map_=values.map)


def _work(values: Values, positional: list[str]) -> int:
    from kojuto.common.hide import hide_argument
    from kojuto.common.server.logs import Logger, silence_libraries

    service.preload(*LATER, *(service.TOKENS if values.private_key else ()))
    if positional and (len(positional) != 2 or positional[0] != "stdio"):
        raise UsageError(f"{' '.join(positional)}: not 'stdio URL'")
    if bool(positional) == bool(values.map or values.forward):
        raise UsageError("either --map, -L or 'stdio URL' is required")
    headers = read_headers(values.headers or [])
    hidden = [hide_argument(text) for text in values.headers or [] if text[:1] != "@"]
    _check(values, headers)
    log = Logger(quiet=values.quiet)
    silence_libraries()
    try:
        if not all(hidden):
            log.warn("The headers on the command line can be seen by ps; --headers @FILE cannot")
        service.hold_signals()
        trust = _trust(values, log)
        renewed = _tokens(values, log)
        token = renewed.get if renewed else None
        if positional:
            from kojuto.tools.wsgate_client.stdio import through

            return through(positional[1], values, log, headers=headers, token=token, trust=trust)
        from kojuto._native import Relay
        from kojuto.tools.wsgate_client.gateways import Gateways

        wanted = _wanted(values)
        metrics = exporter.open_port(values)
        engine = Relay(log.writer, **relay.tunnel_options(values))
        gateways = Gateways(
            engine, log, values, listen.inherited(), headers=headers, token=token, trust=trust
        )
        gateways.update(wanted)
        if renewed is not None:
            renewed.start()
        return relay.run(
            engine,
            log,
            values,
            metrics,
            lambda: _reload(gateways, values, log),
            server=gateways,
            more=gateways.families,
        )
    finally:
        log.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``wsgate-client`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
