"""`no-excl-open`: where the shim acts and ends, what is told of it, signals and the end."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import kojuto
from kojuto.tools import no_excl_open
from tests.conftest import need_program, run, script
from tests.peers.shim import OPEN, SHIM, exclusive, opens, preloaded
from tests.streams import processes_end, spawn

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["exclusive", "processes_end"]


def test_the_wrapper_sets_the_limits_and_tells(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_bytes(b"")
    options: list[str | Path] = ["--only", tmp_path / "a*", "--only=/other", "--verbose"]
    options += ["--for", sys.executable, "--"]
    done = run("no-excl-open", *options, sys.executable, "-c", OPEN, tmp_path / "a.log")
    assert done.returncode == 0
    told = done.stderr.decode().splitlines()
    assert told[0].startswith("no-excl-open: running ")
    assert told[1] == f"no_excl_open: opened though it exists: {tmp_path}/a.log"
    assert told[2].endswith(" (once) and opened a file that was already there once")
    done = run("no-excl-open", *options, sys.executable, "-c", OPEN, tmp_path / "b.log")
    assert done.returncode == 1
    assert b" (once) and opened a file that was already there 0 times\n" in done.stderr
    assert run("no-excl-open", "--only", "a:b", "true").returncode == 2
    assert run("no-excl-open", "--for", "a:b", "true").returncode == 2
    classes = run("no-excl-open", "--only", "/var/log/[[:alpha:]]*", "true")
    assert classes.returncode == 2
    assert "([:…:]) are not known here" in classes.stderr.decode()
    for length, status in ((16383, 0), (16384, 2)):
        assert run("no-excl-open", "--only", "/".ljust(length, "x"), "true").returncode == status
    assert run("no-excl-open").returncode == 2


@pytest.fixture
def named(exclusive: str, tmp_path: Path) -> Path:
    """A program of a name of its own, that opens what exists, and a log for it."""
    program = tmp_path / "opener"
    shutil.copy(exclusive, program)
    (tmp_path / "log").write_bytes(b"")
    return program


def modes(program: Path | str, log: Path) -> list[str]:
    return [str(program), "modes", str(log)]


OPENED = b"errno 77\n"
"""What the program prints when the second open went well."""


def test_the_program_is_told_by_its_file(named: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copy(named, other)
    link = tmp_path / "link"
    link.symlink_to(named)
    log = tmp_path / "log"
    for name, command, acts in (
        ("opener", ["nice", named], True), ("opener", ["nice", link], True),
        (str(link), [named], True), (str(named), [link], True), ("opener", [other], False),
        ("other", [link], False), ("link", [named], False), (str(other), [named], False),
    ):  # fmt: skip
        done = run("no-excl-open", "--for", name, "--", *command, "modes", log)
        assert (OPENED in done.stdout) is acts, (name, command)
        assert (b"never loaded" in done.stderr) is not acts


def test_it_acts_in_that_program_and_ends_there(named: Path, tmp_path: Path) -> None:
    """Not in what starts it, nor in what it starts; other objects stay as they are."""
    log, libc = tmp_path / "log", "libm.so.6"
    shown = 'echo "$LD_PRELOAD"'
    shell = tmp_path / "shell"
    shutil.copy(os.path.realpath("/bin/sh"), shell)
    command = ["--for", "shell", "--", "sh", "-c", f"{shown}; {shell} -c '{shown}'"]
    for others, before, after in (
        ("", SHIM, ""), (libc, f"{SHIM}:{libc}", libc), (f"{libc} libdl.so.2", None, None),
    ):  # fmt: skip
        done = run("no-excl-open", *command, env={"LD_PRELOAD": others})
        expected = [before or f"{SHIM}:{others}", others if after is None else after]
        assert done.stdout.decode().splitlines() == expected
    inner = shlex.join(modes(named, log))
    outside = f"{inner}; {shell} -c '{inner}; true'"
    done = run("no-excl-open", "--for", "shell", "--", "sh", "-c", outside)
    assert done.stderr == b""
    assert done.stdout.count(b"errno ") == 2
    assert OPENED not in done.stdout


def test_a_name_that_the_loader_looks_for_leaves_the_list_too(tmp_path: Path) -> None:
    name = os.path.basename(SHIM)
    at = {"LD_LIBRARY_PATH": os.path.dirname(SHIM)}
    shown = 'echo "$LD_PRELOAD"'
    for entry in (name, f"{os.path.dirname(SHIM)}/$PLATFORM/../{name}"):
        listed = f"libm.so.6:{entry}"
        done = preloaded("sh", "-c", shown, LD_PRELOAD=listed, **at)
        assert done.stdout == ("libm.so.6\n" if entry == name else f"{listed}\n"), done.stderr


def test_the_end_tells_that_it_was_never_loaded(named: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    without = ["env", "-u", "LD_PRELOAD", *modes(named, log)]
    for command, status, words in (
        (without, 0, "'env -u LD_PRELOAD' takes LD_PRELOAD away"),
        (["sh", "-c", "exit 37"], 37, "sh did not start it, or in an environment of its own"),
    ):
        done = run("no-excl-open", "--for", "opener", "--", *command)
        assert done.returncode == status
        told = done.stderr.decode().splitlines()
        assert told[0] == f"no-excl-open: warning: the shim was never loaded into opener: {words}"
        hint = "put no-excl-open behind it" if status == 0 else "'no-excl-open doctor "
        assert told[1].startswith(f"hint: {hint}")
    subprocess.run(["cc", "-static", "-o", tmp_path / "static", "-xc", "-"], check=True,
                   input=b"int main(void) { return 3; }")  # fmt: skip
    done = run("no-excl-open", "--for", "static", "--", tmp_path / "static")
    assert done.returncode == 3
    assert b"never loaded into static: linked statically" in done.stderr


def test_another_user_can_tell_and_nothing_is_left(named: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("two users need root")
    need_program("setpriv")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o755)
    as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*as_other, *modes(named, tmp_path / "log")]
    done = run(
        "no-excl-open", "--for", "opener", "--verbose", "--", *command, env={"TMPDIR": str(place)}
    )
    assert b"loaded into opener (once)" in done.stderr
    assert not list(place.iterdir())


def test_status_and_signals_pass_through(tmp_path: Path) -> None:
    assert run("no-excl-open", "sh", "-c", "exit 37").returncode == 37
    assert run("no-excl-open", tmp_path / "missing/program").returncode == 127
    plain = tmp_path / "plain"
    plain.write_text("no program")
    assert run("no-excl-open", plain).returncode == 126
    plain.chmod(0o755)
    done = run("no-excl-open", plain)
    assert (done.returncode, done.stderr.count(b"\n")) == (126, 1)
    waits = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    process = spawn([script("no-excl-open"), "sh", "-c", waits], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(timeout=30) == 9
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        process = spawn(
            [script("no-excl-open"), "sh", "-c", "echo ready; exec sleep 60"],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == -number


def test_what_the_command_inherits_of_signals() -> None:
    """As it would be without the wrapper: nothing is blocked, and ignored is what was. (Of 32 and
    33, the C library's own, posix_spawn(3) makes ignored ones.)
    """
    shown = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    wrapped = f'{script("no-excl-open")} sh -c "{shown}; exit 5"'

    def masks(before: str, command: str) -> list[int]:
        done = subprocess.run(["sh", "-c", before + command], capture_output=True, check=False)
        assert done.returncode == (5 if command == wrapped else 0)
        return [int(line.split()[1], 16) & 0x7FFFFFFF for line in done.stdout.splitlines()]

    assert masks("", wrapped) == masks("", shown) == [0, 0]
    ignored = "trap '' HUP USR1; "
    assert masks(ignored, wrapped) == masks(ignored, shown) == [0, 1 << 0 | 1 << 9]
    # The end of a child is seen by a parent that was started with SIGCHLD ignored, too.
    assert masks("trap '' CHLD; ", wrapped) == [0, 0]


def test_path_is_what_ld_preload_takes(tmp_path: Path) -> None:
    shown = run("no-excl-open", "--path").stdout.decode().strip()
    assert shown == SHIM
    log = tmp_path / "log"
    log.write_bytes(b"")
    assert opens(log, LD_PRELOAD=shown)


@pytest.mark.parametrize("arguments", [["--path"], ["true"], ["doctor"]])
def test_a_build_for_musl_says_that_it_has_no_shim(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The same is seen on a real one by tests/release/check_installed.py."""

    def confstr(name: str) -> str:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # as musl's does

    monkeypatch.setattr(kojuto, "__file__", str(tmp_path / "__init__.py"))
    assert no_excl_open.main(arguments) == 1
    assert "the wheel carries it" in capfd.readouterr().err
    monkeypatch.setattr(os, "confstr", confstr)
    assert no_excl_open.main(arguments) == 1
    out, error = capfd.readouterr()
    assert out == ""
    assert "error: this build of kojuto, for musl, has no shim" in error
    assert "hint: run logrotate on a system with glibc" in error
