"""What `make soak` would find: a leak, a lost line, a failure that nobody has caused."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import wait_until
from tests.soak.clients import Clients
from tests.soak.pipes import Lines
from tests.soak.result import Result
from tests.soak.services import Troubles
from tests.soak.usage import MIB, Use, courses

if TYPE_CHECKING:
    import random
    from pathlib import Path


def test_what_only_comes_and_goes_is_flat_and_a_leak_is_not() -> None:
    def grown(**by: int) -> list[str]:
        """The figures that are not flat when each hundredth sample has so much more."""
        more = [by.get(what, 0) for what in Use._fields]
        samples = [
            Use(20 + i % 7 + i * more[0] // 100, 6 + i * more[1] // 100,
                50 * MIB + i % 5 * MIB + i * more[2] // 100)
            for i in range(400)
        ]  # fmt: skip
        return [course.what for course in courses(samples) if not course.is_flat]

    assert grown() == []
    assert grown(descriptors=2) == ["descriptors"]
    assert grown(threads=1) == ["threads"]
    assert grown(memory=4 * MIB) == ["memory"]
    # A warm-up is none, however steep.
    warm = [Use(i, 1, i * MIB) for i in range(20)] + [Use(20, 6, 40 * MIB)] * 100
    assert all(course.is_flat for course in courses(warm))
    with pytest.raises(ValueError, match="too few"):
        courses(warm[:19])


def test_the_use_of_this_process_is_read() -> None:
    before, over = Use.of(os.getpid()), threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    reader, writer = os.pipe()
    after = Use.of(os.getpid())
    os.close(reader)
    os.close(writer)
    over.set()
    thread.join()
    assert after.descriptors == before.descriptors + 2
    assert after.threads == before.threads + 1
    assert MIB < after.memory < 4 << 30


def test_only_what_was_broken_meanwhile_excuses() -> None:
    troubles = Troubles()
    assert not troubles.excuse(0, 1e12)
    troubles.begin()
    assert troubles.excuse(0, 1e12)
    assert not troubles.excuse(0, 1)
    troubles.end()
    ((begin, end),) = troubles._spans
    assert troubles.excuse(begin - 5, begin)
    assert troubles.excuse(end, end + 5)
    assert not troubles.excuse(end + 0.001, end + 5)


def test_a_failure_that_nobody_has_caused_is_kept() -> None:
    def fails(_: random.Random) -> None:
        raise ConnectionResetError("cut")

    troubles = Troubles()
    clients = Clients("a", [fails], [troubles], 1)
    clients.start()
    wait_until(lambda: clients.failures)
    troubles.begin()
    wait_until(lambda: clients.excused)
    clients.stop()
    assert "a: " in clients.failures[0]
    assert "ConnectionResetError('cut')" in clients.failures[0]
    assert clients.done == 0


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"0 xx 0\n1  1\n2  2\n", ""),
        (b"0 xx 0\n2  2\n", "line 2 in place of 1"),
        (b"0 xx 0\n0 xx 0\n", "line 0 in place of 1"),
        (b"0 xx 0\n1 x1 x 1\n", "no whole line"),
        (b"0 xx 0\n1 xx 2\n", "no whole line"),
        (b"0 xx 0\n1 x", "ends within a line"),
    ],
)
def test_a_line_that_is_lost_doubled_or_torn_is_found(
    tmp_path: Path, data: bytes, told: str
) -> None:
    lines = Lines.__new__(Lines)
    lines.name, lines.failures, lines.done = "a", [], 0
    path = tmp_path / "log"
    path.write_bytes(data)
    lines._read(path)
    assert (told in lines.failures[0]) if told else lines.failures == []


def test_a_result_tells_all_of_it(tmp_path: Path) -> None:
    result = Result(7, 60)
    result.done = {"ppdp": (10, 1), "sabo": (0, 0)}
    result.courses["ppdp"] = courses([Use(i, 6, MIB) for i in range(100)])
    result.failures.append("deteco: 500 in place of 200")
    result.write(tmp_path)
    text = (tmp_path / "result.md").read_text()
    assert "FAILED" in text
    for part in (
        "| ppdp | 10 | 1 |",
        "- deteco: 500",
        "- ppdp: descriptors from ",
        "- sabo has done",
    ):
        assert part in text
    found: dict[str, Any] = {"seed": 7, "idle": ["sabo"]}

    assert found.items() <= json.loads((tmp_path / "result.json").read_text()).items()
