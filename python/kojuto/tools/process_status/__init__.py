"""``mackerel-plugin-linux-process-status``: CPU, descriptors and memory of one process."""

from __future__ import annotations

import os
import sys
from time import CLOCK_BOOTTIME, clock_gettime, time

from kojuto.common import cli, streams
from kojuto.common.cli import Command, Option, Values, complain, describe
from kojuto.common.plugin.metrics import (
    OPTIONS,
    Graph,
    Metrics,
    key_name,
    meta_requested,
    print_meta,
)
from kojuto.common.plugin.state import originals_path, output_first, state_path, way_out
from kojuto.common.units import integer
from kojuto.errors import KojutoError, words
from kojuto.tools.process_status import procfs
from kojuto.tools.process_status.find import PROG, find, load, same_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType


FAMILIES = {
    "process_status_fds": ("gauge", "Open file descriptors and their limit.", 1),
    "process_status_fds_usage_ratio": ("gauge", "Share of the descriptor limit in use.", 100),
    "process_status_cpu_ratio": ("gauge", "Share of the CPU base used since the last run.", 100),
    "process_status_memory_bytes": ("gauge", "Resident memory, its maximum, PSS if asked for.", 1),
    "process_status_memory_usage_ratio": ("gauge", "Share of the memory in use.", 100),
    "process_status_threads": ("gauge", "Threads.", 1),
    "process_status_processes": ("gauge", "Processes of the tree.", 1),
    "process_status_io_bytes_per_second": ("gauge", "Storage bytes a second, by way.", 1),
    "process_status_context_switches_per_second": ("gauge", "Context switches a second.", 1),
}

COMMAND = Command(
    PROG,
    "Print CPU, file descriptor and memory use of a process as Mackerel metrics. CPU is what was "
    "used since the last run.",
    [
        Option("-p", "--pid", metavar="PID", read=integer(1, 1 << 22), help="process id",
               group="Process (one of these)"),
        Option("--pid-file", metavar="FILE", help="file that holds the process id",
               group="Process (one of these)"),
        Option("--name", metavar="NAME", group="Process (one of these)",
               help="name of the process, its program or its first argument; of a tree the root"),
        Option("--unit", metavar="NAME", group="Process (one of these)",
               help="the control group of a unit of systemd (.service may be left out)"),
        Option("--cgroup", metavar="PATH", group="Process (one of these)",
               help="a control group, below its mount or as an absolute folder"),
        Option("--with-children", help="sum over the process and all its descendants",
               group="Process (one of these)"),
        Option("--key-prefix", metavar="PREFIX", required=True,
               help="what the process is called in the metric names"),
        Option("--cpu-base", metavar="BASE", default="host",
               choices=("host", "core", "cgroup", "compat"),
               help="what 100% of CPU is: host (all CPUs), core (one CPU), cgroup (its CPU "
                    "limit), compat (user, nice, system and idle time, as the original)"),
        Option("--ignore-cgroup",
               help="take the machine's memory as the maximum, not the limit of the cgroup"),
        Option("--threads", help="print the number of threads (and processes) too",
               group="More metrics"),
        Option("--io", help="print storage bytes read and written a second too",
               group="More metrics"),
        Option("--context-switches", help="print context switches a second too",
               group="More metrics"),
        Option("--pss", group="More metrics",
               help="print the proportional memory share too; the kernel walks all pages for it, "
                    "which can stall a process of many GB for seconds"),
        *OPTIONS,
    ],
    passes_over=True,
    usage="{--pid PID | --pid-file FILE | --name NAME | --unit NAME | --cgroup PATH} "
          "--key-prefix PREFIX [options]",
)  # fmt: skip


