"""A histogram over all runs of a plugin that follows no log, for Prometheus (``--buckets``)."""

from __future__ import annotations

import os
from time import monotonic, sleep

from kojuto.common.cli import complain, describe
from kojuto.common.plugin.state import state_path, way_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kojuto._native import StateLock
    from kojuto.common.prometheus import Family

PATIENCE_S = 2.0
"""How long all series together wait for another run, which holds them while it prints."""
PAUSE_S = 0.02


class Tally:
    """A histogram whose series each have a state file.

    Args:
        prog: the plugin, for warnings.
        name: the name of the Prometheus family.
        about: its help.
        bounds: the upper bounds, seconds; other bounds than in the run before begin afresh.
    """

    __slots__ = ("_locks", "_samples", "_states", "bounds", "family", "prog")

    def __init__(self, prog: str, name: str, about: str, bounds: Sequence[float]) -> None:
        from kojuto.common.prometheus import Family

        self.prog = prog
        self.bounds = [*bounds]
        self.family: Family = Family(name, "histogram", about)
        self._samples: list[tuple[str, Sequence[float], Mapping[str, str]]] = []
        self._states: list[tuple[str, bytes]] = []
        self._locks: list[StateLock] = []

    def add(self, state: str, values: Sequence[float], labels: Mapping[str, str]) -> None:
        """Add the samples of this run to a series.

        Args:
            state: what tells its state file from the others of this user.
            values: the samples, seconds.
            labels: the labels of the series.
        """
        self._samples.append((state_path(f"{os.getuid()}-{state}"), values, labels))

    def grow(self) -> Family:
        """Add what the runs before counted, and keep other runs away until :meth:`keep`.

        Returns:
            The histogram, without the series that another run does not let go of.
        """
        from bisect import bisect_left
        from json import dumps

        until = monotonic() + PATIENCE_S
        # In one order in all runs: no two wait for each other.
        paths = sorted({path for path, _, _ in self._samples})
        ours = {path for path in paths if self._lock(path, until)}
        for path, values, labels in self._samples:
            if path not in ours:
                continue
            counts, total_s = self._before(path)
            for value in values:
                counts[bisect_left(self.bounds, value)] += 1
            total_s += sum(values)
            self.family.add_histogram(self.bounds, counts, total_s, labels)
            document = {"bounds": self.bounds, "counts": counts, "sum": total_s}
            self._states.append((path, dumps(document).encode()))
        return self.family

    def _lock(self, path: str, until: float) -> bool:
        while not self._try_lock(path):
            if monotonic() >= until:
                text = f"warning: {path}: another run holds it; this one is not counted there"
                complain(self.prog, text)
                return False
            sleep(PAUSE_S)
        return True

    def _try_lock(self, path: str) -> bool:
        from kojuto._native import StateLock

        try:
            self._locks.append(StateLock(path))
        except BlockingIOError:
            return False
        except OSError:
            pass  # what cannot be locked cannot be kept: that is told then
        return True

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
        """Remember the series, once they have been printed, and let other runs go on."""
        from kojuto._native import write_state

        try:
            for path, content in self._states:
                write_state(path, content)
        except OSError as error:
            text = f"warning: {describe(error)}; the histogram does not grow"
            complain(self.prog, text, way_out())
        for lock in self._locks:
            lock.release()
