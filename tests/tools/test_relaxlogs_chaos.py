"""`relaxlogs` on one pipe through a hundred random events, and under real supervisors.

The producer numbers its lines. Whatever happens to the logger (and to its directory and disk), each
line must be on disk once and whole at the end; after `kill -9` too, since a line is in the file or
in the pipe. With stamps a line that was written in the very moment of the kill may be there twice.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import ROOT, need_program, script, wait_until
from tests.disks import fill, small_disk
from tests.streams import processes_end, spawn, start, wait_for_handler

__all__ = ["processes_end"]

EVENTS = int(os.environ.get("KOJUTO_CHAOS_EVENTS", "100"))
PRODUCER = str(ROOT / "tests/programs/numbered.py")
STAMP = re.compile(rb"^\[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] ")


def whole_numbers(data: bytes, *, stamped: bool = False) -> list[int]:
    """The lines' numbers; fails on a line that is not whole."""
    assert data.endswith(b"\n") or not data
    numbers = []
    for line in data.split(b"\n")[:-1]:
        text = line
        if stamped:
            assert STAMP.match(line), line[:80]
            text = STAMP.sub(b"", line)
        match = re.fullmatch(rb"(\d+) x* (\d+)", text)
        assert match, line[:200]
        assert match[1] == match[2], line[:200]
        numbers.append(int(match[1]))
    return numbers


class Chaos:
    """A producer, a logger on its pipe, and what can happen to them."""

    def __init__(self, disk: Path, archive: Path, seed: int, more: list[str]) -> None:
        self.dice = random.Random(seed)
        self.disk, self.logs, self.archive, self.more = disk, disk / "logs", archive, more
        self.archive.mkdir()
        self.stderr = archive.with_suffix(".err")
        self.reader, writer = os.pipe()
        self.producer = spawn(
            [sys.executable, PRODUCER, str(seed), "30000", "0.002"],
            stdout=writer, stderr=subprocess.PIPE,
        )  # fmt: skip
        os.close(writer)
        wait_for_handler(self.producer.pid, signal.SIGTERM)
        self.kills = 0
        self.start()

    def start(self) -> None:
        with open(self.stderr, "ab") as errors:
            self.told_before = errors.tell()
            self.logger = start(
                "relaxlogs", "--log-dir", self.logs, "--rotation-time", "1", "--max-age", "0",
                "--max-size", "3M", *self.more, stdin=os.dup(self.reader), stderr=errors,
            )  # fmt: skip

    def told(self) -> str:
        return self.stderr.read_text()

    def writes_again(self) -> None:
        """Wait until lines reach the disk that has room again: a logger that was started while
        it had none tells of the next full disk only after that.
        """
        size = sum(path.stat().st_size for path in self.files())

        def writes() -> bool:
            told = self.told()[self.told_before :]
            written = sum(path.stat().st_size for path in self.files())
            return written > size and told.count("No space") == told.count("again")

        wait_until(writes, what="lines reach the disk")

    def is_ready(self) -> None:
        """Wait until the logger handles its signals."""
        wait_for_handler(self.logger.pid, signal.SIGHUP)

    def hang_up(self) -> None:
        self.is_ready()
        self.logger.send_signal(signal.SIGHUP)

    def rotate(self) -> None:
        self.is_ready()
        self.logger.send_signal(self.dice.choice([signal.SIGUSR1, signal.SIGALRM]))

    def terminate(self) -> None:
        self.is_ready()
        self.logger.terminate()
        assert self.logger.wait(timeout=30) == 0, self.told()
        self.start()

    def kill(self) -> None:
        self.kills += 1
        self.logger.kill()
        self.logger.wait(timeout=30)
        self.start()

    def full_disk(self) -> None:
        self.is_ready()
        before = self.told()
        filler = fill(self.disk)
        wait_until(lambda: self.told().count("No space") > before.count("No space"))
        time.sleep(self.dice.random() * 0.1)
        filler.unlink()
        wait_until(lambda: self.told().count("again") > before.count("again"))

    def remove_directory(self) -> None:
        """While nothing is on its way, so that what is lost is known: what was moved away."""
        self.is_ready()
        assert self.producer.stderr is not None
        self.producer.send_signal(signal.SIGUSR1)
        last = int(self.producer.stderr.readline()) - 1
        stat = Path(f"/proc/{self.producer.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", what="it stands")
        wait_until(lambda: self.has(last), what="all that was produced is written")
        self.move_away("removed")
        shutil.rmtree(self.logs)
        self.producer.send_signal(signal.SIGCONT)
        wait_until((self.logs / "current").exists, what="made again")

    def has(self, number: int) -> bool:
        """Whether the line of this number is written: then all before it are, too."""
        end = b" %d\n" % number
        for path in self.files():
            with open(path, "rb") as file:
                file.seek(-min(len(end), path.stat().st_size), os.SEEK_END)
                if file.read() == end:
                    return True
        return False

    def files(self) -> list[Path]:
        return list(self.logs.glob("log.*")) if self.logs.exists() else []

    def move_away(self, label: str) -> None:
        for path in self.files():
            shutil.copyfile(path, self.archive / f"{label}-{time.monotonic_ns()}-{path.name}")

    def run(self) -> None:
        events = [
            self.hang_up, self.rotate, self.terminate, self.kill, self.full_disk,
            self.remove_directory,
        ]  # fmt: skip
        weights = [20, 20, 20, 26, 8, 6]
        for _ in range(EVENTS):
            self.dice.choices(events, weights)[0]()
            time.sleep(self.dice.random() * 0.04)

    def check(self) -> None:
        self.is_ready()
        self.producer.terminate()
        _, told = self.producer.communicate(timeout=60)
        assert self.logger.wait(timeout=60) == 0
        os.close(self.reader)
        self.move_away("end")
        stamped = "--with-time" in self.more
        counts: Counter[int] = Counter()
        for path in self.archive.iterdir():
            counts.update(whole_numbers(path.read_bytes(), stamped=stamped))
        produced = int(told)
        missing = [number for number in range(produced) if number not in counts]
        assert not missing, f"{len(missing)} of {produced}, from {missing[:5]}"
        assert len(counts) == produced
        assert produced > 50 * EVENTS
        twice = [number for number, count in counts.items() if count > 1]
        if not stamped:
            assert not twice, twice[:10]
        assert max(counts.values()) <= 1 + self.kills


