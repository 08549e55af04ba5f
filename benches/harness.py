"""Measure whole processes: CPU seconds, wall seconds and peak memory, side by side.

The two sides of a ratio take turns (A B A B …), so that a machine whose speed drifts slows both;
what is quoted is the median of the ratios, pair by pair.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CLONE_NEWNET = 0x40000000
BIN = Path(sys.executable).parent
RUNS = int(os.environ.get("KOJUTO_BENCH_RUNS", "7"))


@dataclass(frozen=True)
class Cost:
    """What one finished process cost, by the kernel's own accounting (wait4(2))."""

    cpu_s: float
    wall_s: float
    peak_bytes: int


# Runs its arguments and prints what they cost. It is a process of its own because a child's peak
# memory begins with that of the process it was forked from: this one is small.
_LAUNCHER = """
import os, sys, time
report = int(sys.argv[1])
os.set_inheritable(report, False)
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - start
with os.fdopen(report, "w") as out:
    print(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, wall,
          usage.ru_maxrss * 1024, file=out)
"""


def cost(
    command: Sequence[str | Path],
    *,
    stdin: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Cost:
    """Run a command to its end with its output thrown away; what it writes to stderr is kept for
    the error message when it fails.
    """
    reader, writer = os.pipe()
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(writer)]
    with open(stdin or os.devnull, "rb") as source:
        done = subprocess.run(
            [*launcher, *map(str, command)],
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[writer],
            env={**os.environ, **(env or {})},
            check=False,
        )
    os.close(writer)
    with os.fdopen(reader) as report:
        figures = report.read().split()
    if len(figures) != 4 or figures[0] != "0":
        text = done.stderr.decode(errors="replace")[-500:]
        raise RuntimeError(f"{command} ended with {figures[:1]}: {text}")
    return Cost(float(figures[1]), float(figures[2]), int(figures[3]))


@dataclass
class Row:
    """One line of the table.

    Args:
        name: the bench.
        question: what is compared with what, in words.
        ratio: the median of the ratios.
        low, high: the smallest and largest ratio seen.
        bound: what it must stay below (or above, when `at_least`).
        figures: absolute medians, for the reader.
    """

    name: str
    question: str
    ratio: float
    low: float
    high: float
    bound: float | None = None
    at_least: bool = False
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the median keeps the bound."""
        if self.bound is None:
            return True
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


class Table:
    """The rows of one run."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, row: Row) -> Row:
        self.rows.append(row)
        return row

    def compare(
        self,
        name: str,
        question: str,
        ours: Callable[[], float],
        theirs: Callable[[], float],
        *,
        bound: float | None = None,
        at_least: bool = False,
        runs: int = RUNS,
    ) -> Row:
        """Measure both sides in turn, one warm-up each, and add the row of their ratio."""
        ours()
        theirs()
        pairs = [(ours(), theirs()) for _ in range(runs)]
        ratios = [a / b for a, b in pairs]
        return self.add(
            Row(
                name,
                question,
                statistics.median(ratios),
                min(ratios),
                max(ratios),
                bound,
                at_least,
                {
                    "ours": statistics.median(a for a, _ in pairs),
                    "theirs": statistics.median(b for _, b in pairs),
                },
            )
        )

    def text(self) -> str:
        """The table for a terminal."""
        head = ("bench", "ratio", "min..max", "bound", "", "what is compared")
        body = [
            (
                row.name,
                f"{row.ratio:.3f}",
                f"{row.low:.3f}..{row.high:.3f}",
                "" if row.bound is None else f"{'>=' if row.at_least else '<='} {row.bound:g}",
                "ok" if row.ok else "OVER" if not row.at_least else "UNDER",
                row.question,
            )
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [head, *body]
        )

    def document(self) -> dict[str, object]:
        """The table with machine and versions, for JSON."""
        return {
            "machine": machine(),
            "runs": RUNS,
            "rows": [{**asdict(row), "ok": row.ok} for row in self.rows],
        }


def scaled(times: int, measure: Callable[[], float]) -> Callable[[], float]:
    """A measurement that is the sum of `times` of the given one: short runs add up to a figure
    that the kernel's clock ticks do not blur.
    """
    return lambda: sum(measure() for _ in range(times))


def growth(
    table: Table,
    name: str,
    sizes: Sequence[int],
    cpu_of: Callable[[int], float],
    idle: Callable[[], float],
    *,
    bound: float = 2.0,
) -> Row:
    """Add how the cost of one item grows: that at the largest size over that at the middle one.

    Args:
        table: where the row goes.
        name: the bench.
        sizes: ascending numbers of items.
        cpu_of: CPU seconds at the size of this index.
        idle: CPU seconds without any item, taken off.
        bound: linear cost is near 1; quadratic would be the ratio of the sizes.
    """
    start = statistics.median(idle() for _ in range(RUNS))
    each = [
        statistics.median(max(cpu_of(index) - start, 0.0) for _ in range(3)) / size
        for index, size in enumerate(sizes)
    ]
    ratio = each[-1] / each[-2]
    figures = {f"ns_each_at_{size}": each[index] * 1e9 for index, size in enumerate(sizes)}
    question = f"CPU of an item at {sizes[-1]:,} / at {sizes[-2]:,}"
    return table.add(Row(name, question, ratio, ratio, ratio, bound, figures=figures))


@contextlib.contextmanager
def own_loopback() -> Iterator[None]:
    """A network namespace for what is started meanwhile, with all ports for clients.

    The loopback that all share has the firewall's rules on each segment and the closed connections
    of the last minute: a few thousand connections a second use up its ports, and then a connection
    costs what the search for a free one does. Without root it is the shared one all the same.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def call(done: int) -> None:
        if done:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    with open("/proc/thread-self/ns/net", "rb") as shared:
        call(libc.unshare(CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 65535\n")
            yield
        finally:
            call(libc.setns(shared.fileno(), CLONE_NEWNET))


def machine() -> dict[str, object]:
    """What was measured on."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as name:
        congestion_control = name.read().strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "congestion_control": congestion_control,
    }
