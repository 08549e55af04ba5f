"""`no-excl-open`: a real logrotate beside an application that re-creates its log."""

from __future__ import annotations

import gzip
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, run, script, wait_until
from tests.peers.shim import SHIM, exclusive, preloaded
from tests.streams import processes_end, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["exclusive", "processes_end"]


WRITER = """
import itertools, os, signal, sys, time
path, name = sys.argv[1:]
going = [True]
signal.signal(signal.SIGTERM, lambda *_: going.clear())
for number in itertools.count():
    if not going:
        break
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(log, b"%s %d\\n" % (name.encode(), number))
    os.close(log)
    time.sleep(0.00002)
print(number)
"""


ROUNDS = int(os.environ.get("KOJUTO_LOGROTATE_ROUNDS", "3"))
"""Rotations of each wrapper and configuration: 250 make a soak of it, a thousand a wrapper."""


class Race:
    """Rotations of a log while writers re-create it.

    With the shim the lines are counted at the end: each is there once. What is compressed later
    (``delaycompress``) is taken away when it is, and what is a copy is not counted.
    """

    def __init__(self, directory: Path, names: str = "a", words: str = "create 0644") -> None:
        self.directory, self.words = directory, words
        self.log, self.archive = directory / "app.log", directory / "archive"
        for folder in (self.archive, directory / "old"):
            folder.mkdir()
        self.logrotate = logrotate(directory, words)
        self.writers = {
            name: spawn([sys.executable, "-c", WRITER, str(self.log), name], stdout=subprocess.PIPE)
            for name in names
        }
        wait_until(self.log.exists)
        self.made = self.faults = 0

    def rotate(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, check=False)
        self.made += 1
        self.faults += done.returncode != 0 or done.stderr != b""
        self.faults += len(list(self.directory.glob("*.backup")))
        if "delaycompress" not in self.words:
            self._take("app.log.1")
        self._take("app.log.2.gz")

    def _take(self, name: str) -> None:
        for path in (self.directory / name, self.directory / "old" / name):
            if path.exists() and "copy" not in self.words:
                path.rename(self.archive / f"{self.made}.{name}")

    def end(self) -> tuple[int, int]:
        """Lines that the writers wrote, and lines that are lost or there twice."""
        written = []
        for name, writer in self.writers.items():
            writer.send_signal(signal.SIGTERM)
            out, _ = writer.communicate(timeout=30)
            written += [f"{name} {number}" for number in range(int(out))]
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self._take("app.log.1")
        for path in self.archive.iterdir():
            data = path.read_bytes()
            text = gzip.decompress(data) if path.suffix == ".gz" else data
            lines += text.decode().splitlines()
        return len(written), len(set(written) ^ set(lines)) + len(lines) - len(set(lines))


def race(raced: Race, command: list[str], rounds: int) -> None:
    """Rotate so many times, each without a fault."""
    while raced.made < rounds:
        raced.rotate(*command)
        assert raced.faults == 0, f"round {raced.made}"


def rotate_thrice(directory: Path, command: list[str], environment: dict[str, str]) -> None:
    """Each time the log is re-created in the moment after it was renamed: no line is stranded."""
    log = directory / "app.log"
    log.write_text("first\n")
    for line in ("first\n", "between\n", "between\n"):
        done = subprocess.run(
            [script("no-excl-open"), "--verbose", "--", *command],
            capture_output=True, env={**os.environ, **environment}, check=False,
        )  # fmt: skip
        told = done.stderr.decode().splitlines()[1:]
        assert told == [
            f"no_excl_open: opened though it exists: {log}",
            "no-excl-open: the shim was loaded into logrotate (once) and opened a file that was "
            "already there once",
        ]
        assert done.returncode == 0
        assert (log.read_text(), (directory / "app.log.1").read_text()) == ("between\n", line)
        assert not list(directory.glob("*.backup"))


def logrotate(directory: Path, words: str = "create 0644") -> list[str]:
    """A call of it; without ``-f``, as the script of cron.daily has it."""
    config, state = directory / "logrotate.conf", directory / "state"
    body = "\n    ".join(["rotate 3", *words.split(", "), "missingok", "size 1"])
    config.write_text(f'"{directory}/app.log" {{\n    {body}\n}}\n')
    config.chmod(0o644)
    state.mkdir()
    return [need_program("logrotate"), "-s", str(state / "status"), str(config)]


SCRIPT = """#!/bin/sh
# Starts logrotate as the script of cron.daily does, and is called as that is.
[ -x {logrotate} ] || exit 0
{line}
EXITVALUE=$?
exit $EXITVALUE
"""


