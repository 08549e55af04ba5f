"""The state of the plugins survives the loss of power: it is written as the commands write it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from kojuto._native import StateLock
from tests.conftest import run, script
from tests.peers.axslog import PROG, write
from tests.sandbox import as_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
OURS, THEIRS = 4242, 4243
LINE = "status:200\tptime:0.1"


def test_a_state_is_durable_before_it_takes_its_name_and_its_name_then(
    tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    """rename(2) alone may leave an empty file behind; so the content first, then the directory."""
    log, counts = tmp_path / "log", tmp_path / "counts"
    log.write_text("one\n")
    (tmp_path / "base").write_text("one\n")
    counts.write_text("")
    env = {
        **os.environ,
        **preload("count_sync"),
        "SYNC_LOG": str(counts),
        "MACKEREL_PLUGIN_WORKDIR": str(tmp_path),
    }
    command = [script("mackerel-plugin-log-incr-rate"), "--key-prefix", "x", "--log-file", str(log)]
    command += ["--base-log-file", str(tmp_path / "base")]
    subprocess.run(command, env=env, check=True, capture_output=True)
    assert counts.read_text() == 2 * "fsync\nfsync\n", "a state for each log"


HOLD = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o666)
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by(user: int, path: Path) -> Iterator[None]:
    """Another user makes the file and holds its lock."""
    command = [*as_user(user), sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.communicate(timeout=30)


@pytest.fixture
def shared_workdir(workdir: Path) -> Path:
    """A work directory like /tmp: everybody may make files, nobody take away another's."""
    workdir.chmod(0o1777)
    return workdir


@as_root
@pytest.mark.parametrize("user", [0, OURS])
def test_a_lock_that_another_user_holds_silences_nobody(
    user: int, tmp_path: Path, shared_workdir: Path
) -> None:
    log = write(tmp_path / "access.log", LINE, LINE)
    command = [script(PROG), "--logfile", str(log), "--key-prefix", "t"]
    if user:
        command = [*as_user(user), *command]
    state = shared_workdir / f"{user}-axslog-v5-t-{user}"
    lock = state.with_name(f"{state.name}.lock")
    with held_by(THEIRS, lock):
        # The first run, which has no state yet, and one that has.
        for _ in range(2):
            done = subprocess.run(command, capture_output=True, check=False)
            assert (done.returncode, b"axslog.latency_t.average" in done.stdout) == (0, True)
            assert done.stderr.decode().startswith(
                f"{PROG}: {lock}: it belongs to another user (uid {THEIRS}); passed by, "
            )
            write(log, LINE)
        assert lock.stat().st_uid == THEIRS


@as_root
@pytest.mark.parametrize("first", [True, False], ids=["first run", "later run"])
def test_two_runs_keep_each_other_out_beside_a_lock_of_another_user(
    tmp_path: Path, shared_workdir: Path, *, first: bool
) -> None:
    log = write(tmp_path / "access.log", LINE)
    state = shared_workdir / "0-axslog-v5-t-0"
    arguments = (PROG, "--logfile", log, "--key-prefix", "t")
    with held_by(THEIRS, state.with_name(f"{state.name}.lock")):
        if not first:
            run(*arguments)
        lock = StateLock(str(state))
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (0, b"")
        assert b"another run" in done.stderr
        lock.release()
        assert state.exists() is not first
    # The other user's is gone; ours that began before is still at work.
    lock = StateLock(str(state))
    state.with_name(f"{state.name}.lock").unlink()
    assert b"another run" in run(*arguments).stderr
    lock.release()
    write(log, LINE)
    assert run(*arguments).stdout


@as_root
def test_a_trap_in_place_of_the_lock_is_not_sprung(tmp_path: Path, shared_workdir: Path) -> None:
    log = write(tmp_path / "access.log", LINE)
    lock = shared_workdir / "0-axslog-v5-t-0.lock"
    target = tmp_path / "target"
    target.write_text("precious")
    target.chmod(0o644)
    traps: dict[str, Callable[[], object]] = {
        "it is a symbolic link": lambda: lock.symlink_to(target),
        "it is not a regular file": lambda: os.mkfifo(lock, 0o666),
        "it has another name, too": lambda: lock.hardlink_to(target),
    }
    for why, lay in traps.items():
        lay()
        done = run(PROG, "--logfile", log, "--key-prefix", "t", timeout_s=20)
        assert done.returncode == 0
        assert f"{lock}: {why}; passed by".encode() in done.stderr
        assert (target.read_text(), target.stat().st_mode & 0o777) == ("precious", 0o644)
        lock.unlink()


@as_root
def test_a_umask_keeps_nobody_out_of_his_own_state(tmp_path: Path, shared_workdir: Path) -> None:
    log = write(tmp_path / "access.log", LINE)
    run_it = [script(PROG), "--logfile", str(log), "--key-prefix", "t"]
    command = [*as_user(OURS), "/bin/sh", "-c", 'umask 0777; exec "$@"', "sh", *run_it]
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        write(log, LINE)
    assert {path.stat().st_mode & 0o777 for path in shared_workdir.iterdir()} == {0o600}
