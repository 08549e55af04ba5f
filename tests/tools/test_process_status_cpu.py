"""mackerel-plugin-linux-process-status: the CPU of a process, of its children, after a restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kojuto.tools.process_status import procfs
from tests.conftest import need_program, wait_until
from tests.peers.process_status import IDLE, NAME, python, status

CPUS = os.cpu_count() or 1


BURNER = """
import time
print("ready")
start, used = time.monotonic(), time.process_time()
while True:
    while time.process_time() - used < 0.4 * (time.monotonic() - start):
        sum(range(1000))
    time.sleep(0.01)
"""


def scheduled(pid: int) -> tuple[float, float]:
    """Now, and the seconds on a CPU by the scheduler's account (not what the plugin reads)."""
    spent = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return time.monotonic(), spent


def measured(pid: int, *arguments: str, first: bool = True) -> tuple[float, tuple[float, float]]:
    """The percentage of two runs about 2 s apart, and between what it must be for one CPU.

    The burner is told to take 40%, but on a busy machine it may get less: what it really got is
    known from the scheduler, read right before and after each run.
    """
    outer = scheduled(pid)
    if first:
        status(pid, *arguments)
    inner = scheduled(pid)
    time.sleep(max(2, 8 * (inner[0] - outer[0])))  # the longer the runs take themselves
    end = scheduled(pid)
    figures = status(pid, *arguments)
    last = scheduled(pid)
    tick = 2.0 / procfs.TICKS_PER_S
    low = (end[1] - inner[1] - tick) / (last[0] - outer[0])
    high = (last[1] - outer[1] + tick) / (end[0] - inner[0])
    assert high < 0.55
    return figures["cpu.percentage"], (low * 100, high * 100)


@pytest.mark.parametrize(("base", "cpus"), [("host", CPUS), ("core", 1)])
def test_a_burner_of_a_known_share_reads_as_that(base: str, cpus: int, workdir: Path) -> None:
    with python(BURNER) as process:
        found, (low, high) = measured(process.pid, "--cpu-base", base)
    assert low / cpus <= found <= high / cpus


def test_the_original_sum_is_there_to_compare(workdir: Path) -> None:
    """It leaves out I/O wait and what interrupts and the hypervisor take, so it reads higher."""
    with python(BURNER) as process:
        found, (low, high) = measured(process.pid, "--cpu-base", "compat")
    assert 0.9 * low / CPUS <= found <= 2 * high / CPUS


def test_the_state_file_of_the_original_is_taken_over(workdir: Path) -> None:
    with python(BURNER) as process:
        time.sleep(1)
        ticks = procfs.busy_and_idle_ticks() / procfs.TICKS_PER_S
        used = procfs.stat(process.pid).cpu_ticks / procfs.TICKS_PER_S
        old = {"now": int(time.time()), "syscpu": ticks, "cpu": used}
        path = workdir / f"{os.getuid()}-process-status-v2-p-{process.pid}"
        path.write_text(json.dumps(old))
        found, (low, high) = measured(process.pid, first=False)
    assert 0.9 * low / CPUS <= found <= 2 * high / CPUS


TREE = """
import os, sys, time
def burn(seconds):
    while time.process_time() < seconds: sum(range(1000))
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(600)
print("ready")
sys.stdin.readline()
for _ in range(2):
    if os.fork() == 0:
        burn(0.5)
        os._exit(0)
for _ in range(2): os.wait()
print("done")
time.sleep(600)
"""