def test_a_hundred_random_events_cost_no_line(tmp_path: Path) -> None:
    def one(case: tuple[int, list[str]]) -> None:
        seed, more = case
        with small_disk(tmp_path / f"disk{seed}", "size=96m,mode=755") as disk:
            chaos = Chaos(disk, tmp_path / f"archive{seed}", seed, more)
            chaos.run()
            chaos.check()

    seed = int(os.environ.get("KOJUTO_CHAOS_SEED", "1"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, [(seed, []), (seed + 1, ["--with-time"])]))


def test_killed_on_a_full_disk_no_line_is_damaged(tmp_path: Path) -> None:
    """What waited in memory is lost, as whole lines; nothing on disk is torn or there twice."""

    def one(case: tuple[int, list[str]]) -> None:
        seed, more = case
        with small_disk(tmp_path / f"disk{seed}", "size=24m,mode=755") as disk:
            chaos = Chaos(disk, tmp_path / f"archive{seed}", seed, more)
            for _ in range(4):
                chaos.is_ready()
                before = chaos.told()
                filler = fill(disk)
                wait_until(lambda b=before: chaos.told().count("No space") > b.count("No space"))  # type: ignore[misc]
                time.sleep(chaos.dice.random() * 0.2)
                chaos.kill()
                filler.unlink()
                chaos.writes_again()
            chaos.producer.terminate()
            _, told = chaos.producer.communicate(timeout=60)
            assert chaos.logger.wait(timeout=60) == 0
            os.close(chaos.reader)
            chaos.move_away("end")
            numbers: list[int] = []
            for path in sorted(chaos.archive.iterdir()):
                numbers += whole_numbers(path.read_bytes(), stamped=bool(more))
            assert int(told) - 1 in numbers, "nothing is lost since the last kill"
            assert more or len(numbers) == len(set(numbers))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, [(5, []), (6, ["--with-time"])]))


