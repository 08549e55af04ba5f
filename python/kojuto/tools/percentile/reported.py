"""What ``kojuto report --save`` wrote: its endpoints are groups, and their times the numbers."""

from __future__ import annotations

from kojuto.errors import KojutoError
from kojuto.tools.report.columns import NAMES, percentile_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kojuto._native import ReportData, _GroupOf
    from kojuto.common.cli import Values

    Row = tuple[_GroupOf | None, int, float, float, float, list[float]]

MAGIC = b"KJREPORT"
"""How such a file begins."""
SEPARATOR = b"\x1f"
"""Between the values of several fields that name a row."""
HINT = "kojuto report --merge FILE … shows all that a report has"


class Reported:
    """A report as `kojuto._native.Numbers` are for the printing: figures by group, bytes.

    Attributes:
        accuracy: the relative error of its percentiles.
        by: what parts the groups.
    """

    accuracy = 0.01

    def __init__(self, data: ReportData) -> None:
        self._data = data
        self.by: bytes | None = ",".join(data.facts()["group_by"] or NAMES).encode()

    def summaries(self, fractions: Sequence[float]) -> list[Row]:
        """As `Numbers.summaries`: the endpoints that have times, the most frequent first."""
        percents = list(dict.fromkeys(fraction * 100 for fraction in fractions))
        found = self._data.columns(percents)
        quantiles = [column for name, column in found.items() if percentile_of(name) is not None]
        by_percent = dict(zip(percents, quantiles, strict=True))
        rows: list[Row] = []
        for at, count in enumerate(found["timed"]):
            if not count:
                continue
            name = found["endpoint"][at].replace(SEPARATOR, b" ")
            values = [by_percent[fraction * 100][at] for fraction in fractions]
            figures = (found["max"][at], found["avg"][at], found["min"][at])
            rows.append((("value", name), count, *figures, values))
        return sorted(rows, key=lambda row: (-row[1], row[0]))

    def histogram(self, group: int, edges: Sequence[float]) -> list[int]:
        """Of a report there is none.

        Raises:
            KojutoError: always.
        """
        del group, edges
        raise KojutoError("--plot cannot go with reports", HINT)

    def sketch(self) -> bytes:
        """The file of the report."""
        return self._data.to_bytes()


def check(values: Values) -> None:
    """Refuse what cannot be had of a report.

    Raises:
        KojutoError: an option asks for it.
    """
    for name in ("plot", "accuracy", "max_groups"):
        if name in values.given:
            title = "--" + name.replace("_", "-")
            raise KojutoError(f"{title} cannot go with reports", HINT)
