"""mackerel-plugin-log-incr-rate: rates, ratio, positions, patterns."""

from __future__ import annotations

import json
import os
import resource
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT, read_metrics, run

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

PROG = "mackerel-plugin-log-incr-rate"


class Logs:
    """A log and its base log, and runs of the plugin over them."""

    def __init__(self, folder: Path, workdir: Path) -> None:
        self.log, self.base, self.workdir = folder / "log", folder / "base", workdir
        self.log.touch()
        self.base.touch()

    def add(self, log: int, base: int) -> None:
        for path, lines in ((self.log, log), (self.base, base)):
            with open(path, "a", encoding="utf-8") as file:
                file.write("x\n" * lines)

    def run(self, *options: str, prefix: str = "t") -> subprocess.CompletedProcess[bytes]:
        return run(PROG, "--log-file", self.log, "--base-log-file", self.base,
                   "--key-prefix", prefix, *options)  # fmt: skip

    def metrics(self, *options: str) -> dict[str, str]:
        """Run as if the previous run had been a minute ago."""
        for path in self.workdir.iterdir():
            if path.suffix != ".lock":
                state = json.loads(path.read_text())
                state["time"] = int(time.time()) - 60
                path.write_text(json.dumps(state))
        done = self.run(*options)
        assert done.returncode == 0, done.stderr
        return read_metrics(done.stdout)


@pytest.fixture
def logs(tmp_path: Path, workdir: Path) -> Logs:
    return Logs(tmp_path, workdir)


def near(text: str, count: int) -> bool:
    """Whether `text` is `count` a minute, a second or two more allowed."""
    return text in [f"{count / seconds:f}" for seconds in (60, 61, 62)]


def test_rates_and_ratio(logs: Logs) -> None:
    logs.add(10, 10)
    first = logs.run()
    assert (first.returncode, first.stdout) == (0, b"")
    logs.add(30, 120)
    metrics = logs.metrics()
    assert list(metrics) == [
        "log-incr-rate.t_count.log", "log-incr-rate.t_count.base", "log-incr-rate.t_rate.log",
    ]  # fmt: skip
    assert near(metrics["log-incr-rate.t_count.log"], 30)
    assert near(metrics["log-incr-rate.t_count.base"], 120)
    assert metrics["log-incr-rate.t_rate.log"] == "0.250000"


def test_the_ratio_is_left_out_while_the_base_does_not_grow(logs: Logs) -> None:
    logs.run()
    logs.add(6, 0)
    metrics = logs.metrics()
    assert list(metrics) == ["log-incr-rate.t_count.log", "log-incr-rate.t_count.base"]
    assert metrics["log-incr-rate.t_count.base"] == "0.000000"


def test_the_manual_names_the_files_of_the_positions(logs: Logs) -> None:
    assert logs.run(prefix="web").returncode == 0
    names = {path.stem for path in logs.workdir.iterdir()}
    manual = (ROOT / "docs/commands/mackerel-plugin-log-incr-rate.md").read_text()
    shown = [f"incr-rate-{which}-PREFIX-UID" for which in ("log", "base")]
    assert all(f"`{name}`" in manual for name in shown)
    uid = str(os.getuid())
    assert names == {name.replace("PREFIX", "web").replace("UID", uid) for name in shown}


def test_two_set_ups_do_not_share_positions(logs: Logs) -> None:
    logs.run(prefix="a")
    logs.add(60, 60)
    logs.run(prefix="b")
    metrics = {k: v for k, v in logs.metrics("--key-prefix=a").items() if ".a_" in k}
    assert near(metrics["log-incr-rate.a_count.log"], 60)


def test_positions_of_the_original_are_read_once_as_a_start(logs: Logs) -> None:
    logs.add(5, 5)
    uid = os.getuid()
    for side, path in (("log", logs.log), ("base", logs.base)):
        stat = path.stat()
        position = {"pos": stat.st_size, "time": int(time.time()) - 60, "inode": stat.st_ino,
                    "dev": stat.st_dev}  # fmt: skip
        (logs.workdir / f"incr-rate-{side}-{uid}").write_text(json.dumps(position))
    logs.add(60, 120)
    metrics = logs.metrics()
    assert near(metrics["log-incr-rate.t_count.log"], 60)
    assert metrics["log-incr-rate.t_rate.log"] == "0.500000"
    logs.add(60, 60)
    assert near(logs.metrics()["log-incr-rate.t_count.log"], 60)


