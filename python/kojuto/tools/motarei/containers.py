"""What Docker says of a container: labels, published ports, health, the signals that stop it."""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

ANY = {"0.0.0.0": "", "::": "::1", "": ""}  # noqa: S104

REAL_TIME = {"RTMIN": 34, "RTMAX": 64}

STOP_TIMEOUT_S = 10.0
"""Docker's own, where a container has none (docker run --stop-timeout)."""


class Container:
    """A running container.

    Args:
        row: one entry of ``GET /containers/json``.
        connect_ip: where ports published on all addresses of its family are reached.
        details: what ``GET /containers/ID/json`` adds, see `Details`.
    """

    def __init__(
        self, row: dict[str, Any], connect_ip: str, details: Details | None = None
    ) -> None:
        self.id = str(row["Id"])
        self.short_id = self.id[:12]
        names = [str(name).lstrip("/") for name in row.get("Names") or []]
        self.name = min(names, key=lambda name: name.count("/"), default=self.short_id)
        """As people call it; links of other containers add names with a slash."""
        self.created = int(row["Created"])
        self.ports = _ports(row.get("Ports") or [], connect_ip)
        self.health = _health(row)
        self.details = details or Details({})
        self.first_seen_s = 0.0
        """When it was first listed, by the monotonic clock."""
        self.starts = 0
        """How often it was seen to start: with each, its ports have to accept anew."""
        self.paused = row.get("State") == "paused"
        """It is frozen (``docker pause``, and ``docker commit`` does it): who connects waits."""
        self.stopping = False
        """It was told to stop: it may run for a while yet, but takes no new connections."""
        self.ending = False
        """The same, within its stop time-out: it may end any moment."""

    @property
    def age(self) -> tuple[int, int, str]:
        """Newer is larger: creation time, then id.

        The list has whole seconds only, and two generations of one deploy can be created within
        the same one: the rest of the time comes from the details.
        """
        return (self.created, self.details.created_ns, self.id)


class Details:
    """What the list of containers does not say of one, and what never changes.

    Args:
        answer: of ``GET /containers/ID/json``; empty when unknown.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        self.created_ns = fraction_ns(str(answer.get("Created") or ""))
        config = answer.get("Config") or {}
        timeout_s = config.get("StopTimeout")
        self.stop_timeout_s = STOP_TIMEOUT_S if timeout_s is None else float(timeout_s)
        self.stop_signals = {
            signal.SIGTERM,
            signal.SIGKILL,
            signal_number(str(config.get("StopSignal") or "TERM")),
        }


def fraction_ns(text: str) -> int:
    """The nanoseconds within the second of an RFC 3339 time; 0 without any."""
    fraction = text.partition(".")[2]
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    return int(digits[:9].ljust(9, "0"))


def signal_number(text: str) -> int:
    """``SIGQUIT``, ``quit`` or ``3`` as 3, ``SIGRTMIN+3`` as 37; 0 for a name that is none.

    Names are read as Docker reads them, which counts real-time signals as glibc does, whatever the
    C library here does.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    name = text.upper().removeprefix("SIG")
    base, offset = name[:5], name[5:]
    if base in REAL_TIME and (not offset or (offset[0] in "+-" and offset[1:].isdecimal())):
        return REAL_TIME[base] + int(offset or 0)
    return int(getattr(signal, f"SIG{name}", 0))


def _ports(rows: Sequence[dict[str, Any]], connect_ip: str) -> dict[int, tuple[str, int]]:
    """Private TCP port to where it is published, preferring the family of `connect_ip`."""
    wanted_v6 = ":" in connect_ip
    found: dict[int, tuple[bool, tuple[str, int]]] = {}
    for row in rows:
        public, private = row.get("PublicPort"), int(row["PrivatePort"])
        if row.get("Type") != "tcp" or not public:
            continue
        ip = str(row.get("IP") or "")
        same = (":" in ip) == wanted_v6
        where = (ANY.get(ip, ip) if not (same and ip in ANY) else connect_ip) or "127.0.0.1"
        if private not in found or (same and not found[private][0]):
            found[private] = (same, (where, int(public)))
    return {private: where for private, (_, where) in found.items()}


def _health(row: dict[str, Any]) -> str:
    """``none``, ``starting``, ``healthy`` or ``unhealthy``."""
    state = row.get("Health")  # from API 1.52 on
    if isinstance(state, dict) and state.get("Status"):
        return str(state["Status"])
    text = str(row.get("Status") or "")
    for word, health in (
        ("(healthy)", "healthy"),
        ("(unhealthy)", "unhealthy"),
        ("(health: starting)", "starting"),
    ):
        if word in text:
            return health
    return "none"
