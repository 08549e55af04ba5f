"""The log plugins: what they say of rotations, and the last line of ``--verbose``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run

if TYPE_CHECKING:
    from pathlib import Path

AXSLOG = "mackerel-plugin-axslog"
INCR_RATE = "mackerel-plugin-log-incr-rate"
POSTFIX = "mackerel-plugin-postfix-log"


class Followed:
    """A log, and runs of the plugins over it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.written = folder, folder / "access.log", 0
        folder.mkdir()

    def append(self, count: int) -> None:
        with self.log.open("a") as log:
            for _ in range(count):
                self.written += 1
                log.write(f"time:{self.written}\tstatus:200\tptime:0.1\turi:/{self.written}\n")

    def rename(self, name: str) -> None:
        self.log.rename(self.folder / name)

    def said(self, *options: str | Path, prog: str = AXSLOG, log: str = "--logfile") -> list[str]:
        """What a run says, a line each, without the name of the program."""
        key = () if prog == POSTFIX else ("--key-prefix", "t")
        done = run(prog, log, self.log, *key, *options)
        assert done.returncode == 0, done.stderr
        lines = done.stderr.decode().splitlines()
        assert all(line.startswith(f"{prog}: ") for line in lines), lines
        return [line.removeprefix(f"{prog}: ") for line in lines]


@pytest.fixture
def followed(tmp_path: Path, workdir: Path) -> Followed:
    return Followed(tmp_path / "logs")


@pytest.mark.parametrize("prog", [AXSLOG, INCR_RATE, POSTFIX])
def test_an_ordinary_rotation_is_told_to_those_who_ask(prog: str, followed: Followed) -> None:
    log = "--logfile"
    options: list[str | Path] = []
    if prog == INCR_RATE:
        base = followed.folder / "base"
        base.write_text("1\n2\n")
        log, options = "--log-file", ["--base-log-file", base]
    followed.append(100)
    assert followed.said(*options, prog=prog, log=log) == []
    for name, verbose in (("access.log.2", False), ("access.log.1", True)):
        followed.append(10)
        followed.rename(name)
        followed.append(5)
        if not verbose:
            assert followed.said(*options, prog=prog, log=log) == []
            continue
        said = followed.said(*options, "--verbose", prog=prog, log=log)
        path = followed.log
        assert said[:2] == [
            f"{path}: rotated; reading the rest of {path}.1",
            f"{path}: 2 files, 15 lines: 0 lost, 0 twice",
        ]
        if prog == INCR_RATE:
            assert said[2:] == [f"{base}: 1 file, 0 lines: 0 lost, 0 twice"]
        else:
            assert said[2:] == []


def test_each_of_several_logs_has_its_last_line(followed: Followed) -> None:
    followed.append(3)
    other = followed.folder / "other.log"
    other.write_text("status:200\tptime:0.1\n")
    done = run(AXSLOG, "--logfile", f"{followed.log},{other}", "--key-prefix", "t", "--verbose")
    assert done.stderr.decode().splitlines() == [
        f"{AXSLOG}: {followed.log}: 1 file, 3 lines: 0 lost, 0 twice",
        f"{AXSLOG}: {other}: 1 file, 1 line: 0 lost, 0 twice",
    ]


@pytest.mark.parametrize("count", [0, 1])
def test_a_short_log_is_the_same_where_its_device_has_another_number(
    count: int, followed: Followed, workdir: Path
) -> None:
    """As after a reboot, or another mount of the disk."""
    followed.append(count)
    followed.said()
    [position] = [path for path in workdir.iterdir() if path.suffix != ".lock"]
    text = position.read_text()
    dev = followed.log.stat().st_dev
    assert f'"dev":{dev},' in text
    position.write_text(text.replace(f'"dev":{dev},', f'"dev":{dev + 1},'))
    followed.append(2)
    assert followed.said("--verbose") == [f"{followed.log}: 1 file, 2 lines: 0 lost, 0 twice"]


def test_what_is_lost_is_told_always(followed: Followed) -> None:
    followed.append(100)
    followed.said()
    for options in ([], ["--verbose"]):
        followed.append(10)
        followed.log.unlink()
        followed.append(20)
        said = followed.said(*options)
        assert said[0].endswith("is not to be found; lines added to it since are lost")
        assert said[1:] == (
            [f"{followed.log}: 1 file, 20 lines: lines may be lost, see above"] if options else []
        )


def test_what_is_skipped_is_told_always(followed: Followed) -> None:
    followed.append(100)
    followed.said()
    for options in ([], ["--verbose"]):
        size = followed.log.stat().st_size
        followed.append(1000)
        added = followed.log.stat().st_size - size
        said = followed.said(*options, "--max-read-size", "1KB")
        assert said[0].startswith(f"{followed.log}: {added} bytes skipped: more than the limit")
        assert said[1:] == (
            [f"{followed.log}: 0 files, 0 lines: {added} bytes skipped"] if options else []
        )


def test_a_file_that_cannot_be_unpacked_is_told_always_and_once(followed: Followed) -> None:
    followed.append(100)
    followed.said()
    for number, options in enumerate(([], ["--verbose"], ["--verbose"])):
        if number < 2:
            (followed.folder / f"access.log.{7 - number}.gz").write_text("plain\n")
        followed.append(10)
        followed.rename(f"access.log.{3 - number}")
        followed.append(5)
        said = followed.said(*options)
        told = [line for line in said if "cannot be read, passed over" in line]
        assert len(told) == (number < 2)
        last = f"{followed.log}: 2 files, 15 lines: "
        doubt = "not proven to be all, and none twice, see above"
        assert said[-1] == (
            told[0] if not options else last + (doubt if told else "0 lost, 0 twice")
        )


def test_what_the_system_says_is_told_in_its_words_alone(followed: Followed) -> None:
    followed.append(100)
    followed.said()
    nowhere = followed.folder / "nowhere"
    followed.append(10)
    followed.rename("access.log.1")
    followed.append(5)
    assert followed.said("--archive-dir", nowhere) == [
        f"{nowhere}: cannot be searched: No such file or directory"
    ]
    for path in followed.folder.iterdir():
        path.unlink()
    done = run(AXSLOG, "--logfile", followed.log, "--key-prefix", "t")
    assert done.returncode == 1
    assert done.stderr.decode() == (f"{AXSLOG}: error: {followed.log}: No such file or directory\n")


def test_an_overlong_line_is_part_of_the_last_line(followed: Followed) -> None:
    followed.log.write_text(f"{'x' * 5000}\nstatus:200\tptime:0.1\n")
    said = followed.said("--verbose", "--max-line-size", "1KB")
    assert said[-1] == f"{followed.log}: 1 file, 1 line: 1 line over --max-line-size skipped"
    assert os.path.getsize(followed.log) > 5000
