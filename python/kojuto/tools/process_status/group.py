"""``--unit`` and ``--cgroup``: what a control group uses and waits for, in versions 2 and 1."""

from __future__ import annotations

import os
from time import CLOCK_BOOTTIME, clock_gettime

from kojuto.common import streams
from kojuto.common.plugin.metrics import Graph, Metrics, key_name
from kojuto.common.plugin.state import state_path
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.process_status import procfs
from kojuto.tools.process_status.cgroup import Groups
from kojuto.tools.process_status.find import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.common.cli import Values

MOST_FOLDERS = 100_000  # looked through for a unit
SUFFIXES = (".service", ".scope", ".slice", ".socket", ".mount", ".swap")
OTHERS = ("pid", "pid_file", "name", "with_children", "threads", "io", "context_switches", "pss")
PRESSURE = ("cpu_some", "memory_some", "memory_full", "io_some", "io_full")
FAMILIES = {
    "process_status_cpu_ratio": ("gauge", "Share of the CPU base used since the last run.", 100),
    "process_status_memory_bytes": ("gauge", "Memory charged to the group, its maximum.", 1),
    "process_status_memory_usage_ratio": ("gauge", "Share of the memory in use.", 100),
    "process_status_cpus_limit": ("gauge", "CPUs that the group may use at most.", 1),
    "process_status_throttled_ratio": ("gauge", "Share of the time that it was throttled.", 100),
    "process_status_pressure_ratio": ("gauge", "Share of the time that its tasks waited.", 100),
}


def is_meant(values: Values) -> bool:
    """Whether a group is asked for, and not a process.

    Raises:
        UsageError: both are, or what only a process has.
    """
    if values.unit is None and values.cgroup is None:
        return False
    title = "--unit" if values.unit is not None else "--cgroup"
    if values.unit is not None and values.cgroup is not None:
        raise UsageError("--unit cannot go with --cgroup")
    for name in OTHERS:
        if getattr(values, name) not in (None, False):
            raise UsageError(f"{title} cannot go with --{name.replace('_', '-')}")
    return True


def graphs(key: str) -> list[Graph]:
    """What is drawn of a group."""

    def graph(name: str, title: str, unit: str, *metrics: str) -> Graph:
        rows = [(metric, metric.replace("_", " ")) for metric in metrics]
        return Graph(f"process-status.{name}_{key}", f"Group {key}: {title}", unit, rows)

    return [
        graph("cpu", "CPU", "percentage", "percentage"),
        graph("cpu_limit", "CPUs at most", "float", "cpus"),
        graph("throttled", "time throttled", "percentage", "percentage"),
        graph("mem", "memory", "bytes", "used", "max"),
        graph("mem_usage", "memory usage", "percentage", "percentage"),
        graph("pressure", "time waiting for", "percentage", *PRESSURE),
    ]


def _find(values: Values) -> Groups:
    if values.cgroup is not None:
        groups = Groups.at(values.cgroup)
        if not groups.seen:
            raise KojutoError(f"no control group {values.cgroup}", "see 'systemd-cgls'")
        return groups
    name = values.unit if values.unit.endswith(SUFFIXES) else f"{values.unit}.service"
    found = sorted({path for point in Groups.trees() for path in _paths_of(point, name)})
    if not found:
        raise KojutoError(f"no control group of a unit {name}", "is it active? see 'systemd-cgls'")
    if len(found) > 1:
        shown = ", ".join(found[:10])
        raise KojutoError(f"{len(found)} units are called {name}: {shown}", "choose with --cgroup")
    return Groups.at(found[0])


def _paths_of(point: str, name: str) -> list[str]:
    found = []
    for looked, (folder, names, _) in enumerate(os.walk(point)):
        if name in names:
            found.append(os.path.join(folder, name)[len(point) :])
            names.remove(name)
        if looked > MOST_FOLDERS:
            break
    return found


