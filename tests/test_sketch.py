"""kojuto.Sketch for other programs: numbers from anywhere, quantiles, merging, bytes, pickle."""

from __future__ import annotations

import array
import copy
import doctest
import math
import pickle
import subprocess
import sys
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kojuto
from kojuto import Sketch
from kojuto.errors import AccuracyError, GroupsError
from tests.conftest import ROOT, run
from tests.peers.percentile import SAMPLE, figures, finite, sane, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

NUMBERS = [3.0, -1.5, 0.0, 250.25, 7.0, 7.0]


def sketch_of(numbers: Iterable[float], accuracy: float = 0.01) -> Sketch:
    sketch = Sketch(accuracy)
    sketch.extend(numbers)
    return sketch


def exact(numbers: Sequence[float], q: float) -> float:
    """The number at the place by which percentile counts."""
    return sorted(numbers)[max(math.floor(len(numbers) * q + 0.5) - 1, 0)]


def test_the_package_brings_the_core_along_only_for_who_asks() -> None:
    code = (
        "import sys, kojuto; assert 'kojuto._native' not in sys.modules; dir(kojuto);"
        "from kojuto import Sketch; assert 'kojuto._native' in sys.modules;"
        "assert kojuto.Sketch is Sketch and kojuto.__dict__['Sketch'] is Sketch"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"Sketch", "__version__"} <= set(dir(kojuto))
    with pytest.raises(AttributeError, match="has no attribute 'Skitch'"):
        _ = kojuto.Skitch


