"""``kojuto demo``: follows an access log as two runs a minute apart would, and shows the result."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import contextmanager

from kojuto.common import cli, histogram, terminal, units
from kojuto.common.cli import Command, Option, Values
from kojuto.common.parser import parse
from kojuto.common.plugin.follow import FollowOptions, Log
from kojuto.common.plugin.metrics import Metrics
from kojuto.errors import KojutoError, words
from kojuto.tools import axslog
from kojuto.tools.axslog import figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import RawIOBase
    from typing import BinaryIO

    from kojuto._native import AccessScan, AccessTally

COMMAND = Command(
    "kojuto demo",
    "Writes an access log (or takes a copy of yours), follows it as two runs of "
    "mackerel-plugin-axslog a minute apart would, and shows the metric lines, the speed, the "
    "spread of the latencies, and the report of its endpoints.",
    [
        Option(
            "--lines",
            metavar="N",
            read=units.integer(1000, 100_000_000),
            default="1000000",
            help="lines of the log that is written",
        ),
        Option("--logfile", metavar="FILE", help="take a copy of this log instead"),
        Option(
            "--format",
            metavar="FORMAT",
            default="auto",
            choices=("auto", "ltsv", "json", "combined"),
            help="its format: auto, ltsv, json or combined",
        ),
        Option("--ptime-key", metavar="KEY", help="key of the time taken; found out when left out"),
        Option("--status-key", metavar="KEY", help="key of the status; found out when left out"),
    ],
)


ENDPOINTS = (
    *(("GET /items/{}", 1.0),) * 5, *(("GET /users/{}/orders", 1.4),) * 2, ("POST /orders", 2.5),
    ("GET /search", 3.0), ("GET /login", 0.3),
)  # fmt: skip
"""The requests of the log that is written, and how slow each is beside the others."""


def write_log(out: BinaryIO, lines: int) -> None:
    """Write an LTSV access log: latencies as servers have them, most short and a few very long."""
    from random import Random

    generator = Random(2026)  # noqa: S311  # the same log each time
    endpoints = list(ENDPOINTS)
    statuses = [200] * 90 + [304] * 4 + [404] * 3 + [499, 500, 503]
    made = []
    for number in range(min(lines, 20_000)):
        request, slower = generator.choice(endpoints)
        request = request.format(generator.randrange(10**6))
        seconds = generator.lognormvariate(-3.2, 1.1) * slower
        made.append(
            f"time:22/Nov/2026:21:{number // 60 % 60:02}:{number % 60:02} +0000"
            f"\thost:192.0.2.{number % 254 + 1}\tforwardedfor:-"
            f"\treq:{request}?page={number % 50} HTTP/1.1"
            f"\tstatus:{generator.choice(statuses)}\tsize:{generator.randrange(60_000)}"
            f"\treferer:-\tua:Mozilla/5.0 (X11; Linux x86_64) Firefox/133.0"
            f"\tptime:{seconds:.3f}\tvhost:www.example.com\n".encode()
        )
    body = b"".join(made)
    whole, rest = divmod(lines, len(made))
    for _ in range(whole):
        out.write(body)
    out.write(b"".join(made[:rest]))


def _halves(source: BinaryIO, size: int) -> Iterator[bytes]:
    """The two halves of a log, cut at a line end, piece by piece; an empty piece parts them."""
    done = 0
    while done < size // 2:
        piece = source.read(min(1 << 20, size // 2 - done))
        if not piece:
            break
        done += len(piece)
        yield piece
    yield source.readline()
    yield b""
    while piece := source.read(1 << 20):
        yield piece


class _Demo:
    def __init__(self, values: Values, folder: str) -> None:
        self.log = os.path.join(folder, "access.log")
        self.position = Log(self.log, "demo")
        arguments = ["--logfile", self.log, "--key-prefix", "demo", "--format", values.format]
        for option in ("ptime_key", "status_key"):
            if option in values.given:
                arguments += [f"--{option.replace('_', '-')}", getattr(values, option)]
        self.values, _ = parse(axslog.COMMAND, arguments)
        self.position.position_file = os.path.join(folder, "position")
        self.bytes = 0
        self.seconds = 0.0
        self.tally: AccessTally | None = None

    def run(self, now_s: float) -> None:
        """Follow the log once, as if it were `now_s`."""
        from kojuto import _native

        options = FollowOptions(self.values, 1 << 62)
        options.now_s = now_s
        start = time.perf_counter()
        wanted = axslog.AccessOptions(self.values)
        wanted.finds_keys = not {"ptime_key", "status_key"} & self.values.given
        (scan,) = _native.follow_access_logs([self.position], options, wanted)
        seconds = time.perf_counter() - start
        if isinstance(scan, OSError):
            raise scan
        self._show(scan, seconds, int(now_s))
        scan.report.position.commit()
        self.bytes += scan.report.bytes
        self.seconds += seconds
        if self.tally is None:
            self.tally = scan.tally
        else:
            self.tally.merge(scan.tally)

    def _show(self, scan: AccessScan, seconds: float, now: int) -> None:
        rate = scan.report.bytes / seconds / 1e9
        print(
            f"{scan.lines:,} lines, {units.format_size(scan.report.bytes)} "
            f"of {axslog.found_in(scan)}, in {seconds * 1000:.0f} ms: {rate:.2f} GB/s"
        )
        out = Metrics(figures.FAMILIES)
        figures.collect(out, self.values, [scan], pooled=False)
        out.write("mackerel", now)
        bad = sum(count for _, count in scan.bad_lines)
        if bad:
            print(f"({bad:,} of the lines have no time or no status and do not count)")
        print()

    def report(self) -> None:
        """Show what kojuto report makes of the whole log."""
        from kojuto.tools.report import COMMAND as REPORT
        from kojuto.tools.report import printing, scanning

        options = {"format": self.values.format, "time_key": None, "status_key": None}
        if "ptime_key" in self.values.given:
            options["time_key"] = self.values.ptime_key
        if "status_key" in self.values.given:
            options["status_key"] = self.values.status_key[0]
        start = time.perf_counter()
        data = scanning.scan([self.log], options)
        seconds = time.perf_counter() - start
        if not data.total([])["count"]:
            return
        print(
            f"\nkojuto report of the whole log, in {seconds * 1000:.0f} ms with all processors:\n"
        )
        values, _ = parse(REPORT, ["--limit", "10", self.log])
        printing.write(data, values)

    def plot(self) -> None:
        """Draw the latencies of both runs."""
        tally = self.tally
        if tally is None or not tally.latency_count:
            return

        def between(edges: Sequence[float]) -> list[int]:
            counts = tally.histogram(list(edges))
            # The last row holds its upper edge too: the largest number.
            return [*counts[1:-2], counts[-2] + counts[-1]]

        low, high = tally.quantiles([0.0, 1.0])
        edges = histogram.edges_for(low, high, between)
        width = min(shutil.get_terminal_size().columns, 100)
        print(f"Latency, from … up to the next row ({tally.latency_count:,} requests):")
        lines = histogram.draw(
            edges,
            between(edges),
            width,
            colour=terminal.shows_colour(),
            unicode=terminal.shows_unicode(),
        )
        print("\n".join(lines))


def _work(values: Values, _: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="kojuto-demo-") as folder:
        original = values.logfile
        if original is None:
            original = os.path.join(folder, "written.log")
            with _room(folder), open(original, "wb") as out:
                write_log(out, values.lines)
        demo = _Demo(values, folder)
        _follow(demo, original, folder)
        demo.plot()
        print(
            f"\nBoth runs: {units.format_size(demo.bytes)} in {demo.seconds:.3f} s, "
            f"{demo.bytes / demo.seconds / 1e9:.2f} GB/s with one thread"
        )
        demo.report()
    return cli.DONE


def _follow(demo: _Demo, original: str, folder: str) -> None:
    """Follow a growing copy of the log in two runs."""
    with open(original, "rb") as source:
        size = os.stat(original).st_size
        if not source.peek(1):
            raise KojutoError(f"{original} is empty", "take a log with some lines in it")
        now_s = time.time()
        with open(demo.log, "ab", buffering=0) as log:
            print("First run, on the first half of the log:")
            last = b"\n"
            for piece in _halves(source, size):
                if piece:
                    _add(log, piece, folder)
                    last = piece[-1:]
                elif log.tell():
                    demo.run(now_s)
            if last != b"\n":
                _add(log, b"\n", folder)  # a line still being written would wait for the next run
        print("Second run, as if a minute later, on what was added:")
        demo.run(now_s + 60)


def _add(log: RawIOBase, piece: bytes, folder: str) -> None:
    """Write it whole: of the last piece a full disk takes a part, and says so the next time."""
    with _room(folder):
        rest = memoryview(piece)
        while rest:
            rest = rest[log.write(rest) or 0 :]


@contextmanager
def _room(folder: str) -> Iterator[None]:
    """Say which folder has no room for the log.

    Raises:
        KojutoError: naming it.
    """
    try:
        yield
    except OSError as error:
        raise KojutoError(
            f"{folder}: {words(error)}",
            "the log is written there; TMPDIR names another place, --lines makes it shorter",
        ) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    return cli.run(COMMAND, _work, argv)
