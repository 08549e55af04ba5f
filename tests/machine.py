"""What a run of the tests has on this machine: processes, mounts, network namespaces, ports.

Run as a program it is the guard of a run: ``machine.py PID FOLDER`` waits until the process PID is
gone, however it ended, and removes what it left. It imports nothing of the tests.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

MARK = "TESTS_RUN_BY"
"""In the environment of all that a run starts: the process id of the run."""

# -- processes ------------------------------------------------------------------------------------

of_the_module: set[int] = set()
"""Processes that a fixture of the module ends, also when a test has started them again."""


class Process(NamedTuple):
    pid: int
    started: int
    """In clock ticks since the machine's start: a pid that is used again is another process."""
    parent: int
    zombie: bool


def adopt_orphans() -> None:
    """Become the parent of every orphan among our descendants: ``PR_SET_CHILD_SUBREAPER``."""
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0


def process(pid: int | str) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(int(pid), int(fields[19]), int(fields[1]), fields[0] == b"Z")


def children() -> list[Process]:
    """Those of this process, zombies too."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []  # mostly: there is no need to look through /proc
    own = os.getpid()
    found = (process(name) for name in os.listdir("/proc") if name.isdigit())
    return [one for one in found if one is not None and one.parent == own]


def command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "?"


def marked(run: int) -> list[int]:
    """The processes that this run started, whoever is their parent now."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if f"{MARK}={run}".encode() in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:  # gone, or somebody else's
                pass
    return found


# -- mounts and network namespaces ----------------------------------------------------------------


def mounts(folder: str) -> list[str]:
    """The mount points below a folder, the latest last."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split(" ")[1] for line in file]
    return [point for point in points if point.startswith(f"{folder}/")]


def namespaces(run: int) -> list[str]:
    """The network namespaces of a run: ``kojuto-PID`` and what may follow behind a dash."""
    try:
        names = os.listdir("/run/netns")
    except OSError:
        return []
    return [name for name in names if f"{name}-".startswith(f"kojuto-{run}-")]


def unmount(point: str) -> None:
    subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


def remove_namespace(name: str) -> None:
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


# -- ports ----------------------------------------------------------------------------------------

BLOCK = 1000
_ports: list[int] = []
_claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _block() -> list[int]:
    """Ports that no other run is given, and no connection as its own end."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        low, high = map(int, file.read().split())
    blocks = [
        first
        for first in range(10_000, 65_536 - BLOCK, BLOCK)
        if first + BLOCK <= low or first > high
    ]
    random.shuffle(blocks)
    for first in blocks:
        try:
            _claim.bind(f"\0kojuto-test-ports-{first}")  # for as long as this process lives
        except OSError:
            continue
        return list(range(first, first + BLOCK))
    raise OSError("every block of ports outside ip_local_port_range belongs to another run")


def free_port(family: int = socket.AF_INET) -> int:
    """A port of the loopback address that nobody uses, and that nobody else is given."""
    if not _ports:
        _ports.extend(_block())
    for _ in range(len(_ports)):
        port = _ports.pop(0)
        _ports.append(port)
        try:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
        except OSError:
            continue
        return port
    raise OSError("no port is free")


# -- the guard ------------------------------------------------------------------------------------


def clear(run: int, folder: str) -> None:
    """End and remove all that a run left behind when it was cut off."""
    for _ in range(100):
        left = marked(run)
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            break
        time.sleep(0.02)
    for point in reversed(mounts(folder)):
        unmount(point)
    for name in namespaces(run):
        remove_namespace(name)


def start_guard(folder: Path) -> int:
    """Start the guard of this process, before it adopts orphans; it is told to end by SIGTERM when
    there is nothing to do.

    It is nobody's child, so that a test without processes has none: `children` need not look.
    """
    started = subprocess.run(
        [sys.executable, "-IS", __file__, str(os.getpid()), str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return int(started.stdout)


def main() -> None:
    run, folder = os.pidfd_open(int(sys.argv[1])), sys.argv[2]
    if guard := os.fork():
        print(guard)
        return
    os.setsid()
    os.dup2(0, 1)  # whoever reads the number waits for the end of this file
    select.select([run], [], [])
    clear(int(sys.argv[1]), folder)


if __name__ == "__main__":
    main()
