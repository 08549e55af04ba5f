"""The order of effects: what a plugin remembers, it remembers after its results were delivered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import DATA, need_program, run, script
from tests.disks import fill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAIL = (DATA / "postfix/mit/verbose-maillog-2022-02.log").read_bytes()
LOG_PLUGINS = ("axslog", "log_incr_rate", "postfix_log")
READ_AGAIN = "nothing is counted, the next run reads the same lines again"


class Plugin:
    """A log plugin with a log that has grown by five lines since its first run."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        self.work.mkdir()
        self.env = {**os.environ, "MACKEREL_PLUGIN_WORKDIR": str(self.work)}
        self.log, self.base = folder / "log", folder / "base"
        self.line = {
            "axslog": b"status:200\tptime:0.5\n",
            "log_incr_rate": b"x\n",
            "postfix_log": next(x for x in MAIL.splitlines(True) if b"status=sent" in x),
        }[name]
        arguments: list[Any] = {
            "axslog": ["mackerel-plugin-axslog", "--logfile", self.log, "--key-prefix", "t"],
            "log_incr_rate": ["mackerel-plugin-log-incr-rate", "--log-file", self.log,
                              "--base-log-file", self.base, "--key-prefix", "t"],
            "postfix_log": ["mackerel-plugin-postfix-log", "--logfile", self.log],
        }[name]  # fmt: skip
        self.command = [script(str(arguments[0])), *map(str, arguments[1:]), "--output", "json"]
        for path in (self.log, self.base):
            path.write_bytes(self.line)
        assert self.run().returncode == 0
        for path in (self.log, self.base):
            path.write_bytes(self.line * 6)
        self.before = self.positions()

    def run(self, **how: Any) -> subprocess.CompletedProcess[bytes]:
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": self.env, **how}
        return subprocess.run(self.command, timeout=60, check=False, **how)

    def positions(self) -> dict[str, bytes]:
        """All that is kept; nothing half written may stand beside it."""
        return {
            path.name: path.read_bytes() for path in self.work.iterdir() if path.suffix != ".lock"
        }

    def counted(self) -> list[int]:
        """The bytes that the next run counts, of each log."""
        done = self.run()
        assert done.returncode == 0, done.stderr
        return [log["bytes"] for log in json.loads(done.stdout)["logs"]]

    def check_read_again(self) -> None:
        """The five lines are counted by the next run, and by none after it."""
        assert self.positions() == self.before
        logs = len(self.before)
        assert self.counted() == [5 * len(self.line)] * logs
        assert self.counted() == [0] * logs


@pytest.fixture(params=LOG_PLUGINS)
def plugin(request: pytest.FixtureRequest, tmp_path: Path) -> Plugin:
    return Plugin(request.param, tmp_path)


def closed() -> None:
    os.close(1)


def check_failed(done: subprocess.CompletedProcess[bytes], words: str) -> None:
    told = done.stderr.decode()
    [error] = [line for line in told.splitlines() if ": error: " in line]
    assert f"standard output: {words}; {READ_AGAIN}" in error
    assert done.returncode == 1
    assert "Traceback" not in told


def test_output_on_a_full_device_does_not_count(plugin: Plugin) -> None:
    with open("/dev/full", "wb") as full:
        check_failed(plugin.run(stdout=full), "No space left on device")
    plugin.check_read_again()


def test_output_to_a_closed_descriptor_does_not_count(plugin: Plugin) -> None:
    done = plugin.run(stdout=None, preexec_fn=closed)
    check_failed(done, "Bad file descriptor")
    plugin.check_read_again()


def test_output_to_a_pipe_without_a_reader_does_not_count(plugin: Plugin) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = plugin.run(stdout=writer)
    os.close(writer)
    check_failed(done, "Broken pipe")
    plugin.check_read_again()


def test_output_to_a_file_on_a_full_disk_does_not_count(plugin: Plugin, tiny_disk: Path) -> None:
    fill(tiny_disk)
    with open(tiny_disk / "out", "wb") as out:
        check_failed(plugin.run(stdout=out), "No space left on device")
    plugin.check_read_again()


def test_a_kill_between_the_output_and_the_commit_counts_once_more(plugin: Plugin) -> None:
    strace = need_program("strace")
    at_rename = "inject=rename,renameat,renameat2:signal=SIGKILL"
    plugin.command = [
        strace, "-f", "-o", str(plugin.folder / "calls"), "-e", "trace=rename,renameat,renameat2",
        "-e", at_rename, *plugin.command,
    ]  # fmt: skip
    plugin.env["PYTHONDONTWRITEBYTECODE"] = "1"  # the interpreter renames those files
    killed = plugin.run()
    del plugin.command[: plugin.command.index(at_rename) + 1]
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    logs = [log["bytes"] for log in json.loads(killed.stdout)["logs"]]
    assert logs == [5 * len(plugin.line)] * len(logs)  # it was all printed
    kept = {n: c for n, c in plugin.positions().items() if not n.endswith(".new")}
    assert kept == plugin.before
    assert plugin.counted() == logs  # once more
    assert plugin.counted() == [0] * len(logs)
    assert plugin.positions().keys() == plugin.before.keys()