def test_a_tree_counts_children_that_came_and_went(workdir: Path) -> None:
    with python(TREE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        tree = ["--with-children", "--threads", "--cpu-base", "core"]
        status(process.pid, *tree)
        alone = status(process.pid)
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        figures = status(process.pid, *tree, "--key-prefix", "p")
        pid = process.pid
        own = sum(procfs.resident_bytes(each) for each in descendants(pid))
        for child in descendants(pid)[1:]:
            os.kill(child, signal.SIGKILL)
    assert figures["processes.count"] == 3
    assert figures["threads.count"] == 3
    assert figures["mem.used"] == pytest.approx(own, rel=0.05)
    assert figures["mem.used"] > 1.5 * alone["mem.used"]
    assert figures["fds.count"] == 3 * alone["fds.count"]
    # A run that looked at the process alone came between, so this one starts afresh.
    assert "cpu.percentage" not in figures


def test_the_sample_of_the_original_is_looked_for_where_it_kept_it(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    monkeypatch.setenv("TMPDIR", str(old))
    with python(IDLE) as process:
        status(process.pid)
        [state] = [path for path in workdir.iterdir() if path.suffix != ".lock"]
        sample = json.loads(state.read_text())
        state.unlink()
        kept = {name: sample[name] for name in ("now", "syscpu", "cpu")}
        kept["syscpu"] -= 100
        (old / state.name).write_text(json.dumps(kept))
        assert "cpu.percentage" in status(process.pid)
        assert state.exists()


def test_a_counter_that_fell_is_not_printed(workdir: Path) -> None:
    """Threads that ended take their counts with them; a fall is no rate, and no rise of 2**64."""
    with python(IDLE) as process:
        options = ["--io", "--context-switches"]
        status(process.pid, *options)
        [state] = [path for path in workdir.iterdir() if path.suffix != ".lock"]
        sample = json.loads(state.read_text())
        # As many as now: nothing grew. One more than now: it fell.
        changed = {**sample, "uptime": sample["uptime"] - 60, "io1": sample["io1"] + 1}
        changed |= {"ctx2": sample["ctx2"] + 1_000_000}
        state.write_text(json.dumps(changed))
        figures = status(process.pid, *options)
        assert figures["io.write_bytes"] == 0
        assert "io.read_bytes" not in figures
        assert "context_switches.voluntary" in figures
        assert "context_switches.involuntary" not in figures
        sample = json.loads(state.read_text())
        state.write_text(json.dumps({**sample, "cpu": sample["cpu"] + 1000}))
        figures = status(process.pid, *options)
        assert "cpu.percentage" not in figures
        assert "io.read_bytes" in figures


def test_the_cpu_of_ended_children_is_in_the_trees_share(workdir: Path) -> None:
    with python(TREE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        tree = ["--with-children", "--cpu-base", "core"]
        outer = time.monotonic()
        status(process.pid, *tree)
        inner = time.monotonic()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        shortest = time.monotonic() - inner
        figures = status(process.pid, *tree)
        longest = time.monotonic() - outer
        for child in descendants(process.pid)[1:]:
            os.kill(child, signal.SIGKILL)
    # Two children used 0.5 s each, whatever the wall time was.
    assert 100 / longest - 3 <= figures["cpu.percentage"] <= 108 / shortest + 3


def descendants(pid: int) -> list[int]:
    found = procfs.with_descendants(procfs.stat(pid), procfs.every_stat())
    return [each.pid for each in found]


REUSE = """
import os, subprocess, sys, time
def start():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
def plugin(pid):
    done = subprocess.run([sys.argv[1], "--pid", str(pid), "--key-prefix", "p"],
                          capture_output=True, text=True)
    return done.returncode, "cpu_p" in done.stdout, done.stderr
first = start()
answers = [plugin(first.pid), plugin(first.pid)]
first.kill(); first.wait()
time.sleep(0.05)
for _ in range(50):
    open("/proc/sys/kernel/ns_last_pid", "w").write(str(first.pid - 1))
    second = start()
    if second.pid == first.pid: break
    second.kill(); second.wait()
assert second.pid == first.pid
answers.append(plugin(second.pid))
answers.append(plugin(second.pid))
second.kill()
print(answers)
"""


def test_a_reused_pid_starts_afresh(workdir: Path) -> None:
    need_program("unshare")
    if os.geteuid() != 0:
        pytest.skip("a pid namespace needs root")
    plugin = str(Path(sys.executable).parent / NAME)
    line = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", REUSE, plugin]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, reused, again = eval(done.stdout)
    assert first[:2] == (0, False)
    assert second == (0, True, "")
    assert reused[:2] == (0, False)
    assert "another process" in reused[2]
    assert again == (0, True, "")


def test_a_rebooted_machine_starts_afresh(workdir: Path) -> None:
    """The uptime of the last run is ahead of ours: pid and start ticks may agree by chance."""
    with python(IDLE) as process:
        status(process.pid)
        path = workdir / f"{os.getuid()}-process-status-v2-p-{process.pid}"
        state = json.loads(path.read_text())
        path.write_text(json.dumps({**state, "uptime": state["uptime"] + 1e6}))
        assert "cpu.percentage" not in status(process.pid)
        assert "cpu.percentage" in status(process.pid)


def test_the_cpu_base_may_be_the_groups_limit(workdir: Path) -> None:
    root = Path("/sys/fs/cgroup/cpu")
    if os.geteuid() != 0 or not (root / "cpu.shares").exists():
        pytest.skip("no version 1 cpu controller to make a group in")
    group = root / f"kojuto-test-{os.getpid()}"
    group.mkdir()
    try:
        if not (group / "cpu.cfs_quota_us").exists():
            pytest.skip("this kernel has no CPU bandwidth control")
        (group / "cpu.cfs_quota_us").write_text("80000")
        with python(BURNER) as process:
            (group / "cgroup.procs").write_text(str(process.pid))
            found, (low, high) = measured(process.pid, "--cpu-base", "cgroup")
        assert low / 0.8 <= found <= high / 0.8
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