def test_patterns_on_each_side(logs: Logs) -> None:
    logs.run()
    logs.log.write_text("warn a\nerror b\nerror c healthz\n")
    logs.base.write_text("GET /healthz\nGET /\nPOST /\nGET /x\n")
    metrics = logs.metrics("--pattern", "^error", "--exclude", "healthz", "--base-pattern", "GET",
                           "--base-exclude", "/healthz")  # fmt: skip
    assert near(metrics["log-incr-rate.t_count.log"], 1)
    assert near(metrics["log-incr-rate.t_count.base"], 2)
    wrong = logs.run("--pattern", "(")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"regular expression" in wrong.stderr


def test_a_missing_log_is_an_error_that_names_it(logs: Logs) -> None:
    logs.base.unlink()
    done = logs.run()
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"/base: No such file or directory" in done.stderr


@pytest.mark.parametrize("side", ["log", "base"])
@pytest.mark.parametrize("how", ["gone", "a directory", "a loop", "its position cannot be kept"])
def test_lines_of_one_log_are_not_lost_while_the_other_one_fails(
    logs: Logs, side: str, how: str
) -> None:
    logs.add(10, 10)
    logs.run()
    logs.add(30, 120)
    path = getattr(logs, side)
    away = path.parent / "elsewhere" / path.name
    away.parent.mkdir()
    if how == "its position cannot be kept":
        in_the_way = logs.workdir / f"incr-rate-{side}-t-{os.getuid()}.new"
        in_the_way.mkdir()
    else:
        path.rename(away)
        in_the_way = path
        if how == "a directory":
            path.mkdir()
        elif how == "a loop":
            path.symlink_to(path)
    for _ in range(2):
        done = logs.run()
        assert (done.returncode, done.stdout) == (1, b""), done.stderr
    if in_the_way.is_dir():
        in_the_way.rmdir()
    if away.exists():
        away.replace(path)
    metrics = logs.metrics()
    assert near(metrics["log-incr-rate.t_count.log"], 30)
    assert near(metrics["log-incr-rate.t_count.base"], 120)


@pytest.mark.parametrize("side", ["log", "base"])
def test_a_position_that_is_not_kept_at_the_last_moment_counts_once_more(
    logs: Logs, side: str
) -> None:
    """The lines of that side alone: those of the other were delivered, and stay so."""
    logs.add(10, 10)
    logs.run()
    logs.add(30, 120)
    position = logs.workdir / f"incr-rate-{side}-t-{os.getuid()}"
    kept = position.read_bytes()
    position.unlink()
    position.mkdir()  # which no rename(2) of a file replaces
    done = logs.run()
    assert done.returncode == 1
    assert b"what was printed is counted once more by the next run" in done.stderr
    position.rmdir()
    position.write_bytes(kept)
    logs.add(1, 2)
    lines = [log["lines"] for log in json.loads(logs.run("--output", "json").stdout)["logs"]]
    # Positions are put in place in the order of the options.
    assert lines == ([31, 122] if side == "log" else [1, 122])


def test_more_than_the_limit_is_skipped_and_told(logs: Logs) -> None:
    logs.run()
    logs.add(1000, 10)
    metrics = logs.metrics("--max-read-size", "1KB")
    assert metrics["log-incr-rate.t_skipped.log"] == "2000"
    assert metrics["log-incr-rate.t_count.log"] == "0.000000"


def test_two_runs_at_once_do_not_count_the_same_lines(logs: Logs) -> None:
    from kojuto._native import StateLock

    lock = StateLock(str(logs.workdir / f"incr-rate-base-t-{os.getuid()}"))
    done = logs.run()
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"another run" in done.stderr
    lock.release()


