"""``mackerel-plugin-pinging``: ICMP round-trip times of one or more hosts as metrics."""

from __future__ import annotations

import sys
from time import time

from kojuto.common import cli
from kojuto.common.cli import Command, Option, Values, complain
from kojuto.common.plugin.metrics import (
    OPTIONS,
    Graph,
    Metrics,
    key_name,
    meta_requested,
    print_meta,
)
from kojuto.common.units import integer, percentiles
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import PingOutcome

PROG = "mackerel-plugin-pinging"
MAX_HOSTS = 1000
PACE_MS = 1.0
PAYLOAD_BYTES = 56
FAMILIES = {
    "pinging_success": ("gauge", "Echo replies received in this run.", 1),
    "pinging_error": ("gauge", "Echo requests without a reply in this run.", 1),
    "pinging_rtt_seconds": ("gauge", "Round-trip time of this run, by statistic.", 1000),
    "pinging_loss_ratio": ("gauge", "Share of requests without a reply, 0 to 1.", 100),
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
        Option("--key-prefix", metavar="PREFIX",
               help="metric key; needed unless every --host has its own"),
        Option("-4", help="use IPv4 only", group="Addresses"),
        Option("-6", help="use IPv6 only", group="Addresses"),
        Option("--loss", help="print the share of lost requests too", group="More metrics"),
        Option("--jitter", group="More metrics",
               help="print jitter (mean difference from one reply to the next) and stddev too"),
        Option("--percentile", metavar="P[,P…]", read=_percentiles, repeat=True,
               help="print these percentiles too (0 to 100)", group="More metrics"),
        Option("--detail", group="More metrics",
               help="print loss, jitter, duplicates, late replies and the longest run of losses"),
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
    from kojuto._native import resolve_hosts

    family = 4 if getattr(values, "4") else 6 if getattr(values, "6") else 0
    resolved = resolve_hosts([name for name, _, _ in hosts], family)
    addresses = [address for address, _ in resolved if address is not None]
    outcomes = iter(_ping(addresses, values))
    metrics = Metrics(FAMILIES)
    status = cli.DONE
    for (name, prefix, key), (address, error) in zip(hosts, resolved, strict=True):
        labels = {"host": name, "prefix": prefix}
        if address is None:
            complain(PROG, f"{name}: {error}", "check the name and the resolver (getent ahosts)")
            _counts(metrics, labels, key, 0, values.count)
            status = cli.FAILED
            continue
        outcome = next(outcomes)
        lost = ", ".join(f"{count} x {why}" for why, count in outcome.reasons.items())
        if lost:
            complain(PROG, f"{name}: lost {lost}")
        _add(metrics, labels, key, outcome, values)
    metrics.write(values.output, int(time()), textfile=values.textfile)
    return status


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


def _ping(addresses: list[str], values: Values) -> list[PingOutcome]:
    from kojuto._native import ping_hosts

    try:
        return ping_hosts(
            addresses, values.count, values.timeout, values.interval, PACE_MS, PAYLOAD_BYTES
        )
    except PermissionError:
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
    if values.loss or values.detail:
        share = 100 * (sent - len(answered)) / sent
        title = f"pinging.{key}_loss.percentage"
        metrics.add(title, share, "pinging_loss_ratio", **labels)
    if values.detail:
        for what, count in (
            ("duplicates", outcome.duplicates),
            ("late", outcome.late),
            ("longest_loss", longest_loss(outcome.rtts_ms)),
        ):
            title = f"pinging.{key}_detail.{what}"
            metrics.add(title, float(count), "pinging_detail", **labels, what=what)


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
    return graphs


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mackerel-plugin-pinging`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
