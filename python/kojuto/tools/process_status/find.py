"""Which process is meant, what to say of one that cannot be measured, what was known of it."""

from __future__ import annotations

import os
import stat
from time import time

from kojuto.common.cli import complain
from kojuto.errors import KojutoError, UsageError
from kojuto.tools.process_status import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kojuto.common.cli import Values

PROG = "mackerel-plugin-linux-process-status"
KINDS = {
    stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
HIDDEN = "proc is mounted with hidepid=: run this as root or in the group that its gid= names"


def find(values: Values) -> procfs.Stat:
    """The process of ``--pid``, ``--pid-file`` or ``--name``.

    Raises:
        KojutoError: there is none, it has ended, or nothing tells of processes.
        UsageError: none or several of the three are given.
    """
    given = [name for name in ("pid", "pid_file", "name") if getattr(values, name) is not None]
    if len(given) != 1:
        raise UsageError("one of --pid, --pid-file and --name is required")
    if not os.path.lexists("/proc/self"):  # where it is mounted it may lead nowhere
        raise KojutoError("no proc is mounted on /proc", "mount -t proc proc /proc")
    pid = values.pid
    if values.name is not None:
        return _by_name(values.name)
    if values.pid_file is not None:
        pid = _from_file(values.pid_file)
    where = f" (from {values.pid_file})" if values.pid_file is not None else ""
    try:
        found = procfs.stat(pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        if _is_there(pid):
            message = f"process {pid}{where} is there, but /proc does not show it to this user"
            raise KojutoError(message, HIDDEN) from None
        raise KojutoError(f"no process {pid}{where}", "is it running?") from None
    refuse_zombie(found, where)
    return found


def refuse_zombie(found: procfs.Stat, where: str = "") -> None:
    """Refuse a process that has ended: all that is left of it is its number.

    Raises:
        KojutoError: it is a zombie and no thread of it lives on.
    """
    if not found.has_ended:
        return
    try:
        parent = f"{found.ppid} ({procfs.stat(found.ppid).name})"
    except OSError:
        parent = str(found.ppid)
    raise KojutoError(
        f"process {found.pid} ({found.name}){where} is a zombie: it has ended",
        f"its parent {parent} has not waited for it yet",
    )


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _from_file(path: str) -> int:
    # A FIFO is not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        kind = KINDS.get(stat.S_IFMT(os.fstat(descriptor).st_mode))
        if kind is not None:
            raise KojutoError(f"{path}: {kind}, not a file with a process id")
        text = os.read(descriptor, 65536).decode("utf-8", "surrogateescape").split()
    finally:
        os.close(descriptor)
    pid = text[0] if text else ""
    if not pid.isascii() or not pid.isdigit() or len(pid) > 9 or int(pid) == 0:
        raise KojutoError(f"{path}: no process id in it")
    return int(pid)


def _by_name(name: str) -> procfs.Stat:
    """The one process of that name whose parent does not bear it too."""
    own = os.getpid()
    every = [each for each in procfs.every_stat() if not each.has_ended and each.pid != own]
    found = {each.pid: each for each in every if name in procfs.command_names(each.pid, each.name)}
    roots = [each for each in found.values() if each.ppid not in found]
    if not roots:
        if not os.path.exists("/proc/1/stat"):
            raise KojutoError(f"no process that /proc shows to this user is called {name}", HIDDEN)
        raise KojutoError(f"no process is called {name}", "see 'ps -eo pid,comm,args'")
    if len(roots) > 1:
        pids = ", ".join(str(each.pid) for each in sorted(roots, key=lambda each: each.pid)[:10])
        raise KojutoError(
            f"{len(roots)} processes are called {name}: {pids}", "choose with --pid or --pid-file"
        )
    return roots[0]


def load(path: str) -> dict[str, float] | None:
    """The last run's sample: a flat JSON object of numbers, ours or the original's."""
    from kojuto._native import read_state

    content, reason = read_state(path)
    if content is None:
        if reason is not None:
            complain(PROG, f"warning: {path}: {reason}; starting afresh")
        return None
    try:
        text = content.decode("ascii").strip()
        if text[:1] != "{" or text[-1:] != "}":
            raise ValueError
        pairs = [part.split(":") for part in text[1:-1].split(",")]
        found = {name.strip().strip('"'): float(value) for name, value in pairs}
        if not {"syscpu", "cpu"} <= found.keys() or any(v - v != 0 for v in found.values()):
            raise ValueError
    except ValueError:
        complain(PROG, f"warning: {path}: not what an earlier run wrote; starting afresh")
        return None
    return found


def same_process(before: dict[str, float], sample: dict[str, float]) -> bool:
    """Whether both samples are of one process."""
    if "start" in before:
        same = all(before.get(name) == sample[name] for name in ("pid", "start", "tree"))
        # Not by the calendar, which may be stepped: by the time since boot.
        return same and before.get("uptime", 0.0) <= sample["uptime"]
    # A state file of the original knows no start: the process must be older than the file.
    started = time() - sample["uptime"] + sample["start"] / procfs.TICKS_PER_S
    return started <= before.get("now", 0.0) + 1 and sample["cpu"] >= before["cpu"]
