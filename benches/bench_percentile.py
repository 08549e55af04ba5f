"""percentile beside datamash; how its cost grows, and its memory."""

from __future__ import annotations

import random
import shutil
import statistics
from typing import TYPE_CHECKING

import pytest

from benches.harness import BIN, RUNS, Row, cost

if TYPE_CHECKING:
    from pathlib import Path

    from benches.harness import Table

MILLION = 1_000_000
PERCENTILE = BIN / "percentile"


def numbers(folder: Path, millions: int) -> Path:
    """So many million response times, 9 bytes a line, always the same ones."""
    path = folder / f"numbers-{millions}"
    if not path.exists():
        source = random.Random(1)
        with open(path, "w") as file:
            for _ in range(millions * 10):
                file.write(
                    "".join(
                        f"{min(source.lognormvariate(-2, 1), 9.999999):.6f}\n"
                        for _ in range(MILLION // 10)
                    )
                )
    return path


def test_beside_datamash(table: Table, inputs: Path) -> None:
    """CPU of both over 5 million numbers; the same four percentiles."""
    if shutil.which("datamash") is None:
        pytest.skip("datamash is not installed")
    path = numbers(inputs, 5)
    theirs = ["datamash", "max", "1", "mean", "1", "min", "1"]
    for wanted in (99, 95, 90, 75):
        theirs += [f"perc:{wanted}", "1"]
    row = table.compare(
        "percentile, 5 million numbers",
        "CPU of `percentile` / `datamash max mean min perc:99 … perc:75`",
        lambda: cost([PERCENTILE], stdin=path).cpu_s,
        lambda: cost(theirs, stdin=path).cpu_s,
        bound=1 / 40,
        runs=min(RUNS, 5),
    )
    assert row.ok


def test_the_cost_grows_with_the_numbers_and_no_faster(table: Table, inputs: Path) -> None:
    """CPU for each million numbers, start-up left out, at 10 times the size."""
    idle = statistics.median(cost([PERCENTILE]).cpu_s for _ in range(RUNS))
    small, middle, large = (numbers(inputs, millions) for millions in (2, 6, 20))

    def per_million(path: Path, millions: int) -> float:
        return (cost([PERCENTILE], stdin=path).cpu_s - idle) / millions

    rows = [
        table.compare(
            f"percentile, growth to {millions} million",
            f"CPU a number, {millions} million / 2 million",
            lambda path=path, millions=millions: per_million(path, millions),  # type: ignore[misc]
            lambda: per_million(small, 2),
            bound=1.3,
        )
        for path, millions in ((middle, 6), (large, 20))
    ]
    assert all(row.ok for row in rows)


def test_memory(table: Table, inputs: Path) -> None:
    """Peak memory of the exact mode over 8 bytes a number plus 64 MiB, and of a sketch."""
    path = numbers(inputs, 20)
    for name, arguments, bound in (
        ("exact", [], 20 * MILLION * 8 + (64 << 20)),
        ("sketch", ["--sketch", str(inputs / "sketch")], 64 << 20),
    ):
        peaks = [cost([PERCENTILE, *arguments, path]).peak_bytes for _ in range(3)]
        ratios = [peak / bound for peak in peaks]
        row = table.add(
            Row(
                f"percentile, memory, {name}",
                f"peak of 20 million numbers / {bound >> 20} MiB",
                statistics.median(ratios),
                min(ratios),
                max(ratios),
                1.0,
                figures={"peak_bytes": statistics.median(peaks)},
            )
        )
        assert row.ok