def test_under_daemontools_as_multilog_runs(tmp_path: Path) -> None:
    """A real svscan with a service and its log service; the log service is restarted at random."""
    svscan, svc, svstat = need_program("svscan"), need_program("svc"), need_program("svstat")
    service, logs = tmp_path / "scan" / "app", tmp_path / "logs"
    (service / "log").mkdir(parents=True)
    count = tmp_path / "count"
    finite = f"exec {sys.executable} {PRODUCER} 7 5000 0.001 2>{count}"
    once = f"#!/bin/sh\n[ -e {count} ] && exec sleep 1000\n{finite}\n"
    (service / "run").write_text(once)
    (service / "log" / "run").write_text(
        f"#!/bin/sh\nexec {script('relaxlogs')} --log-dir {logs} --rotation-time 1440\n"
    )
    for path in (service / "run", service / "log" / "run"):
        path.chmod(0o755)
    scan = spawn([svscan, str(tmp_path / "scan")], stderr=subprocess.DEVNULL)
    try:
        wait_until((logs / "current").exists, within_s=20)
        dice = random.Random(3)
        for _ in range(12):
            subprocess.run(
                [svc, dice.choice(["-t", "-h", "-k", "-a"]), service / "log"], check=True
            )
            time.sleep(dice.random() * 0.3)
        told = subprocess.run([svstat, service], check=True, capture_output=True, text=True).stdout
        wait_for_handler(int(told.split("(pid ")[1].split(")")[0]), signal.SIGTERM)
        subprocess.run([svc, "-t", service], check=True)
        wait_until(lambda: count.exists() and count.read_text(), within_s=20)
        expected = int(count.read_text())

        def found() -> list[int]:
            data = b"".join(p.read_bytes() for p in sorted(logs.glob("log.*")))
            return whole_numbers(data) if data.endswith(b"\n") else []

        wait_until(lambda: len(found()) >= expected, within_s=20, what="every line is on disk")
        assert sorted(found()) == list(range(expected))
    finally:
        scan.terminate()
        scan.wait(timeout=10)
        for place in (service, service / "log"):
            subprocess.run([svc, "-dx", place], check=True)
        for place in (service, service / "log"):
            wait_until(lambda p=place: _is_down(p), within_s=20)  # type: ignore[misc]


def _is_down(service: Path) -> bool:
    return subprocess.run([need_program("svok"), service], check=False).returncode != 0


def test_on_a_fifo_that_systemd_opened(tmp_path: Path) -> None:
    """A FIFO socket unit: opened for reading and writing, not blocking; writers come and go."""
    fifo, logs = tmp_path / "fifo", tmp_path / "logs"
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    expected = []
    for generation in range(3):
        logger = start("relaxlogs", "--log-dir", logs, "--rotation-time", "1440", stdin=descriptor)
        for writer in range(3):
            lines = [f"{generation} {writer} {number}\n" for number in range(2000)]
            with open(fifo, "w") as pipe:
                pipe.writelines(lines)
            expected += lines
        wait_until((logs / "current").exists)
        logger.terminate()
        assert logger.wait(timeout=20) in (0, -signal.SIGTERM)
    last = start("relaxlogs", "--log-dir", logs, "--rotation-time", "1440", stdin=descriptor)
    wait_until(
        lambda: b"".join(p.read_bytes() for p in logs.glob("log.*")).decode() == "".join(expected)
    )
    last.terminate()
    last.wait(timeout=20)
    os.close(descriptor)
