"""``mackerel-plugin-pinging``: ICMP round-trip times of one or more hosts as metrics."""

from __future__ import annotations

import sys
from time import time

from kojuto.common import cli
from kojuto.common.cli import Command, Option, Values, complain
from kojuto.common.plugin.follow import buckets_option
from kojuto.common.plugin.metrics import (
    OPTIONS,
    Graph,
    Metrics,
    key_name,
    meta_requested,
    print_meta,
)
from kojuto.common.units import integer, percentiles, timed
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kojuto._native import PingOutcome

PROG = "mackerel-plugin-pinging"
MAX_HOSTS = 1000
PACE_MS = 1.0
DEADLINE_S = 25
FAMILIES = {
    "pinging_success": ("gauge", "Echo replies received in this run.", 1),
    "pinging_error": ("gauge", "Echo requests without a reply in this run.", 1),
    "pinging_rtt_seconds": ("gauge", "Round-trip time of this run, by statistic.", 1000),
    "pinging_loss_ratio": ("gauge", "Share of requests without a reply, 0 to 1.", 100),
    "pinging_queue_seconds": ("gauge", "Time in this machine's own queue, by statistic.", 1000),
    "pinging_detail": ("gauge", "Duplicate and late replies, longest run of losses.", 1),
}


def _percentiles(text: str) -> list[float]:
    return [percent for _, percent in percentiles(text)]


def _host(text: str) -> tuple[str, str | None]:
    """``NAME`` or ``NAME=PREFIX``."""
    name, equals, prefix = text.partition("=")
    if not name or (equals and not prefix):
        raise ValueError("no host (write NAME or NAME=PREFIX)")
    return name, prefix or None


def _address(text: str) -> str:
    from socket import AF_INET, AF_INET6, inet_pton

    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return text
    raise ValueError("not an address (write 192.0.2.1 or 2001:db8::1)")


COMMAND = Command(
    PROG,
    "Ping hosts and print success, error and round-trip times as Mackerel metrics. The kernel "
    "stamps both ends of a round trip. No root is needed where net.ipv4.ping_group_range allows.",
    [
        Option("--host", metavar="HOST", read=_host, repeat=True, required=True,
               help="host or address to ping; HOST=PREFIX gives it a metric key of its own"),
        Option("--timeout", metavar="MS", read=integer(1, 600_000, "ms"), default="1000",
               help="how long to wait for a reply, milliseconds"),
        Option("--interval", metavar="MS", read=integer(0, 600_000, "ms"), default="10",
               help="pause after each reply, milliseconds"),
        Option("--count", metavar="N", read=integer(1, 10_000), default="10",
               help="counted round trips for each host, after one that warms up"),
        Option("--deadline", metavar="DURATION", read=timed("100ms", "24h"),
               help="end of it all, names included; what is known by then is printed (default 25s, "
               "or what count, interval and one timeout need where that is more)"),
        Option("--key-prefix", metavar="PREFIX",
               help="metric key; needed unless every --host has its own"),
        Option("-4", help="use IPv4 only", group="Addresses"),
        Option("-6", help="use IPv6 only", group="Addresses"),
        Option("--source", metavar="ADDRESS", read=_address, group="Addresses",
               help="address of this machine that the packets come from"),
        Option("--interface", metavar="NAME", group="Addresses",
               help="interface that they leave by; also the zone of link-local addresses"),
        Option("--size", metavar="BYTES", read=integer(16, 65507, "bytes"), default="56",
               help="payload of a packet, 28 bytes less than the packet (IPv6: 48)",
               group="Packets"),
        Option("--dont-fragment", group="Packets",
               help="let no router cut the packets: those too big for the path are lost"),
        Option("--tos", metavar="N", read=integer(0, 255), group="Packets",
               help="type of service (IPv6: traffic class) of the packets"),
        Option("--loss", help="print the share of lost requests too", group="More metrics"),
        Option("--jitter", group="More metrics",
               help="print jitter (mean difference from one reply to the next) and stddev too"),
        Option("--percentile", metavar="P[,P…]", read=_percentiles, repeat=True,
               help="print these percentiles too (0 to 100)", group="More metrics"),
        Option("--detail", group="More metrics",
               help="print loss, jitter, duplicates, late replies, the longest run of losses and "
               "queue_ms (the time in this machine's own queue, which is part of the round trip)"),
        buckets_option("the round trips of all runs as a histogram for Prometheus",
                       group="More metrics"),
        *OPTIONS,
    ],
    passes_over=True,
    epilog="""
Examples:
  mackerel-plugin-pinging --host 8.8.8.8 --key-prefix googledns
  mackerel-plugin-pinging --host gw=gateway --host db1.example.com=db1 --detail
""",
)  # fmt: skip


