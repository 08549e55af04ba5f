"""Hard times for a process: system calls that a sandbox forbids, no threads, no memory.

Most functions answer what to do between fork and exec (``preexec_fn``), in the child alone.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import resource
import socket
import struct
from typing import TYPE_CHECKING

from tests.conftest import need_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CALLS = {
    "x86_64": {
        "clone": 56, "clone3": 435, "copy_file_range": 326, "epoll_pwait2": 441,
        "getrandom": 318, "sendfile": 40, "socket": 41, "splice": 275, "tee": 276, "vmsplice": 278,
    },
    "aarch64": {
        "clone": 220, "clone3": 435, "copy_file_range": 285, "epoll_pwait2": 441,
        "getrandom": 278, "sendfile": 71, "socket": 198, "splice": 76, "tee": 77, "vmsplice": 75,
    },
}[platform.machine()]  # fmt: skip
QUICK_CALLS = (
    "copy_file_range",
    "epoll_pwait2",
    "getrandom",
    "sendfile",
    "splice",
    "tee",
    "vmsplice",
)

# linux/bpf_common.h, linux/seccomp.h, linux/prctl.h, linux/sched.h
LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER, FIRST_ARGUMENT = 0, 16
ERRNO, ALLOW = 0x00050000, 0x7FFF0000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
CLONE_THREAD = 0x00010000

Step = tuple[int, int, int, int]


class _Filter(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _install(steps: list[Step]) -> Callable[[], None]:
    code = b"".join(struct.pack("HBBI", *step) for step in [*steps, (RETURN, 0, 0, ALLOW)])
    libc = ctypes.CDLL(None, use_errno=True)

    def install() -> None:
        program = _Filter(len(code) // 8, code)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
            PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
        ):
            raise OSError(ctypes.get_errno(), "seccomp")

    return install


def forbid(calls: Mapping[str, int]) -> Callable[[], None]:
    """Each of these system calls answers its error number."""
    steps: list[Step] = [(LOAD_WORD, 0, 0, NUMBER)]
    for name, number in calls.items():
        steps.append((JUMP_IF_EQUAL, 0, 1, CALLS[name]))
        steps.append((RETURN, 0, 0, ERRNO | number))
    return _install(steps)


def no_threads() -> Callable[[], None]:
    """No thread can be started, as at a limit of processes; children can."""
    return _install(
        [
            (LOAD_WORD, 0, 0, NUMBER),
            (JUMP_IF_EQUAL, 0, 1, CALLS["clone3"]),  # its flags cannot be seen here
            (RETURN, 0, 0, ERRNO | errno.ENOSYS),
            (JUMP_IF_EQUAL, 0, 3, CALLS["clone"]),
            (LOAD_WORD, 0, 0, FIRST_ARGUMENT),
            (JUMP_IF_SET, 0, 1, CLONE_THREAD),
            (RETURN, 0, 0, ERRNO | errno.EAGAIN),
        ]
    )


def no_ipv6() -> Callable[[], None]:
    """A kernel without IPv6 (``ipv6.disable=1``)."""
    return _install(
        [
            (LOAD_WORD, 0, 0, NUMBER),
            (JUMP_IF_EQUAL, 0, 3, CALLS["socket"]),
            (LOAD_WORD, 0, 0, FIRST_ARGUMENT),
            (JUMP_IF_EQUAL, 0, 1, socket.AF_INET6),
            (RETURN, 0, 0, ERRNO | errno.EAFNOSUPPORT),
        ]
    )


def as_user(number: int, threads: int | None = None) -> list[str]:
    """Words before a command that make it another user's, whom no file names; needs root.

    He may read what root may (this Python may lie in root's home), but write nothing of root's.

    Args:
        number: the user id.
        threads: how many processes and threads he may have in all.
    """
    words = [need_program("setpriv"), f"--reuid={number}", f"--regid={number}", "--clear-groups"]
    words += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return words if threads is None else [need_program("prlimit"), f"--nproc={threads}", *words]


def little_memory(size_bytes: int) -> Callable[[], None]:
    """An address space of this size."""
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (size_bytes, size_bytes))
