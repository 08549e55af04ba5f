"""The log plugins on the logs of containers, with a run between any two calls of the rotation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.peers.rotators import Axslog, Writer, docker, kubelet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIELDS = ("--regex", r"status:(?P<status>\d+)\\t.*ptime:(?P<ptime>\d+)\\t")
CRI_FIELDS = ("--regex", r"status:(?P<status>\d+)\t.*ptime:(?P<ptime>\d+)\t")


def inner(number: int) -> str:
    return f"status:200\turi:/item/{number}\tptime:{number}\tua:Mozilla/5.0"


def json_file(number: int) -> str:
    """A line of the json-file driver."""
    time = f"2026-11-28T01:02:03.{number:09}Z"
    line = {"log": inner(number) + "\n", "stream": "stdout", "time": time}
    return json.dumps(line, separators=(",", ":"))


def cri(number: int) -> str:
    """A line of the container runtime interface."""
    return f"2026-11-28T01:02:03.{number:09}+09:00 stdout F {inner(number)}"


def interleave(rotation: Iterator[None], writer: Writer, axslog: Axslog, at: set[int]) -> int:
    """Rotate, with a run and a line or two after each call whose number is in `at`.

    Returns:
        How many calls there were.
    """
    calls = 0
    for calls, _ in enumerate(rotation, 1):
        if calls - 1 in at:
            axslog.run()
            if writer.log.exists():
                writer.write(calls % 3)
    return calls


@pytest.mark.parametrize("compress", [True, False], ids=["compress", "plain"])
@pytest.mark.parametrize("files", [2, 4])
def test_json_file_of_docker(files: int, tmp_path: Path, workdir: Path, *, compress: bool) -> None:
    log = tmp_path / "4f5e-json.log"
    writer, axslog = Writer(log, json_file), Axslog(log, *FIELDS)
    writer.write(30)
    axslog.run()
    # No run in one rotation, at each of its calls in turn, and at all.
    for turn in range(12):
        at = {turn - 1} if turn < 11 else set(range(20))
        writer.write(7)
        interleave(docker(log, files, compress=compress), writer, axslog, at)
        writer.write(turn % 4)
        if files == 2 or turn % 3 == 2:
            axslog.run()
    axslog.run()
    axslog.check(writer.written)
    assert axslog.said == ""


@pytest.mark.parametrize("linked", [True, False], ids=["by its link", "itself"])
def test_the_kubelet_s(tmp_path: Path, workdir: Path, *, linked: bool) -> None:
    """The runtime goes on in the file that was renamed until it opens the log anew."""
    log = tmp_path / "pods" / "0.log"
    log.parent.mkdir()
    link = tmp_path / "app-5d9_default_app-4f5e.log"
    link.symlink_to(log)
    writer, axslog = Writer(log, cri), Axslog(link if linked else log, *CRI_FIELDS)
    writer.write(30)
    axslog.run()
    for turn in range(14):
        writer.write(7)
        with log.open("a") as opened:
            rotation = kubelet(log, f"20261128-{10000 + turn:06}", 5)
            for call, _ in enumerate(rotation):
                if call == turn - 1 or turn == 13:
                    writer.write(call % 3, opened)
                    if log.exists() or call % 2:
                        axslog.run()
            writer.write(1, opened)
        writer.write(turn % 4)
        if turn % 3 == 2:
            axslog.run()
    axslog.run()
    axslog.check(writer.written)
    assert axslog.said == ""