def test_json_and_graph_definition(logs: Logs) -> None:
    meta = run(PROG, "--log-file", "/no", "--base-log-file", "/no", "--key-prefix", "t",
               env={"MACKEREL_AGENT_PLUGIN_META": "1"})  # fmt: skip
    graphs = json.loads(meta.stdout.split(b"\n", 1)[1])["graphs"]
    assert [m["name"] for m in graphs["log-incr-rate.t_count"]["metrics"]] == ["log", "base"]
    assert "log-incr-rate.t_rate" in graphs
    logs.add(3, 4)
    document = json.loads(logs.run("--output", "json").stdout)
    assert [log["lines"] for log in document["logs"]] == [3, 4]
    assert document["metrics"] == {}
    logs.metrics()
    logs.add(2, 4)
    text = run(PROG, "--log-file", logs.log, "--base-log-file", logs.base, "--key-prefix", "t",
               "--output", "prometheus").stdout.decode()  # fmt: skip
    assert 'log_incr_rate_lines_total{prefix="t",log="log"} 5\n' in text


def test_threads_count_the_same_lines(logs: Logs) -> None:
    """More than one thread's share of each log, so that what each has counted is added."""
    logs.run()
    logs.add(600_000, 900_000)
    metrics = logs.metrics("--threads", "3")
    assert near(metrics["log-incr-rate.t_count.log"], 600_000)
    assert near(metrics["log-incr-rate.t_count.base"], 900_000)
    assert metrics["log-incr-rate.t_rate.log"] == "0.666667"


def test_the_state_of_the_go_plugin_is_kept_up_while_it_is_there(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going back to it counts nothing twice."""
    old = tmp_path / "old"
    old.mkdir()
    monkeypatch.setenv("TMPDIR", str(old))
    logs.add(10, 20)
    files = {}
    for side, log in (("log", logs.log), ("base", logs.base)):
        about = log.stat()
        files[log] = old / f"incr-rate-{side}-{os.getuid()}"
        position = {"pos": 2, "time": int(time.time()) - 60, "inode": about.st_ino}
        files[log].write_text(json.dumps({**position, "dev": about.st_dev}))
    found = read_metrics(logs.run().stdout)
    assert near(found["log-incr-rate.t_count.log"], 9)
    for _ in range(2):
        for log, path in files.items():
            state = json.loads(path.read_text())
            assert (state["pos"], state["inode"]) == (log.stat().st_size, log.stat().st_ino)
        logs.add(5, 5)
        logs.log.rename(logs.log.with_suffix(".1"))
        logs.add(3, 1)
        assert near(logs.metrics()["log-incr-rate.t_count.log"], 8)
    for path in files.values():
        path.unlink()
    logs.add(1, 1)
    assert logs.run().returncode == 0
    assert list(old.iterdir()) == []


def children_cpu_s() -> float:
    """The processor time of the processes that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rotation_cost_s(folder: Path, workdir: Path, rotated: int) -> float:
    """The processor time of a run that finds its log rotated, by the median of three."""
    folder.mkdir()
    logs = Logs(folder, workdir)
    for number in range(rotated):
        logs.log.with_name(f"log-{1_700_000_000 + number}").write_text(f"{number}\n")
    logs.run()
    costs = []
    for number in range(3):
        logs.add(10, 1)
        logs.log.rename(logs.log.with_name(f"log-{1_800_000_000 + number}"))
        logs.add(10, 0)
        before = children_cpu_s()
        metrics = logs.metrics()
        costs.append(children_cpu_s() - before)
        assert near(metrics["log-incr-rate.t_count.log"], 20)
    return sorted(costs)[1]


def test_20_000_rotated_files_cost_a_rotation_a_fifth_of_a_second(
    tmp_path: Path, workdir: Path
) -> None:
    alone_s = rotation_cost_s(tmp_path / "alone", workdir, 0)
    for path in workdir.iterdir():
        path.unlink()
    beside_s = rotation_cost_s(tmp_path / "beside", workdir, 20_000)
    start = time.thread_time()
    entries = os.scandir(tmp_path / "beside")
    assert sum(entry.stat().st_size > 0 for entry in entries) > 20_000
    look_s = time.thread_time() - start
    # Where the processor is slow or busy, as many times what a look at each file takes here.
    assert beside_s - alone_s < max(0.2, 8 * look_s), (alone_s, beside_s, look_s)


def test_more_files_are_rotated_than_a_process_may_have_open_at_first(logs: Logs) -> None:
    logs.run()
    for number in range(600):
        logs.log.rename(logs.log.with_name(f"log-{1_700_000_000 + number}"))
        logs.add(1, 0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        found = [logs.metrics()["log-incr-rate.t_count.log"] for _ in range(2)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert near(found[0], 600)
    assert near(found[1], 0)
