"""Why a program cannot be given a shared object by LD_PRELOAD, told from copies of a real one."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.no_excl_open import elf
from kojuto.tools.no_excl_open.elf import why_not_preloadable
from tests.conftest import ROOT, need_program, run
from tests.disks import small_disk
from tests.peers.shim import SHIM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="names x86-64 loaders")
LOADER = b"/lib64/ld-linux-x86-64.so.2"


def other_machine(program: bytes) -> bytes:
    return program[:18] + bytes([program[18] ^ 1]) + program[19:]


def other_class(program: bytes) -> bytes:
    return program[:4] + bytes([program[4] ^ 3]) + program[5:]


def loaded_by(name: bytes) -> Callable[[bytes], bytes]:
    def change(program: bytes) -> bytes:
        assert program.count(LOADER, 0, 4096) == 1
        return program.replace(LOADER, name.ljust(len(LOADER), b"\0"), 1)

    return change


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
            loaded_by(b"/lib/ld-musl-z80.so.1"),
            "its loader /lib/ld-musl-z80.so.1 is not there",
            marks=x86_64,
        ),
    ],
)
def test_a_program_that_cannot_be_preloaded_is_told_with_its_reason(
    change: Callable[[bytes], bytes], reason: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "program"
    with open(os.path.realpath(sys.executable), "rb") as file:
        path.write_bytes(change(file.read()))
    assert why_not_preloadable(str(path), SHIM) == reason


def with_capabilities(path: Path, flag: int, permitted: int, inheritable: int) -> None:
    # linux/capability.h: struct vfs_cap_data of revision 2.
    data = struct.pack("<5I", 0x02000000 | flag, permitted, inheritable, 0, 0)
    os.setxattr(path, "security.capability", data)


def set_id(path: Path, mode: int, user: int, group: int) -> None:
    os.chown(path, user, group)
    path.chmod(mode)


BIND = 1 << 10


ROOTS, NOBODYS, ALL, OTHERS = (True, False), (False, False), (True, True), (False, True)
"""Who keeps LD_PRELOAD in a program: root, and another user."""


@pytest.mark.skipif(os.geteuid() != 0, reason="files of others need root")
@pytest.mark.parametrize("how", ["as it is", "nosuid", "no new privileges"])
@pytest.mark.parametrize(
    ("change", "keep"),
    [
        pytest.param(lambda _: None, ALL, id="plain"),
        pytest.param(lambda path: set_id(path, 0o4755, 0, 0), ROOTS, id="root's"),
        pytest.param(lambda path: set_id(path, 0o4755, 65534, 0), OTHERS, id="the other's"),
        pytest.param(lambda path: set_id(path, 0o4755, 65533, 0), NOBODYS, id="a third's"),
        pytest.param(lambda path: set_id(path, 0o2755, 0, 65533), NOBODYS, id="a group's"),
        pytest.param(lambda path: set_id(path, 0o2745, 0, 65533), ALL, id="not for the group"),
        pytest.param(lambda path: with_capabilities(path, 1, BIND, 0), ROOTS, id="effective"),
        pytest.param(lambda path: with_capabilities(path, 0, BIND, 0), ROOTS, id="permitted"),
        pytest.param(lambda path: with_capabilities(path, 1, 0, 0), ROOTS, id="none, effective"),
        pytest.param(lambda path: with_capabilities(path, 0, 0, BIND), ALL, id="inheritable"),
    ],
)
def test_who_is_said_to_keep_ld_preload_does(
    change: Callable[[Path], None], keep: tuple[bool, bool], how: str, tmp_path: Path
) -> None:
    """A real program is run by root and by another, and asked whether it has LD_PRELOAD."""
    need_program("setpriv")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    with small_disk(place, "mode=755" + (",nosuid" if how == "nosuid" else "")):
        program = place / "program"
        shutil.copy("/usr/bin/env", program)
        change(program)
        no_new = how == "no new privileges"
        for number, keeps in zip((0, 65534), keep, strict=True):
            command = ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups"]
            command += ["--no-new-privs"] if no_new else []
            command += ["env", "LD_PRELOAD=libm.so.6", str(program)]
            done = subprocess.run(command, capture_output=True, check=True)
            has = b"LD_PRELOAD=" in done.stdout
            assert has is keeps or how != "as it is", number
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(elf, "_gains_nothing", lambda: no_new)
                patch.setattr(os, "getuid", lambda number=number: number)
                patch.setattr(os, "getgid", lambda number=number: number)
                assert (elf.why_secure(str(program)) is None) is has, number


def test_no_new_privileges_are_seen() -> None:
    need_program("setpriv")
    asked = "from kojuto.tools.no_excl_open import elf; print(elf._gains_nothing())"
    for before, gains_nothing in ([], b"False\n"), (["setpriv", "--no-new-privs"], b"True\n"):
        done = subprocess.run(
            [*before, sys.executable, "-c", asked], capture_output=True, check=True
        )
        assert done.stdout == gains_nothing


def test_a_program_of_musl_is_one_that_the_shim_acts_in(tmp_path: Path) -> None:
    """Its loader finds all in itself that the shim asks glibc for; and is asked whether it does."""
    source, program, log = (
        ROOT / "tests/programs/exclusive.c",
        tmp_path / "opener",
        tmp_path / "log",
    )
    flags = ["-O2", "-pthread", "-w", "-D_LARGEFILE64_SOURCE"]
    subprocess.run([need_program("musl-gcc"), *flags, "-o", program, source], check=True)
    log.write_bytes(b"")
    assert why_not_preloadable(str(program), SHIM) is None
    other = str(tmp_path / "other.so")
    missing = subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", other, "-xc", "-"], check=True,
        input=b"int gnu_get_libc_version(void); int f(void) { return gnu_get_libc_version(); }",
    )  # fmt: skip
    assert missing.returncode == 0
    told = why_not_preloadable(str(program), other)
    assert told is not None
    assert "which cannot load the shim: " in told
    assert "gnu_get_libc_version" in told
    for shim, acts in ((True, True), (False, False)):
        command = ["--for", "opener" if shim else "none", "--", program, "modes", log]
        done = run("no-excl-open", *command)
        assert (b"errno 77\n" in done.stdout) is acts, done


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
        assert (elf.why_not_preloadable(str(path), SHIM) is not None) is go


def test_how_many_scripts_may_lead_to_a_program(tmp_path: Path) -> None:
    inner = "/bin/true"
    for number in range(6):
        path = tmp_path / str(number)
        path.write_text(f"#!{inner}\n")
        inner = str(path)
        why = elf.why_not_preloadable(inner, SHIM)
        assert (why is None) is (number < 5), (number, why)
