"""The log plugins on the link to the newest file that a rotator, written to by a pipe, makes."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, wait_until
from tests.peers.rotators import Axslog, Clock, IncrRate, Writer
from tests.streams import processes_end, spawn, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["processes_end"]


class Piped:
    """A rotator that is written to through a pipe, and that makes a link to the newest file."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process, self.folder, self.link = process, folder, folder / "current"
        self.writer = Writer(self.link)
        self.bytes = 0

    def write(self, count: int) -> None:
        """Write lines, and wait until they are in the files."""
        assert self.process.stdin is not None
        data = self.writer.lines(count).encode()
        self.process.stdin.write(data)
        self.process.stdin.flush()
        self.bytes += len(data)
        wait_until(lambda: self.stored() == self.bytes, what="the lines to be in the files")

    def stored(self) -> int:
        files = (
            path for path in self.folder.iterdir() if path.name[0] != "." and path != self.link
        )
        return sum(path.stat().st_size for path in files)

    def follow(self, turn: Callable[[], None]) -> None:
        """Write, have the next file begun by `turn` and count; then check the counts."""
        self.write(50)
        axslog, incr_rate = Axslog(self.link), IncrRate(self.link)
        for step, rotations in enumerate((0, 1, 2, 3, 1, 3, 0)):
            for number in range(rotations):
                self.write(11 + number)
                turn()
                self.write(1 + step % 2)
            axslog.run()
            incr_rate.run()
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        axslog.check(self.writer.written)
        incr_rate.check(self.writer.written)
        assert axslog.said + incr_rate.said == ""


@pytest.mark.parametrize("how", ["by the hour", "within the hour"])
def test_relaxlogs(
    how: str, tmp_path: Path, workdir: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    clock = Clock(tmp_path, preload("shift_clock"))
    folder = tmp_path / "logs"
    process = start("relaxlogs", "--log-dir", folder, "--rotation-time", "60",
                    stdin=subprocess.PIPE, env=clock.environment)  # fmt: skip
    piped = Piped(process, folder)
    wait_until(folder.exists)

    def turn() -> None:
        before = os.readlink(piped.link)
        if how == "by the hour":
            clock.step()
            piped.write(1)
        else:
            process.send_signal(signal.SIGUSR1)
        wait_until(lambda: os.readlink(piped.link) != before, what="the next file")

    piped.follow(turn)


class Renaming(Piped):
    """One that renames what it has written instead of making a link."""

    def parts(self) -> list[Path]:
        return list(self.folder.glob("@*"))

    def stored(self) -> int:
        return sum(path.stat().st_size for path in [self.link, *self.parts()] if path.exists())


def test_multilog(tmp_path: Path, workdir: Path) -> None:
    folder = tmp_path / "logs"
    command = [need_program("multilog"), "s16777215", "n100", str(folder)]
    process = spawn(command, stdin=subprocess.PIPE)
    piped = Renaming(process, folder)

    def turn() -> None:
        before = len(piped.parts())
        process.send_signal(signal.SIGALRM)
        wait_until(lambda: len(piped.parts()) > before and piped.link.exists())

    piped.follow(turn)


@pytest.mark.parametrize("options", [["-L"], ["-l", "-L"]], ids=["-L", "-l -L"])
@pytest.mark.parametrize("name", ["access", "access.%Y%m%d%H.log"])
def test_rotatelogs(
    name: str,
    options: list[str],
    tmp_path: Path,
    workdir: Path,
    preload: Callable[[str], dict[str, str]],
) -> None:
    clock = Clock(tmp_path, preload("shift_clock"))
    folder = tmp_path / "logs"
    folder.mkdir()
    command = [need_program("rotatelogs"), *options, str(folder / "current"), str(folder / name)]
    process = spawn([*command, "3600"], stdin=subprocess.PIPE, env=clock.environment)
    piped = Piped(process, folder)

    def turn() -> None:
        before = piped.link.stat().st_ino
        clock.step()
        piped.write(1)
        assert piped.link.stat().st_ino != before

    piped.follow(turn)
