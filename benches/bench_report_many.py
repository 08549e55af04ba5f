"""kojuto report --merge: what an added host costs, and how large the merged report grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.report import hosts

from benches.harness import BIN, Row, cost

if TYPE_CHECKING:
    from pathlib import Path

    from benches.harness import Table

LINES = 1000


def merged(folder: Path, count: int) -> tuple[list[str], Path]:
    """The command that merges so many hosts, and the file that it writes."""
    whole = folder / f"merged-{count}.kjr"
    paths = [str(hosts.saved(folder, host, LINES)) for host in range(count)]
    options = ["--output", "csv", "--save", str(whole)]
    return [str(BIN / "kojuto"), "report", "--merge", *options, *paths], whole


def test_the_cost_grows_with_the_hosts_and_no_faster(table: Table, inputs: Path) -> None:
    """CPU for each host, that of ten left out, at ten times as many."""
    few, some, many = (merged(inputs, count)[0] for count in (10, 100, 1000))

    def more(command: list[str], count: int) -> float:
        return (cost(command).cpu_s - cost(few).cpu_s) / (count - 10)

    row = table.compare(
        "kojuto report --merge, growth to 1,000 hosts",
        "CPU an added host, 1,000 hosts / 100 hosts",
        lambda: more(many, 1000),
        lambda: more(some, 100),
        bound=2,
    )
    assert row.ok


def test_the_merged_report_grows_slower_than_the_hosts(table: Table, inputs: Path) -> None:
    """Bytes of the merged report of a hundred hosts and of a thousand."""
    sizes = []
    for count in (1, 10, 100, 1000):
        command, whole = merged(inputs, count)
        cost(command)
        sizes.append(whole.stat().st_size)
    one, _, hundred, thousand = sizes
    rows = [
        Row(name, "bytes of the merged report / of one host", large / one, large / one,
            large / one, bound)
        for name, large, bound in (
            ("kojuto report --merge, 100 hosts", hundred, 10),
            ("kojuto report --merge, 1,000 hosts", thousand, 20),
        )
    ]  # fmt: skip
    assert all(table.add(row).ok for row in rows)
