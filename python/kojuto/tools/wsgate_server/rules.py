"""What the files of ``wsgate-server`` say: the map, who may reach its names, whose tokens count."""

from __future__ import annotations

from kojuto.common.gateway import mapfile
from kojuto.common.server import listen
from kojuto.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.common.cli import Values
    from kojuto.common.server.logs import Logger
    from kojuto.tools.wsgate_server.identity import Identity, Who

    Address = tuple[str, int]


def _name(text: str) -> str:
    if not text or "/" in text:
        raise ValueError(f"'{text}' is not a name (it must not be empty or have a slash)")
    return text


class Rules:
    """The files of ``--map`` and ``--users``, as they were at one moment.

    Args:
        values: the command line; without a map there are no names.

    Raises:
        KojutoError: a file cannot be read or is of another form; the message names the place.
    """

    def __init__(self, values: Values) -> None:
        from kojuto.tools.wsgate_server import users

        self.targets: dict[str, Address] = {}
        if values.map:
            self.targets = mapfile.read(values.map, _name, listen.upstream, "name,host:port")
        self._users = users.read(values.users) if values.users else None

    def right(self, name: str, who: Who) -> str:
        """By what somebody may reach a name, for messages; empty where everybody may.

        Raises:
            NotAllowedError: he may not.
        """
        return self._users.right(name, who) if self._users is not None else ""


def check_tokens(values: Values) -> None:
    """What the options of `who.WHO` must be together.

    Raises:
        UsageError: one has no meaning without another.
    """
    if "iap_keys" in values.given and not values.iap_audience:
        raise UsageError("--iap-keys has no meaning without --iap-audience")
    if values.users and not values.public_key and not values.iap_audience:
        raise UsageError(
            "--users has no meaning without tokens", "add --public-key or --iap-audience"
        )


def identity_of(values: Values, log: Logger) -> Identity:
    """Who checks tokens, as the options say.

    Raises:
        KojutoError: a key file cannot be used.
    """
    from kojuto.tools.wsgate_server.identity import Identity

    source = None
    if values.iap_audience:
        from kojuto.common.gateway.jwks import KeySource

        source = KeySource(values.iap_keys)
    return Identity(values.public_key, values.jwt_freshness, values.iap_audience or [], source, log)
