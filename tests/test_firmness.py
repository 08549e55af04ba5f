"""The tests' own ground: nothing is left behind or stands still for ever, few are left out."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import machine
from tests.conftest import ROOT, script, wait_until
from tests.peers.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage

HEAD = """
import os, pathlib, pytest, signal, socket, subprocess, sys, threading, time
from tests import leftovers
leftovers.GRACE_S = 1
leftovers.EXIT_TIMEOUT_S = 0.3
kept = []
"""


def run_pytest(folder: Path, body: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A run of its own over these tests."""
    file = folder / "test_inner.py"
    file.write_text(HEAD + body)
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(folder), "-p", "tests.leftovers", "-p", "no:cacheprovider"]
    command += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return subprocess.run(
        [*command, str(file)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )


def alive(pid: int) -> bool:
    one = machine.process(pid)
    return one is not None and not one.zombie


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("kept.append(subprocess.Popen(['sleep', '611']))", r"process \d+: sleep 611"),
        (
            # The one that started it is gone, and it is in a session of its own.
            "subprocess.run(['sh', '-c', 'setsid sleep 612 & exit'])",
            r"process \d+: sleep 612",
        ),
        (
            "kept.append(threading.Thread(target=time.sleep, args=(613,))); kept[0].start()",
            r"thread Thread-1 [\s\S]*in run\n",
        ),
        ("kept.append(socket.create_server(('127.0.0.1', 0)))", r"listening socket \d+: .*127.0.0"),
        ("(tmp_path / 'm').mkdir(); os.system(f'mount -t tmpfs none {tmp_path}/m')", "mount .*/m"),
        ("os.system(f'ip netns add kojuto-{os.getpid()}-x')", r"network namespace kojuto-\d+-x"),
    ],
    ids=["process", "orphan", "thread", "listener", "mount", "namespace"],
)
def test_a_test_that_leaves_something_behind_fails_and_it_is_removed(
    tmp_path: Path, body: str, told: str
) -> None:
    if ("mount" in body or "netns" in body) and os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("mounts and network namespaces need root")
        pytest.skip("mounts and network namespaces need root")
    # Its own neighbour is not blamed, and finds nothing.
    inner = f"def test_first(tmp_path):\n    {body}\ndef test_second():\n    pass\n"
    done = run_pytest(tmp_path, inner)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"ERROR at teardown of test_first _+\nleft behind:\n{told}", done.stdout)
    assert "2 passed, 1 error" in done.stdout
    pid = re.search(r"process (\d+):", done.stdout)
    assert pid is None or not alive(int(pid[1]))


def test_what_the_fixtures_of_a_module_hold_is_theirs(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        "@pytest.fixture(scope='module')\n"
        "def server():\n"
        "    process = subprocess.Popen(['sleep', '614'])\n"
        "    yield\n"
        "    process.kill(); process.wait()\n"
        "def test_first(server): pass\n"
        "def test_second(server): pass\n",
    )
    assert done.returncode == 0, done.stdout


def test_one_that_stands_still_ends_with_every_stack_and_the_others_run(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        "def wait_for_nothing(event): event.wait()\n"
        "def test_stands():\n"
        "    event = threading.Event()\n"
        "    threading.Thread(target=wait_for_nothing, args=(event,), daemon=True).start()\n"
        "    event.wait()\n"
        "def test_runs(): pass\n",
        timeout=1,
    )
    assert done.returncode == 1
    assert "Timeout (>1.0s) from pytest-timeout" in done.stdout
    assert "in wait_for_nothing" in done.stdout + done.stderr
    assert re.search(r"(?m)^test_inner\.py:\d+: in test_stands|^>\s+event\.wait\(\)", done.stdout)
    assert "1 failed, 1 passed" in done.stdout


