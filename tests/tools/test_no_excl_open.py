"""`no-excl-open`: the shim itself, every call it covers, its limits, and the doctor."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, run
from tests.peers.shim import OPEN, SHIM, exclusive, opens, preloaded
from tests.streams import processes_end

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["exclusive", "processes_end"]


def test_every_call_is_covered_and_nothing_else_is_changed(exclusive: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"content")

    def calls(*, shim: bool) -> dict[str, str]:
        command = [exclusive, "calls", str(path), str(tmp_path), "log"]
        done = preloaded(*command, **({} if shim else {"LD_PRELOAD": ""}))
        assert (done.returncode, done.stderr) == (0, "")
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    with_shim, without = calls(shim=True), calls(shim=False)
    changed = {"open", "open64", "openat", "openat64"}
    refused = f"refused {errno.EEXIST}"
    for name, result in without.items():
        assert with_shim[name] == ("opened 0" if name in changed else result), name
        assert name not in changed or result == refused
    assert with_shim["write-only"] == with_shim["truncating"] == refused
    assert with_shim["tmpfile"] == with_shim["fortified-open"] == "opened 0"
    assert len(with_shim) == 13


def test_fortified_entry_points_are_in_the_program_and_in_the_shim(exclusive: str) -> None:
    symbols = subprocess.run(["nm", "-D", exclusive], capture_output=True, text=True, check=True)
    ours = subprocess.run(["nm", "-D", SHIM], capture_output=True, text=True, check=True).stdout
    for name in ("__open_2", "__open64_2", "__openat_2", "__openat64_2"):
        assert f"U {name}" in symbols.stdout
        assert f"T {name}\n" in ours
    defined = {line.split()[-1] for line in ours.splitlines() if " T " in line}
    assert defined == {
        "open", "open64", "openat", "openat64", "creat", "creat64",
        "__open_2", "__open64_2", "__openat_2", "__openat64_2",
    }  # fmt: skip


def test_it_needs_nothing_but_the_c_library() -> None:
    shown = subprocess.run(["readelf", "-d", SHIM], capture_output=True, text=True, check=True)
    needed = {
        line.split("[")[1].split("]")[0] for line in shown.stdout.splitlines() if "NEEDED" in line
    }
    assert needed <= {"libc.so.6", "libdl.so.2"}


def test_the_mode_and_errno_are_kept(exclusive: str, tmp_path: Path) -> None:
    done = preloaded(exclusive, "modes", str(tmp_path / "new"))
    assert done.stdout.split("\n")[:3] == ["created 640", "errno 77", f"missing {errno.ENOENT}"]


def test_threads_and_signal_handlers(exclusive: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    done = preloaded(exclusive, "threads", str(tmp_path / "log"))
    assert (done.returncode, done.stdout) == (0, "threads done, handler ran\n")


def test_links_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"secret")
    for name in ("link", "dangling"):
        (tmp_path / name).symlink_to(target if name == "link" else tmp_path / "nowhere")
        assert not opens(tmp_path / name)
    os.mkfifo(tmp_path / "fifo")
    assert not opens(tmp_path / "fifo")
    assert not (tmp_path / "nowhere").exists()
    assert opens(target)
    assert target.read_bytes() == b"secret"


def test_errno_is_of_the_first_try_whatever_the_second_met(exclusive: str, tmp_path: Path) -> None:
    """A directory, a device without a driver, a file that may not be opened: EEXIST."""
    if os.geteuid() != 0:
        pytest.skip("device nodes need root")
    (tmp_path / "directory").mkdir()
    os.mknod(tmp_path / "device", 0o600 | stat.S_IFCHR, os.makedev(240, 7))
    (tmp_path / "sealed").write_bytes(b"")
    subprocess.run([need_program("chattr"), "+i", tmp_path / "sealed"], check=False)
    try:
        for name in ("directory", "device", "sealed"):
            done = preloaded(exclusive, "calls", str(tmp_path / name), str(tmp_path), name)
            assert f"\nopen64 refused {errno.EEXIST}\n" in done.stdout, (name, done.stdout)
    finally:
        subprocess.run([need_program("chattr"), "-i", tmp_path / "sealed"], check=False)


def test_a_planted_hard_link_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"")
    secret.chmod(0o600)
    os.link(secret, tmp_path / "log")
    assert not opens(tmp_path / "log")
    (tmp_path / "log").unlink()
    assert opens(secret)


OPENED_IN = [
    # Mode and owner of the directory, owner of the file, and whether it is opened.
    (0o755, 0, 0, True), (0o755, 0, 33, True), (0o755, 33, 33, True), (0o755, 33, 0, True),
    (0o700, 33, 34, True), (0o775, 0, 0, True), (0o775, 0, 33, True), (0o775, 33, 33, True),
    (0o775, 33, 34, True), (0o775, 33, 0, False), (0o2775, 33, 0, False), (0o1775, 33, 0, False),
    (0o720, 33, 0, False), (0o1775, 0, 0, True), (0o777, 0, 0, False), (0o777, 33, 33, False),
    (0o1777, 0, 0, False), (0o1777, 0, 33, False), (0o702, 0, 0, False),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "directory_owner", "file_owner", "opened"), OPENED_IN)
def test_who_may_write_to_the_directory_decides(
    mode: int, directory_owner: int, file_owner: int, opened: bool, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("files of others need root")
    directory = tmp_path / "logs"
    directory.mkdir()
    path = directory / "log"
    path.write_bytes(b"")
    os.chown(path, file_owner, -1)
    os.chown(directory, directory_owner, -1)
    directory.chmod(mode)
    assert opens(path) is opened
    # A pattern does not lift it.
    assert opens(path, NO_EXCL_OPEN_PATHS=f"{directory}/*") is opened


def test_a_directory_of_ones_own_below_one_of_all(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    own = shared / "own"
    own.mkdir(mode=0o700)
    (own / "log").write_bytes(b"")
    assert opens(own / "log")


def test_a_small_stack_of_a_signal_handler_is_enough(exclusive: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    for patterns in ({}, {"NO_EXCL_OPEN_PATHS": f"{tmp_path}/[a-z]*"}):
        done = preloaded(exclusive, "small-stack", str(tmp_path / "log"), **patterns)
        assert (done.returncode, done.stdout) == (0, "handler ran\n")


@pytest.mark.parametrize(
    ("pattern", "opened"),
    [
        ("{d}/log", True), ("{d}/*", True), ("{d}/l?g", True), ("{d}/**", True), ("{u}/**g", True),
        ("{d}/*.log:{d}/lo*", True), ("{u}/*/log", True), ("{d}//log", False), ("{u}/*", False),
        ("{d}/other", False), ("log", False), ("{d}/log?", False), ("{d}", False), (":", False),
        ("{u}/**/x/*:{d}/*o", False), ("/**/*og", True), ("{u}/a*a/*", False), ("", False),
        ("{d}/[kl]og", True), ("{d}/[!l]og", False), ("{d}/[^l]og", False), ("{d}/[!a-k]og", True),
        ("{d}/[a-kl]og", True), ("{d}/[a-k]og", False), ("{d}/[[l]og", True), ("{d}/lo[]g]", True),
        ("{d}/lo[g-]", True), ("{d}/lo[g", False), ("{d}/\\log", True), ("{d}/\\*", False),
        ("{d}/[[:alpha:]]og", False), ("{d}[/]log", False), ("{d}/*[g]", True),
        ("{d}/[x]*:{d}/[l]??", True),
    ],
)  # fmt: skip
def test_patterns_limit_it(pattern: str, opened: bool, tmp_path: Path) -> None:
    directory = tmp_path / "sub"
    directory.mkdir()
    path = directory / "log"
    path.write_bytes(b"")
    patterns = pattern.format(d=directory, u=tmp_path)
    assert opens(path, NO_EXCL_OPEN_PATHS=patterns) is opened


def test_patterns_are_those_of_glob(tmp_path: Path) -> None:
    """A period that begins a name is matched by itself alone, and a character of UTF-8 is one."""
    names = [".log", "älog", "a\udcfflog", "[log", "a*log"]
    rows = [
        ("*log", [False, True, True, True, True]), (".*", [True, False, False, False, False]),
        ("?log", [False, True, False, True, False]), ("**log", [True, True, True, True, True]),
        ("[!x]log", [False, True, False, True, False]), ("[ß-ü]log", [False, True] + 3 * [False]),
        ("a?log", [False, False, True, False, True]), ("[log", 3 * [False] + [True, False]),
        (r"a\*log", 4 * [False] + [True]), ("[.]log", 5 * [False]),
        (r"\.log", [True] + 4 * [False]),
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).write_bytes(b"")
    for pattern, expected in rows:
        found = [
            opens(tmp_path / name, NO_EXCL_OPEN_PATHS=f"{tmp_path}/{pattern}") for name in names
        ]
        assert found == expected, pattern


def test_a_list_of_patterns_is_taken_whole_or_matches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"")
    for length, opened in ((16383, True), (16384, False)):
        patterns = f"{path}:".ljust(length, "x")
        assert opens(path, NO_EXCL_OPEN_PATHS=patterns) is opened, length


def test_the_longest_path_that_the_system_takes(tmp_path: Path) -> None:
    """4095 bytes (PATH_MAX less the zero byte); one more has no absolute path to compare."""
    directory = tmp_path
    while len(str(directory)) < 4095 - 255:
        directory /= "d" * 200
    directory.mkdir(parents=True)
    length = 4095 - len(str(directory)) - 1
    command = f"cd {directory} && LD_PRELOAD={SHIM} {sys.executable} -c '{OPEN}'"
    listed = {"NO_EXCL_OPEN_PATHS": "/**"}
    for more, status in ((0, 0), (1, 1)):
        name = "f" * (length + more)
        done = preloaded("sh", "-c", f"cd {directory} && : > {name}")
        assert done.returncode == 0, done.stderr
        assert preloaded("sh", "-c", f"{command} {name}").returncode == 0, more
        assert preloaded("sh", "-c", f"{command} {name}", **listed).returncode == status, more
    assert opens(directory / ("f" * length))


def test_relative_paths_are_compared_as_absolute_ones(exclusive: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    command = f"cd {tmp_path} && LD_PRELOAD={SHIM} {sys.executable} -c '{OPEN}'"
    allowed = {"NO_EXCL_OPEN_PATHS": f"{tmp_path}/*"}
    for name, status in [("log", 0), ("./log", 0), (".//log", 0), (f"../{tmp_path.name}/log", 1)]:
        done = preloaded("sh", "-c", f"{command} {name}", **allowed)
        assert done.returncode == status, name
    done = preloaded(exclusive, "calls", str(tmp_path / "log"), str(tmp_path), "log", **allowed)
    assert "openat opened 0" in done.stdout
    other = {"NO_EXCL_OPEN_PATHS": "/other/*"}
    done = preloaded(exclusive, "calls", str(tmp_path / "log"), str(tmp_path), "log", **other)
    assert f"openat refused {errno.EEXIST}" in done.stdout


def test_children_get_the_other_preloads_and_not_this_one(tmp_path: Path) -> None:
    """On a bare sh; another object before and behind stays, in its order."""
    libc = "libm.so.6"
    shown = 'echo "$LD_PRELOAD"'
    assert preloaded("sh", "-c", shown).stdout == "\n"
    both = preloaded("sh", "-c", shown, LD_PRELOAD=f"{libc}:{SHIM} libdl.so.2")
    assert both.stdout == f"{libc}:libdl.so.2\n"
    link = tmp_path / "by-another-name.so"
    link.symlink_to(SHIM)
    assert preloaded("sh", "-c", shown, LD_PRELOAD=str(link)).stdout == "\n"
    log = tmp_path / "log"
    log.write_bytes(b"")
    child = preloaded("sh", "-c", f"{sys.executable} -c '{OPEN}' {log}; echo $?")
    assert child.stdout == "1\n"
    assert "FileExistsError" in child.stderr


# -- the doctor -----------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="files of others need root")
def test_the_doctor_knows_who_cannot_be_helped(tmp_path: Path) -> None:
    source = tmp_path / "hello.c"
    source.write_text("int main(void) { return 0; }\n")
    for name, flags in (("dynamic", []), ("static", ["-static"])):
        subprocess.run(["cc", *flags, "-o", tmp_path / name, source], check=True)
    # The loader ignores LD_PRELOAD only where the user changes: not for one's own.
    for name in ("own", "setuid"):
        shutil.copy(tmp_path / "dynamic", tmp_path / name)
        if name == "setuid":
            os.chown(tmp_path / name, 65534, -1)
        (tmp_path / name).chmod(0o4755)
    (tmp_path / "script").write_text(f"#!{tmp_path}/static\n")
    (tmp_path / "script").chmod(0o755)
    shutil.copy(tmp_path / "dynamic", tmp_path / "go")
    with open(tmp_path / "go", "ab") as file:
        file.write(b"\xff Go buildinf:")
    for name, words in {
        "dynamic": "can be run under the shim",
        "static": "cannot be run under the shim: linked statically",
        "own": "can be run under the shim",
        "setuid": "cannot be run under the shim: setuid or setgid",
        "script": f"cannot be run under the shim: its interpreter {tmp_path}/static: linked",
        "go": "cannot be run under the shim: a Go program",
        "missing": "cannot be run under the shim: command not found",
    }.items():
        done = run("no-excl-open", "doctor", "--dir", tmp_path, tmp_path / name)
        line = done.stdout.decode().splitlines()[1]
        assert line.startswith(f"{tmp_path / name}: {words}"), name
        assert done.returncode == (0 if name in ("dynamic", "own") else 1), name
    done = run("no-excl-open", "doctor", "--dir", tmp_path, "logrotate")
    assert done.returncode == 0


def test_the_doctor_finds_orphans(tmp_path: Path) -> None:
    for name in ("app.log-2026112203.backup", "app.log.1", "x.backup", "y-20261122.backup"):
        (tmp_path / name).write_bytes(b"")
    deep = tmp_path / "deep"
    deep.mkdir()
    (deep / "db.log-2026010100.backup").write_bytes(b"")
    done = run("no-excl-open", "doctor", "--dir", tmp_path, "sh")
    assert done.returncode == 1
    stranded = [line for line in done.stdout.decode().splitlines() if "stranded" in line]
    assert [line.split(":")[0] for line in stranded] == [
        f"{tmp_path}/app.log-2026112203.backup",
        f"{deep}/db.log-2026010100.backup",
    ]
    assert b"advice: " in done.stdout
    missing = run("no-excl-open", "doctor", "--dir", tmp_path / "none")
    assert missing.returncode == 1
