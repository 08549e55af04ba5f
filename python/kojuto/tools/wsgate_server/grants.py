"""By what right tunnels are open, and which of them have lost it.

A right is written down when a tunnel opens, without the tokens: who it is, the keys that have
signed them, and the name. The engine keeps it as long as the tunnel is open.
"""

from __future__ import annotations

from kojuto.tools.wsgate_server.identity import Who
from kojuto.tools.wsgate_server.users import NotAllowedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kojuto._native import Relay
    from kojuto.common.server.logs import Logger
    from kojuto.tools.wsgate_server.identity import Identity
    from kojuto.tools.wsgate_server.rules import Rules


def written(seq: int, name: str, who: Who) -> str | None:
    """The right of a tunnel; None where nobody is checked, and so nothing can be taken away."""
    from json import dumps

    if who.key is None:
        return None
    bearer = who.key.fingerprint() if who.key is not who.iap_key else ""
    return dumps(
        {
            "seq": seq,
            "name": name,
            "user": who.name,
            "bearer": bearer,
            "assertion": who.iap_key.fingerprint() if who.iap_key is not None else "",
            "claims": {"sub": who.sub, "email": who.email, "groups": who.groups},
        }
    )


def sweep(engine: Relay, rules: Rules, identity: Identity, log: Logger) -> None:
    """End the tunnels that would not be opened any more, whatever the time of their tokens."""
    from json import loads

    lost = []
    for number, text in engine.grants():
        grant = loads(text)
        why = _why_not(grant, rules, identity)
        if why:
            lost.append(number)
            log.warn(
                "A tunnel is no longer allowed",
                seq=grant["seq"],
                destination=grant["name"],
                user_email=grant["user"],
                sub=grant["claims"]["sub"],
                error=why,
            )
    engine.revoke(lost)


def _why_not(grant: dict[str, Any], rules: Rules, identity: Identity) -> str:
    if not identity.knows(grant["bearer"], grant["assertion"]):
        return "the key that signed its token was taken away"
    if grant["name"] not in rules.targets:
        return "the map does not have its name any more"
    try:
        rules.right(grant["name"], Who(grant["user"], grant["claims"]))
    except NotAllowedError as error:
        return str(error)
    return ""
