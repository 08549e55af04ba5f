"""percentile: the file of a sketch, read by the words that describe it and nothing else."""

from __future__ import annotations

import math
import random
import struct
import zlib
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run
from tests.peers.percentile import figures, text_of

if TYPE_CHECKING:
    from pathlib import Path

LIMBS = 68


KINDS = {0: "value", 1: "missing", 2: "other"}


class Sketch:
    """What one sketch at the beginning of `data` says; `rest` is what stands behind it."""

    def __init__(self, data: bytes) -> None:
        assert data[:8] == b"KJSKETCH"
        self.data, self.at = data, 9
        self.by: bytes | None = None
        self.group: tuple[str, bytes] | None = None
        assert data[8] in (1, 2), "the version"
        if data[8] == 2:
            self.at += 1
            self.by, value = self.text(), self.text()
            self.group = KINDS[data[9]], value
        self.accuracy, self.min, self.max = struct.unpack_from("<3d", data, self.at)
        self.at += 24
        first, count = (0, LIMBS) if data[8] == 1 else (self.varint(), self.varint())
        limbs = struct.unpack_from(f"<{count}q", data, self.at)
        self.at += 8 * count
        # 32 bits a limb, the least first, in halves of the smallest double.
        whole = sum(limb << (32 * at) for at, limb in enumerate(limbs, first))
        self.sum = Fraction(whole, 1 << 1075)
        self.count, self.zeros = self.varint(), self.varint()
        self.positive, self.negative = self.buckets(), self.buckets()
        (checksum,) = struct.unpack_from("<I", data, self.at)
        assert checksum == zlib.crc32(data[: self.at])
        self.rest = data[self.at + 4 :]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def text(self) -> bytes:
        length = self.varint()
        self.at += length
        return self.data[self.at - length : self.at]

    def buckets(self) -> Counter[int]:
        found: Counter[int] = Counter()
        index = -(1 << 31)
        for _ in range(self.varint()):
            index += self.varint()
            found[index] = self.varint()
        return found


def buckets_of(numbers: list[float], accuracy: float) -> Counter[int]:
    """Bucket i has the numbers above g^(i-1) and up to g^i, with g = (1 + a) / (1 - a)."""
    width = math.log((1 + accuracy) / (1 - accuracy))
    return Counter(math.ceil(math.log(number) / width) for number in numbers)


def numbers_of(seed: int, count: int) -> list[float]:
    rng = random.Random(seed)
    numbers = [rng.lognormvariate(-2, 2) for _ in range(count)]
    return numbers + [-rng.expovariate(1) for _ in range(count // 10)] + [0.0] * (count // 20)


@pytest.mark.parametrize("accuracy", [0.001, 0.01, 0.2])
def test_a_sketch_is_what_its_description_says(accuracy: float, tmp_path: Path) -> None:
    numbers = numbers_of(3, 2000)
    path = tmp_path / "sketch"
    option = f"--accuracy={accuracy * 100:g}%"
    done = run("percentile", option, "--sketch", path, stdin=text_of(numbers))
    assert done.returncode == 0
    sketch = Sketch(path.read_bytes())
    assert sketch.rest == b""
    assert sketch.accuracy == pytest.approx(accuracy, rel=1e-15)
    assert (sketch.min, sketch.max) == (min(numbers), max(numbers))
    assert sketch.sum == sum(map(Fraction, numbers))
    assert (sketch.count, sketch.zeros) == (len(numbers), numbers.count(0))
    assert sketch.positive == buckets_of([n for n in numbers if n > 0], accuracy)
    assert sketch.negative == buckets_of([-n for n in numbers if n < 0], accuracy)


def test_sketches_behind_each_other_are_read_to_the_end_and_merged(tmp_path: Path) -> None:
    parts = [numbers_of(seed, size) for seed, size in ((1, 300), (2, 1), (3, 0), (4, 900))]
    paths = [tmp_path / str(number) for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        assert run("percentile", "--sketch", path, stdin=text_of(part)).returncode == 0
    together = data = b"".join(path.read_bytes() for path in paths)
    count, buckets = 0, Counter[int]()
    while data:
        sketch = Sketch(data)
        count, data = count + sketch.count, sketch.rest
        buckets += sketch.positive
    everything = [number for part in parts for number in part]
    assert buckets == buckets_of([n for n in everything if n > 0], 0.01)
    shown = figures(run("percentile", "--merge", "-", stdin=together).stdout)
    assert shown["count"] == count == len(everything)
    merged = tmp_path / "merged"
    assert run("percentile", "--merge", "--sketch", merged, "-", stdin=together).returncode == 0
    assert Sketch(merged.read_bytes()).positive == buckets


def sketches_of(data: bytes) -> dict[tuple[str, bytes], Sketch]:
    """The sketches of a file by group, each of which it has once."""
    found: dict[tuple[str, bytes], Sketch] = {}
    while data:
        sketch = Sketch(data)
        assert sketch.group is not None
        assert sketch.group not in found
        found[sketch.group], data = sketch, sketch.rest
    return found


@pytest.mark.parametrize("many", [10, 3000])
def test_the_sketches_of_groups_are_what_their_description_says(many: int, tmp_path: Path) -> None:
    numbers = numbers_of(5, many)
    keys = ["/a", "/b?x=1", "日本", "", "other"]
    rng = random.Random(7)
    lines = [(rng.choice(keys), number) for number in numbers]
    log, path = tmp_path / "log", tmp_path / "sketch"
    log.write_text("".join(f"uri:{uri}\tptime:{number!r}\n" for uri, number in lines))
    command = ["percentile", "--key", "ptime", "--by", "uri"]
    done = run(*command, "--sketch", path, log)
    assert (done.returncode, done.stderr) == (0, b"")
    found = sketches_of(path.read_bytes())
    names = {key: ("value", key.encode()) if key else ("missing", b"") for key in keys}
    assert set(found) == {names[key] for key, _ in lines}
    for key in {key for key, _ in lines}:
        mine = [number for uri, number in lines if uri == key]
        sketch = found[names[key]]
        assert sketch.by == b"uri"
        assert (sketch.count, sketch.zeros) == (len(mine), mine.count(0))
        assert (sketch.min, sketch.max) == (min(mine), max(mine))
        assert sketch.sum == sum(map(Fraction, mine))
        assert sketch.positive == buckets_of([n for n in mine if n > 0], 0.01)
        assert sketch.negative == buckets_of([-n for n in mine if n < 0], 0.01)
    # What it prints is what the file says, and count, max, avg and min are those of the numbers.
    assert run("percentile", "--merge", path).stdout == done.stdout
    exact = run(*command, log).stdout
    kept = (b"count", b"max", b"avg", b"min", b"uri")
    assert [line for line in done.stdout.splitlines() if line.startswith(kept)] == [
        line for line in exact.splitlines() if line.startswith(kept)
    ]


def test_a_host_of_forty_endpoints_takes_little(tmp_path: Path) -> None:
    rng = random.Random(1)
    log, path = tmp_path / "log", tmp_path / "sketch"
    with log.open("w") as file:
        for number in range(40_000):
            file.write(f"uri:/api/{number % 40}\tptime:{rng.lognormvariate(-3, 1):.3f}\n")
    assert run("percentile", "--key=ptime", "--by=uri", "--sketch", path, log).returncode == 0
    assert len(sketches_of(path.read_bytes())) == 40
    assert path.stat().st_size < 32 << 10
