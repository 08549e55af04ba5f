"""kojuto report --dask: a scheduler and two workers on loopback, beside one machine's answer."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import re
import signal
import site
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from kojuto import report
from kojuto.errors import KojutoError
from kojuto.tools.report import parts
from tests.conftest import run, script, wait_until
from tests.peers import weblogs
from tests.peers.servers import LOOPBACK, Program, free_port
from tests.tools.test_report_stores import text, without_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(240)


class Cluster:
    """A scheduler; workers are started when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"tcp://{LOOPBACK}:{self.port}"
        self.programs: list[Program] = []
        self.scheduler = self.start(
            [script("dask"), "scheduler", "--host", LOOPBACK, "--port", str(self.port),
             "--no-dashboard"]
        )  # fmt: skip
        self.scheduler.wait_for_port(self.port, within_s=60)

    def start(self, command: list[str], **keywords: Any) -> Program:
        program = Program(command, self.folder, **keywords)
        self.programs.append(program)
        return program

    def worker(self, prefix: tuple[str, ...] = (), **keywords: Any) -> Program:
        known = self.scheduler.text().count("Register worker")
        command = [
            *(prefix or (script("dask"),)), "worker", self.address, "--host", LOOPBACK,
            "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory",
            str(self.folder),
        ]  # fmt: skip
        worker = self.start(command, **keywords)
        wait_until(lambda: self.scheduler.text().count("Register worker") > known, within_s=60)
        return worker

    def report(self, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        done = run(
            "kojuto", "report", "--output", "json", "--dask", self.address, *arguments,
            timeout_s=200,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, done.stderr
        return done

    def answer(self, *arguments: str | Path) -> dict[str, Any]:
        done = self.report(*arguments)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        for program in cluster.programs:
            program.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler for a test that ends it or its workers."""
    with started(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers that go on."""
    with started(tmp_path_factory.mktemp("pair") / "cluster") as cluster:
        cluster.worker()
        cluster.worker()
        yield cluster


def alone(*arguments: str | Path) -> dict[str, Any]:
    done = run("kojuto", "report", "--output", "json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_answer_is_that_of_one_machine(pair: Cluster, tmp_path: Path) -> None:
    large, packed = tmp_path / "large.log", tmp_path / "b.log.gz"
    large.write_bytes(text(30_000) * 24)  # more than two parts
    packed.write_bytes(gzip.compress(text(4000, first=9000)))
    assert len(parts.cut(str(large), "large.log", {})[1]) > 2
    names = (large, packed)
    for options in ((), ("--since", "end-4m", "--group-by", "file")):
        assert pair.answer(*options, *names) == alone(*options, *names)
    found = report.scan([large, packed], dask=pair.address)
    assert found.rows() == report.scan([large, packed]).rows()
    # All that the report keeps, as --merge would put it together.
    whole = report.Report.from_bytes(bytes(report.scan(large)) + bytes(report.scan(packed)))
    assert bytes(found) == bytes(whole)


def test_what_a_lost_worker_did_is_done_again(cluster: Cluster, tmp_path: Path) -> None:
    first = cluster.worker()
    with weblogs.serving() as web:
        web.files = {f"/{n:02}.log": text(500, first=500 * n) for n in range(40)}
        web.pause_s = 0.2
        log = tmp_path / "all.log"
        log.write_bytes(b"".join(web.files.values()))
        command = [script("kojuto"), "report", "--output", "json", "--dask", cluster.address]
        urls = [web.url + name for name in web.files]
        running = subprocess.Popen([*command, *urls], stdout=subprocess.PIPE)
        wait_until(lambda: sum(bool(web.got(name)) for name in web.files) > 5, within_s=100)
        first.kill(signal.SIGKILL)
        first.process.wait()
        done_by_then = sum(bool(web.got(name)) for name in web.files)
        assert done_by_then < len(urls)
        web.pause_s = 0
        cluster.worker()
        shown, _ = running.communicate(timeout=200)
        assert running.returncode == 0
        assert without_names(json.loads(shown)) == without_names(alone(log))
        # Its parts were in its memory alone.
        assert sum(len(web.got(name)) for name in web.files) > len(urls)


def test_a_log_that_a_worker_cannot_read_is_named(pair: Cluster, tmp_path: Path) -> None:
    good, broken = tmp_path / "good.log", tmp_path / "broken.gz"
    good.write_bytes(text(30))
    broken.write_bytes(gzip.compress(text(3000))[:-2000])
    done = pair.report(good, broken)
    assert (done.returncode, done.stdout) == (1, b"")
    (first, *_) = done.stderr.decode().splitlines()
    assert re.fullmatch(rf"kojuto report: error: {broken}: damaged .* \(worker tcp://.*\)", first)
    with weblogs.serving() as web:
        web.files = {"/a.log": text(30_000)}
        web.breaks = {"/a.log": 100_000}
        done = pair.report(good, f"{web.url}/a.log?secret")
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"error: {web.url}/a.log: ".encode() in done.stderr
        assert b"(worker tcp://" in done.stderr
    with pytest.raises(KojutoError, match=r"broken\.gz"):
        report.scan([good, broken], dask=pair.address)


def test_a_worker_without_kojuto_is_named(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    for place in site.getsitepackages():
        for entry in os.scandir(place):
            if "kojuto" not in entry.name.lower() and not entry.name.endswith(".pth"):
                (folder / entry.name).symlink_to(entry.path)
    code = "import sys; from dask.__main__ import main; sys.exit(main())"
    prefix = (sys.executable, "-S", "-c", code)
    cluster.worker(prefix, env={"PYTHONPATH": str(folder)})
    log = tmp_path / "a.log"
    log.write_bytes(text(30))
    done = cluster.report(log)
    assert (done.returncode, done.stdout) == (1, b"")
    error, hint = done.stderr.decode().splitlines()
    assert re.fullmatch(r"kojuto report: error: worker tcp://127\.0\.0\.1:\d+ has no kojuto", error)
    assert re.fullmatch(r"hint: pip install kojuto==\S+ on every worker", hint)


def test_a_scheduler_that_is_not_there_is_told(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(text(30))
    done = run("kojuto", "report", "--dask", "tcp://127.0.0.1:1", log)
    assert (done.returncode, done.stdout) == (1, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith("kojuto report: error: --dask tcp://127.0.0.1:1: no scheduler answers")
    assert hint.startswith("hint: dask scheduler")
    for wrong in ("nowhere://x", "tcp://"):
        done = run("kojuto", "report", "--dask", wrong, log)
        assert done.returncode in (1, 2)
        assert b"Traceback" not in done.stderr
        assert wrong.encode() in done.stderr


def test_a_scheduler_that_ends_in_the_middle_is_told(cluster: Cluster) -> None:
    cluster.worker()
    with weblogs.serving() as web:
        web.files = {f"/{n:02}.log": text(50) for n in range(40)}
        web.pause_s = 0.3
        urls = [web.url + name for name in web.files]
        command = [script("kojuto"), "report", "--dask", cluster.address, *urls]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: sum(bool(web.got(name)) for name in web.files) > 5, within_s=100)
        cluster.scheduler.kill(signal.SIGKILL)
        shown, told = running.communicate(timeout=200)
        assert (running.returncode, shown) == (1, b"")
        assert b"Traceback" not in told
        assert b"error: " in told


def test_the_progress_is_shown_on_a_terminal(pair: Cluster, tmp_path: Path) -> None:
    with weblogs.serving() as web:
        web.files = {f"/{n:02}.log": text(500) for n in range(20)}
        web.pause_s = 0.2
        ours, theirs = pty.openpty()
        urls = [web.url + name for name in web.files]
        command = [script("kojuto"), "report", "--dask", pair.address, *urls]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        told = b""
        try:
            while piece := os.read(ours, 65536):
                told += piece
        except OSError:  # its last holder has ended
            pass
        os.close(ours)
        running.communicate()
    assert running.returncode == 0
    size = sum(map(len, web.files.values())) / 1e6
    assert re.search(rf" of {size:.2f} MB, [1-9]\d %".encode(), told), sorted(
        set(told.split(b"\r"))
    )


def test_what_has_no_meaning_for_a_cluster_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(text(30))
    for arguments, why in (
        (["--jobs", "2", str(log)], b"--jobs cannot go with --dask"),
        (["-"], b"--dask cannot count standard input"),
        (["--merge", str(log)], b"--dask cannot go with --merge"),
    ):
        done = run("kojuto", "report", "--dask", "tcp://127.0.0.1:1", *arguments)
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr


def test_what_is_missing_is_named_with_its_way_to_install(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(text(30))
    code = (
        "import sys; sys.modules['distributed'] = None; from kojuto.tools.report import main;"
        f" sys.exit(main(['--dask', 'tcp://127.0.0.1:1', {str(log)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "hint: pip install 'kojuto[dask]'" in done.stderr
