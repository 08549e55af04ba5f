"""How things stand, as data: which container takes the connections of which port, and why."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from kojuto.tools.motarei.containers import Container
    from kojuto.tools.motarei.ports import Port, View


def describe(view: View, publish: Mapping[int, int], privates: Collection[int]) -> dict[str, Any]:
    """All ports, without what only a running server knows.

    Args:
        view: the ports as they are.
        publish: private ports that are accepted on another one.
        privates: the private ports to tell of, whether a container offers them or not.

    Returns:
        ``newest``, the id and name of the newest container that was not told to stop, or None;
        ``expected``, whether one was created that is about to run; ``ports``, each with ``port``,
        ``listen`` (the port to connect to), ``pending`` and ``containers``, which have ``id``,
        ``name``, ``address``, ``state`` (``serves``, ``next``, ``awaited`` or ``out``) and
        ``reason``.
    """
    every = {
        one.id: one
        for port in view.ports.values()
        for one in [*port.ready, *(other for other, _ in port.others)]
    }
    newest = max(every.values(), key=lambda one: (not one.stopping, one.age), default=None)
    return {
        "newest": newest and {"id": newest.short_id, "name": newest.name},
        "expected": view.expected,
        "ports": [
            {
                "port": private,
                "listen": publish.get(private, private),
                "pending": view.port(private).pending,
                "containers": _containers(view.port(private)),
            }
            for private in sorted(privates)
        ],
    }


def _containers(port: Port) -> list[dict[str, str]]:
    from kojuto.common.server.listen import address_text

    def row(one: Container, state: str, reason: str) -> dict[str, str]:
        address = address_text(*one.ports[port.private])
        return {"id": one.short_id, "name": one.name, "address": address, "state": state,
                "reason": reason}  # fmt: skip

    rows = []
    for at, one in enumerate(port.ready):
        if one.paused:
            reason = "it is paused, and there is no other" if at == 0 else "paused"
        elif one.stopping:
            reason = "it was told to stop, and there is no other" if at == 0 else "told to stop"
        elif at == 0:
            reason = f"the newest that is ready for this port ({_readiness(one)})"
        else:
            reason = "older; tried when the one before it refuses"
        rows.append(row(one, "next" if at else "serves", reason))
    awaited = {one.id for one, _ in port.awaited}
    rows += [row(one, "awaited" if one.id in awaited else "out", why) for one, why in port.others]
    return rows


def _readiness(one: Container) -> str:
    return "healthy" if one.health == "healthy" else "its port accepts"
