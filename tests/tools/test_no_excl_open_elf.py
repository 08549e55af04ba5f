"""Why a program cannot be given a shared object by LD_PRELOAD, told from copies of a real one."""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.no_excl_open.elf import why_not_preloadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOADER = b"/lib64/ld-linux-x86-64.so.2"


def other_machine(program: bytes) -> bytes:
    return program[:18] + bytes([program[18] ^ 1]) + program[19:]


def other_class(program: bytes) -> bytes:
    return program[:4] + bytes([program[4] ^ 3]) + program[5:]


def of_musl(program: bytes) -> bytes:
    name = b"/lib/ld-musl-x86_64.so.1\0"
    assert program.count(LOADER, 0, 4096) == 1
    return program.replace(LOADER, name.ljust(len(LOADER), b"\0"), 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda program: program, None),
        (lambda program: b"MZ" + program[2:], "neither an ELF program nor a script"),
        (lambda _: b"", "neither an ELF program nor a script"),
        (lambda _: b"#!\n", "a script without an interpreter"),
        (other_machine, "built for another architecture than the shim"),
        (other_class, "built for another architecture than the shim"),
        pytest.param(
            of_musl,
            "linked with musl (/lib/ld-musl-x86_64.so.1); the shim is for glibc",
            marks=pytest.mark.skipif(os.uname().machine != "x86_64", reason="names x86-64 loaders"),
        ),
    ],
)
def test_a_program_that_cannot_be_preloaded_is_told_with_its_reason(
    change: Callable[[bytes], bytes], reason: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "program"
    with open(os.path.realpath(sys.executable), "rb") as file:
        path.write_bytes(change(file.read()))
    assert why_not_preloadable(str(path)) == reason


def test_file_capabilities_make_the_loader_ignore_it(tmp_path: Path) -> None:
    path = tmp_path / "program"
    with open(os.path.realpath(sys.executable), "rb") as file:
        path.write_bytes(file.read())
    # linux/capability.h: struct vfs_cap_data of revision 2, effective CAP_NET_BIND_SERVICE.
    try:
        os.setxattr(path, "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
    except OSError as error:
        if os.geteuid() == 0 and error.errno != errno.ENOTSUP:
            raise
        pytest.skip("capabilities of files need root and a file system with them")
    reason = "it has file capabilities: the loader ignores LD_PRELOAD"
    assert why_not_preloadable(str(path)) == reason
