"""Rotators, real ones and replayed ones, a log whose lines are numbered, and the plugins on it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from typing import IO, TYPE_CHECKING, NamedTuple

from tests.conftest import need_program, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

AXSLOG = "mackerel-plugin-axslog"
INCR_RATE = "mackerel-plugin-log-incr-rate"


def ltsv(number: int) -> str:
    return (
        f"host:192.0.2.7\tstatus:200\tptime:{number}\turi:/item/{number}\tua:{'Mozilla/5.0 ' * 4}"
    )


class Writer:
    """Writes numbered lines to a log, which it opens for each batch, as a shell does.

    Args:
        log: the log.
        form: the line of a number, without its end; the number is the time taken in it.
    """

    def __init__(self, log: Path, form: Callable[[int], str] = ltsv) -> None:
        self.log, self.form, self.written = log, form, 0

    def lines(self, count: int) -> str:
        first, self.written = self.written + 1, self.written + count
        return "".join(f"{self.form(n)}\n" for n in range(first, self.written + 1))

    def write(self, count: int, to: IO[str] | None = None) -> None:
        """Write to the log, or to a file that was opened when it had that name."""
        if to is not None:
            to.write(self.lines(count))
            to.flush()
            return
        with self.log.open("a") as log:
            log.write(self.lines(count))


class Axslog:
    """Runs of axslog, added up: of lines, and of their numbers."""

    def __init__(self, log: Path, *options: str | Path) -> None:
        self.arguments = ("--logfile", log, "--key-prefix", "t", "--output", "json", *options)
        self.lines = self.sum = 0
        self.said = ""

    def run(self) -> None:
        done = run(AXSLOG, *self.arguments)
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        lines = document["logs"][0]["counted_lines"]
        self.lines += lines
        if lines:
            self.sum += round(document["metrics"]["axslog.latency_t.average"] * lines)
        self.said += done.stderr.decode()

    def check(self, written: int) -> None:
        """Each line was counted, and none twice: neither would leave both figures as they are."""
        figures, expected = (self.lines, self.sum), (written, written * (written + 1) // 2)
        assert figures == expected, f"{figures} for {expected}: {self.said}"


class IncrRate:
    """Runs of log-incr-rate with the log on both sides, added up."""

    def __init__(self, log: Path, *options: str | Path) -> None:
        self.arguments = ("--log-file", log, "--base-log-file", log, "--key-prefix", "t",
                          "--output", "json", *options)  # fmt: skip
        self.lines = [0, 0]
        self.said = ""

    def run(self) -> None:
        done = run(INCR_RATE, *self.arguments)
        assert done.returncode == 0, done.stderr
        for side, log in enumerate(json.loads(done.stdout)["logs"]):
            self.lines[side] += log["lines"]
        self.said += done.stderr.decode()

    def check(self, written: int) -> None:
        assert self.lines == [written, written], f"{self.lines} for {written}: {self.said}"


class Clock:
    """A clock that goes an hour at a time, for programs that ``shift_clock`` is preloaded into."""

    def __init__(self, folder: Path, preloaded: Mapping[str, str]) -> None:
        self.file, self.hours = folder / "clock", 0
        self.environment = {**os.environ, **preloaded, "SHIFT_CLOCK_FILE": str(self.file)}

    def step(self) -> None:
        self.hours += 1
        self.file.write_text(f"{3600 * self.hours}\n")


class Logrotate:
    """A logrotate with a configuration of its own.

    Args:
        folder: where its configuration and state are.
        log: the log.
        body: the words of the configuration, with commas between the lines.
        clock: goes an hour before each rotation.
    """

    def __init__(self, folder: Path, log: Path, body: str, clock: Clock) -> None:
        config = folder / "logrotate.conf"
        config.write_text(f'"{log}" {{\n' + body.replace(", ", "\n") + "\n}\n")
        config.chmod(0o644)
        force = [] if "size" in body else ["-f"]
        state = str(folder / "logrotate.state")
        self.command = [need_program("logrotate"), *force, "-s", state, str(config)]
        self.clock = clock

    def rotate(self) -> None:
        self.clock.step()
        environment = self.clock.environment
        done = subprocess.run(
            self.command, env=environment, capture_output=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")


class SetUp(NamedTuple):
    """What logrotate is told, and what may be asked of a reader then."""

    body: str
    most: int = 3
    """So many rotations between two runs take no file away that was not read."""
    late: bool = False
    """The writer goes on in the renamed file for a while."""


def beside_logrotate(log: Path, set_up: SetUp, clock: Clock) -> None:
    """Write, rotate and count, with none to three rotations between two runs; check the counts."""
    (log.parent / "archive").mkdir(parents=True)
    logrotate = Logrotate(log.parent.parent, log, set_up.body, clock)
    archive = ("--archive-dir", log.parent / "archive") if "olddir" in set_up.body else ()
    writer, axslog, incr_rate = Writer(log), Axslog(log, *archive), IncrRate(log, *archive)
    writer.write(50)
    for step, rotations in enumerate((0, 1, 2, 3, 1, 3, 0)):
        for number in range(min(rotations, max(set_up.most, 1))):
            writer.write(11 + number)
            if not set_up.most:
                axslog.run()
                incr_rate.run()
            with log.open("a") as late:
                logrotate.rotate()
                if set_up.late:
                    writer.write(2, late)
            writer.write(step % 3)
        axslog.run()
        incr_rate.run()
    axslog.check(writer.written)
    incr_rate.check(writer.written)
    # With its file gone, it is not known that nothing had been added to it.
    if set_up.most:
        assert axslog.said + incr_rate.said == ""


def docker(log: Path, files: int, *, compress: bool) -> Iterator[None]:
    """What the json-file driver of Docker does at ``max-size``, a call at a time.

    By `rotate` and `compressFile` of daemon/logger/loggerutils/logfile.go.
    """
    ending = ".gz" if compress else ""

    def at(number: int, end: str = ending) -> Path:
        return log.with_name(f"{log.name}.{number}{end}")

    at(files - 1).unlink(missing_ok=True)
    yield
    for number in range(files - 1, 1, -1):
        if at(number - 1).exists():
            at(number - 1).rename(at(number))
            yield
    log.rename(at(1, ""))
    yield
    log.touch()
    yield
    if compress:
        yield from _pack(at(1, ""), at(1))
        at(1, "").unlink()
        yield


def kubelet(log: Path, stamp: str, files: int) -> Iterator[None]:
    """What the kubelet does at ``containerLogMaxSize``, a call at a time.

    By `rotateLog` of pkg/kubelet/logs/container_log_manager.go. The runtime goes on in the renamed
    file until it is told to open the log anew, which is the last step.
    """
    rotated = sorted(log.parent.glob(f"{log.name}.*"))
    while len(rotated) > files - 2:
        rotated.pop(0).unlink()
        yield
    for plain in rotated:
        if plain.suffix != ".gz":
            temporary = plain.with_name(f"{plain.name}.tmp")
            yield from _pack(plain, temporary)
            temporary.rename(plain.with_name(f"{plain.name}.gz"))
            yield
            plain.unlink()
            yield
    log.rename(log.with_name(f"{log.name}.{stamp}"))
    yield
    log.touch()


def _pack(plain: Path, packed: Path) -> Iterator[None]:
    """Write half of it, and the rest."""
    data = gzip.compress(plain.read_bytes())
    with packed.open("wb") as file:
        yield
        file.write(data[: len(data) // 2])
        file.flush()
        yield
        file.write(data[len(data) // 2 :])
    yield
