"""Textfiles of the plugins: for others to read, whole or not at all, of a name that is read."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run
from tests.exposition import strict
from tests.jobs import PLUGINS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jobs import Jobs

__all__ = ["strict"]


def test_a_textfile_is_for_others_and_keeps_its_mode(tmp_path: Path) -> None:
    target, link = tmp_path / "a.prom", tmp_path / "link.prom"
    link.symlink_to(target)

    def write() -> None:
        old = os.umask(0o077)
        try:
            assert run("percentile", "--textfile", link, stdin=b"1\n").returncode == 0
        finally:
            os.umask(old)

    write()
    assert target.stat().st_mode & 0o7777 == 0o644
    target.chmod(0o640)
    write()
    assert target.stat().st_mode & 0o7777 == 0o640
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["a.prom", "link.prom"]


def test_a_full_disk_leaves_the_old_textfile(tiny_disk: Path) -> None:
    target = tiny_disk / "a.prom"
    assert run("percentile", "--textfile", target, stdin=b"1\n").returncode == 0
    before = target.read_bytes()
    filler = tiny_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    done = run("percentile", "--textfile", target, stdin=b"2\n")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == f"percentile: error: {target}: No space left on device\n".encode()
    assert target.read_bytes() == before
    assert sorted(os.listdir(tiny_disk)) == ["a.prom", "filler"]


@pytest.mark.parametrize("name", PLUGINS[:3])
def test_a_textfile_on_a_full_disk_leaves_the_position(
    name: str, jobs: Jobs, tiny_disk: Path
) -> None:
    target = tiny_disk / "a.prom"
    target.write_bytes(b"# old\n")
    with (tiny_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    job = jobs.make(name)

    def positions() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in jobs.state.iterdir() if p.suffix != ".lock"}

    before = positions()
    job.command += ["--textfile", str(target)]
    done = job.run()
    assert (done.returncode, done.stdout) == (1, b"")
    (error,) = [line for line in done.stderr.splitlines() if b"error: " in line]
    assert str(target).encode() in error
    assert b"No space left on device" in error
    assert positions() == before
    assert target.read_bytes() == b"# old\n"
    assert sorted(os.listdir(tiny_disk)) == ["a.prom", "filler"]


@pytest.mark.parametrize("name", [*PLUGINS, "percentile"])
def test_a_textfile_that_node_exporter_would_not_read_is_refused(name: str, jobs: Jobs) -> None:
    for wrong in ("metrics.txt", "/x/.prom", "metrics"):
        job = jobs.make(name)
        job.command += ["--textfile", wrong]
        done = job.run()
        assert done.returncode == 2
        assert b"node_exporter reads only *.prom" in done.stderr
    job = jobs.make(name)
    job.command += ["--textfile", "x.prom", "--output", "json"]
    done = job.run()
    assert done.returncode == 2
    assert b"--textfile cannot go with --output json" in done.stderr
