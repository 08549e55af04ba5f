"""Numbers for percentile, and what it must make of them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from fractions import Fraction
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from kojuto.tools import percentile
from tests.conftest import script

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE = b"130111.4\n137671.5\n136399.2\n135166.8\n135148.6\n137568.4\n"
GOLDEN = """\
count: 6
max: 137671.5000
avg: 135344.3167
min: 130111.4000
99pt: 137671.5000
95pt: 137671.5000
90pt: 137568.4000
75pt: 137568.4000
"""


def by_rule(numbers: Sequence[float], wanted: Sequence[str]) -> str:
    """What is printed, in the plainest words."""
    if not numbers:
        return ""
    ordered = sorted(numbers, key=lambda number: (number, math.copysign(1, number)))
    count = len(ordered)
    lines = [
        f"count: {count}",
        f"max: {ordered[-1]:.4f}",
        f"avg: {float(sum(map(Fraction, ordered)) / count):.4f}",
        f"min: {ordered[0]:.4f}",
    ]
    for name in wanted:
        index = math.floor(count * (float(name) / 100) + 0.5) - 1
        lines.append(f"{name}pt: {ordered[max(index, 0)]:.4f}")
    text = "\n".join(lines) + "\n"
    return text.replace(" -0.0000\n", " 0.0000\n")


def text_of(numbers: Sequence[float]) -> bytes:
    return "".join(f"{number!r}\n" for number in numbers).encode()


def figures(output: bytes) -> dict[str, float]:
    return {name: float(v) for name, v in (s.split(": ") for s in output.decode().splitlines())}


def peak(arguments: list[str], stdin: str | None = None) -> tuple[int, int]:
    """Exit status and peak memory in bytes; `stdin` is the code of a Python program that feeds it.

    Measured by a small process in between: a child's peak begins with that of its parent, and the
    one of this test run can be larger than what is to be measured.
    """
    measure = (
        "import json, resource, subprocess, sys\n"
        "command, feeder = json.loads(sys.argv[1])\n"
        "end = subprocess.DEVNULL\n"
        "feed = subprocess.Popen([sys.executable, '-c', feeder], stdout=-1) if feeder else None\n"
        "source = feed.stdout if feed else end\n"
        "child = subprocess.Popen(command, stdin=source, stdout=end, stderr=end)\n"
        "if feed: feed.stdout.close()\n"
        "print(child.wait(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    command = json.dumps([[script("percentile"), *arguments], stdin])
    done = subprocess.run(
        [sys.executable, "-c", measure, command], stdout=subprocess.PIPE, timeout=60, check=True
    )
    status, peak_kib = map(int, done.stdout.split())
    return status, peak_kib * 1024


finite = st.floats(allow_nan=False, allow_infinity=False)
sane = st.floats(-1e9, 1e9) | st.integers(-(10**12), 10**12).map(float)


def in_process(arguments: list[str], stdin: bytes) -> tuple[int, str]:
    """The command without the cost of a start: its status and what it printed."""
    import contextlib
    import io
    import tempfile

    out = io.StringIO()
    with tempfile.NamedTemporaryFile() as file, contextlib.redirect_stdout(out):
        file.write(stdin)
        file.flush()
        with contextlib.redirect_stderr(io.StringIO()):
            status = percentile.main([*arguments, file.name])
    return status, out.getvalue()
