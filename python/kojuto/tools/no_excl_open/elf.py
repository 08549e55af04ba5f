"""Can a program be given a shared object by LD_PRELOAD? Read from its ELF header (elf(5))."""

from __future__ import annotations

import os
import stat

PT_INTERP = 3
MAX_HEADERS = 256
MAX_INTERPRETER_BYTES = 4096
MAX_SCAN_BYTES = 64 << 20
EFFECTIVE = 1
"""VFS_CAP_FLAGS_EFFECTIVE of linux/capability.h."""
MUSL = "/lib/ld-musl-"
"""Where musl has its loader, with the processor and ``.so.1`` behind it."""
GO_MARK = b"\xff Go buildinf:"


def why_not_preloadable(path: str, shim: str, depth: int = 0) -> str | None:
    """Say why LD_PRELOAD has no effect on a program that this process starts.

    Args:
        path: the program; for a script its interpreter is looked at.
        shim: what is to be loaded.
        depth: how many scripts led here.

    Returns:
        The reason, None when the shim can be loaded.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(4096)
        if head.startswith(b"#!"):
            words = head[2:].split(b"\n", 1)[0].split()
            if not words or depth > 4:
                return "a script without an interpreter"
            inner = why_not_preloadable(os.fsdecode(words[0]), shim, depth + 1)
            return None if inner is None else f"its interpreter {os.fsdecode(words[0])}: {inner}"
        if not head.startswith(b"\x7fELF"):
            return "neither an ELF program nor a script"
        secure = why_secure(path)
        if secure is not None:
            return f"{secure}: the loader ignores LD_PRELOAD"
        own = _class_and_machine(open_head("/proc/self/exe"))
        if _class_and_machine(head) != own:
            return "built for another architecture than the shim"
        file.seek(0)
        interpreter = _interpreter(file.read(1 << 16))
        if interpreter is None:
            return "linked statically: there is no loader that reads LD_PRELOAD"
        if not os.path.exists(interpreter):
            return f"its loader {interpreter} is not there"
        if interpreter.startswith(MUSL):
            return _why_not_by_musl(interpreter, path, shim)
        if "musl" in interpreter:  # somebody's own, which is not run for a question
            return f"linked with musl ({interpreter}), which may not load the shim"
        file.seek(0)
        if GO_MARK in file.read(MAX_SCAN_BYTES):
            return "a Go program: it calls the kernel, not the C library"
    return None


def why_secure(path: str) -> str | None:
    """Why a program that this process starts runs in secure mode (getauxval(3), AT_SECURE).

    Its loader then takes LD_PRELOAD out of its environment, and from all that it starts.

    Raises:
        OSError: there is no such program.
    """
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        return None
    if _gains_capabilities(path):
        return "it has file capabilities"
    status = os.stat(path)
    setgid = stat.S_ISGID | stat.S_IXGRP
    # Root's own setuid program runs as root for root.
    changes = (status.st_mode & stat.S_ISUID and status.st_uid != os.getuid()) or (
        status.st_mode & setgid == setgid and status.st_gid != os.getgid()
    )
    return "setuid or setgid" if changes and not _gains_nothing() else None


def _gains_nothing() -> bool:
    """Whether no program gives this process more rights (PR_SET_NO_NEW_PRIVS of prctl(2))."""
    with open("/proc/self/status", "rb") as file:
        return b"\nNoNewPrivs:\t1\n" in file.read()


def _gains_capabilities(path: str) -> bool:
    """Whether its file gives it some, or says that they are in effect: root has them all.

    Source: capabilities(7), and `cap_bprm_creds_from_file` of the kernel's security/commoncap.c.
    """
    if os.getuid() == 0:
        return False
    try:
        data = os.getxattr(path, "security.capability")
    except OSError:
        return False
    # struct vfs_cap_data: the revision and a flag, then permitted and inheritable ones by turns.
    numbers = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
    return bool(numbers[0] & EFFECTIVE or (any(numbers[1:4:2]) and not _gains_nothing()))


def _why_not_by_musl(loader: str, path: str, shim: str) -> str | None:
    """Its loader knows names of glibc too, and lists what it loads without running the program."""
    from subprocess import DEVNULL, run

    done = run(
        [loader, "--list", path],
        env={"LD_PRELOAD": shim}, capture_output=True, stdin=DEVNULL, check=False, timeout=30,
    )  # fmt: skip
    if done.returncode == 0 and os.fsencode(shim) in done.stdout:
        return None
    why = os.fsdecode(done.stderr.strip().split(b"\n")[0])
    return f"linked with musl ({loader}), which cannot load the shim" + (f": {why}" if why else "")


def open_head(path: str) -> bytes:
    """The first bytes of a file."""
    with open(path, "rb") as file:
        return file.read(64)


def _class_and_machine(head: bytes) -> tuple[int, bytes]:
    return (head[4] if len(head) > 4 else 0, head[18:20])


def _interpreter(data: bytes) -> str | None:
    """The loader that a program names (PT_INTERP), None for a static program or a broken header."""
    wide = data[4:5] == b"\x02"
    order: str = "big" if data[5:6] == b"\x02" else "little"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "big" if order == "big" else "little")

    table, entry, count = (
        (number(32, 8), number(54, 2), number(56, 2))
        if wide
        else (number(28, 4), number(42, 2), number(44, 2))
    )
    for index in range(min(count, MAX_HEADERS)):
        at = table + index * entry
        if number(at, 4) != PT_INTERP:
            continue
        start, size = (
            (number(at + 8, 8), number(at + 32, 8))
            if wide
            else (number(at + 4, 4), number(at + 16, 4))
        )
        if size > MAX_INTERPRETER_BYTES or start + size > len(data):
            return None
        return os.fsdecode(data[start : start + size].rstrip(b"\0"))
    return None
