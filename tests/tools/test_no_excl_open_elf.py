"""Why a program cannot be given a shared object by LD_PRELOAD, told from copies of a real one."""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.no_excl_open import elf
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


def header(headers: int, at: int, path: bytes, wide: bool) -> bytes:
    """An ELF file of nothing but program headers, the one at `at` naming the loader."""
    begin, size, first = (64, 56, 8) if wide else (52, 32, 4)
    table = bytearray(headers * size)
    start = begin + len(table)
    if wide:
        entry = (3).to_bytes(8, "little") + start.to_bytes(8, "little") + bytes(16)
        entry += len(path).to_bytes(8, "little")
    else:
        entry = (3).to_bytes(4, "little") + start.to_bytes(4, "little") + bytes(8)
        entry += len(path).to_bytes(4, "little")
    table[at * size : at * size + len(entry)] = entry
    head = bytearray(begin)
    head[:6] = b"\x7fELF" + (b"\x02" if wide else b"\x01") + b"\x01"
    place, sizes = (32, 54) if wide else (28, 42)
    head[place : place + first] = begin.to_bytes(first, "little")
    head[sizes : sizes + 4] = size.to_bytes(2, "little") + headers.to_bytes(2, "little")
    return bytes(head + table + path)


@pytest.mark.parametrize("wide", [True, False])
def test_where_a_loader_is_looked_for(wide: bool) -> None:
    def found(headers: int, at: int, length: int) -> int:
        return len(elf._interpreter(header(headers, at, b"x" * length, wide)) or "")

    assert found(300, elf.MAX_HEADERS - 1, 9) == 9
    assert found(300, elf.MAX_HEADERS, 9) == 0
    assert found(1, 0, elf.MAX_INTERPRETER_BYTES) == 4096
    assert found(1, 0, elf.MAX_INTERPRETER_BYTES + 1) == 0


def test_how_far_a_go_program_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "program"
    end = elf.MAX_SCAN_BYTES - len(elf.GO_MARK)
    for place, go in ((end, True), (end + 1, False)):
        with open("/bin/true", "rb") as true, open(path, "wb") as file:
            file.write(true.read())
            file.seek(place)
            file.write(elf.GO_MARK)
        assert (elf.why_not_preloadable(str(path)) is not None) is go


def test_how_many_scripts_may_lead_to_a_program(tmp_path: Path) -> None:
    inner = "/bin/true"
    for number in range(6):
        path = tmp_path / str(number)
        path.write_text(f"#!{inner}\n")
        inner = str(path)
        why = elf.why_not_preloadable(inner)
        assert (why is None) is (number < 5), (number, why)