def test_a_full_work_directory_prints_nothing_and_counts_nothing(
    plugin: Plugin, tiny_disk: Path
) -> None:
    for name, content in plugin.before.items():
        (tiny_disk / name).write_bytes(content)
        (tiny_disk / f"{name}.lock").touch()
    filler = fill(tiny_disk)
    plugin.env["MACKEREL_PLUGIN_WORKDIR"] = str(tiny_disk)
    plugin.work = tiny_disk
    done = plugin.run()
    assert (done.returncode, done.stdout) == (1, b"")
    check_way_out(done, tiny_disk, "No space left on device")
    filler.unlink()
    plugin.check_read_again()


def check_way_out(
    done: subprocess.CompletedProcess[bytes], folder: Path, words: str, kind: str = "error"
) -> None:
    told = done.stderr.decode().splitlines()
    [at] = [i for i, line in enumerate(told) if f": {kind}: {folder}/" in line and words in line]
    assert told[at + 1].startswith("hint: ")
    assert f"{folder};" in told[at + 1]
    assert "MACKEREL_PLUGIN_WORKDIR" in told[at + 1]


def gone(folder: Path) -> str:
    folder.rmdir()
    return "No such file or directory"


def read_only(folder: Path) -> str:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    return "Read-only file system"


@pytest.mark.parametrize("broken", [gone, read_only])
def test_a_work_directory_that_takes_no_lock_has_a_way_out(
    plugin: Plugin, broken: Callable[[Path], str], tiny_disk: Path, tmp_path: Path
) -> None:
    folder = tiny_disk if broken is read_only else tmp_path / "gone"
    folder.mkdir(exist_ok=True)
    words = broken(folder)
    plugin.env["MACKEREL_PLUGIN_WORKDIR"] = str(folder)
    done = plugin.run()
    assert (done.returncode, done.stdout) == (1, b"")
    check_way_out(done, folder, words)
    assert plugin.positions() == plugin.before


def test_no_locks_to_be_had_has_a_way_out(plugin: Plugin) -> None:
    strace = need_program("strace")
    plugin.command = [
        strace, "-f", "-o", str(plugin.folder / "calls"), "-e", "inject=flock:error=ENOLCK",
        *plugin.command,
    ]  # fmt: skip
    done = plugin.run()
    assert (done.returncode, done.stdout) == (1, b"")
    check_way_out(done, plugin.work, "No locks available")