def _work(values: Values, _: list[str]) -> int:
    cli.check_textfile(values)
    hosts = _keys(values)
    if meta_requested():
        print_meta(_graphs(values))
        return cli.DONE
    if getattr(values, "4") and getattr(values, "6"):
        raise UsageError("-4 and -6 cannot be used together")
    deadline_s = _deadline_s(values)
    metrics = Metrics(FAMILIES)
    status = cli.DONE
    about: list[dict[str, object]] = []
    outcomes = _ping([name for name, _, _ in hosts], deadline_s, values)
    for (name, prefix, key), outcome in zip(hosts, outcomes, strict=True):
        labels = {"host": name, "prefix": prefix}
        about.append({**labels, "address": outcome.address, "addresses": outcome.addresses})
        if outcome.unresolved is not None:
            complain(PROG, f"{name}: {outcome.unresolved}", _way_out(outcome.unresolved))
            _counts(metrics, labels, key, 0, values.count)
            status = cli.FAILED
            continue
        _tell(name, outcome, values.count, deadline_s)
        _add(metrics, labels, key, outcome, values)
    keep = _histogram(metrics, hosts, outcomes, values) if values.buckets else None
    metrics.write(values.output, int(time()), {"hosts": about}, textfile=values.textfile)
    if keep is not None:
        keep()
    return status


def _deadline_s(values: Values) -> float:
    """When all ends: as told, else before an agent loses patience, unless more was asked for."""
    if values.deadline is not None:
        return float(values.deadline)
    needed_s: float = (values.count * values.interval + values.timeout) / 1e3
    return max(DEADLINE_S, needed_s)


def _way_out(unresolved: str) -> str:
    if "link-local" in unresolved:
        return "name it: --host fe80::1%eth0, or --interface eth0"
    return "check the name and the resolver (getent ahosts)"


def _tell(name: str, outcome: PingOutcome, count: int, deadline_s: float) -> None:
    """Say on standard error what the figures do not."""
    shown = name if outcome.address in (name, None) else f"{name} ({outcome.address})"
    if outcome.addresses > 1:
        shown = f"{shown[:-1]}, the first of {outcome.addresses} addresses)"
    lost = ", ".join(f"{times} x {why}" for why, times in outcome.reasons.items())
    if lost:
        complain(PROG, f"{shown}: lost {lost}")
    for address, times in outcome.strangers.items():
        replies = "1 reply" if times == 1 else f"{times} replies"
        complain(PROG, f"{shown}: {replies} from {address}, which was not asked, did not count")
    if outcome.unsent or outcome.undecided:
        waited = f", {outcome.undecided} still waited for a reply" if outcome.undecided else ""
        room = f"; this machine had no room to send {outcome.held_back} times"
        complain(
            PROG,
            f"{shown}: {outcome.unsent} of {count} were not sent within {deadline_s:g} s{waited}"
            f"{room if outcome.held_back else ''}",
            "these count neither as success nor as error; --deadline gives more time",
        )


def _histogram(
    metrics: Metrics,
    hosts: list[tuple[str, str, str]],
    outcomes: list[PingOutcome],
    values: Values,
) -> Callable[[], None]:
    from kojuto.common.plugin.tally import Tally

    tally = Tally(PROG, "pinging_rtt_histogram_seconds", "Round trips of all runs.", values.buckets)
    for (name, prefix, key), outcome in zip(hosts, outcomes, strict=True):
        answered = [rtt / 1e3 for rtt in outcome.rtts_ms if rtt is not None]
        tally.add(f"pinging-buckets-{key}", answered, {"host": name, "prefix": prefix})
    # All packets are back or given up by now: no lock is waited for while one is under way.
    metrics.histograms.append(tally.grow())
    return tally.keep


def _keys(values: Values) -> list[tuple[str, str, str]]:
    """Each host with its prefix and the metric key made of it; two hosts cannot share one."""
    if len(values.host) > MAX_HOSTS:
        raise UsageError(f"{len(values.host)} hosts: above the maximum of {MAX_HOSTS}")
    hosts: list[tuple[str, str, str]] = []
    seen: dict[str, str] = {}
    for name, own in values.host:
        prefix = own or values.key_prefix
        if prefix is None:
            raise UsageError(
                "--key-prefix is required", f"or give the host its own: --host {name}=PREFIX"
            )
        key = key_name(prefix)
        if key in seen:
            raise UsageError(
                f"{seen[key]} and {name} share the metric key {key}",
                f"give each its own: --host {name}=PREFIX",
            )
        seen[key] = name
        hosts.append((name, prefix, key))
    return hosts


def _ping(names: list[str], deadline_s: float, values: Values) -> list[PingOutcome]:
    from kojuto._native import ping_hosts

    try:
        return ping_hosts(
            names,
            count=values.count,
            timeout_ms=values.timeout,
            interval_ms=values.interval,
            pace_ms=PACE_MS,
            deadline_ms=deadline_s * 1e3,
            payload_bytes=values.size,
            family=4 if getattr(values, "4") else 6 if getattr(values, "6") else 0,
            linger=values.detail,
            source=values.source,
            interface=values.interface,
            dont_fragment=values.dont_fragment,
            tos=values.tos,
        )
    except OSError as error:
        for option in ("source", "interface"):
            wanted = getattr(values, option)
            if wanted is not None and error.filename == wanted:
                raise KojutoError(
                    f"--{option} {wanted}: {error.strerror}", "ip address shows what there is"
                ) from None
        if not isinstance(error, PermissionError):
            raise
        raise KojutoError(
            "neither an unprivileged ICMP socket nor a raw one is allowed here",
            "as root: sysctl -w net.ipv4.ping_group_range='0 2147483647'",
        ) from None


