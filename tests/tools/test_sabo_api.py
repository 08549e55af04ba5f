"""`kojuto.sabo.throttled`: any reader or iterable, byte for byte, at the budget's rate."""

from __future__ import annotations

import io
import shutil
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from kojuto.sabo import throttled
from tests.conftest import wait_until
from tests.streams import pattern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = pattern(300_001)


class ShortReader:
    """Returns fewer bytes than asked for, as a socket does."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)
        self.asked: list[int] = []

    def read(self, size: int, /) -> bytes:
        self.asked.append(size)
        return self.file.read(min(size, 777))


def pieces() -> Iterator[bytes]:
    for at in range(0, len(DATA), 100_000):
        yield DATA[at : at + 100_000]
        yield b""


def test_readers_and_iterables_come_out_whole() -> None:
    for source in (io.BytesIO(DATA), ShortReader(DATA), pieces(), [bytearray(DATA)]):
        with throttled(source, max_bandwidth="1G") as reader:  # type: ignore[arg-type]
            assert reader.read() == DATA
            assert reader.read() == b""
    lines = b"one\ntwo\nthree"
    with throttled(io.BytesIO(lines), max_bandwidth=10_000) as reader:
        assert list(reader) == [b"one\n", b"two\n", b"three"]
    with throttled(io.BytesIO(DATA), max_bandwidth="1G") as reader:
        copy = io.BytesIO()
        shutil.copyfileobj(reader, copy)
        assert copy.getvalue() == DATA


def test_the_rate_holds_and_is_shared(tmp_path: Path) -> None:
    with throttled(io.BytesIO(DATA * 20), max_bandwidth="400K", work_dir=tmp_path) as one:
        began = time.monotonic()
        assert one.read(200_000) == DATA[:200_000]
        assert 0.45 < time.monotonic() - began < 3
        assert (one.share, one.members) == (400_000, 1)
        with throttled(pieces(), max_bandwidth="400K", work_dir=tmp_path, weight=3) as two:
            assert (two.share, two.members) == (300_000, 2)
            wait_until(lambda: one.read(4000) and one.members == 2)
            assert one.share == 100_000
    assert not list(tmp_path.iterdir())


def test_small_shares_pass_whole() -> None:
    with throttled(ShortReader(DATA[:1500]), max_bandwidth=1000) as reader:
        assert reader.read() == DATA[:1500]


def test_a_source_that_fails_fails_the_reader_and_closing_leaves(tmp_path: Path) -> None:
    class Broken:
        def read(self, _: int, /) -> bytes:
            raise ConnectionResetError("gone")

    with (
        throttled(Broken(), max_bandwidth="1M", work_dir=tmp_path) as reader,
        pytest.raises(ConnectionResetError),
    ):
        reader.read(10)
    with pytest.raises(ValueError, match="closed"):
        reader.read(10)
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="below the minimum"):
        throttled([], max_bandwidth=10)
    with pytest.raises(ValueError, match="weight 0"):
        throttled([], max_bandwidth=10_000, weight=0)
    with pytest.raises(FileNotFoundError, match="missing"):
        throttled([], max_bandwidth=10_000, work_dir=tmp_path / "missing")


def test_a_vanished_work_directory_is_a_warning(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with throttled(ShortReader(bytes(100_000)), max_bandwidth=50_000, work_dir=work) as reader:
        shutil.rmtree(work)
        with pytest.warns(RuntimeWarning, match="No such file or directory"):
            assert len(reader.read(75_000)) == 75_000
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read()