@pytest.mark.parametrize(
    ("keep", "let_go", "words"),
    [
        (["chattr", "+i"], ["chattr", "-i"], "Operation not permitted"),
        (["chattr", "+a"], ["chattr", "-a"], "Operation not permitted"),
        (["mount", "--bind", "{}"], ["umount"], "Device or resource busy"),
    ],
)
def test_a_position_that_cannot_be_replaced_is_found_out_before_the_output(
    plugin: Plugin, keep: list[str], let_go: list[str], words: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounts, and files that nobody may change, need root")
    position = str(plugin.work / min(plugin.before))
    need_program("chattr")
    subprocess.run([*(word.format(position) for word in keep), position], check=True)
    try:
        done = plugin.run()
    finally:
        subprocess.run([*let_go, position], check=True)
    assert (done.returncode, done.stdout) == (1, b"")
    check_way_out(done, plugin.work, words)
    plugin.check_read_again()


def test_of_several_logs_the_work_directory_is_told_once(tmp_path: Path) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    for log in logs:
        log.write_bytes(b"status:200\tptime:0.5\n")
    folder = tmp_path / "gone"
    done = run("mackerel-plugin-axslog", "--logfile", ",".join(map(str, logs)), "--key-prefix", "t",
               env={"MACKEREL_PLUGIN_WORKDIR": str(folder)})  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == 2
    check_way_out(done, folder, "No such file or directory")


def test_numbers_are_carried_with_the_position(tmp_path: Path, workdir: Path) -> None:
    """What `plugin.follow.deliver` promises to a plugin that counts from run to run."""
    log = tmp_path / "log"
    program = """
import sys
from kojuto import _native
from kojuto.common import cli
from kojuto.common.plugin import follow
values = cli.Values(set(), max_line_size=1 << 20, archive_dir=[], threads=1,
                    verbose=False)
log = follow.Log(sys.argv[1], "test")
options = follow.FollowOptions(values, 1 << 30)
[(lines, report)] = _native.follow_line_counts([log], [(None, None)], options)
total = report.position.carried.get("日", 0.0) + lines
kept = {"日": total, "nan": float("nan")}
assert report.position.stage(kept) == 1
follow.deliver(lambda: print(f"{total:g}"), [(report, kept, None)])
try:
    report.position.carried
except ValueError as error:
    assert "committed" in str(error)
else:
    raise AssertionError
"""

    def total(**how: Any) -> bytes:
        how = {"stdout": subprocess.PIPE, **how}
        done = subprocess.run(
            [sys.executable, "-c", program, str(log)], stderr=subprocess.PIPE, check=False, **how
        )
        assert (done.returncode == 0) == ("preexec_fn" not in how and how["stdout"] == -1)
        return done.stdout or b""

    log.write_text("a\nb\n")
    assert total() == b"2\n"
    log.write_text("a\nb\nc\n")
    with open("/dev/full", "wb") as full:
        total(stdout=full)
    assert total() == b"3\n"
    [path] = [path for path in workdir.iterdir() if path.suffix != ".lock"]
    state = json.loads(path.read_text())
    assert state["carried"] == {"日": 3.0}
    assert {"pos", "time", "inode", "dev"} <= state.keys()
    state["time"] = int(time.time()) - 60  # another program writes it again, in its own way
    path.write_text(json.dumps(state, indent=1))
    assert total() == b"3\n"
    state["carried"] = {"日": "3"}
    path.write_text(json.dumps(state))
    log.write_text("a\nb\nc\nd\n")
    assert total() == b"1\n"  # the numbers start afresh, the position does not


def test_a_plugin_leaves_what_others_carry(plugin: Plugin) -> None:
    for name, content in plugin.before.items():
        state = json.loads(content)
        state["carried"] = {"a": 1, "b": 2.5}
        (plugin.work / name).write_text(json.dumps(state))
    assert plugin.counted() == [5 * len(plugin.line)] * len(plugin.before)
    for content in plugin.positions().values():
        carried = json.loads(content)["carried"]
        assert {"a": 1, "b": 2.5}.items() < carried.items()


# -- process-status -------------------------------------------------------------------------------

STATUS = "mackerel-plugin-linux-process-status"
STATUS_LINE = ("--pid", str(os.getpid()), "--key-prefix", "p")


def test_process_status_prints_what_needs_no_state(tiny_disk: Path, tmp_path: Path) -> None:
    missing = tmp_path / "gone"
    done = run(STATUS, *STATUS_LINE, env={"MACKEREL_PLUGIN_WORKDIR": str(missing)})
    check_printed(done, missing, "No such file or directory")
    filler = fill(tiny_disk)
    done = run(STATUS, *STATUS_LINE, env={"MACKEREL_PLUGIN_WORKDIR": str(tiny_disk)})
    check_printed(done, tiny_disk, "No space left on device")
    assert list(tiny_disk.iterdir()) == [filler]
    words = read_only(tiny_disk)
    done = run(STATUS, *STATUS_LINE, env={"MACKEREL_PLUGIN_WORKDIR": str(tiny_disk)})
    check_printed(done, tiny_disk, words)


def check_printed(done: subprocess.CompletedProcess[bytes], folder: Path, words: str) -> None:
    assert done.returncode == 0, done.stderr
    for name in (b"fds_p.count", b"mem_p.used", b"mem_usage_p.percentage"):
        assert name in done.stdout
    assert done.stderr.count(b"warning") == 1
    check_way_out(done, folder, words, "warning")


@pytest.mark.parametrize("how", ["full", "closed", "pipe"])
def test_process_status_keeps_its_state_when_the_output_fails(how: str, workdir: Path) -> None:
    assert run(STATUS, *STATUS_LINE).returncode == 0
    [path] = workdir.iterdir()
    before = path.read_bytes()
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full:
        out = {"full": full, "closed": None, "pipe": writer}[how]
        done = subprocess.run(
            [script(STATUS), *STATUS_LINE], stdout=out, stderr=subprocess.PIPE, check=False,
            preexec_fn=closed if how == "closed" else None,
        )  # fmt: skip
    os.close(writer)
    assert done.returncode == 1
    assert b"error: standard output: " in done.stderr
    assert [p.read_bytes() for p in workdir.iterdir()] == [before]


# -- percentile --sketch --------------------------------------------------------------------------


def test_a_sketch_and_its_figures_are_not_lost_with_each_other(
    tmp_path: Path, tiny_disk: Path
) -> None:
    sketch = tmp_path / "a.sketch"
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full:
        for out, status in ((full, 1), (writer, 0)):
            done = subprocess.run(
                [script("percentile"), "--sketch", str(sketch)], input=b"1\n2\n3\n", stdout=out,
                stderr=subprocess.PIPE, check=False,
            )  # fmt: skip
            assert done.returncode == status, done.stderr
            assert run("percentile", "--merge", sketch).stdout.startswith(b"count: 3\n")
            sketch.unlink()
    os.close(writer)
    fill(tiny_disk)
    done = run("percentile", "--sketch", tiny_disk / "a.sketch", stdin=b"1\n2\n3\n")
    assert done.stdout.startswith(b"count: 3\n")
    assert done.returncode == 1
    assert f"error: {tiny_disk}/a.sketch: No space left on device" in done.stderr.decode()
