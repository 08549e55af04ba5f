"""The metrics that both gateways have beside those of the relay engine."""

from __future__ import annotations

from kojuto.common.prometheus import Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto._native import Relay


def round_trips(engine: Relay) -> Family:
    """How long the peers of tunnels took to answer pings, in seconds."""
    stats = engine.stats()
    found = Family(
        "kojuto_wsgate_round_trip_seconds", "histogram", "Time from a ping to its pong, by tunnels."
    )
    bounds = [bound / 1e6 for bound in stats["round_trip_bounds_us"]]
    return found.add_histogram(bounds, stats["round_trips"], stats["round_trip_us"] / 1e6)