def test_one_that_cannot_be_interrupted_ends_too_and_leaves_nothing(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    done = run_pytest(
        tmp_path,
        "def test_deaf():\n"
        "    signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "    alone = subprocess.Popen(['setsid', 'sleep', '615'])\n"
        f"    pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{alone.pid}}')\n"
        "    time.sleep(615)\n",
        timeout=1,
    )
    assert done.returncode == 1
    assert re.search(r"Timeout \(0:00:02\)!\n", done.stderr), done.stderr
    assert "in test_deaf" in done.stderr
    run, process = map(int, pids.read_text().split())
    wait_until(lambda: not alive(process), what="the guard ends what was started")
    wait_until(lambda: not machine.marked(run))


def test_a_supervisors_workers_end_with_it(stage: Stage) -> None:
    """`start_server` is killed at the end of a failed test, and cannot tell its workers."""
    from tests.conftest import need_program

    starter = stage.program(
        [need_program("start_server"), "--port", f"127.0.0.1:{free_port()}", "--", script("ppdp"),
         "--upstream", "127.0.0.1:1"]
    )  # fmt: skip
    starter.wait_for("Start listen")
    workers = [pid for pid in machine.marked(os.getpid()) if parent(pid) == starter.pid]
    assert len(workers) == 1
    starter.close()
    wait_until(lambda: not alive(workers[0]))


def parent(pid: int) -> int:
    one = machine.process(pid)
    return -1 if one is None else one.parent


def test_a_port_is_given_once_and_to_one_run() -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        low, high = map(int, file.read().split())
    ours = {free_port() for _ in range(50)}
    assert len(ours) == 50
    assert not [port for port in ours if low <= port <= high]
    code = "from tests.machine import free_port; print(*(free_port() for _ in range(50)))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert not ours & set(map(int, told.stdout.split()))
    with socket.create_server(("127.0.0.1", next_port := free_port())):
        ports = {free_port() for _ in range(machine.BLOCK)}
    assert next_port not in ports


def test_at_most_three_tests_are_left_to_make_soak_each_with_its_reason() -> None:
    marks = []
    for path in ROOT.glob("tests/**/*.py"):
        marks += re.findall(r"(?m)^@pytest\.mark\.soak(.*)", path.read_text())
        assert "mark.soak" not in re.sub(r"(?m)^@pytest\.mark\.soak.*", "", path.read_text()) or (
            path.name == "test_firmness.py"
        )
    assert len(marks) <= 3
    assert all(re.match(r'\("[^"]{20,}', mark) for mark in marks), marks


def test_no_failure_is_tried_again() -> None:
    for name in ("Makefile", ".ci/run", "pyproject.toml"):
        text = (ROOT / name).read_text()
        assert not re.search(r"--last-failed|--lf\b|--reruns|flaky|--failed-first", text), name


def test_repeat_keeps_each_result_and_tries_nothing_again(tmp_path: Path) -> None:
    test, log, count = tmp_path / "test_x.py", tmp_path / "log", tmp_path / "count"
    test.write_text(
        f"import pathlib\ncount = pathlib.Path({str(count)!r})\n"
        "def test_x():\n"
        "    count.write_text(count.read_text() + 'x' if count.exists() else 'x')\n"
        "    assert count.read_text() != 'xx'\n"
    )
    command = [str(ROOT / "tests/repeat"), "-n", "3", "-o", str(log), str(test)]
    env = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    assert done.stdout == f"repeat: 3 pieces, 1 failed; see {log}\n"
    lines = log.read_text().splitlines()
    heads = [line for line in lines if not line.startswith("    ")]
    assert [re.sub(r".* (\d/\d) .*: (\d \w+) in .*", r"\1 \2", line) for line in heads] == [
        "1/3 1 passed", "2/3 1 failed", "3/3 1 passed",
    ]  # fmt: skip
    assert any("assert count.read_text() != 'xx'" in line for line in lines)
    assert count.read_text() == "xxx"


def test_repeat_keeps_every_core_busy_and_lets_go_of_them(tmp_path: Path) -> None:
    test = tmp_path / "test_x.py"
    test.write_text(
        "import os\n"
        "def test_x():\n"
        "    own = os.popen(f'ps -o stat= --ppid {os.getppid()}').read().split()\n"
        "    assert sum(one.startswith('R') for one in own) >= os.cpu_count()\n"
    )
    log = tmp_path / "log"
    command = [str(ROOT / "tests/repeat"), "-n", "1", "-b", "-o", str(log), str(test)]
    env = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, log.read_text()
