"""``deteco check``: explains what is answered to a token, method and URI."""

from __future__ import annotations

from kojuto.common import cli, jwt, units
from kojuto.common.cli import Command, Option, Values
from kojuto.errors import UsageError
from kojuto.tools.deteco.gate import State
from kojuto.tools.deteco.options import FRESHNESS, LEEWAY, conf

MOST_READINGS = 20

COMMAND = Command(
    "deteco check",
    "Explains what deteco answers to a token, method and URI: exit status 0 when it would allow "
    "the request, 1 when it would not.",
    [
        conf(required=True),
        FRESHNESS,
        LEEWAY,
        Option(
            "--at",
            metavar="EPOCH",
            read=units.number(0, 253402300799, "s"),
            help="as of this time (seconds since 1970)",
        ),
    ],
    positional="TOKEN METHOD URI",
    usage="--conf FILE [options] TOKEN METHOD URI",
    epilog="""
TOKEN may be the whole header (Authorization: Bearer …), or - to read it from standard input, which
keeps it out of the list of processes. URI is what the client sent ($request_uri of nginx).
""",
)


def work(values: Values, arguments: list[str]) -> int:
    """Print the explanation; returns the exit status.

    Raises:
        UsageError: there are not three arguments.
        KojutoError: the configuration is wrong.
    """
    if len(arguments) != 3:
        raise UsageError(
            f"{len(arguments)} arguments, 3 are expected", "deteco check TOKEN METHOD URI"
        )
    from time import time

    from kojuto.common.server.logs import Logger

    token, method, uri = arguments
    token = jwt.from_argument(token)
    now = time() if values.at is None else values.at
    log = Logger()
    try:
        state = State(values.conf, log, freshness_s=values.jwt_freshness, leeway_s=values.leeway)
    finally:
        log.close()
    try:
        at, service = state.service(token)
        _say("token", f"its sub names the service {service.id}")
        signer, _ = jwt.signed_by(token, service.keys, service.kinds)
        _say("signature", f"right by {signer.title}")
        claims = state.verify(token, service, now)
    except jwt.TokenError as error:
        return _end(401, error.reason)
    begins, ends = state.life(claims, service)
    _say("claims", f"good for {ends - now:.0f} s more, since {now - begins:.0f} s")
    if service.require:
        _say("require", ", ".join(sorted(service.require)) + ": as required")
    for path, methods in service.rules:
        _say("path", f"{path} by {', '.join(methods) or 'any method'}")
    _show_readings(uri)
    refused = state.gate.decide(at, uri, method)
    return _end(403, refused) if refused else _end(200, f"X-Deteco-User: {service.id}")


def _show_readings(uri: str) -> None:
    """Print all that somebody could take the URI's path for."""
    from kojuto._native import TokenGate

    try:
        found = TokenGate.readings(uri)
    except ValueError as error:
        _say("reading", f"none: {error}")
        return
    for number, reading in enumerate(found):
        if number == MOST_READINGS:
            _say("reading", f"and {len(found) - number} more")
            return
        _say("reading", reading)


def _say(step: str, text: str) -> None:
    print(f"{step + ':':<11}{cli.one_line(text)}")


def _end(status: int, why: str) -> int:
    _say("answer", f"{status} {why}")
    return cli.DONE if status == 200 else cli.FAILED
