"""A histogram over all runs of a plugin that follows no log, for Prometheus (``--buckets``)."""

from __future__ import annotations

import os

from kojuto.common.cli import complain, describe
from kojuto.common.plugin.state import state_path, way_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kojuto.common.prometheus import Family


class Tally:
    """A histogram whose series each have a state file.

    Args:
        prog: the plugin, for warnings.
        name: the name of the Prometheus family.
        about: its help.
        bounds: the upper bounds, seconds; other bounds than in the run before begin afresh.
    """

    __slots__ = ("bounds", "family", "prog", "states")

    def __init__(self, prog: str, name: str, about: str, bounds: Sequence[float]) -> None:
        from kojuto.common.prometheus import Family

        self.prog = prog
        self.bounds = [*bounds]
        self.family: Family = Family(name, "histogram", about)
        self.states: list[tuple[str, bytes]] = []

    def add(self, state: str, values: Sequence[float], labels: Mapping[str, str]) -> None:
        """Add the samples of this run to a series.

        Args:
            state: what tells its state file from the others of this user.
            values: the samples, seconds.
            labels: the labels of the series.
        """
        from bisect import bisect_left
        from json import dumps

        path = state_path(f"{os.getuid()}-{state}")
        counts, total_s = self._before(path)
        for value in values:
            counts[bisect_left(self.bounds, value)] += 1
        total_s += sum(values)
        self.family.add_histogram(self.bounds, counts, total_s, labels)
        document = {"bounds": self.bounds, "counts": counts, "sum": total_s}
        self.states.append((path, dumps(document).encode()))

    def _before(self, path: str) -> tuple[list[int], float]:
        from json import loads

        from kojuto._native import read_state

        content, why = read_state(path)
        if why is not None:
            complain(self.prog, f"warning: {path}: {why}; the histogram begins afresh")
        try:
            document = loads(content or b"{}")
            counts = [int(count) for count in document.get("counts", [])]
            fits = len(counts) == len(self.bounds) + 1 and min(counts) >= 0
            if fits and document.get("bounds") == self.bounds:
                return counts, float(document["sum"])
        except (ValueError, TypeError, AttributeError, KeyError):
            complain(self.prog, f"warning: {path}: not as it was left; the histogram begins afresh")
        return [0] * (len(self.bounds) + 1), 0.0

    def keep(self) -> None:
        """Remember the series, once they have been printed."""
        from kojuto._native import write_state

        try:
            for path, content in self.states:
                write_state(path, content)
        except OSError as error:
            text = f"warning: {describe(error)}; the histogram does not grow"
            complain(self.prog, text, way_out())
