"""`no-excl-open`: logrotate beside a writer, every call the shim covers, its limits, the doctor."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.no_excl_open import shim_path
from tests.conftest import ROOT, need_program, run, script, wait_until
from tests.streams import processes_end, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["processes_end"]

SHIM = shim_path()
OPEN = "import os, sys; os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_RDWR)"


@pytest.fixture(scope="module")
def exclusive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The C program of tests/programs, compiled as distributions compile: fortified."""
    out = tmp_path_factory.mktemp("programs") / "exclusive"
    source = ROOT / "tests/programs/exclusive.c"
    flags = ["-O2", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-pthread", "-w", "-Wl,-z,now"]
    subprocess.run([need_program("cc"), *flags, "-o", str(out), str(source)], check=True)
    return str(out)


def preloaded(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LD_PRELOAD": SHIM, **more}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def opens(path: Path, **more: str) -> bool:
    """Whether an existing file is opened under the shim."""
    done = preloaded(sys.executable, "-c", OPEN, str(path), **more)
    assert done.returncode == 0 or "FileExistsError" in done.stderr, done.stderr
    return done.returncode == 0


# -- logrotate ------------------------------------------------------------------------------------

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


class Race:
    """Rotations of a log while writers re-create it.

    With the shim the lines are counted at the end: each is there once.
    """

    def __init__(self, directory: Path, names: str = "a") -> None:
        self.directory = directory
        self.log, self.archive = directory / "app.log", directory / "archive"
        self.archive.mkdir()
        self.logrotate = logrotate(directory)
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
        rotated = self.directory / "app.log.1"
        if rotated.exists():
            rotated.rename(self.archive / str(self.made))

    def end(self) -> tuple[int, int]:
        """Lines that the writers wrote, and lines that are lost or there twice."""
        written = []
        for name, writer in self.writers.items():
            writer.send_signal(signal.SIGTERM)
            out, _ = writer.communicate(timeout=30)
            written += [f"{name} {number}" for number in range(int(out))]
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        for path in self.archive.iterdir():
            lines += path.read_text().splitlines()
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


def logrotate(directory: Path) -> list[str]:
    """A call of it; without ``-f``, as the script of cron.daily has it."""
    config, state = directory / "logrotate.conf", directory / "state"
    body = "rotate 3\n    create 0644\n    missingok\n    size 1"
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
    call = logrotate(tmp_path)
    words = shlex.split(way)
    if way == "script":
        path = tmp_path / "daily" / "logrotate"
        path.parent.mkdir()
        path.write_text(SCRIPT.format(logrotate=call[0], line=shlex.join(call)))
        path.chmod(0o755)
        words, call = [str(path)], []
    elif words:
        need_program(words[0])
    words = [str(tmp_path / "lock") if word == "lock" else word for word in words]
    rotate_thrice(tmp_path, [*words, *call], preload("recreate"))


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


def test_the_wrapper_beside_a_writer_loses_no_line(tmp_path: Path) -> None:
    raced = Race(tmp_path)
    race(raced, [script("no-excl-open"), "--", "nice", *raced.logrotate], 10)
    assert raced.end()[1] == 0


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


# -- the shim -------------------------------------------------------------------------------------


def test_every_call_is_covered_and_nothing_else_is_changed(exclusive: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"content")

    def calls(*, shim: bool) -> dict[str, str]:
        command = [exclusive, "calls", str(path), str(tmp_path), "log"]
        done = preloaded(*command, **({} if shim else {"LD_PRELOAD": ""}))
        assert (done.returncode, done.stderr) == (0, "")
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    with_shim, without = calls(shim=True), calls(shim=False)
    changed = {"open", "open64", "openat", "openat64"}
    refused = f"refused {errno.EEXIST}"
    for name, result in without.items():
        assert with_shim[name] == ("opened 0" if name in changed else result), name
        assert name not in changed or result == refused
    assert with_shim["write-only"] == with_shim["truncating"] == refused
    assert with_shim["tmpfile"] == with_shim["fortified-open"] == "opened 0"
    assert len(with_shim) == 13


def test_fortified_entry_points_are_in_the_program_and_in_the_shim(exclusive: str) -> None:
    symbols = subprocess.run(["nm", "-D", exclusive], capture_output=True, text=True, check=True)
    ours = subprocess.run(["nm", "-D", SHIM], capture_output=True, text=True, check=True).stdout
    for name in ("__open_2", "__open64_2", "__openat_2", "__openat64_2"):
        assert f"U {name}" in symbols.stdout
        assert f"T {name}\n" in ours
    defined = {line.split()[-1] for line in ours.splitlines() if " T " in line}
    assert defined == {
        "open", "open64", "openat", "openat64", "creat", "creat64",
        "__open_2", "__open64_2", "__openat_2", "__openat64_2",
    }  # fmt: skip


def test_it_needs_nothing_but_the_c_library() -> None:
    shown = subprocess.run(["readelf", "-d", SHIM], capture_output=True, text=True, check=True)
    needed = {
        line.split("[")[1].split("]")[0] for line in shown.stdout.splitlines() if "NEEDED" in line
    }
    assert needed <= {"libc.so.6", "libdl.so.2"}


def test_the_mode_and_errno_are_kept(exclusive: str, tmp_path: Path) -> None:
    done = preloaded(exclusive, "modes", str(tmp_path / "new"))
    assert done.stdout.split("\n")[:3] == ["created 640", "errno 77", f"missing {errno.ENOENT}"]


def test_threads_and_signal_handlers(exclusive: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    done = preloaded(exclusive, "threads", str(tmp_path / "log"))
    assert (done.returncode, done.stdout) == (0, "threads done, handler ran\n")


def test_links_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"secret")
    for name in ("link", "dangling"):
        (tmp_path / name).symlink_to(target if name == "link" else tmp_path / "nowhere")
        assert not opens(tmp_path / name)
    os.mkfifo(tmp_path / "fifo")
    assert not opens(tmp_path / "fifo")
    assert not (tmp_path / "nowhere").exists()
    assert opens(target)
    assert target.read_bytes() == b"secret"


def test_errno_is_of_the_first_try_whatever_the_second_met(exclusive: str, tmp_path: Path) -> None:
    """A directory, a device without a driver, a file that may not be opened: EEXIST."""
    if os.geteuid() != 0:
        pytest.skip("device nodes need root")
    (tmp_path / "directory").mkdir()
    os.mknod(tmp_path / "device", 0o600 | stat.S_IFCHR, os.makedev(240, 7))
    (tmp_path / "sealed").write_bytes(b"")
    subprocess.run([need_program("chattr"), "+i", tmp_path / "sealed"], check=False)
    try:
        for name in ("directory", "device", "sealed"):
            done = preloaded(exclusive, "calls", str(tmp_path / name), str(tmp_path), name)
            assert f"\nopen64 refused {errno.EEXIST}\n" in done.stdout, (name, done.stdout)
    finally:
        subprocess.run([need_program("chattr"), "-i", tmp_path / "sealed"], check=False)


def test_a_planted_hard_link_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"")
    secret.chmod(0o600)
    os.link(secret, tmp_path / "log")
    assert not opens(tmp_path / "log")
    (tmp_path / "log").unlink()
    assert opens(secret)


OPENED_IN = [
    # Mode and owner of the directory, owner of the file, and whether it is opened.
    (0o755, 0, 0, True), (0o755, 0, 33, True), (0o755, 33, 33, True), (0o755, 33, 0, True),
    (0o700, 33, 34, True), (0o775, 0, 0, True), (0o775, 0, 33, True), (0o775, 33, 33, True),
    (0o775, 33, 34, True), (0o775, 33, 0, False), (0o2775, 33, 0, False), (0o1775, 33, 0, False),
    (0o720, 33, 0, False), (0o1775, 0, 0, True), (0o777, 0, 0, False), (0o777, 33, 33, False),
    (0o1777, 0, 0, False), (0o1777, 0, 33, False), (0o702, 0, 0, False),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "directory_owner", "file_owner", "opened"), OPENED_IN)
