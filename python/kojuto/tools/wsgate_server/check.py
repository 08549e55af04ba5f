"""``wsgate-server check``: explains what is answered to a token for a name."""

from __future__ import annotations

from kojuto.common import cli, jwt
from kojuto.common.cli import Command, Values
from kojuto.common.server import listen
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.wsgate_server.identity import UnavailableError
from kojuto.tools.wsgate_server.rules import Rules, check_tokens, identity_of
from kojuto.tools.wsgate_server.users import NotAllowedError
from kojuto.tools.wsgate_server.who import MAP, WHO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.tools.wsgate_server.identity import Who

COMMAND = Command(
    "wsgate-server check",
    "Explains what wsgate-server answers to a token for a name: exit status 0 when it would open a "
    "tunnel, 1 when it would not.",
    [MAP, *WHO],
    positional="TOKEN NAME",
    usage="--public-key FILE --users FILE [options] TOKEN NAME",
    epilog="""
TOKEN may be the whole header (Authorization: Bearer …), or - to read it from standard input, which
keeps it out of the list of processes. With --iap-audience alone it is the IAP assertion. Whether
the name leads anywhere is looked at with --map.
""",
)


def work(values: Values, arguments: list[str]) -> int:
    """Print the explanation; returns the exit status.

    Raises:
        UsageError: there are not two arguments, or no tokens are asked for.
        KojutoError: a file is wrong, or keys cannot be fetched.
    """
    if len(arguments) != 2:
        raise UsageError(
            f"{len(arguments)} arguments, 2 are expected", "wsgate-server check TOKEN NAME"
        )
    check_tokens(values)
    if not values.public_key and not values.iap_audience:
        raise UsageError("no token is asked for", "give --public-key or --iap-audience")
    from kojuto.common.server.logs import Logger

    token, name = jwt.from_argument(arguments[0]), arguments[1]
    rules = Rules(values)
    log = Logger()
    try:
        identity = identity_of(values, log)
        if not values.public_key:
            identity.fetch()
        who = identity.of_token(token)
    except jwt.TokenError as error:
        return _end(401, error.reason)
    except UnavailableError:
        raise KojutoError(f"{values.iap_keys}: there are no keys in it") from None
    finally:
        log.close()
    _show(who)
    try:
        right = rules.right(name, who)
    except NotAllowedError as error:
        return _end(403, str(error))
    _say("users", right or "no --users: whoever has a token may reach every name")
    if values.map and name not in rules.targets:
        return _end(404, f"{values.map} has no {name}")
    if values.map:
        _say("map", listen.address_text(*rules.targets[name]))
    return _end(101, "allowed")


def _show(who: Who) -> None:
    """Print what the token says that counts."""
    if who.key is not None:
        _say("signature", f"right by {who.key.title}")
    _say("sub", who.sub or "none")
    if who.email:
        _say("email", who.email)
    if who.groups:
        _say("groups", ", ".join(who.groups))


def _say(step: str, text: str) -> None:
    print(f"{step + ':':<11}{cli.one_line(text)}")


def _end(status: int, why: str) -> int:
    _say("answer", f"{status} {why}")
    return cli.DONE if status == 101 else cli.FAILED
