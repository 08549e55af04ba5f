"""The limits that control groups put on a process, versions 1 and 2 (cgroups(7))."""

from __future__ import annotations

import os

from kojuto.tools.process_status import procfs

# A limit of version 1 from here on is none: the kernel's "unlimited" is 2^63 less a page.
NO_LIMIT = 1 << 62


class Groups:
    """Where the groups of one process are mounted.

    Args:
        pid: the process.
        proc: where proc is mounted.

    Raises:
        OSError: the process is gone.
    """

    def __init__(self, pid: int, proc: str = "/proc") -> None:
        self._mounts = _mounts(procfs.read(f"{proc}/self/mountinfo"))
        self._paths: dict[str, str] = {}
        for line in procfs.read(f"{proc}/{pid}/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                self._paths[controller] = path

    @classmethod
    def at(cls, path: str) -> Groups:
        """A group by its path below the mounts, or by its folder, wherever that is."""
        mounts = {kind: (point, "/") for kind, (point, _) in _mounts(_mountinfo()).items()}
        inside = [p for p, _ in mounts.values() if (path + "/").startswith(p + "/")]
        # Another folder may have the name of a group: one of groups says who is in them.
        if inside or (path.startswith("/") and os.path.exists(f"{path}/cgroup.procs")):
            top = max(inside, key=len, default=None)
            if top is None:  # of version 2, mounted where this namespace does not see it
                top = path.rstrip("/")
                while os.path.exists(os.path.join(os.path.dirname(top), "cgroup.procs")):
                    top = os.path.dirname(top)
                mounts = {"": (top, "/")}
            path = path[len(top) :]
        groups = cls.__new__(cls)
        groups._mounts = mounts
        path = "/" + path.strip("/")
        groups._paths = {
            kind: path for kind, (point, _) in mounts.items() if os.path.isdir(point + path)
        }
        return groups

    @staticmethod
    def trees() -> list[str]:
        """Where the groups of systemd are mounted."""
        mounts = _mounts(_mountinfo())
        return [mounts[kind][0] for kind in ("", "name=systemd") if kind in mounts]

    @property
    def seen(self) -> bool:
        """Whether the group is there in any hierarchy."""
        return bool(self._paths)

    def identity(self) -> int:
        """A number that another group of the same path does not have."""
        return max(
            (os.stat(folders[0]).st_ino for k in self._paths if (folders := self._folders(k))),
            default=0,
        )

    def number(self, controller: str, name: str) -> int | None:
        """What a file of the group holds; None when there is none or it holds no number."""
        text = next((_value(folder, name) for folder in self._folders(controller)[:1]), "")
        return int(text) if text.isascii() and text.isdigit() else None

    def table(self, controller: str, name: str) -> dict[str, int]:
        """A file of lines with a name and a number."""
        text = next((_value(folder, name) for folder in self._folders(controller)[:1]), "")
        pairs = [line.split() for line in text.splitlines()]
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def pressure_us(self, resource: str, line: str) -> int | None:
        """How long tasks of the group waited for it (PSI), ``some`` of them or the ``full`` lot."""
        name = f"{resource}.pressure"
        for folder in self._folders("")[:1]:
            for words in map(str.split, _value(folder, name).splitlines()):
                if words[0] == line and words[-1].startswith("total="):
                    return int(words[-1].removeprefix("total="))
        return None

    def memory_limit(self) -> int | None:
        """The lowest memory limit from the process's group up to the root, None without one."""
        limits = [
            int(text)
            for folder in self._folders("")
            if (text := _value(folder, "memory.max")) not in ("", "max")
        ]
        limits += [
            int(text)
            for folder in self._folders("memory")
            if (text := _value(folder, "memory.limit_in_bytes")) not in ("", "-1")
        ]
        lowest = min(limits, default=NO_LIMIT)
        return lowest if lowest < NO_LIMIT else None

    def cpu_limit(self) -> float | None:
        """How many CPUs the process may use at most, None without a limit."""
        limits = []
        for folder in self._folders(""):
            quota, _, period = _value(folder, "cpu.max").partition(" ")
            if quota not in ("", "max"):
                limits.append(int(quota) / int(period or 100_000))
        for folder in self._folders("cpu"):
            quota = _value(folder, "cpu.cfs_quota_us")
            if quota not in ("", "-1"):
                limits.append(int(quota) / int(_value(folder, "cpu.cfs_period_us") or 100_000))
        return min(limits, default=None)

    def _folders(self, controller: str) -> list[str]:
        """The folder of the process's group and of all above it, as far as they can be seen."""
        mount = self._mounts.get(controller)
        path = self._paths.get(controller)
        if mount is None or path is None:
            return []
        point, root = mount
        inside = path
        if root != "/":  # a part of the tree is mounted, as in a container
            inside = path[len(root) :] if (path + "/").startswith(root + "/") else "/"
        parts = [part for part in inside.split("/") if part]
        if ".." in parts:  # the group is outside what this namespace may see
            parts = []
        return ["/".join([point, *parts[:end]]) for end in range(len(parts), -1, -1)]


def _mountinfo() -> str:
    return procfs.read("/proc/self/mountinfo")


def _mounts(mountinfo: str) -> dict[str, tuple[str, str]]:
    """Controller to (mount point, mounted root); the empty name is version 2."""
    found: dict[str, tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        point = fields[4].replace("\\040", " ")
        if kind[0] == "cgroup2":
            found.setdefault("", (point, fields[3]))
        elif kind[0] == "cgroup":
            for option in kind[-1].split(","):
                found.setdefault(option, (point, fields[3]))
    return found


def _value(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    try:
        return procfs.read(path).strip()
    except OSError:
        return ""
