"""mackerel-plugin-linux-process-status against processes that the tests start."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kojuto.tools.process_status import _load, procfs
from kojuto.tools.process_status.cgroup import Groups
from tests.conftest import need_program, read_metrics, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "mackerel-plugin-linux-process-status"
CPUS = os.cpu_count() or 1


@contextlib.contextmanager
def python(code: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code` and has said "ready"."""
    process = subprocess.Popen(
        [*command, sys.executable, "-u", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


IDLE = "print('ready'); import time; time.sleep(600)"


def status(pid: int, *arguments: str) -> dict[str, float]:
    done = run(NAME, "--pid", str(pid), "--key-prefix", "p", *arguments)
    assert done.returncode == 0, done.stderr
    prefix = "process-status."
    return {
        name.removeprefix(prefix).replace("_p.", "."): float(value)
        for name, value in read_metrics(done.stdout).items()
    }


# -- the lines --------------------------------------------------------------------------------


def test_the_lines_of_the_original(workdir: Path) -> None:
    with python(IDLE) as process:
        first = run(NAME, "-p", str(process.pid), "--key-prefix", "test")
        second = run(NAME, "-p", str(process.pid), "--key-prefix", "test")
    assert first.returncode == 0
    assert first.stderr == b"Notice: first time execution command\n"
    assert second.stderr == b""
    names = [line.split("\t")[0] for line in second.stdout.decode().splitlines()]
    assert names == [
        "process-status.fds_test.count",
        "process-status.fds_test.max",
        "process-status.fds_usage_test.percentage",
        "process-status.cpu_test.percentage",
        "process-status.mem_test.used",
        "process-status.mem_test.max",
        "process-status.mem_usage_test.percentage",
    ]
    metrics = read_metrics(second.stdout)
    assert "process-status.cpu_test.percentage" not in read_metrics(first.stdout)
    for name, value in metrics.items():
        assert value.isdigit() == (not name.endswith("percentage")), (name, value)
    [state] = workdir.iterdir()
    assert state.name == f"{os.getuid()}-process-status-v2-test-{process.pid}"
    assert {"now", "syscpu", "cpu", "start"} <= json.loads(state.read_text()).keys()
    assert state.stat().st_mode & 0o777 == 0o600


def test_the_graph_definition_names_every_metric(workdir: Path) -> None:
    options = ["--threads", "--io", "--context-switches", "--pss", "--with-children"]
    line = ["--pid", str(os.getpid()), "--key-prefix", "p", *options]
    meta = run(NAME, *line, env={"MACKEREL_AGENT_PLUGIN_META": "1"})
    assert not list(workdir.iterdir())
    graphs = json.loads(meta.stdout.decode().splitlines()[1])["graphs"]
    defined = {f"{graph}.{m['name']}" for graph, body in graphs.items() for m in body["metrics"]}
    # Rates of a tree can only be given when none of its processes ended meanwhile: our own has
    # the plugin itself among its descendants, so look at a quiet one.
    with python(IDLE) as process:
        line[1] = str(process.pid)
        run(NAME, *line)
        assert set(read_metrics(run(NAME, *line).stdout)) == defined


# -- CPU --------------------------------------------------------------------------------------

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
    time.sleep(2)
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


# -- descriptors, memory, threads, I/O --------------------------------------------------------


def test_an_fd_hog_and_its_limit(workdir: Path) -> None:
    code = (
        "import resource, os, time; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 3000));"
        "held = [os.open('/dev/null', 0) for _ in range(700)];" + IDLE
    )
    with python(code) as process:
        figures = status(process.pid)
        real = len(os.listdir(f"/proc/{process.pid}/fd"))
    assert figures["fds.count"] == real
    assert real >= 703
    assert figures["fds.max"] == 2000
    assert figures["fds_usage.percentage"] == pytest.approx(real / 20)


def test_a_memory_hog(workdir: Path) -> None:
    with python("held = bytearray(b'x') * (200 << 20);" + IDLE) as process:
        figures = status(process.pid, "--ignore-cgroup", "--pss")
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
    assert figures["mem.used"] == pytest.approx(resident, rel=0.02)
    assert 200 << 20 < figures["mem.pss"] <= figures["mem.used"] * 1.02
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert figures["mem.max"] == pytest.approx(total, rel=0.01)
    assert figures["mem_usage.percentage"] == pytest.approx(
        figures["mem.used"] * 100 / figures["mem.max"], abs=1e-4
    )


ACTIVE = """
import os, sys, threading, time
path = sys.stdin.readline().strip()
stop = threading.Event()
for _ in range(6): threading.Thread(target=stop.wait, daemon=True).start()
print("ready")
sys.stdin.readline()
with open(path, "wb") as file:
    for _ in range(40):
        file.write(bytes(100_000))
        file.flush()
        os.fsync(file.fileno())
        time.sleep(0.005)
print("done")
time.sleep(600)
"""


def test_threads_io_and_context_switches(workdir: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", ACTIVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    options = ["--threads", "--io", "--context-switches"]
    try:
        process.stdin.write(f"{tmp_path}/written\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        before = time.monotonic()
        status(process.pid, *options)
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        figures = status(process.pid, *options)
        longest = time.monotonic() - before
    finally:
        process.kill()
        process.communicate()
    assert figures["threads.count"] == 7
    written = 4_000_000
    if figures["io.write_bytes"] != 0:  # a temporary folder in memory writes nothing to storage
        assert figures["io.write_bytes"] >= 0.9 * written / longest
    assert figures["io.read_bytes"] >= 0
    assert figures["context_switches.voluntary"] >= 40 / longest
    assert figures["context_switches.involuntary"] >= 0


def test_smaps_is_not_read_unless_asked(workdir: Path) -> None:
    code = (
        "import sys; opened = [];"
        "sys.addaudithook(lambda e, a: opened.append(str(a[0])) if e == 'open' else None);"
        "from kojuto.tools.process_status import main;"
        "status = main(sys.argv[1:]);"
        "print([p for p in opened if 'smaps' in p], any('statm' in p for p in opened), status)"
    )
    options = ["--threads", "--io", "--context-switches", "--with-children"]
    line = ["--pid", str(os.getpid()), "--key-prefix", "p", *options]
    with_pss = [[], ["--pss"]]
    told = [
        subprocess.run(
            [sys.executable, "-c", code, *line, *more], capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]
        for more in with_pss
    ]
    assert told[0] == "[] True 0"
    assert "smaps_rollup" in told[1]


# -- control groups ---------------------------------------------------------------------------


@pytest.fixture
def limited() -> Iterator[Path]:
    """The folder of a control group of our own with a memory limit of 300 MiB above it."""
    if os.geteuid() != 0:
        pytest.skip("control groups need root")
    name = f"kojuto-test-{os.getpid()}"
    for root, file in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / name
        if (root / "cgroup.procs").exists():
            group.mkdir()
            with contextlib.suppress(OSError):
                if not (group / file).exists():
                    (root / "cgroup.subtree_control").write_text("+memory")
            if (group / file).exists():
                break
            group.rmdir()
    else:
        pytest.skip("no memory controller here")
    inner = group / "inner"
    try:
        (group / file).write_text(str(300 << 20))
        inner.mkdir()
        yield inner
    finally:
        for folder in (inner, group):
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()


def test_the_limit_of_a_group_above_is_the_maximum(limited: Path, workdir: Path) -> None:
    with python("held = bytearray(b'x') * (60 << 20);" + IDLE) as process:
        outside = status(process.pid)
        (limited / "cgroup.procs").write_text(str(process.pid))
        inside = status(process.pid)
        ignored = status(process.pid, "--ignore-cgroup")
        process.kill()
        process.wait()
        wait_until(lambda: not (limited / "cgroup.procs").read_text(), what="the group is empty")
    assert inside["mem.max"] == 300 << 20
    assert inside["mem_usage.percentage"] == pytest.approx(
        inside["mem.used"] * 100 / (300 << 20), abs=1e-4
    )
    assert outside["mem.max"] > 300 << 20
    assert ignored["mem.max"] == outside["mem.max"]


def fake_proc(tmp_path: Path, mounts: str, groups: str) -> str:
    proc = tmp_path / "proc"
    for pid in ("self", "42"):
        (proc / pid).mkdir(parents=True)
    (proc / "self" / "mountinfo").write_text(mounts)
    (proc / "42" / "cgroup").write_text(groups)
    return str(proc)


def limit(root: Path, path: str, **files: str) -> None:
    (root / path).mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (root / path / name.replace("__", ".")).write_text(value + "\n")


def test_version_2_takes_the_lowest_limit_up_to_the_root(tmp_path: Path) -> None:
    root = tmp_path / "cg roup"
    limit(root, "a", memory__max="1000000", cpu__max="75000 50000")
    limit(root, "a/b", memory__max="2000000", cpu__max="max 100000")
    limit(root, "a/b/c", memory__max="max", cpu__max="200000 50000")
    point = str(root).replace(" ", "\\040")
    mounts = f"30 20 0:26 / {point} rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    groups = Groups(42, fake_proc(tmp_path, mounts, "0::/a/b/c\n"))
    assert groups.memory_limit() == 1_000_000
    assert groups.cpu_limit() == 1.5


def test_version_1_and_a_mounted_part_and_no_limit(tmp_path: Path) -> None:
    root = tmp_path / "memory"
    limit(root, "job", memory__limit_in_bytes="5000")
    limit(root, "", memory__limit_in_bytes=str((1 << 63) - 4096))
    limit(tmp_path / "cpu", "job", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    mounts = (
        f"31 20 0:27 /docker/x {root} rw - cgroup cgroup rw,memory\n"
        f"32 20 0:28 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    )
    told = "4:memory:/docker/x/job\n3:cpu,cpuacct:/job\n0::/\n"
    groups = Groups(42, fake_proc(tmp_path, mounts, told))
    assert groups.memory_limit() == 5000
    assert groups.cpu_limit() is None


def test_a_group_outside_what_is_mounted_has_no_known_limit(tmp_path: Path) -> None:
    root = tmp_path / "v2"
    limit(root, "", memory__max="7000")
    mounts = f"30 20 0:26 / {root} rw - cgroup2 cgroup2 rw\n"
    limit(tmp_path, "other", memory__max="5000")
    assert Groups(42, fake_proc(tmp_path, mounts, "0::/../other\n")).memory_limit() == 7000


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


# -- which process ----------------------------------------------------------------------------


def test_a_name_leads_to_the_root_of_the_one_tree(tmp_path: Path, workdir: Path) -> None:
    program = tmp_path / f"burrow{os.getpid()}"
    shutil.copy("/bin/sleep", program)
    with python(IDLE) as other:
        parent = subprocess.Popen([program, "600"])
        try:
            wait_until(lambda: procfs.stat(parent.pid).name == program.name[:15])
            done = run(NAME, "--name", program.name, "--key-prefix", "p", "--threads")
            assert done.returncode == 0, done.stderr
            again = run(NAME, "--name", program.name, "--key-prefix", "p")
            assert b"cpu_p" in again.stdout
            second = subprocess.Popen([program, "600"])
            wait_until(lambda: procfs.stat(second.pid).name == program.name[:15])
            both = run(NAME, "--name", program.name, "--key-prefix", "p")
            second.kill()
            second.wait()
        finally:
            parent.kill()
            parent.wait()
        assert other.poll() is None
    assert both.returncode == 1
    assert f"2 processes are called {program.name}: ".encode() in both.stderr
    gone = run(NAME, "--name", program.name, "--key-prefix", "p")
    assert gone.returncode == 1
    assert f"no process is called {program.name}".encode() in gone.stderr


def test_a_pid_file_and_a_restart_behind_it(tmp_path: Path, workdir: Path) -> None:
    file = tmp_path / "pid"
    line = ["--pid-file", str(file), "--key-prefix", "p"]
    with python(IDLE) as first:
        file.write_text(f" {first.pid}\n")
        assert run(NAME, *line).returncode == 0
        assert b"cpu_p" in run(NAME, *line).stdout
    with python(IDLE) as second:
        file.write_text(str(second.pid))
        restarted = run(NAME, *line)
        assert restarted.returncode == 0
        assert b"cpu_p" not in restarted.stdout
        assert b"another process" in restarted.stderr
        assert len(list(workdir.iterdir())) == 1
    for text, words in (("", "no process id"), ("x1", "no process id"), ("9" * 30, "no process")):
        file.write_text(text)
        done = run(NAME, *line)
        assert done.returncode == 1
        assert words in done.stderr.decode()
    file.unlink()
    assert str(file) in run(NAME, *line).stderr.decode()


def test_a_process_with_an_awkward_name(tmp_path: Path, workdir: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    shutil.copy("/bin/sleep", program)
    process = subprocess.Popen([program, "600"])
    try:
        wait_until(lambda: procfs.stat(process.pid).name == "a) S 1 (b")
        found = procfs.stat(process.pid)
        assert (found.pid, found.ppid, found.threads) == (process.pid, os.getpid(), 1)
        assert status(process.pid)["fds.count"] == len(os.listdir(f"/proc/{process.pid}/fd"))
    finally:
        process.kill()
        process.wait()


def test_no_such_process_is_one_clear_line(workdir: Path) -> None:
    done = run(NAME, "--pid", "4194304", "--key-prefix", "p")
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.decode().splitlines()[0] == f"{NAME}: error: no process 4194304"


def test_no_permission_is_one_clear_line_and_the_rest_is_printed(tmp_path: Path) -> None:
    need_program("setpriv")
    if os.geteuid() != 0:
        pytest.skip("two users need root")
    work = tmp_path / "work"
    work.mkdir(mode=0o777)
    work.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    plugin = str(Path(sys.executable).parent / NAME)
    line = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", plugin]
    with python(IDLE) as process:
        done = subprocess.run(
            [*line, "--pid", str(process.pid), "--key-prefix", "p", "--pss"],
            capture_output=True,
            env={**os.environ, "MACKEREL_PLUGIN_WORKDIR": str(work)},
            check=False,
        )
    assert done.returncode == 1
    lines = [line for line in done.stderr.decode().splitlines() if "error" in line]
    assert len(lines) == 1
    assert f"file descriptors of process {process.pid}: " in lines[0]
    assert "Permission denied" in lines[0]
    assert "process-status.mem_p.used" in read_metrics(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--key-prefix", "p"], "one of --pid, --pid-file and --name is required"),
        (["--pid", "1", "--name", "x", "--key-prefix", "p"], "one of --pid"),
        (["--pid", "x", "--key-prefix", "p"], "--pid x: not a whole number"),
        (["--pid", "1"], "--key-prefix is required"),
        (["--pid", "1", "--key-prefix", "p", "--cpu-base", "x"], "--cpu-base x: not one of"),
    ],
)
def test_a_wrong_call_is_status_2(arguments: list[str], words: str) -> None:
    done = run(NAME, *arguments)
    assert done.returncode == 2
    assert words in done.stderr.decode()


# -- state ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"{}", b'{"now":1}', b'{"syscpu":"x","cpu":1}', b'{"syscpu":nan,"cpu":1}',
     b"\xff\xfe", b'{"now":1,"syscpu":2,"cpu":3'],
)  # fmt: skip
def test_a_broken_state_is_a_warning_and_a_fresh_start(content: bytes, workdir: Path) -> None:
    with python(IDLE) as process:
        path = workdir / f"{os.getuid()}-process-status-v2-p-{process.pid}"
        path.write_bytes(content)
        done = run(NAME, "--pid", str(process.pid), "--key-prefix", "p")
        assert done.returncode == 0
        assert b"warning: " in done.stderr
        assert b"starting afresh" in done.stderr
        assert b"cpu_p" not in done.stdout
        assert "cpu.percentage" in status(process.pid)


@given(st.binary(max_size=200))
def test_any_state_is_numbers_or_nothing(content: bytes) -> None:
    path = f"/dev/shm/kojuto-test-state-{os.getpid()}"
    Path(path).write_bytes(content)
    try:
        found = _load(path)
    finally:
        os.unlink(path)
    assert found is None or all(value - value == 0 for value in found.values())
