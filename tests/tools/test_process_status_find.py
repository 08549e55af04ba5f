"""mackerel-plugin-linux-process-status: processes that cannot be measured, or only in part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kojuto.tools.process_status import procfs
from tests.conftest import need_program, read_metrics, run, script, wait_until
from tests.peers.process_status import IDLE, NAME, python, status


def test_a_zombie_is_called_one_and_prints_no_zeros(tmp_path: Path, workdir: Path) -> None:
    child = subprocess.Popen(["true"])
    wait_until(lambda: procfs.stat(child.pid).state == "Z")
    file = tmp_path / "pid"
    file.write_text(str(child.pid))
    for arguments in (["--pid", str(child.pid)], ["--pid-file", str(file)]):
        done = run(NAME, *arguments, "--key-prefix", "p")
        assert (done.returncode, done.stdout) == (1, b"")
        told = done.stderr.decode().splitlines()
        assert f"process {child.pid} (true)" in told[0]
        assert "is a zombie: it has ended" in told[0]
        assert told[1].startswith(f"hint: its parent {os.getpid()} (")
    assert not list(workdir.iterdir())
    child.wait()


FIRST_THREAD_ENDED = """
import ctypes, platform, threading, time
held = bytearray(b'x') * (50 << 20)
threading.Thread(target=time.sleep, args=(600,)).start()
print("ready")
ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)
"""


def test_a_process_whose_first_thread_has_ended_is_measured(workdir: Path) -> None:
    with python(FIRST_THREAD_ENDED) as process:
        wait_until(lambda: procfs.stat(process.pid).state == "Z")
        figures = status(process.pid, "--io", "--context-switches")
        figures = status(process.pid, "--io", "--context-switches")
        tree = status(os.getpid(), "--with-children")
    assert figures["mem.used"] > 50 << 20
    assert figures["fds.count"] >= 3
    assert "cpu.percentage" in figures
    assert tree["mem.used"] > figures["mem.used"]


def test_a_kernel_thread_has_cpu_time_and_nothing_else(workdir: Path) -> None:
    if not (os.path.exists("/proc/2/stat") and procfs.stat(2).is_kernel_thread):
        pytest.skip("no kernel threads are seen here")
    done = [run(NAME, "--pid", "2", "--key-prefix", "p", "--threads", "--pss") for _ in range(2)][1]
    assert done.returncode == 1
    assert b"process 2 (kthreadd) is a kernel thread" in done.stderr
    assert done.stderr.count(b"error: ") == 1
    assert set(read_metrics(done.stdout)) == {
        "process-status.cpu_p.percentage",
        "process-status.threads_p.count",
    }


def test_what_hidepid_hides_is_not_said_to_be_gone(tmp_path: Path, workdir: Path) -> None:
    need_program("unshare")
    need_program("setpriv")
    if os.geteuid() != 0:
        pytest.skip("mounts and two users need root")
    workdir.chmod(0o777)
    as_other = f"setpriv --reuid=65534 --regid=65534 --clear-groups {script(NAME)} --key-prefix p"
    with python(IDLE) as process:
        for hidepid in ("1", "2"):
            inside = (
                f"mount -t proc -o hidepid={hidepid} proc /proc && "
                f"{as_other} --pid {process.pid}; {as_other} --pid 4194303; "
                f"{as_other} --name nosuch"
            )
            done = subprocess.run(
                ["unshare", "--mount", "sh", "-c", inside], capture_output=True, check=False
            )
            told = [line for line in done.stderr.decode().splitlines() if "error: " in line]
            assert f"process {process.pid} is there, but /proc does not show it" in told[0]
            assert "no process 4194303" in told[1]
            assert "no process that /proc shows to this user is called nosuch" in told[2]
            assert done.stderr.count(b"hidepid=") == 2
            assert done.stdout == b""


@pytest.mark.parametrize("which", [("--pid", "1"), ("--name", "init"), ("--pid", "4194303")])
def test_without_proc_that_is_said(which: tuple[str, str], workdir: Path) -> None:
    """As in a chroot: it was called hidden, or not running."""
    unshare = [need_program("unshare"), "--mount", "--map-root-user"]
    command = ["sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "-", script(NAME), *which]
    done = subprocess.run(
        [*unshare, *command, "--key-prefix", "x"], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"error: no proc is mounted on /proc\n" in done.stderr


def test_a_pid_file_that_is_no_file_is_said_to_be_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, kind in (
        (tmp_path / "fifo", "a FIFO"), (tmp_path, "a directory"), (Path("/dev/null"), "a device"),
    ):  # fmt: skip
        done = run(NAME, "--pid-file", path, "--key-prefix", "p")
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"{path}: {kind}, not a file with a process id" in done.stderr.decode()


PARTS: dict[str, tuple[set[str], str]] = {
    "fd_count": ({"fds.count", "fds.max", "fds_usage.percentage"}, "file descriptors"),
    "resident_bytes": ({"mem.used", "mem_usage.percentage"}, "memory"),
    "memory_bytes": ({"mem.max", "mem_usage.percentage"}, "memory limit"),
    "busy_and_idle_ticks": (set(), "CPU of the machine"),
    "io_bytes": ({"io.read_bytes", "io.write_bytes"}, "I/O"),
    "pss_bytes": ({"mem.pss"}, "smaps_rollup"),
}
ERRORS = (
    "OSError(5, 'x')",
    "FileNotFoundError(2, 'x')",
    "PermissionError(1, 'x')",
    "ValueError('x')",
)
BROKEN = """
import sys
from kojuto.tools.process_status import main, procfs
def broken(*_):
    raise {error}
if {broken!r}:
    procfs.{broken} = broken
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("error", ERRORS)
def test_one_part_that_fails_leaves_the_others(error: str, workdir: Path) -> None:
    def figures(process: int, broken: str) -> tuple[int, set[str], str]:
        line = ["--pid", str(process), "--key-prefix", "p", "--io", "--pss"]
        code = BROKEN.format(broken=broken, error=error)
        done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, check=False)
        names = {
            name.removeprefix("process-status.").replace("_p.", ".")
            for name in read_metrics(done.stdout)
        }
        return done.returncode, names, done.stderr.decode()

    with python(IDLE) as process:
        status(process.pid, "--io", "--pss")
        whole = set(status(process.pid, "--io", "--pss"))
        for part, (lost, title) in PARTS.items():
            returned, names, told = figures(process.pid, part)
            assert (returned, whole - names) == (1, lost), part
            assert f"error: {title} of process {process.pid}: " in told
            status(process.pid, "--io", "--pss")  # a whole sample for the next one


SHARED = """
import os, time
held = bytearray(b'x') * (60 << 20)
for _ in range(4):
    if os.fork() == 0:
        time.sleep(600)
print("ready")
time.sleep(600)
"""


def test_shared_pages_of_a_tree_count_once_with_pss(workdir: Path) -> None:
    with python(SHARED) as process:
        plain = status(process.pid, "--with-children")
        once = status(process.pid, "--with-children", "--pss")
        children = procfs.with_descendants(procfs.stat(process.pid), procfs.every_stat())[1:]
        for child in children:
            os.kill(child.pid, 9)
    assert plain["mem.used"] > 5 * (60 << 20)
    assert 60 << 20 < once["mem.used"] < 150 << 20
    assert once["mem.pss"] == pytest.approx(once["mem.used"], rel=0.05)
    assert once["mem_usage.percentage"] < plain["mem_usage.percentage"] / 2
