"""mackerel-plugin-linux-process-status: lines, memory, threads, I/O, which process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kojuto.tools.process_status import procfs
from kojuto.tools.process_status.find import load
from tests.conftest import need_program, read_metrics, run, wait_until
from tests.peers.process_status import IDLE, NAME, python, status

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
    for text in ("", "x1", "0", "9" * 30):
        file.write_text(text)
        done = run(NAME, *line)
        assert done.returncode == 1
        assert b"pid: no process id in it" in done.stderr
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
        found = load(path)
    finally:
        os.unlink(path)
    assert found is None or all(value - value == 0 for value in found.values())