class Run:
    """One run: what was found, what to print, what to say at the end."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.key = key_name(values.key_prefix)
        self.metrics = Metrics(FAMILIES)
        self.root = find(values)
        self.tree = [self.root]
        if values.with_children:
            self.tree = procfs.with_descendants(self.root, procfs.every_stat())
        self.failed = False
        self._used_bytes: int | None = None
        self.state: tuple[str, bytes] | None = None

    def sum(self, of: Callable[[int], int]) -> int:
        """The sum over the tree; a descendant that ended meanwhile counts nothing."""
        total = 0
        for process in self.tree:
            try:
                total += of(process.seen_by)
            except (FileNotFoundError, ProcessLookupError):  # noqa: PERF203
                if process is self.root:
                    raise
        return total

    def part(self, what: str, work: Callable[[], None]) -> None:
        """Do a part of the work. Where it fails, all other parts are still done.

        Raises:
            OSError: the process has ended.
        """
        try:
            work()
        except (FileNotFoundError, ProcessLookupError) as error:
            procfs.stat(self.root.pid)  # it is there: the kernel has no such file
            self._fail(what, error)
        except PermissionError as error:
            if not self.failed:
                complain(
                    PROG,
                    f"error: {what} of process {self.root.pid}: {describe(error)}",
                    "run it as root or as the user of that process",
                )
            self.failed = True
        except (OSError, ValueError, LookupError) as error:
            self._fail(what, error)

    def _fail(self, what: str, error: Exception) -> None:
        complain(PROG, f"error: {what} of process {self.root.pid}: {words(error)}")
        self.failed = True

    def add(self, graph: str, name: str, value: float, family: str) -> None:
        """Add a metric of one graph."""
        title = f"process-status.{graph}_{self.key}.{name}"
        self.metrics.add(title, value, family, process=self.values.key_prefix, kind=name)

    def every_part(self) -> None:
        """All that can be measured.

        Raises:
            OSError: the process has ended.
        """
        if self.root.is_kernel_thread:
            complain(
                PROG,
                f"error: process {self.root.pid} ({self.root.name}) is a kernel thread: "
                "it has no file descriptors and no memory",
            )
            self.failed = True
        else:
            self.part("file descriptors", self.fds)
        self.part("CPU", self.rates)
        if not self.root.is_kernel_thread:
            self.part("memory", self.memory)
            self.part("memory limit", self.memory_limit)
        self.more()
        now = procfs.stat(self.root.pid)
        if now.has_ended or now.start_ticks != self.root.start_ticks:
            raise ProcessLookupError

    # -- the parts --------------------------------------------------------------------------------

    def fds(self) -> None:
        """Open file descriptors beside their limit."""
        count, most = self.sum(procfs.fd_count), self.sum(procfs.fd_limit)
        self.add("fds", "count", count, "process_status_fds")
        self.add("fds", "max", most, "process_status_fds")
        share = count * 100 / most if most else 0.0
        self.add("fds_usage", "percentage", share, "process_status_fds_usage_ratio")

    def rates(self) -> None:
        """CPU and whatever else is a difference to the last run."""
        sample = self._sample()
        name = f"{os.getuid()}-process-status-v2-{self.values.key_prefix}-{self._id()}"
        path = state_path(name)
        before = load(path)
        if before is None and (originals := originals_path(name)) not in (None, path):
            before = load(originals)
        if before is None:
            streams.say("Notice: first time execution command\n")
        elif not same_process(before, sample):
            streams.say(
                f"Notice: the last run looked at another process than this {self.root.pid} "
                "(or at another set of them); starting afresh\n"
            )
        else:
            self._print_rates(before, sample)
        text = ",".join(f'"{name}":{value!r}' for name, value in sample.items())
        self.state = path, b"{%s}" % text.encode()

    def _id(self) -> str:
        """A process found by file or name keeps its state over a restart with another pid."""
        return str(self.root.pid) if self.values.pid is not None else "found"

    def _sample(self) -> dict[str, float]:
        ticks = sum(process.cpu_ticks for process in self.tree)
        if self.values.with_children:
            # What a child has used moves to its parent's account when it is waited for, so that
            # this sum only grows.
            ticks += sum(process.reaped_ticks for process in self.tree)
        sample: dict[str, float] = {
            "now": int(time()),
            "syscpu": 0.0,  # not known
            "cpu": ticks / procfs.TICKS_PER_S,
            "uptime": clock_gettime(CLOCK_BOOTTIME),
            "pid": self.root.pid,
            "start": self.root.start_ticks,
            "tree": int(self.values.with_children),
        }
        self.part("CPU of the machine", lambda: self._sample_machine(sample))
        if self.values.io:
            self.part("I/O", lambda: self._sample_pair(sample, "io", procfs.io_bytes))
        if self.values.context_switches:
            self.part(
                "context switches",
                lambda: self._sample_pair(sample, "ctx", procfs.context_switches),
            )
        return sample

    def _sample_machine(self, sample: dict[str, float]) -> None:
        sample["syscpu"] = procfs.busy_and_idle_ticks() / procfs.TICKS_PER_S

    def _sample_pair(
        self, sample: dict[str, float], name: str, of: Callable[[int], tuple[int, int]]
    ) -> None:
        pairs: dict[int, tuple[int, int]] = {}

        def first(pid: int) -> int:
            pairs[pid] = of(pid)
            return pairs[pid][0]

        sample[name + "1"] = self.sum(first)
        sample[name + "2"] = sum(pair[1] for pair in pairs.values())

    def _print_rates(self, before: dict[str, float], sample: dict[str, float]) -> None:
        used_s = sample["cpu"] - before["cpu"]
        base_s = self._base_s(before, sample)
        if base_s > 0 and used_s >= 0:
            self.add("cpu", "percentage", used_s / base_s * 100, "process_status_cpu_ratio")
        passed_s = sample["uptime"] - before.get("uptime", sample["uptime"])
        for name, graph, kinds, family in (
            ("io", "io", ("read_bytes", "write_bytes"), "process_status_io_bytes_per_second"),
            (
                "ctx",
                "context_switches",
                ("voluntary", "involuntary"),
                "process_status_context_switches_per_second",
            ),
        ):
            for number, kind in enumerate(kinds, start=1):
                field = f"{name}{number}"
                if field in sample and field in before and passed_s > 0:
                    grown = sample[field] - before[field]
                    if grown >= 0:  # threads that ended take their counts with them
                        self.add(graph, kind, grown / passed_s, family)

    def _base_s(self, before: dict[str, float], sample: dict[str, float]) -> float:
        """CPU seconds that are 100%."""
        base = self.values.cpu_base
        if base == "compat" or "uptime" not in before:  # a state file of the original
            both = sample["syscpu"] > 0 and before["syscpu"] > 0
            return sample["syscpu"] - before["syscpu"] if both else 0.0
        cpus: float = os.cpu_count() or 1
        if base == "core":
            cpus = 1
        elif base == "cgroup":
            from kojuto.tools.process_status.cgroup import Groups

            cpus = min(cpus, Groups(self.root.pid).cpu_limit() or cpus)
        return (sample["uptime"] - before["uptime"]) * cpus

    def memory(self) -> None:
        """Resident memory beside what there is."""
        # Of a tree the pages that are shared are counted once with --pss.
        shares = self.values.pss and self.values.with_children
        used = self.sum(procfs.pss_bytes if shares else procfs.resident_bytes)
        self.add("mem", "used", used, "process_status_memory_bytes")
        self._used_bytes = used

    def memory_limit(self) -> None:
        """What memory there is, and the share that is used."""
        most = procfs.memory_bytes()
        if not self.values.ignore_cgroup:
            from kojuto.tools.process_status.cgroup import Groups

            most = min(most, Groups(self.root.pid).memory_limit() or most)
        self.add("mem", "max", most, "process_status_memory_bytes")
        if self._used_bytes is not None:
            share = self._used_bytes * 100 / most
            self.add("mem_usage", "percentage", share, "process_status_memory_usage_ratio")

    def more(self) -> None:
        """What was asked for beyond the original's metrics."""
        if self.values.threads:
            threads = sum(process.threads for process in self.tree)
            self.add("threads", "count", threads, "process_status_threads")
            if self.values.with_children:
                self.add("processes", "count", len(self.tree), "process_status_processes")
        if self.values.pss and not self.root.is_kernel_thread:
            self.part("smaps_rollup", self._pss)

    def _pss(self) -> None:
        self.add("mem", "pss", self.sum(procfs.pss_bytes), "process_status_memory_bytes")


