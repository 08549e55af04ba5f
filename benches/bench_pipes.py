"""`sabo` beside `pv -L`, `relaxlogs` beside `rotatelogs`: what the process in the pipe costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benches.harness import BIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benches.harness import Table

RATE = 2_000_000_000
LINES_BYTES = 240_000_000


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, so that no disk is measured."""
    path = Path("/dev/shm") / f"kojuto-bench-{os.getpid()}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def need(name: str) -> str:
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/bin")
    if path is None:
        pytest.skip(f"{name} is not installed; 'make servers' installs it")
    return path


def in_pipe(producer: list[str], command: list[str], sink: Path) -> float:
    """CPU seconds of `command` behind `producer`, its output in a file that is there
    already: what the kernel takes to find fresh memory for a file is not the command's.
    """
    with open(sink, "r+b") as out:
        source = subprocess.Popen(producer, stdout=subprocess.PIPE)
        process = subprocess.Popen(command, stdin=source.stdout, stdout=out)
        assert source.stdout is not None
        source.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert source.wait() == 0
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("gigabytes", [1, 2, 4])
def test_sabo_beside_pv(gigabytes: int, table: Table, memory: Path) -> None:
    """Pipe to file at 2 GB/s; three sizes, since the cost must grow with the bytes alone."""
    producer = ["head", "-c", str(gigabytes * 10**9), "/dev/zero"]
    ours = [str(BIN / "sabo"), "--max-bandwidth", str(RATE), "--work-dir", str(memory)]
    theirs = [need("pv"), "-q", "-L", str(RATE)]
    out = memory / "out"
    with open(out, "wb") as file:
        subprocess.run(producer, stdout=file, check=True)

    def measure(command: list[str]) -> float:
        taken_s = in_pipe(producer, command, out)
        assert out.stat().st_size == gigabytes * 10**9
        return taken_s

    row = table.compare(
        f"sabo, {gigabytes} GB, pipe to file",
        "CPU of `sabo` at 2 GB/s / `pv -q -L`",
        lambda: measure(ours),
        lambda: measure(theirs),
        bound=1.0,
    )
    assert row.ok


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 MB of lines of an access log's length."""
    path = tmp_path_factory.mktemp("lines") / "lines"
    with open(path, "wb") as file:
        block = b"".join(b"%08d " % n + b"x" * (80 + n * 37 % 240) + b"\n" for n in range(10_000))
        for _ in range(LINES_BYTES // len(block) + 1):
            file.write(block)
    os.truncate(path, LINES_BYTES)
    return path


def written(logs: Path) -> int:
    return sum(path.stat().st_size for path in logs.glob("log.*"))


def cpu_s(pid: int) -> float:
    """CPU seconds of the process so far, to the nanosecond (schedstat of proc(5))."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def from_first_line(command: list[str], logs: Path, source: Path) -> dict[str, float]:
    """CPU and wall seconds for the lines of `source`, from when a first line is in the file: the
    start is over then, and no write begins at a page any more, as in any log but a new one.
    """
    logs.mkdir()
    reader, writer = os.pipe()
    process = subprocess.Popen(command, stdin=reader)
    os.close(reader)
    os.write(writer, b"x" * 172 + b"\n")
    while written(logs) == 0:
        time.sleep(0.002)
    before_s, began = cpu_s(process.pid), time.perf_counter()
    producer = subprocess.Popen(["cat", str(source)], stdout=writer)
    os.close(writer)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - began
    assert (process.returncode, producer.wait()) == (0, 0)
    assert written(logs) >= source.stat().st_size + 173
    shutil.rmtree(logs)
    return {"CPU": usage.ru_utime + usage.ru_stime - before_s, "wall": wall_s}


@pytest.fixture(params=["disk", "memory"])
def logs(request: pytest.FixtureRequest, tmp_path: Path, memory: Path) -> Path:
    return {"disk": tmp_path, "memory": memory}[request.param] / "logs"


@pytest.mark.parametrize("what", ["CPU", "wall"])
@pytest.mark.parametrize("more", [[], ["--with-time"]], ids=["plain", "with-time"])
def test_relaxlogs_beside_rotatelogs(
    more: list[str], what: str, table: Table, logs: Path, lines: Path
) -> None:
    """240 MB of lines, net of start and end. Stamps, which rotatelogs has not, are shown without a
    bound; so is a file system in memory, where finding each page takes more than all else.
    """
    place = "memory" if logs.is_relative_to("/dev/shm") else "disk"
    ours = [str(BIN / "relaxlogs"), "--log-dir", str(logs), *more]
    theirs = [need("rotatelogs"), str(logs / "log.%Y%m%d%H%M"), "3600"]

    def net(command: list[str]) -> float:
        nothing = Path(os.devnull)
        end = min(from_first_line(command, logs, nothing)[what] for _ in range(3))
        return from_first_line(command, logs, lines)[what] - end

    row = table.compare(
        f"relaxlogs {' '.join(more)}, 240 MB to {place}",
        f"{what} of `relaxlogs` / `rotatelogs`, net of start and end",
        lambda: net(ours),
        lambda: net(theirs),
        bound=0.9 if place == "disk" and not more else None,
    )
    assert row.ok
