"""``deteco``: checks JWTs for nginx ``auth_request``."""

from __future__ import annotations

import sys

from kojuto.common import cli, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.server.options import (
    listen_at,
    max_connections,
    metrics_listen,
    shutdown_timeout,
)
from kojuto.errors import UsageError
from kojuto.tools.deteco.options import FRESHNESS, LEEWAY, conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def _endpoint(text: str) -> str:
    path = "/" + text.strip("/")
    if path in ("/", "/live") or not path.isascii() or not path.isprintable():
        raise ValueError("not a path for the endpoint (write auth)")
    if set(path) & set(" ?#%\\"):
        raise ValueError("not a path for the endpoint (write auth)")
    return path


COMMAND = Command(
    "deteco",
    "Checks the signed token (JWT) of each request for nginx auth_request: the token's sub names a "
    "service, one of its keys must have signed it, and the request's path must lie under one of "
    "its paths.",
    [
        conf(required=False),
        listen_at("127.0.0.1:8080"),
        FRESHNESS,
        LEEWAY,
        Option(
            "--auth-endpoint",
            metavar="NAME",
            read=_endpoint,
            default="/auth",
            help="the path that nginx asks",
        ),
        Option(
            "--cache-size",
            metavar="N",
            read=units.integer(0, 10_000_000),
            default="10000",
            help="good tokens that are kept, and as many bad ones; 0 for none",
        ),
        Option(
            "--prune-size",
            metavar="N",
            read=units.integer(1, 10_000_000),
            default="100",
            help="how many of them are dropped when the cache is full, the least used first",
        ),
        Option(
            "--no-log-allowed",
            help="log no line for a request that is allowed",
        ),
        Option("--dry-run", help="check the configuration and exit"),
        Option(
            "--header-timeout",
            metavar="TIME",
            read=units.timed("1ms", "24h", zero=True),
            default="10s",
            help="how long a request may take to arrive; 0 for no limit, as below",
            group="Connections",
        ),
        Option(
            "--idle-timeout",
            metavar="TIME",
            read=units.timed("1ms", "365d", zero=True),
            default="75s",
            help="how long a connection may be idle between two requests",
            group="Connections",
        ),
        Option(
            "--write-timeout",
            metavar="TIME",
            read=units.timed("1ms", "24h", zero=True),
            default="30s",
            help="how long to wait for a client to take more of an answer",
            group="Connections",
        ),
        max_connections(),
        shutdown_timeout("30s", "requests"),
        metrics_listen(),
    ],
    usage="--conf FILE [options] [{check | doctor | jwtgen | keygen} …]",
    positional="COMMAND …",
    stop_at_positional=True,
    commands={
        "check": "kojuto.tools.deteco.check:COMMAND",
        "doctor": "kojuto.tools.deteco.doctor:COMMAND",
        "jwtgen": "kojuto.tools.deteco.keys:JWTGEN",
        "keygen": "kojuto.tools.deteco.keys:KEYGEN",
    },
    epilog="""
Commands:
  check    explain what is answered to a token, method and URI
  doctor   look through an nginx configuration for mistakes
  jwtgen   sign a token and print it as a header
  keygen   make a pair of keys

'deteco COMMAND --help' shows their options. SIGHUP reads the configuration again. FILE:
  [[services]]
  id = "batch"                        # the sub of its tokens, X-Deteco-User of the answer
  paths = ["/api/echo", "/img"]       # with all below; %XX only where all of it is encoded
  methods = ["GET", "HEAD"]           # all when left out; checks X-Original-Method. For one path:
                                      # paths = [{path = "/upload", methods = ["PUT"]}, …]
  public_keys = ['''-----BEGIN PUBLIC KEY-----
  ...
  -----END PUBLIC KEY-----''']        # RSA, EC, Ed25519; PS256 and so on with pss = true
  jwks = "https://id.example/keys"    # a JWK Set, or a file of one; tokens name their key by kid
  require = {aud = "api", iss = "ci"} # claims the token must have; a list for one of several
  typ = ["JWT", "at+jwt"]             # kinds of token, these two when left out
  leeway = "30s"                      # as --leeway, for this service
  headers = {X-Email = "email"}       # headers of the answer that show claims
  allow_weak_keys = true              # RSA from 1024 bits, not from 2048

In nginx:
  location = /auth {
      internal;
      proxy_pass http://127.0.0.1:8080/auth;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Original-URI $request_uri;
      proxy_set_header X-Original-Method $request_method;
  }
""",
)


def _work(values: Values, arguments: list[str]) -> int:
    if arguments:
        return _other(values, arguments)
    if "conf" not in values.given:
        raise UsageError("--conf is required", "'deteco --help' shows what the file looks like")
    from kojuto.tools.deteco import server

    return server.run(values)


def _other(values: Values, arguments: list[str]) -> int:
    """Run one of the commands that serve nothing."""
    name, *rest = arguments
    if name not in COMMAND.commands:
        raise UsageError(f"{name}: no such command", "deteco check, doctor, jwtgen or keygen")
    if name == "check":
        from kojuto.tools.deteco import check

        if "leeway" in values.given:
            rest = [f"--leeway={values.leeway:.9f}", *rest]
        if "jwt_freshness" in values.given:
            rest = [f"--jwt-freshness={values.jwt_freshness:.9f}", *rest]
        if "conf" in values.given:
            rest = [f"--conf={values.conf}", *rest]
        return cli.run(check.COMMAND, check.work, rest)
    if name == "doctor":
        from kojuto.tools.deteco import doctor

        return cli.run(doctor.COMMAND, doctor.work, rest)
    from kojuto.tools.deteco import keys

    if name == "jwtgen":
        return cli.run(keys.JWTGEN, keys.jwtgen, rest)
    return cli.run(keys.KEYGEN, keys.keygen, rest)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``deteco`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
