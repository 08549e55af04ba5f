"""What /proc tells of processes (proc(5)), each value read once and bounded."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PF_KTHREAD = 0x00200000  # include/linux/sched.h
MAX_BYTES = 1 << 20  # of any one file of /proc read here
TICKS_PER_S: int = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: int = os.sysconf("SC_PAGE_SIZE")


def read(path: str) -> str:
    """The text of a small file of /proc.

    Raises:
        OSError: no such process, or no permission.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        room = MAX_BYTES
        while room > 0 and (part := os.read(descriptor, min(room, 65536))):
            parts.append(part)
            room -= len(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "surrogateescape")


class Stat:
    """The fields of ``/proc/PID/stat`` that matter here.

    Attributes:
        pid, ppid: the process and its parent.
        name: the command name, at most 15 bytes.
        state: one letter; Z is a zombie.
        cpu_ticks: its own user and system time.
        reaped_ticks: that of the children it has waited for.
        start_ticks: when it started, ticks since boot; with the pid it names a process for good.
        threads: how many it has.
        flags: what the kernel marks it with.
        seen_by: the thread in whose folder of /proc its files and memory are: the first one is
            empty when it has ended before the others.
    """

    __slots__ = (
        "cpu_ticks", "flags", "name", "pid", "ppid", "reaped_ticks", "seen_by", "start_ticks",
        "state", "threads",
    )  # fmt: skip

    def __init__(self, text: str) -> None:
        # The name is in brackets and may hold brackets and blanks itself.
        head, _, rest = text.rpartition(")")
        pid, _, self.name = head.partition(" (")
        fields = rest.split()
        self.pid = int(pid)
        self.state = fields[0]
        self.ppid = int(fields[1])
        self.cpu_ticks = int(fields[11]) + int(fields[12])
        self.reaped_ticks = int(fields[13]) + int(fields[14])
        self.threads = int(fields[17])
        self.flags = int(fields[6])
        self.start_ticks = int(fields[19])
        self.seen_by = self.pid

    @property
    def has_ended(self) -> bool:
        """Whether nothing but its number is left (a zombie)."""
        return self.state in "ZX" and self.threads <= 1

    @property
    def is_kernel_thread(self) -> bool:
        """Whether it runs in the kernel alone, without memory or files."""
        return bool(self.flags & PF_KTHREAD)


def stat(pid: int) -> Stat:
    """One process.

    Raises:
        OSError: it is gone.
    """
    found = Stat(read(f"/proc/{pid}/stat"))
    if found.state in "ZX" and not found.has_ended:
        found.seen_by = _living_thread(pid)
    return found


def _living_thread(pid: int) -> int:
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            if Stat(read(f"/proc/{pid}/task/{task}/stat")).state not in "ZX":
                return int(task)
        except OSError:  # noqa: PERF203
            continue  # the thread ended meanwhile
    return pid


def every_stat() -> list[Stat]:
    """All processes that are there while the list is made."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.append(stat(int(name)))
            except (OSError, ValueError, IndexError):
                continue  # it ended meanwhile
    return found


def with_descendants(root: Stat, everything: Iterable[Stat]) -> list[Stat]:
    """`root` and all that descends from it, without those that have ended."""
    children: dict[int, list[Stat]] = {}
    for each in everything:
        children.setdefault(each.ppid, []).append(each)
    tree = [root]
    seen = {root.pid}
    for parent in tree:  # grows while it is walked
        for child in children.get(parent.pid, ()):
            if child.pid not in seen:
                seen.add(child.pid)
                tree.append(child)
    return [each for each in tree if each is root or not each.has_ended]


def resident_bytes(pid: int) -> int:
    """Resident memory (``statm``, which costs the process nothing)."""
    return int(read(f"/proc/{pid}/statm").split()[1]) * PAGE_BYTES


def pss_bytes(pid: int) -> int:
    """Proportional share of memory (``smaps_rollup``).

    The kernel walks all pages for it and holds the process's memory lock meanwhile.
    """
    for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def fd_count(pid: int) -> int:
    """Open file descriptors."""
    path = f"/proc/{pid}/fd"
    # Since Linux 6.2 the folder's size is their number; else, and for a process that is not
    # ours to look into, the entries are listed.
    if os.access(path, os.R_OK) and (size := os.stat(path).st_size) > 0:
        return size
    return len(os.listdir(path))


def fd_limit(pid: int) -> int:
    """The soft limit of open files; 2^63 - 1 when there is none."""
    for line in read(f"/proc/{pid}/limits").splitlines():
        if line.startswith("Max open files"):
            word = line.split()[3]
            return (1 << 63) - 1 if word == "unlimited" else int(word)
    raise OSError(f"/proc/{pid}/limits: no line for open files")


def io_bytes(pid: int) -> tuple[int, int]:
    """Bytes read from and written to storage, those of reaped children included."""
    values = dict(line.split(": ") for line in read(f"/proc/{pid}/io").splitlines())
    return int(values["read_bytes"]), int(values["write_bytes"])


def context_switches(pid: int) -> tuple[int, int]:
    """Voluntary and involuntary context switches of all threads."""
    voluntary = involuntary = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            text = read(f"/proc/{pid}/task/{task}/status")
        except OSError:
            continue  # the thread ended meanwhile
        for line in text.splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                voluntary += int(line.split()[1])
            elif line.startswith("nonvoluntary_ctxt_switches"):
                involuntary += int(line.split()[1])
    return voluntary, involuntary


def memory_bytes() -> int:
    """Memory of the machine (``MemTotal``)."""
    for line in read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo: no MemTotal")


def busy_and_idle_ticks() -> int:
    """User, nice, system and idle time of all CPUs."""
    first = read("/proc/stat").split("\n", 1)[0].split()
    return sum(map(int, first[1:5]))


def command_names(pid: int, name: str) -> set[str]:
    """What a process is called: its name, its executable's and its first argument's base name."""
    names = {name}
    try:
        first = read(f"/proc/{pid}/cmdline").split("\0", 1)[0]
        names.add(os.path.basename(first.split(" ", 1)[0].rstrip(":")))
        names.add(os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)"))
    except OSError:
        return names  # not ours to look into, or a kernel thread
    names.discard("")
    return names
