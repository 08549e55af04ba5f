"""Can a program be given a shared object by LD_PRELOAD? Read from its ELF header (elf(5))."""

from __future__ import annotations

import os
import stat

PT_INTERP = 3
MAX_HEADERS = 256
MAX_INTERPRETER_BYTES = 4096
MAX_SCAN_BYTES = 64 << 20
GO_MARK = b"\xff Go buildinf:"


def why_not_preloadable(path: str, depth: int = 0) -> str | None:
    """Say why LD_PRELOAD has no effect on a program.

    Args:
        path: the program; for a script its interpreter is looked at.
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
            inner = why_not_preloadable(os.fsdecode(words[0]), depth + 1)
            return None if inner is None else f"its interpreter {os.fsdecode(words[0])}: {inner}"
        if not head.startswith(b"\x7fELF"):
            return "neither an ELF program nor a script"
        status = os.fstat(file.fileno())
        if _changes_user(status):
            return "setuid or setgid: the loader ignores LD_PRELOAD"
        if _has_capabilities(path):
            return "it has file capabilities: the loader ignores LD_PRELOAD"
        own = _class_and_machine(open_head("/proc/self/exe"))
        if _class_and_machine(head) != own:
            return "built for another architecture than the shim"
        file.seek(0)
        interpreter = _interpreter(file.read(1 << 16))
        if interpreter is None:
            return "linked statically: there is no loader that reads LD_PRELOAD"
        if "musl" in interpreter:
            return f"linked with musl ({interpreter}); the shim is for glibc"
        file.seek(0)
        if GO_MARK in file.read(MAX_SCAN_BYTES):
            return "a Go program: it calls the kernel, not the C library"
    return None


def _changes_user(status: os.stat_result) -> bool:
    """Whether it runs as another than who calls it: root's own setuid program is loaded as any."""
    return bool(
        (status.st_mode & stat.S_ISUID and status.st_uid != os.getuid())
        or (status.st_mode & stat.S_ISGID and status.st_gid != os.getgid())
    )


def open_head(path: str) -> bytes:
    """The first bytes of a file."""
    with open(path, "rb") as file:
        return file.read(64)


def _class_and_machine(head: bytes) -> tuple[int, bytes]:
    return (head[4] if len(head) > 4 else 0, head[18:20])


def _has_capabilities(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


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
