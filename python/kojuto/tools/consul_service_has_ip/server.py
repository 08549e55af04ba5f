"""Answering: what the table of members cannot say yet, and the figures."""

from __future__ import annotations

from kojuto.common.prometheus import Family
from kojuto.common.server import exporter
from kojuto.tools.consul_service_has_ip.consul import ConsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import HttpRequest, HttpServer, Membership
    from kojuto.tools.consul_service_has_ip.watch import Watches

    Reply = tuple[int, Sequence[tuple[str, str]], str | bytes]


class Answerer:
    """Answers the first question about a service, and all of them while Consul is away.

    Args:
        timeout_s: how long the first answer of Consul is waited for.
    """

    def __init__(self, table: Membership, watches: Watches, timeout_s: float) -> None:
        self._table = table
        self._watches = watches
        self._timeout_s = timeout_s or 30.0

    def answer(self, request: HttpRequest) -> Reply:
        """The answer to a request that the table could not give at once."""
        key, once, reply = self._table.ask(request)
        if key is None:
            assert reply is not None
            return reply
        watch = None if once else self._watches.find(key)
        if watch is None:
            try:
                return self._table.ask_of(request, self._watches.ask(key, once=once))
            except ConsulError as error:
                return self._table.problem(500, str(error))
        instances, why = watch.wait(self._timeout_s)
        if instances is not None:
            return self._table.ask_of(request, instances)
        return self._table.problem(500, why)


def families(server: HttpServer, table: Membership, watches: Watches) -> list[Family]:
    """The metrics."""
    counts = table.counts()
    known = [(key, state) for key in watches.names() if (state := table.state(key)) is not None]
    members = Family("kojuto_consul_members", "gauge", "Addresses known of a watched service.")
    away = Family(
        "kojuto_consul_away_seconds", "gauge", "How long Consul has been away; 0 when it is there."
    )
    for key, (count, away_s) in known:
        if count is not None:
            members.add(count, watch=key)
        away.add(away_s or 0.0, watch=key)
    rows = [
        ("kojuto_consul_watches", "gauge", "Services watched now.", len(known)),
        (
            "kojuto_consul_answers_total",
            "counter",
            "Answers that Consul gave to watches.",
            watches.answers,
        ),
        (
            "kojuto_consul_outages_total",
            "counter",
            "Outages of Consul that watches saw.",
            watches.failures,
        ),
        (
            "kojuto_consul_direct_questions_total",
            "counter",
            "Questions asked of Consul outside a watch.",
            watches.questions.asked,
        ),
        (
            "kojuto_membership_stale_answers_total",
            "counter",
            "Answers given from memory while Consul was away.",
            counts["stale"],
        ),
        (
            "kojuto_membership_refused_total",
            "counter",
            "Requests that were malformed.",
            counts["refused"],
        ),
    ]
    answers = Family(
        "kojuto_membership_answers_total", "counter", "Answers by whether the address was a member."
    )
    answers.add(counts["yes"], member="yes").add(counts["no"], member="no")
    singles = [Family(name, kind, text).add(value) for name, kind, text, value in rows]
    return [members, away, answers, *singles, *exporter.http_families(server.stats())]