class GroupRun:
    """One run that looks at a group."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.key = key_name(values.key_prefix)
        self.metrics = Metrics(FAMILIES)
        self.groups = _find(values)
        self.state: tuple[str, bytes] | None = None

    def collect(self) -> None:
        """All that the group tells; what a version or a controller lacks is left out."""
        self._rates()
        limit = self.groups.cpu_limit()
        if limit is not None:
            self._add("cpu_limit", "cpus", limit, "process_status_cpus_limit")
        used = self.groups.number("", "memory.current")
        if used is None:
            used = self.groups.number("memory", "memory.usage_in_bytes")
        most = procfs.memory_bytes()
        if not self.values.ignore_cgroup:
            most = min(most, self.groups.memory_limit() or most)
        if used is not None:
            self._add("mem", "used", used, "process_status_memory_bytes")
            self._add("mem", "max", most, "process_status_memory_bytes")
            share = used * 100 / most if most else 0.0
            self._add("mem_usage", "percentage", share, "process_status_memory_usage_ratio")

    def _add(self, graph: str, name: str, value: float, family: str) -> None:
        title = f"process-status.{graph}_{self.key}.{name}"
        self.metrics.add(title, value, family, process=self.values.key_prefix, kind=name)

    def _rates(self) -> None:
        sample = self._sample()
        path = state_path(f"{os.getuid()}-process-status-v2-{self.values.key_prefix}-group")
        before = load(path)
        if before is None:
            streams.say("Notice: first time execution command\n")
        elif before.get("group") != sample["group"]:
            streams.say("Notice: the last run looked at another group; starting afresh\n")
        elif (passed_s := sample["uptime"] - before.get("uptime", 0.0)) > 0:
            self._print_rates(before, sample, passed_s)
        text = ",".join(f'"{name}":{value!r}' for name, value in sample.items())
        self.state = path, b"{%s}" % text.encode()

    def _print_rates(
        self, before: dict[str, float], sample: dict[str, float], passed_s: float
    ) -> None:
        def share(name: str, of: float = 1.0) -> float | None:
            if name not in sample or name not in before or sample[name] < before[name]:
                return None
            return (sample[name] - before[name]) / passed_s / of * 100

        cpu = share("cpu", self._cpus()) if sample["cpu"] else None
        for graph, kind, value, family in (
            ("cpu", "percentage", cpu, "process_status_cpu_ratio"),
            ("throttled", "percentage", share("throttled"), "process_status_throttled_ratio"),
            *(
                ("pressure", kind, share(kind), "process_status_pressure_ratio")
                for kind in PRESSURE
            ),
        ):
            if value is not None:
                self._add(graph, kind, value, family)

    def _cpus(self) -> float:
        cpus: float = os.cpu_count() or 1
        if self.values.cpu_base == "core":
            return 1
        if self.values.cpu_base == "cgroup":
            return min(cpus, self.groups.cpu_limit() or cpus)
        return cpus

    def _sample(self) -> dict[str, float]:
        """Seconds on a CPU, throttled and under pressure; the group's identity."""
        of_v2 = self.groups.table("", "cpu.stat")
        of_v1 = self.groups.table("cpu", "cpu.stat")
        sample: dict[str, float] = {
            "uptime": clock_gettime(CLOCK_BOOTTIME),
            "group": self.groups.identity(),
            "syscpu": 0.0,
            "cpu": 0.0,
        }
        cpu_ns = self.groups.number("cpuacct", "cpuacct.usage")
        if "usage_usec" in of_v2:
            sample["cpu"] = of_v2["usage_usec"] / 1e6
        elif cpu_ns is not None:
            sample["cpu"] = cpu_ns / 1e9
        if "throttled_usec" in of_v2:
            sample["throttled"] = of_v2["throttled_usec"] / 1e6
        elif "throttled_time" in of_v1:
            sample["throttled"] = of_v1["throttled_time"] / 1e9
        for kind in PRESSURE:
            resource, _, line = kind.partition("_")
            waited_us = self.groups.pressure_us(resource, line)
            if waited_us is not None:
                sample[kind] = waited_us / 1e6
        return sample
