"""The pipes of a soak: what goes in comes out once, whoever is killed and whatever is full."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from tests.conftest import script
from tests.peers.relaxlogs import own
from tests.soak.usage import Use

if TYPE_CHECKING:
    from pathlib import Path

PRODUCER_PAUSE_S = 0.01
END_WITHIN_S = 90
LINE = re.compile(rb"(\d+) x* (\d+)")


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    """Its status, after a signal."""
    process.send_signal(number)
    return process.wait(END_WITHIN_S)


class Lines:
    """relaxlogs on one pipe from a producer of numbered lines; minutes that are over are checked.

    Args:
        disk: a file system of its own, which may be filled.
        steady: whether the one process lives all the time.
    """

    def __init__(self, name: str, disk: Path, seed: int, *, steady: bool) -> None:
        self.name, self.steady = name, steady
        self.failures: list[str] = []
        self.samples: list[Use] = []
        self.done = self.produced = 0
        self.logs = disk / name.replace(" ", "-")
        self.errors = disk.with_name(f"{self.logs.name}.err")
        self._dice = random.Random(seed)
        self._reader, self._writer = os.pipe()
        self._stop = threading.Event()
        self._producer = threading.Thread(target=self._produce)
        self.process = self._started()
        self._producer.start()

    def _started(self) -> subprocess.Popen[bytes]:
        with open(self.errors, "ab") as errors:
            return subprocess.Popen(
                [script("relaxlogs"), "--log-dir", str(self.logs), "--rotation-time", "1",
                 "--max-age", "0", "--max-size", "1M"],
                stdin=self._reader, stderr=errors, start_new_session=True,
            )  # fmt: skip

    def _produce(self) -> None:
        while not self._stop.wait(PRODUCER_PAUSE_S):
            batch = []
            for _ in range(self._dice.randrange(1, 30)):
                size = self._dice.randrange(8000 if self._dice.random() < 0.01 else 120)
                batch.append(b"%d %s %d\n" % (self.produced, b"x" * size, self.produced))
                self.produced += 1
            data = memoryview(b"".join(batch))
            while data:
                data = data[os.write(self._writer, data) :]

    def sample(self) -> None:
        self.samples.append(Use.of(self.process.pid))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(END_WITHIN_S)
        self.process = self._started()

    def rotate(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def check(self, *, all_of_it: bool = False) -> None:
        """Read and remove the files of minutes that are over, in their order."""
        minute = time.strftime("log.%Y%m%d%H%M", time.localtime(time.time() - 2))
        for path in own(self.logs) if self.logs.exists() else ():
            if (path.name.startswith(minute) or path.name > minute) and not all_of_it:
                return
            self._read(path)
            path.unlink()

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            self._fail(f"{path.name} ends within a line")
        for line in data.split(b"\n")[:-1]:
            found = LINE.fullmatch(line)
            if found is None or found[1] != found[2]:
                self._fail(f"{path.name}: no whole line: {line[:100]!r}")
            elif int(found[1]) != self.done:
                self._fail(f"{path.name}: line {int(found[1])} in place of {self.done}")
                self.done = int(found[1]) + 1
            else:
                self.done += 1

    def _fail(self, text: str) -> None:
        self.failures.append(f"{self.name}: {text}")

    def stop(self) -> None:
        """End the producer, then relaxlogs by the end of its input."""
        self._stop.set()
        self._producer.join(END_WITHIN_S)
        os.close(self._writer)
        status = self.process.wait(END_WITHIN_S)
        os.close(self._reader)
        self.check(all_of_it=True)
        if (status, self.done) != (0, self.produced):
            self._fail(f"status {status}, {self.done} of {self.produced} lines")

    def close(self) -> None:
        self._stop.set()
        if self.process.poll() is None:
            self.process.kill()


class Stream:
    """sabo, a member of a budget for all of the time, with others that come and are killed."""

    def __init__(self, folder: Path, disk: Path, seed: int) -> None:
        self.name = "sabo"
        self.failures: list[str] = []
        self.samples: list[Use] = []
        self.done = self.others = 0
        self._folder, self._disk, self._dice = folder, disk, random.Random(seed)
        self._stop = threading.Event()
        self._sent, self._came = hashlib.sha256(), hashlib.sha256()
        folder.mkdir()
        self.process = self._member()
        self._threads = [threading.Thread(target=work) for work in (self._send, self._take)]
        for thread in self._threads:
            thread.start()

    def _member(self, sink: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        words = [script("sabo"), "--max-bandwidth", "4M", "--work-dir", str(self._folder)]
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def _send(self) -> None:
        assert self.process.stdin is not None
        dice = random.Random(1)
        with self.process.stdin as pipe:
            while not self._stop.is_set():
                data = dice.randbytes(dice.randrange(1, 100_000))
                pipe.write(data)
                self._sent.update(data)

    def _take(self) -> None:
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            self._came.update(data)
            self.done += len(data)

    def sample(self) -> None:
        self.samples.append(Use.of(self.process.pid))

    def another(self) -> None:
        """One that passes some bytes on, or is killed in the middle of them."""
        data = self._dice.randbytes(self._dice.randrange(1, 1_000_000))
        with self._member() as process:
            if self._dice.random() < 0.5:
                timer = threading.Timer(self._dice.random() * 0.3, process.kill)
                timer.start()
                came, _ = process.communicate(data)
                timer.cancel()
                timer.join()
            else:
                came, _ = process.communicate(data)
        right = came == data if process.returncode == 0 else data.startswith(came)
        if not right or process.returncode not in (0, -signal.SIGKILL):
            self.failures.append(f"sabo: status {process.returncode}, {len(came)} of {len(data)}")
        self.others += 1

    def to_a_full_disk(self) -> None:
        """One whose output has no room any more; the disk is full meanwhile."""
        with (
            open(self._disk / "sink", "wb") as sink,
            self._member(sink.fileno()) as process,
        ):
            _, told = process.communicate(bytes(100_000))
        os.unlink(self._disk / "sink")
        if process.returncode != 1 or b"No space left on device" not in told:
            self.failures.append(f"sabo: a full disk: status {process.returncode}: {told!r}")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(END_WITHIN_S)
        status = self.process.wait(END_WITHIN_S)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        if status != 0 or self._sent.digest() != self._came.digest():
            self.failures.append(f"sabo: status {status}, other bytes came than were sent")

    def close(self) -> None:
        self._stop.set()
        if self.process.poll() is None:
            self.process.kill()


class Followed:
    """axslog again and again, on a log that is renamed; it is killed, and has no room at times."""

    def __init__(self, folder: Path, disk: Path, seed: int) -> None:
        self.name = "mackerel-plugin-axslog"
        self.failures: list[str] = []
        self.done = self.runs = self.kills = self.written = 0
        self._log, self._dice = folder / "followed.log", random.Random(seed)
        work = disk / "positions"
        work.mkdir()
        self._env = {**os.environ, "MACKEREL_PLUGIN_WORKDIR": str(work)}
        self._stop = threading.Event()
        self._file = open(self._log, "ab", buffering=0)  # noqa: SIM115
        self._writing = threading.Lock()
        self._writer = threading.Thread(target=self._write)
        self._writer.start()

    def _write(self) -> None:
        while not self._stop.wait(PRODUCER_PAUSE_S):
            lines = self._dice.randrange(1, 40)
            with self._writing:
                self._file.write(b"status:200\tptime:0.010\n" * lines)
                self.written += lines

    def rotate(self) -> None:
        """As logrotate does it, three are kept; a run reads between any two."""
        self.run()
        for number in (2, 1):
            if os.path.exists(f"{self._log}.{number}"):
                os.replace(f"{self._log}.{number}", f"{self._log}.{number + 1}")
        os.replace(self._log, f"{self._log}.1")
        with self._writing:
            self._file.close()
            self._file = open(self._log, "ab", buffering=0)  # noqa: SIM115

    def run(self, *, killed_after_s: float | None = None) -> None:
        """One run, which is killed or counts."""
        words = [script(self.name), "--logfile", str(self._log), "--key-prefix", "soak"]
        words += ["--output", "prometheus"]
        with subprocess.Popen(
            words, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            if killed_after_s is not None:
                time.sleep(killed_after_s)
                process.kill()
            out, told = process.communicate(timeout=END_WITHIN_S)
        self.runs += process.returncode == 0
        self.kills += process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            counts = re.findall(rb"^axslog_requests_total\S* (\d+)", out, re.MULTILINE)
            self.done = sum(map(int, counts)) or self.done
        elif b"No space left on device" not in told and killed_after_s is None:
            self.failures.append(f"{self.name}: {process.returncode}: {told!r}")

    def kill(self) -> None:
        self.run(killed_after_s=self._dice.random() * 0.12)

    def stop(self) -> None:
        self._stop.set()
        self._writer.join(END_WITHIN_S)
        self.run()
        self._file.close()
        if self.done != self.written:
            self.failures.append(f"{self.name}: {self.done} of {self.written} lines")

    def close(self) -> None:
        self._stop.set()


class Sketches:
    """percentile --sketch into one file, killed and without room at times: it stays whole."""

    def __init__(self, disk: Path, seed: int) -> None:
        self.name = "percentile"
        self.failures: list[str] = []
        self.done = self.refused = 0
        self._sketch, self._dice = disk / "sketch", random.Random(seed)
        self._numbers = b"".join(b"%d\n" % number for number in range(1000))
        self.run()

    def run(self, *, killed_after_s: float | None = None) -> None:
        words = [script("percentile"), "--sketch", str(self._sketch)]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            if killed_after_s is not None:
                timer = threading.Timer(killed_after_s, process.kill)
                timer.start()
            out, told = process.communicate(self._numbers)
            if killed_after_s is not None:
                timer.cancel()
                timer.join()
        if process.returncode == 1 and b"No space left on device" in told:
            self.refused += 1
        elif process.returncode not in (0, -signal.SIGKILL if killed_after_s is not None else 0):
            self.failures.append(f"percentile: {process.returncode}: {told!r}")
        if process.returncode in (0, 1) and b"count: 1000\n" not in out:
            self.failures.append(f"percentile: printed {out!r}")
        merged = subprocess.run(
            [script("percentile"), "--merge", str(self._sketch)], capture_output=True, check=False
        )
        if b"count: 1000\n" not in merged.stdout:
            self.failures.append(f"percentile: the sketch is broken: {merged.stderr!r}")
        self.done += 1

    def kill(self) -> None:
        self.run(killed_after_s=self._dice.random() * 0.12)