def _graphs(values: Values) -> list[Graph]:
    key = key_name(values.key_prefix)
    label = f"Process {key}"

    def graph(name: str, title: str, unit: str, *metrics: str) -> Graph:
        rows = [(metric, metric.replace("_", " ")) for metric in metrics]
        return Graph(f"process-status.{name}_{key}", f"{label}: {title}", unit, rows)

    graphs = [
        graph("fds", "file descriptors", "integer", "count", "max"),
        graph("fds_usage", "file descriptor usage", "percentage", "percentage"),
        graph("cpu", "CPU", "percentage", "percentage"),
        graph("mem", "memory", "bytes", "used", "max", *(["pss"] if values.pss else [])),
        graph("mem_usage", "memory usage", "percentage", "percentage"),
    ]
    if values.threads:
        graphs.append(graph("threads", "threads", "integer", "count"))
        if values.with_children:
            graphs.append(graph("processes", "processes", "integer", "count"))
    if values.io:
        graphs.append(graph("io", "storage", "bytes/sec", "read_bytes", "write_bytes"))
    if values.context_switches:
        kinds = ("voluntary", "involuntary")
        graphs.append(graph("context_switches", "context switches a second", "float", *kinds))
    return graphs


def _work(values: Values, _: list[str]) -> int:
    cli.check_textfile(values)
    of_group = (values.unit or values.cgroup) is not None and _group().is_meant(values)
    if meta_requested():
        key = key_name(values.key_prefix)
        print_meta(_group().graphs(key) if of_group else _graphs(values))
        return cli.DONE
    if of_group:
        return _work_on_group(values)
    run = Run(values)
    try:
        run.every_part()
    except (FileNotFoundError, ProcessLookupError) as error:
        of_process = isinstance(error, ProcessLookupError)
        if not of_process and not (error.filename or "").startswith("/proc/"):
            raise
        raise KojutoError(f"process {run.root.pid} ended meanwhile") from None
    _hand_out(values, run.metrics, run.state)
    return cli.FAILED if run.failed else cli.DONE


def _group() -> ModuleType:
    from kojuto.tools.process_status import group

    return group


def _work_on_group(values: Values) -> int:
    run = _group().GroupRun(values)
    run.collect()
    _hand_out(values, run.metrics, run.state)
    return cli.DONE


def _hand_out(values: Values, metrics: Metrics, state: tuple[str, bytes] | None) -> None:
    """Print the metrics, then keep the sample. Without it all else is still as it was printed."""
    output_first(
        lambda: metrics.write(values.output, int(time()), textfile=values.textfile),
        "the next run measures from where this one did",
    )
    if state is None:
        return
    from kojuto._native import write_state

    try:
        write_state(*state)
    except OSError as error:
        complain(PROG, f"warning: {describe(error)}; the next run cannot measure", way_out())


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mackerel-plugin-linux-process-status`` and return its exit status."""
    return cli.run(COMMAND, _work, argv)


if __name__ == "__main__":
    sys.exit(main())