def _counts(metrics: Metrics, labels: dict[str, str], key: str, success: int, error: int) -> None:
    top = f"pinging.{key}_rtt_count."
    metrics.add(top + "success", float(success), "pinging_success", **labels)
    metrics.add(top + "error", float(error), "pinging_error", **labels)


def _add(
    metrics: Metrics, labels: dict[str, str], key: str, outcome: PingOutcome, values: Values
) -> None:
    answered = [rtt for rtt in outcome.rtts_ms if rtt is not None]
    sent = len(outcome.rtts_ms)
    _counts(metrics, labels, key, len(answered), sent - len(answered))

    def rtt(stat: str, value: float) -> None:
        name_ = f"pinging.{key}_rtt_ms.{stat}"
        metrics.add(name_, value, "pinging_rtt_seconds", **labels, stat=stat)

    if answered:
        wanted = [90.0, *(p for p in _wanted(values) if p != 90)]
        found = outcome.quantiles([p / 100 for p in wanted])
        average = sum(answered) / len(answered)
        rtt("max", max(answered))
        rtt("min", min(answered))
        rtt("average", average)
        for percentile, value in zip(wanted, found, strict=True):
            rtt(_percentile_name(percentile), value)
        if values.jitter or values.detail:
            rtt("jitter", jitter_ms(answered))
            variance = sum((value - average) ** 2 for value in answered) / len(answered)
            rtt("stddev", variance**0.5)
    if (values.loss or values.detail) and sent:
        share = 100 * (sent - len(answered)) / sent
        title = f"pinging.{key}_loss.percentage"
        metrics.add(title, share, "pinging_loss_ratio", **labels)
    if values.detail:
        _add_detail(metrics, labels, key, outcome)


def _add_detail(metrics: Metrics, labels: dict[str, str], key: str, outcome: PingOutcome) -> None:
    for what, count in (
        ("duplicates", outcome.duplicates),
        ("late", outcome.late),
        ("longest_loss", longest_loss(outcome.rtts_ms)),
    ):
        title = f"pinging.{key}_detail.{what}"
        metrics.add(title, float(count), "pinging_detail", **labels, what=what)
    queues = outcome.queues_ms
    if queues:
        for stat, value in (("average", sum(queues) / len(queues)), ("max", max(queues))):
            title = f"pinging.{key}_queue_ms.{stat}"
            metrics.add(title, value, "pinging_queue_seconds", **labels, stat=stat)


def jitter_ms(rtts_ms: list[float]) -> float:
    """The mean difference between one round trip and the next (0 for a single one)."""
    steps = [abs(rtts_ms[i] - rtts_ms[i - 1]) for i in range(1, len(rtts_ms))]
    return sum(steps) / len(steps) if steps else 0.0


def longest_loss(rtts_ms: Sequence[float | None]) -> int:
    """How many requests in a row were lost at most."""
    longest = run = 0
    for rtt_ms in rtts_ms:
        run = run + 1 if rtt_ms is None else 0
        longest = max(longest, run)
    return longest


def _wanted(values: Values) -> list[float]:
    """The percentiles asked for, each once, in the order asked."""
    return list(dict.fromkeys(p for group in values.percentile for p in group))


def _percentile_name(percentile: float) -> str:
    # Every digit: 99.99999 is not 100.
    return f"{_digits(percentile)}_percentile".replace(".", "_")


def _digits(percentile: float) -> str:
    return repr(percentile).removesuffix(".0")


def _graphs(values: Values) -> list[Graph]:
    rtt = [("max", "Max"), ("min", "Min"), ("average", "Average"), ("90_percentile", "90%")]
    rtt += [(_percentile_name(p), f"{_digits(p)}%") for p in _wanted(values) if p != 90]
    if values.jitter or values.detail:
        rtt += [("jitter", "Jitter"), ("stddev", "Standard deviation")]
    counts = [("success", "Success"), ("error", "Error")]
    graphs = []
    for name, _, key in _keys(values):
        title = f"Ping {name}"
        graphs += [
            Graph(f"pinging.{key}_rtt_count", f"{title}: replies", "float", counts, stacked=True),
            Graph(f"pinging.{key}_rtt_ms", f"{title}: round trip", "milliseconds", rtt),
        ]
        if values.loss or values.detail:
            metrics = [("percentage", "Lost")]
            graphs.append(Graph(f"pinging.{key}_loss", f"{title}: loss", "percentage", metrics))
        if values.detail:
            metrics = [
                ("duplicates", "Duplicates"),
                ("late", "Late"),
                ("longest_loss", "Lost in a row"),
            ]
            graphs.append(Graph(f"pinging.{key}_detail", f"{title}: detail", "float", metrics))
            metrics = [("average", "Average"), ("max", "Max")]
            queue = f"{title}: queue of this machine"
            graphs.append(Graph(f"pinging.{key}_queue_ms", queue, "milliseconds", metrics))
    return graphs


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mackerel-plugin-pinging`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