@given(st.lists(st.one_of(finite, sane), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_a_hundredth_of_the_exact_one(numbers: list[float], q: float) -> None:
    sketch = sketch_of(numbers)
    found = sketch.quantile(q)
    at = exact(numbers, q)
    assert found is not None
    assert abs(Fraction(found) - Fraction(at)) <= Fraction(0.01) * abs(Fraction(at)) * (
        1 + Fraction(1, 10**9)
    )
    assert (sketch.count, sketch.min, sketch.max) == (len(numbers), min(numbers), max(numbers))
    whole = sum(map(Fraction, numbers), Fraction())
    most = Fraction(sys.float_info.max)
    too_much = abs(whole) > most * (1 + Fraction(1, 2**53))
    assert sketch.sum == (math.copysign(math.inf, whole > 0 or -1) if too_much else float(whole))


@given(st.lists(st.lists(st.one_of(finite, sane), max_size=30), min_size=1, max_size=5))
def test_parts_merge_in_any_order_to_the_sketch_of_the_whole(parts: list[list[float]]) -> None:
    whole = sketch_of(number for part in parts for number in part)
    one, other = Sketch(), Sketch()
    for part in parts:
        one.merge(sketch_of(part))
    for part in reversed(parts):
        other = sketch_of(part) + other
    assert one == other == whole
    assert bytes(one) == bytes(other) == bytes(whole)
    joined = Sketch.from_bytes(b"".join(bytes(sketch_of(part)) for part in parts))
    assert joined == whole


def test_numbers_come_one_by_one_or_from_anything_that_has_some() -> None:
    expected = Sketch()
    for number in NUMBERS:
        expected.add(number)
    kinds: list[Any] = [
        NUMBERS,
        tuple(NUMBERS),
        iter(NUMBERS),
        (number for number in NUMBERS),
        array.array("d", NUMBERS),
        array.array("f", NUMBERS),
        memoryview(array.array("d", NUMBERS)),
        np.array(NUMBERS),
        np.array(NUMBERS, "<f4"),
        np.array(NUMBERS, ">f8"),
        np.array(NUMBERS, "f2"),
        np.array([NUMBERS, NUMBERS]).T[:, 0],
        pa.array([*NUMBERS, None]),
        pa.array(NUMBERS, pa.float32()),
        pa.chunked_array([NUMBERS[:2], [None, *NUMBERS[2:]]]),
        pa.array([0.0, *NUMBERS, 1.0])[1:-1],
        pl.Series([*NUMBERS, None]),
        pd.Series(NUMBERS),
        [Fraction(number) for number in NUMBERS],
    ]
    for kind in kinds:
        assert sketch_of(kind) == expected, type(kind)


@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_integers_of_every_width_come_from_buffers_and_arrow(code: str) -> None:
    numbers = array.array(code, [1, 2, 100])
    if code.islower():
        numbers[0] = -1
    expected = sketch_of(numbers.tolist())
    assert sketch_of(numbers) == expected
    assert sketch_of(np.asarray(numbers)) == expected
    assert sketch_of(pa.array(np.asarray(numbers))) == expected


def test_what_is_no_number_is_named_and_nothing_is_added() -> None:
    sketch = sketch_of(NUMBERS)
    before = bytes(sketch)
    for odd, shown in ((math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")):
        with pytest.raises(ValueError, match=f"^{shown} is not a finite number$"):
            sketch.add(odd)
        kinds: list[Any] = [[1.0, odd], np.array([1.0, odd, 2.0]), pa.array([1.0, odd])]
        for kind in kinds:
            with pytest.raises(ValueError, match=f"^{shown} is not a finite number$"):
                sketch.extend(kind)
    wrong: list[Any] = ["12", [1.0, "2"], [None], 7, pa.array(["a"]), pl.Series(["a"])]
    wrong += [pa.table({"a": [1]}), pa.array([[1.0]]), np.array([[1.0, 2.0]])]
    for other in wrong:
        with pytest.raises(TypeError, match=r"\w"):
            sketch.extend(other)
    assert bytes(sketch) == before
    for q in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="is not a quantile"):
            sketch.quantile(q)
    for accuracy in (0.0, 0.0009, 0.3, math.nan):
        with pytest.raises(ValueError, match=r"\w"):
            Sketch(accuracy)


def test_of_nothing_there_are_no_figures() -> None:
    sketch = Sketch()
    assert (sketch.count, sketch.sum, sketch.min, sketch.max) == (0, 0.0, None, None)
    assert sketch.quantile(0.5) is None
    sketch.extend([])
    sketch.extend(pa.array([], pa.float64()))
    sketch.extend(pa.nulls(3))
    assert sketch == Sketch.from_bytes(bytes(Sketch()))


def test_a_sketch_is_the_same_after_any_journey() -> None:
    sketch = sketch_of(NUMBERS, 0.02)
    journeys = [
        Sketch.from_bytes(bytes(sketch)),
        pickle.loads(pickle.dumps(sketch)),
        copy.copy(sketch),
        copy.deepcopy(sketch),
    ]
    for other in journeys:
        assert (other == sketch, other.accuracy, type(other)) == (True, 0.02, Sketch)
        other.add(1)
        assert other != sketch
    other_kind: Any = 1
    assert sketch != other_kind
    assert repr(sketch) == "<kojuto.Sketch of 6 numbers, accuracy 0.02>"
    with pytest.raises(TypeError):
        hash(sketch)
    for wrong in (b"", b"nothing of the kind", bytes(sketch)[:-1], bytes(sketch) + b"x"):
        with pytest.raises(ValueError, match=r"\w"):
            Sketch.from_bytes(wrong)


def test_sketches_that_do_not_fit_are_refused_and_left_as_they_were() -> None:
    sketch = sketch_of(NUMBERS)
    before = bytes(sketch)
    with pytest.raises(AccuracyError, match="its accuracy is 2 %, not 1 %"):
        sketch.merge(Sketch(0.02))
    with pytest.raises(AccuracyError):
        _ = sketch + Sketch(0.05)
    with pytest.raises(AccuracyError):
        Sketch.from_bytes(before + bytes(Sketch(0.05)))
    for other in (1, None):
        with pytest.raises(TypeError):
            _ = sketch + other  # type: ignore[operator]
    assert bytes(sketch) == before
    sketch.merge(sketch)
    assert sketch == sketch_of(NUMBERS * 2)


def test_it_is_the_file_of_percentile_both_ways(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    assert run("percentile", "--sketch", theirs, stdin=SAMPLE).returncode == 0
    sketch = sketch_of(map(float, SAMPLE.split()))
    assert bytes(sketch) == theirs.read_bytes()
    more = sketch_of([1.0, 2.5, 1e6])
    ours.write_bytes(bytes(more))
    pooled = figures(run("percentile", "--merge", theirs, ours).stdout)
    both = Sketch.from_bytes(theirs.read_bytes()) + more
    assert (pooled["count"], pooled["min"], pooled["max"]) == (both.count, both.min, both.max)
    for name in ("99", "95", "90", "75"):
        assert pooled[f"{name}pt"] == pytest.approx(both.quantile(float(name) / 100), abs=5e-5)
    assert run("percentile", "--merge", "--sketch", "-", theirs, ours).stdout == bytes(both)


def test_a_sketch_of_groups_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "groups"
    line = b"uri:/a\tptime:1\nuri:/b\tptime:2\n"
    done = run("percentile", "--key=ptime", "--by=uri", "--sketch", path, stdin=line)
    assert done.returncode == 0
    with pytest.raises(GroupsError, match="of a group of uri"):
        Sketch.from_bytes(path.read_bytes())


def test_threads_may_share_one() -> None:
    sketch, part = Sketch(), np.arange(1.0, 20_001.0)

    def work() -> None:
        for _ in range(10):
            sketch.extend(part)
            sketch.add(1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sketch.count == 40 * 20_001
    assert sketch.sum == 40 * (float(part.sum()) + 1)


def test_what_percentile_prints_of_a_log_is_what_the_sketch_says() -> None:
    numbers = [0.5 * n for n in range(1, 4000)]
    shown = figures(run("percentile", "--sketch", "/dev/null", stdin=text_of(numbers)).stdout)
    sketch = sketch_of(numbers)
    assert shown["99pt"] == pytest.approx(sketch.quantile(0.99), abs=5e-5)
    assert shown["avg"] == pytest.approx(sketch.sum / sketch.count, abs=5e-5)


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(str(ROOT / "docs/python.md"), module_relative=False)
    assert (failed, tried > 5) == (0, True)


def test_a_stream_of_arrow_that_fails_says_why() -> None:
    def gone(_: int) -> pa.RecordBatch:
        raise OSError("the store is gone")

    class Store:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            schema = pa.schema([("a", pa.float64())])
            return pa.RecordBatchReader.from_batches(schema, map(gone, [0])).__arrow_c_stream__()

    with pytest.raises(ValueError, match="the store is gone"):
        Sketch().extend(Store())