def test_who_may_write_to_the_directory_decides(
    mode: int, directory_owner: int, file_owner: int, opened: bool, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("files of others need root")
    directory = tmp_path / "logs"
    directory.mkdir()
    path = directory / "log"
    path.write_bytes(b"")
    os.chown(path, file_owner, -1)
    os.chown(directory, directory_owner, -1)
    directory.chmod(mode)
    assert opens(path) is opened
    # A pattern does not lift it.
    assert opens(path, NO_EXCL_OPEN_PATHS=f"{directory}/*") is opened


def test_a_directory_of_ones_own_below_one_of_all(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    own = shared / "own"
    own.mkdir(mode=0o700)
    (own / "log").write_bytes(b"")
    assert opens(own / "log")


def test_a_small_stack_of_a_signal_handler_is_enough(exclusive: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    for patterns in ({}, {"NO_EXCL_OPEN_PATHS": f"{tmp_path}/[a-z]*"}):
        done = preloaded(exclusive, "small-stack", str(tmp_path / "log"), **patterns)
        assert (done.returncode, done.stdout) == (0, "handler ran\n")


@pytest.mark.parametrize(
    ("pattern", "opened"),
    [
        ("{d}/log", True), ("{d}/*", True), ("{d}/l?g", True), ("{d}/**", True), ("{u}/**g", True),
        ("{d}/*.log:{d}/lo*", True), ("{u}/*/log", True), ("{d}//log", False), ("{u}/*", False),
        ("{d}/other", False), ("log", False), ("{d}/log?", False), ("{d}", False), (":", False),
        ("{u}/**/x/*:{d}/*o", False), ("/**/*og", True), ("{u}/a*a/*", False), ("", False),
        ("{d}/[kl]og", True), ("{d}/[!l]og", False), ("{d}/[^l]og", False), ("{d}/[!a-k]og", True),
        ("{d}/[a-kl]og", True), ("{d}/[a-k]og", False), ("{d}/[[l]og", True), ("{d}/lo[]g]", True),
        ("{d}/lo[g-]", True), ("{d}/lo[g", False), ("{d}/\\log", True), ("{d}/\\*", False),
        ("{d}/[[:alpha:]]og", False), ("{d}[/]log", False), ("{d}/*[g]", True),
        ("{d}/[x]*:{d}/[l]??", True),
    ],
)  # fmt: skip
def test_patterns_limit_it(pattern: str, opened: bool, tmp_path: Path) -> None:
    directory = tmp_path / "sub"
    directory.mkdir()
    path = directory / "log"
    path.write_bytes(b"")
    patterns = pattern.format(d=directory, u=tmp_path)
    assert opens(path, NO_EXCL_OPEN_PATHS=patterns) is opened


def test_patterns_are_those_of_glob(tmp_path: Path) -> None:
    """A period that begins a name is matched by itself alone, and a character of UTF-8 is one."""
    names = [".log", "älog", "a\udcfflog", "[log", "a*log"]
    rows = [
        ("*log", [False, True, True, True, True]), (".*", [True, False, False, False, False]),
        ("?log", [False, True, False, True, False]), ("**log", [True, True, True, True, True]),
        ("[!x]log", [False, True, False, True, False]), ("[ß-ü]log", [False, True] + 3 * [False]),
        ("a?log", [False, False, True, False, True]), ("[log", 3 * [False] + [True, False]),
        (r"a\*log", 4 * [False] + [True]), ("[.]log", 5 * [False]),
        (r"\.log", [True] + 4 * [False]),
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).write_bytes(b"")
    for pattern, expected in rows:
        found = [
            opens(tmp_path / name, NO_EXCL_OPEN_PATHS=f"{tmp_path}/{pattern}") for name in names
        ]
        assert found == expected, pattern


def test_a_list_of_patterns_is_taken_whole_or_matches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"")
    for length, opened in ((16383, True), (16384, False)):
        patterns = f"{path}:".ljust(length, "x")
        assert opens(path, NO_EXCL_OPEN_PATHS=patterns) is opened, length


def test_the_longest_path_that_the_system_takes(tmp_path: Path) -> None:
    """4095 bytes (PATH_MAX less the zero byte); one more has no absolute path to compare."""
    directory = tmp_path
    while len(str(directory)) < 4095 - 255:
        directory /= "d" * 200
    directory.mkdir(parents=True)
    length = 4095 - len(str(directory)) - 1
    command = f"cd {directory} && LD_PRELOAD={SHIM} {sys.executable} -c '{OPEN}'"
    listed = {"NO_EXCL_OPEN_PATHS": "/**"}
    for more, status in ((0, 0), (1, 1)):
        name = "f" * (length + more)
        done = preloaded("sh", "-c", f"cd {directory} && : > {name}")
        assert done.returncode == 0, done.stderr
        assert preloaded("sh", "-c", f"{command} {name}").returncode == 0, more
        assert preloaded("sh", "-c", f"{command} {name}", **listed).returncode == status, more
    assert opens(directory / ("f" * length))


def test_relative_paths_are_compared_as_absolute_ones(exclusive: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    command = f"cd {tmp_path} && LD_PRELOAD={SHIM} {sys.executable} -c '{OPEN}'"
    allowed = {"NO_EXCL_OPEN_PATHS": f"{tmp_path}/*"}
    for name, status in [("log", 0), ("./log", 0), (".//log", 0), (f"../{tmp_path.name}/log", 1)]:
        done = preloaded("sh", "-c", f"{command} {name}", **allowed)
        assert done.returncode == status, name
    done = preloaded(exclusive, "calls", str(tmp_path / "log"), str(tmp_path), "log", **allowed)
    assert "openat opened 0" in done.stdout
    other = {"NO_EXCL_OPEN_PATHS": "/other/*"}
    done = preloaded(exclusive, "calls", str(tmp_path / "log"), str(tmp_path), "log", **other)
    assert f"openat refused {errno.EEXIST}" in done.stdout


def test_children_get_the_other_preloads_and_not_this_one(tmp_path: Path) -> None:
    """On a bare sh; another object before and behind stays, in its order."""
    libc = "libm.so.6"
    shown = 'echo "$LD_PRELOAD"'
    assert preloaded("sh", "-c", shown).stdout == "\n"
    both = preloaded("sh", "-c", shown, LD_PRELOAD=f"{libc}:{SHIM} libdl.so.2")
    assert both.stdout == f"{libc}:libdl.so.2\n"
    link = tmp_path / "by-another-name.so"
    link.symlink_to(SHIM)
    assert preloaded("sh", "-c", shown, LD_PRELOAD=str(link)).stdout == "\n"
    log = tmp_path / "log"
    log.write_bytes(b"")
    child = preloaded("sh", "-c", f"{sys.executable} -c '{OPEN}' {log}; echo $?")
    assert child.stdout == "1\n"
    assert "FileExistsError" in child.stderr


# -- the wrapper ----------------------------------------------------------------------------------


def test_the_wrapper_sets_the_limits_and_tells(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_bytes(b"")
    options: list[str | Path] = ["--only", tmp_path / "a*", "--only=/other", "--verbose"]
    options += ["--for", sys.executable, "--"]
    done = run("no-excl-open", *options, sys.executable, "-c", OPEN, tmp_path / "a.log")
    assert done.returncode == 0
    told = done.stderr.decode().splitlines()
    assert told[0].startswith("no-excl-open: running ")
    assert told[1] == f"no_excl_open: opened though it exists: {tmp_path}/a.log"
    assert told[2].endswith(" (once) and opened a file that was already there once")
    done = run("no-excl-open", *options, sys.executable, "-c", OPEN, tmp_path / "b.log")
    assert done.returncode == 1
    assert b" (once) and opened a file that was already there 0 times\n" in done.stderr
    assert run("no-excl-open", "--only", "a:b", "true").returncode == 2
    assert run("no-excl-open", "--for", "a:b", "true").returncode == 2
    classes = run("no-excl-open", "--only", "/var/log/[[:alpha:]]*", "true")
    assert classes.returncode == 2
    assert "([:…:]) are not known here" in classes.stderr.decode()
    for length, status in ((16383, 0), (16384, 2)):
        assert run("no-excl-open", "--only", "/".ljust(length, "x"), "true").returncode == status
    assert run("no-excl-open").returncode == 2


@pytest.fixture
def named(exclusive: str, tmp_path: Path) -> Path:
    """A program of a name of its own, that opens what exists, and a log for it."""
    program = tmp_path / "opener"
    shutil.copy(exclusive, program)
    (tmp_path / "log").write_bytes(b"")
    return program


def modes(program: Path | str, log: Path) -> list[str]:
    return [str(program), "modes", str(log)]


OPENED = b"errno 77\n"
"""What the program prints when the second open went well."""


def test_the_program_is_told_by_its_file(named: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copy(named, other)
    link = tmp_path / "link"
    link.symlink_to(named)
    log = tmp_path / "log"
    for name, command, acts in (
        ("opener", ["nice", named], True), ("opener", ["nice", link], True),
        (str(link), [named], True), (str(named), [link], True), ("opener", [other], False),
        ("other", [link], False), ("link", [named], False), (str(other), [named], False),
    ):  # fmt: skip
        done = run("no-excl-open", "--for", name, "--", *command, "modes", log)
        assert (OPENED in done.stdout) is acts, (name, command)
        assert (b"never loaded" in done.stderr) is not acts


def test_it_acts_in_that_program_and_ends_there(named: Path, tmp_path: Path) -> None:
    """Not in what starts it, nor in what it starts; other objects stay as they are."""
    log, libc = tmp_path / "log", "libm.so.6"
    shown = 'echo "$LD_PRELOAD"'
    shell = tmp_path / "shell"
    shutil.copy(os.path.realpath("/bin/sh"), shell)
    command = ["--for", "shell", "--", "sh", "-c", f"{shown}; {shell} -c '{shown}'"]
    for others, before, after in (
        ("", SHIM, ""), (libc, f"{SHIM}:{libc}", libc), (f"{libc} libdl.so.2", None, None),
    ):  # fmt: skip
        done = run("no-excl-open", *command, env={"LD_PRELOAD": others})
        expected = [before or f"{SHIM}:{others}", others if after is None else after]
        assert done.stdout.decode().splitlines() == expected
    inner = shlex.join(modes(named, log))
    outside = f"{inner}; {shell} -c '{inner}; true'"
    done = run("no-excl-open", "--for", "shell", "--", "sh", "-c", outside)
    assert done.stderr == b""
    assert done.stdout.count(b"errno ") == 2
    assert OPENED not in done.stdout


def test_a_name_that_the_loader_looks_for_leaves_the_list_too(tmp_path: Path) -> None:
    name = os.path.basename(SHIM)
    at = {"LD_LIBRARY_PATH": os.path.dirname(SHIM)}
    shown = 'echo "$LD_PRELOAD"'
    for entry in (name, f"{os.path.dirname(SHIM)}/$PLATFORM/../{name}"):
        listed = f"libm.so.6:{entry}"
        done = preloaded("sh", "-c", shown, LD_PRELOAD=listed, **at)
        assert done.stdout == ("libm.so.6\n" if entry == name else f"{listed}\n"), done.stderr


def test_the_end_tells_that_it_was_never_loaded(named: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    without = ["env", "-u", "LD_PRELOAD", *modes(named, log)]
    for command, status, words in (
        (without, 0, "env did not start it, or in an environment of its own"),
        (["sh", "-c", "exit 37"], 37, "sh did not start it"),
    ):
        done = run("no-excl-open", "--for", "opener", "--", *command)
        assert done.returncode == status
        told = done.stderr.decode().splitlines()
        assert told[
            0
        ] == f"no-excl-open: warning: the shim was never loaded into opener: {words}" or (
            words in told[0]
        )
        assert told[1].startswith("hint: 'no-excl-open doctor ")
    subprocess.run(["cc", "-static", "-o", tmp_path / "static", "-xc", "-"], check=True,
                   input=b"int main(void) { return 3; }")  # fmt: skip
    done = run("no-excl-open", "--for", "static", "--", tmp_path / "static")
    assert done.returncode == 3
    assert b"never loaded into static: linked statically" in done.stderr


def test_another_user_can_tell_and_nothing_is_left(named: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("two users need root")
    need_program("setpriv")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o755)
    as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*as_other, *modes(named, tmp_path / "log")]
    done = run(
        "no-excl-open", "--for", "opener", "--verbose", "--", *command, env={"TMPDIR": str(place)}
    )
    assert b"loaded into opener (once)" in done.stderr
    assert not list(place.iterdir())


def test_status_and_signals_pass_through(tmp_path: Path) -> None:
    assert run("no-excl-open", "sh", "-c", "exit 37").returncode == 37
    assert run("no-excl-open", tmp_path / "missing/program").returncode == 127
    plain = tmp_path / "plain"
    plain.write_text("no program")
    assert run("no-excl-open", plain).returncode == 126
    plain.chmod(0o755)
    done = run("no-excl-open", plain)
    assert (done.returncode, done.stderr.count(b"\n")) == (126, 1)
    waits = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    process = spawn([script("no-excl-open"), "sh", "-c", waits], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(timeout=30) == 9
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        process = spawn(
            [script("no-excl-open"), "sh", "-c", "echo ready; exec sleep 60"],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == -number


def test_what_the_command_inherits_of_signals() -> None:
    """As it would be without the wrapper: nothing is blocked, and ignored is what was. (Of 32 and
    33, the C library's own, posix_spawn(3) makes ignored ones.)
    """
    shown = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    wrapped = f'{script("no-excl-open")} sh -c "{shown}; exit 5"'

    def masks(before: str, command: str) -> list[int]:
        done = subprocess.run(["sh", "-c", before + command], capture_output=True, check=False)
        assert done.returncode == (5 if command == wrapped else 0)
        return [int(line.split()[1], 16) & 0x7FFFFFFF for line in done.stdout.splitlines()]

    assert masks("", wrapped) == masks("", shown) == [0, 0]
    ignored = "trap '' HUP USR1; "
    assert masks(ignored, wrapped) == masks(ignored, shown) == [0, 1 << 0 | 1 << 9]
    # The end of a child is seen by a parent that was started with SIGCHLD ignored, too.
    assert masks("trap '' CHLD; ", wrapped) == [0, 0]


def test_path_is_what_ld_preload_takes(tmp_path: Path) -> None:
    shown = run("no-excl-open", "--path").stdout.decode().strip()
    assert shown == SHIM
    log = tmp_path / "log"
    log.write_bytes(b"")
    assert opens(log, LD_PRELOAD=shown)


# -- the doctor -----------------------------------------------------------------------------------


def test_the_doctor_knows_who_cannot_be_helped(tmp_path: Path) -> None:
    source = tmp_path / "hello.c"
    source.write_text("int main(void) { return 0; }\n")
    for name, flags in (("dynamic", []), ("static", ["-static"])):
        subprocess.run(["cc", *flags, "-o", tmp_path / name, source], check=True)
    shutil.copy(tmp_path / "dynamic", tmp_path / "setuid")
    (tmp_path / "setuid").chmod(0o4755)
    (tmp_path / "script").write_text(f"#!{tmp_path}/static\n")
    (tmp_path / "script").chmod(0o755)
    shutil.copy(tmp_path / "dynamic", tmp_path / "go")
    with open(tmp_path / "go", "ab") as file:
        file.write(b"\xff Go buildinf:")
    for name, words in {
        "dynamic": "can be run under the shim",
        "static": "cannot be run under the shim: linked statically",
        "setuid": "cannot be run under the shim: setuid or setgid",
        "script": f"cannot be run under the shim: its interpreter {tmp_path}/static: linked",
        "go": "cannot be run under the shim: a Go program",
        "missing": "cannot be run under the shim: command not found",
    }.items():
        done = run("no-excl-open", "doctor", "--dir", tmp_path, tmp_path / name)
        line = done.stdout.decode().splitlines()[1]
        assert line.startswith(f"{tmp_path / name}: {words}"), name
        assert done.returncode == (0 if name == "dynamic" else 1), name
    done = run("no-excl-open", "doctor", "--dir", tmp_path, "logrotate")
    assert done.returncode == 0


def test_the_doctor_finds_orphans(tmp_path: Path) -> None:
    for name in ("app.log-2026112203.backup", "app.log.1", "x.backup", "y-20261122.backup"):
        (tmp_path / name).write_bytes(b"")
    deep = tmp_path / "deep"
    deep.mkdir()
    (deep / "db.log-2026010100.backup").write_bytes(b"")
    done = run("no-excl-open", "doctor", "--dir", tmp_path, "sh")
    assert done.returncode == 1
    stranded = [line for line in done.stdout.decode().splitlines() if "stranded" in line]
    assert [line.split(":")[0] for line in stranded] == [
        f"{tmp_path}/app.log-2026112203.backup",
        f"{deep}/db.log-2026010100.backup",
    ]
    assert b"advice: " in done.stdout
    missing = run("no-excl-open", "doctor", "--dir", tmp_path / "none")
    assert missing.returncode == 1