@pytest.mark.parametrize(
    "way",
    ["", "nice", "timeout 60", "env A=b", "flock lock", "sh -c 'exec \"$0\" \"$@\"'", "script",
     "busybox env A=b", "nice timeout 60 setsid"],
)  # fmt: skip
def test_logrotate_by_way_of_another_program(
    way: str, tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    command = by_way_of(way, tmp_path, logrotate(tmp_path))
    rotate_thrice(tmp_path, command, preload("recreate"))


def by_way_of(way: str, folder: Path, call: list[str]) -> list[str]:
    """The call of logrotate by another program, or by a script as that of cron.daily."""
    words = shlex.split(way)
    if way == "script":
        path = folder / "daily" / "logrotate"
        path.parent.mkdir()
        path.write_text(SCRIPT.format(logrotate=call[0], line=shlex.join(call)))
        path.chmod(0o755)
        return [str(path)]
    if words:
        need_program(words[0])
    return [str(folder / "lock") if word == "lock" else word for word in words] + call


WRAPPERS = ("nice", "timeout 60", "env A=b", "flock lock", 'sh -c \'exec "$0" "$@"\'', "script")
CREATING = ("create 0644", "create 0644, compress, delaycompress", "create 0644, olddir old")


@pytest.mark.parametrize(
    ("way", "words"),
    [*((way, words) for way in WRAPPERS for words in CREATING), ("nice", "nocreate, olddir old"),
     ("nice", "copy"), ("nice", "copytruncate")],
)  # fmt: skip
def test_a_wrapper_beside_a_writer_loses_no_line_and_strands_no_file(
    way: str, words: str, tmp_path: Path
) -> None:
    """KOJUTO_LOGROTATE_ROUNDS=250 makes a soak of it."""
    raced = Race(tmp_path, words=words)
    race(
        raced,
        [script("no-excl-open"), "--", *by_way_of(way, tmp_path, raced.logrotate)],
        ROUNDS,
    )
    written, wrong = raced.end()
    # Between the copy and the cut lines are lost, as logrotate's manual says: nobody creates a log.
    if words != "copytruncate":
        assert wrong == 0, f"{wrong} of {written}"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_the_script_of_cron_daily(tmp_path: Path, preload: Callable[[str], dict[str, str]]) -> None:
    """Debian's own, with a configuration and a state of the test in place of the machine's."""
    daily = Path("/etc/cron.daily/logrotate")
    if not daily.exists():
        pytest.skip("no such script here")
    logrotate(tmp_path)
    inside = (
        f"mount --bind {tmp_path}/logrotate.conf /etc/logrotate.conf && "
        f"mount --bind {tmp_path}/state /var/lib/logrotate && "
        "if [ -d /run/systemd/system ]; then mount -t tmpfs none /run/systemd; fi && "
        f"exec nice {daily}"
    )
    command = [need_program("unshare"), "--mount", "sh", "-c", inside]
    rotate_thrice(tmp_path, command, preload("recreate"))


@pytest.mark.parametrize("names", ["a", "ab"])
def test_logrotate_preloaded_by_hand_loses_no_line(names: str, tmp_path: Path) -> None:
    raced = Race(tmp_path, names)
    race(raced, ["env", f"LD_PRELOAD={SHIM}", *raced.logrotate], 100)
    assert raced.end()[1] == 0


def test_by_hand_through_a_wrapper_it_is_named(
    tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    """Without NO_EXCL_OPEN_FOR the shim acts in the first program alone, as the original."""
    other = preload("recreate")["LD_PRELOAD"]
    call = ["nice", *logrotate(tmp_path)]
    log = tmp_path / "app.log"
    for named, acts in (({"NO_EXCL_OPEN_FOR": "logrotate"}, True), ({}, False)):
        log.write_text("first\n")
        done = preloaded(*call, LD_PRELOAD=f"{SHIM}:{other}", NO_EXCL_OPEN_VERBOSE="1", **named)
        assert (f"no_excl_open: opened though it exists: {log}\n" == done.stderr) is acts


def test_without_the_shim_the_same_race_shows_the_fault(tmp_path: Path) -> None:
    raced = Race(tmp_path)
    while raced.made < 1000 and not raced.faults:
        raced.rotate(*raced.logrotate)
    raced.end()
    assert raced.faults, f"no fault in {raced.made} rounds"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other users need root")
JOURNAL = """
import os, socket, sys
journal = socket.socket(socket.AF_UNIX)
journal.bind("/run/systemd/journal/stdout")
journal.listen()
os.set_inheritable(journal.fileno(), True)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Stands where journald would listen, and becomes the program that is given."""


@needs_root
@pytest.mark.parametrize("way", ["systemd-cat", "su"])
def test_what_leaves_the_environment_alone_passes_the_shim_on(
    way: str, tmp_path: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    call = logrotate(tmp_path)
    (tmp_path / "app.log").write_text("first\n")
    command = [need_program("su"), "-s", "/bin/sh", "-c", shlex.join(call)]
    if way == "systemd-cat":
        behind = [sys.executable, "-c", JOURNAL, need_program("systemd-cat"), *call]
        inside = "mount -t tmpfs none /run/systemd && mkdir /run/systemd/journal && exec "
        command = [need_program("unshare"), "--mount", "sh", "-c", inside + shlex.join(behind)]
    done = run("no-excl-open", "--verbose", "--", *command, env=preload("recreate"))
    assert done.returncode == 0, done.stderr
    assert b"loaded into logrotate (once) and opened a file that was already there once" in (
        done.stderr
    )
    assert (tmp_path / "app.log").read_text() == "between\n"


def test_what_does_not_is_told_by_its_name(tmp_path: Path) -> None:
    call = logrotate(tmp_path)
    for command, clears in (
        (["systemd-run", "--wait"], "systemd-run"),
        (["nice", "env", "-i"], "env -i"),
        (["env", "-u", "LD_PRELOAD"], "env -u LD_PRELOAD"),
    ):
        need_program(command[0])
        done = run("no-excl-open", "--", *command, *call)
        told = done.stderr.decode().splitlines()[-2:]
        assert told[0].endswith(f"never loaded into logrotate: '{clears}' takes LD_PRELOAD away")
        assert told[1] == "hint: put no-excl-open behind it, before logrotate"


def test_the_wrapper_runs_logrotate(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("line\n")
    config = tmp_path / "conf"
    config.write_text(f'"{log}" {{\n    rotate 3\n    create 0644\n}}\n')
    os.chmod(config, 0o644)
    done = run("no-excl-open", "--", "logrotate", "-f", "-s", tmp_path / "state", config)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "app.log.1").read_text() == "line\n"
    assert log.read_text() == ""
