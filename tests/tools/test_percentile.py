"""percentile: the original's output, odd input, every option, terminals, sketches, bad days."""

from __future__ import annotations

import gzip
import json
import math
import os
import pty
import random
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto.tools import percentile
from tests import exposition
from tests.conftest import corpus, run, script, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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
    for text in wanted:
        index = math.floor(count * (float(text) / 100) + 0.5) - 1
        lines.append(f"{text}pt: {ordered[max(index, 0)]:.4f}")
    return "\n".join(lines) + "\n"


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


# -- the original's behaviour -------------------------------------------------------------------


def test_the_originals_own_example() -> None:
    done = run("percentile", stdin=SAMPLE)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, GOLDEN, b"")


@pytest.mark.parametrize(
    "form", ["-percentile-set=", "--percentile-set=", "-percentile-set ", "--percentile-set "]
)
def test_percentiles_are_named_as_they_were_written(form: str) -> None:
    done = run("percentile", *f"{form}99.90,50,1e1,+5,0,100".split(), stdin=SAMPLE)
    assert [line.split(":")[0] for line in done.stdout.decode().splitlines()[4:]] == [
        "99.90pt", "50pt", "1e1pt", "+5pt", "0pt", "100pt",
    ]  # fmt: skip
    assert done.stdout.decode() == by_rule(
        [float(x) for x in SAMPLE.split()], ["99.90", "50", "1e1", "+5", "0", "100"]
    )


@pytest.mark.parametrize("stdin", [b"", b"\n\n \r\n", b"x\n"])
@pytest.mark.parametrize("form", ["text", "json", "prometheus"])
def test_no_numbers_print_nothing_and_succeed(stdin: bytes, form: str) -> None:
    done = run("percentile", "--output", form, stdin=stdin)
    assert (done.returncode, done.stdout) == (0, b"")


def test_one_sample_and_a_low_percentile_gives_it_where_the_original_crashed() -> None:
    done = run("percentile", "--percentile-set", "25,1,0.01", stdin=b"7\n")
    assert done.returncode == 0
    assert figures(done.stdout) == dict.fromkeys(
        ["max", "avg", "min", "25pt", "1pt", "0.01pt"], 7
    ) | {"count": 1}


@pytest.mark.parametrize(
    "wanted", ["101", "-1", "x", " ", "99,,1", "nan", "inf", "1_0", "100.0001"]
)
def test_a_percentile_out_of_range_is_a_usage_error(wanted: str) -> None:
    done = run("percentile", f"--percentile-set={wanted}", stdin=SAMPLE)
    assert (done.returncode, done.stdout) == (2, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith(f"percentile: error: --percentile-set {wanted}: ")
    assert hint.startswith("hint: ")


def test_version_in_the_originals_spelling() -> None:
    assert run("percentile", "-version").stdout.startswith(b"percentile ")


# -- odd input ----------------------------------------------------------------------------------


def test_what_people_pipe_is_read_and_the_rest_is_counted_in_one_line() -> None:
    stdin = b"\xef\xbb\xbf1\r\n  2 \n\n+3\n.5\n1e-3\nnan\n\x1b[31m\n-4\t\n0x10\ninf\n5."
    done = run("percentile", stdin=stdin)
    assert done.stdout.decode() == by_rule([1, 2, 3, 0.5, 1e-3, -4, 5], ["99", "95", "90", "75"])
    assert done.stderr.decode() == (
        "percentile: 4 of 12 lines are no numbers and were skipped; "
        "the first: line 7 of standard input: 'nan'\n"
    )
    done = run("percentile", stdin=b"\x1b[31m\xff\n1\n")
    assert b"\x1b" not in done.stderr
    assert b"1 of 2 lines is no number and was skipped" in done.stderr


def test_strict_names_the_line_and_prints_no_figures(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("1\n2\n")
    bad.write_text("1\n\n3\noops\n5\n")
    done = run("percentile", "--strict", good, bad)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines()[0] == (
        f"percentile: error: {bad}: line 4 is no number: 'oops'"
    )
    assert run("percentile", "--strict", good).returncode == 0


def test_strict_does_not_wait_for_the_end_of_the_input() -> None:
    process = subprocess.Popen(
        [script("percentile"), "--strict"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(b"1\nx\n")
    process.stdin.flush()
    assert process.wait(10) == 1
    process.communicate()


@pytest.mark.parametrize("length", [64 << 10, 1 << 20, 30 << 20])
def test_a_line_of_any_length_is_one_bad_line(length: int) -> None:
    done = run("percentile", stdin=b"1\n" + b"9" * length + b"\n3\n")
    assert figures(done.stdout)["count"] == 2
    assert done.stderr.startswith(b"percentile: 1 of 3 lines is no number")
    assert len(done.stderr) < 300


def test_an_endless_line_needs_no_memory() -> None:
    feed = "import os\nfor _ in range(200): os.write(1, b'7' * (1 << 20))"
    status, peak_bytes = peak([], feed)
    assert status == 0
    assert peak_bytes < 40 << 20


def test_files_and_dash_are_read_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1\n2")  # no newline at its end: the next file begins a new line all the same
    two.write_text("3\nx\n")
    done = run("percentile", one, "-", two, stdin=b"10\n")
    assert done.stdout.decode() == by_rule([1, 2, 3, 10], ["99", "95", "90", "75"])
    assert f"line 2 of {two}: 'x'".encode() in done.stderr


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, text in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        done = run("percentile", path)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.decode() == f"percentile: error: {path}: {text}\n"


def test_gzip_files_are_read_and_damaged_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "numbers.gz"
    path.write_bytes(gzip.compress(SAMPLE))
    assert run("percentile", path).stdout.decode() == GOLDEN
    path.write_bytes(gzip.compress(SAMPLE)[:-12])
    done = run("percentile", path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"{path}: damaged gzip file".encode() in done.stderr
    path.write_bytes(b"\x28\xb5\x2f\xfd0000")
    done = run("percentile", path)
    assert done.returncode == 1
    assert b"zstd -dc" in done.stderr


finite = st.floats(allow_nan=False, allow_infinity=False)
sane = st.floats(-1e9, 1e9) | st.integers(-(10**12), 10**12).map(float)
wanted_sets = st.lists(
    st.integers(0, 100).map(str) | st.floats(0, 100).map(lambda p: f"{p:.2f}"),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(sane | finite, max_size=60), wanted_sets)
def test_any_numbers_by_the_rule(numbers: list[float], wanted: list[str]) -> None:
    assert in_process(["--percentile-set", ",".join(wanted)], text_of(numbers))[1] == by_rule(
        numbers, wanted
    )


def test_the_average_of_common_numbers_is_that_of_a_careful_sum() -> None:
    source = random.Random(11)
    for scale in (0.001, 1, 1e6):
        numbers = [round(source.random() * scale, 6) for _ in range(20_000)]
        shown = in_process([], text_of(numbers))[1].splitlines()[2]
        assert shown == f"avg: {math.fsum(numbers) / len(numbers):.4f}"


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


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400) | st.text("0123456789.eE+-\r\n x", max_size=200).map(str.encode))
def test_any_bytes_end_in_order(data: bytes) -> None:
    if data.startswith((b"\x1f\x8b", b"\x28\xb5")):
        return
    for arguments in ([], ["--key", "a", "--by", "b"], ["--key", "a", "--format", "json"]):
        assert in_process(arguments, data)[0] == 0
    number = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    texts = [line.strip(b" \t\r\f") for line in lines]
    numbers = [float(text) for text in texts if number.fullmatch(text)]
    numbers = [value for value in numbers if math.isfinite(value)]
    assert in_process([], data)[1] == by_rule(numbers, ["99", "95", "90", "75"])


# -- fields -------------------------------------------------------------------------------------

RECORDS = [("200", "0.5"), ("404", "0.25"), ("200", "-"), ("200", "3"), ("500", "1")]


@pytest.mark.parametrize("form", ["ltsv", "json"])
@pytest.mark.parametrize("named", [True, False])
def test_a_field_by_group(form: str, named: bool, tmp_path: Path) -> None:
    path = tmp_path / "log"
    if form == "ltsv":
        path.write_text("".join(f"uri:/\tstatus:{s}\tptime:{t}\n" for s, t in RECORDS))
    else:
        path.write_text("".join(json.dumps({"status": s, "ptime": t}) + "\n" for s, t in RECORDS))
    options = ["--format", form] if named else []
    done = run("percentile", "--key", "ptime", *options, path)
    assert done.stdout.decode() == by_rule([0.5, 0.25, 3, 1], ["99", "95", "90", "75"])
    assert b"1 of 5 lines is no number" in done.stderr
    done = run("percentile", "--key=ptime", "--by=status", "--percentile-set=50", *options, path)
    assert done.stdout.decode() == "\n".join(
        f"status: {name}\n{by_rule(numbers, ['50'])}"
        for name, numbers in (("200", [0.5, 3]), ("404", [0.25]), ("500", [1]))
    )
    done = run("percentile", "--key=ptime", "--by=status", "--max-groups=1", "--output=json", path)
    document = json.loads(done.stdout)
    assert [(g["group"], g["count"]) for g in document["groups"]] == [("200", 2), ("other", 2)]
    assert (document["by"], document["skipped"]) == ("status", 1)


def test_a_value_is_told_from_the_pool_and_from_no_value_in_every_form() -> None:
    values = [*["other"] * 4, "-", "", ""]
    stdin = "".join(f"t:1\tu:{value}\n" if value else "t:1\n" for value in values).encode()
    stdin += b"t:1\tu:\\xff\n" * 6 + b"t:1\tu:\xff\n" * 5 + b"t:1\tu:a\n"

    def of(*options: str) -> bytes:
        return run(
            "percentile", "--key=t", "--by=u", "--max-groups=3", *options, stdin=stdin
        ).stdout

    heads = [line for line in of().decode().splitlines() if line.startswith("u")]
    assert heads == [
        "u: \\xff", "u (not valid UTF-8): \\xff", "u: other", "u (no value): -",
        "u (pooled): other",
    ]  # fmt: skip
    groups = json.loads(of("--output=json"))["groups"]
    assert [(g["group"], g.get("special"), g["count"]) for g in groups] == [
        ("\\xff", None, 6), ("\\xff", "bytes", 5), ("other", None, 4), ("-", "missing", 3),
        ("other", "other", 1),
    ]  # fmt: skip
    family = exposition.checked(of("--output=prometheus"))["percentile_max"]
    labels = [dict(sample.labels) for sample in family.samples]
    assert [(each["u"], each.get("special")) for each in labels] == [
        (g["group"], g.get("special")) for g in groups
    ]


def test_a_group_name_cannot_break_the_output() -> None:
    stdin = json.dumps({"t": 1, "u": 'a\nb\x1b[31m"\\'}).encode() + b"\n"
    text = run("percentile", "--key=t", "--by=u", stdin=stdin).stdout
    assert text.splitlines()[0] == b'u: a\\nb\\x1b[31m"\\'
    metrics = run("percentile", "--key=t", "--by=u", "--output=prometheus", stdin=stdin).stdout
    assert b'percentile_value_count{key="t",u="a\\nb\x1b[31m\\"\\\\"} 1\n' in metrics


def test_a_real_access_log_agrees_with_its_figures() -> None:
    path = corpus("accesslog/expected.json")
    if not path.exists():
        pytest.skip("the shared corpora are not here")
    checked = 0
    for log in sorted(path.parent.glob("**/*.ltsv")):
        times = []
        for line in log.read_bytes().splitlines():
            fields = dict(f.split(b":", 1) for f in line.split(b"\t") if b":" in f)
            value = fields.get(b"reqtime", b"")
            if re.fullmatch(rb"\d+(\.\d+)?", value):
                times.append(float(value))
        if times:
            done = run("percentile", "--key", "reqtime", log)
            assert done.stdout.decode() == by_rule(times, ["99", "95", "90", "75"]), log
            checked += 1
    if not checked:
        pytest.skip("no LTSV log with reqtime in the corpora")


# -- output forms -------------------------------------------------------------------------------


def test_json_holds_all_figures() -> None:
    document = json.loads(run("percentile", "--output", "json", stdin=SAMPLE + b"x\n").stdout)
    assert document == {
        "count": 6, "max": 137671.5, "avg": pytest.approx(135344.31666666668), "min": 130111.4,
        "percentiles": {"99": 137671.5, "95": 137671.5, "90": 137568.4, "75": 137568.4},
        "skipped": 1,
    }  # fmt: skip


def test_prometheus_lines() -> None:
    stdin = b"t:1.5\tvalue:a\n"
    options = ["--key=t", "--by=value", "--output=prometheus", "--percentile-set=99.9"]
    lines = run("percentile", *options, stdin=stdin).stdout.decode().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'percentile_value{key="t",value="a",quantile="0.999"} 1.5',
        'percentile_value_sum{key="t",value="a"} 1.5',
        'percentile_value_count{key="t",value="a"} 1',
        'percentile_max{key="t",value="a"} 1.5',
        'percentile_avg{key="t",value="a"} 1.5',
        'percentile_min{key="t",value="a"} 1.5',
        'percentile_numbers{key="t",value="a"} 1',
    ]
    assert lines.count("# TYPE percentile_value summary") == 1


# Below zero are: one group's quantile, all, a sum, one that neither shows, none.
@pytest.mark.parametrize(
    ("numbers", "negative"),
    [
        ([("a", -1.5), ("a", 4), ("b", 3)], True),
        ([("a", -5), ("b", -0.001)], True),
        ([("a", -9), ("a", 1), ("a", 1), ("a", 1)], True),
        ([("a", -1), ("a", 1), ("a", 1), ("a", 1)], True),
        ([("a", -0.0), ("a", 0), ("b", 5e-324)], False),
    ],
)
def test_negative_numbers_are_no_summary_in_openmetrics(
    numbers: list[tuple[str, float]], negative: bool
) -> None:
    stdin = "".join(f"t:{number}\tg:{group}\n" for group, number in numbers).encode()

    def of(form: str) -> bytes:
        options = ["--key=t", "--by=g", f"--output={form}", "--percentile-set=50,100"]
        return run("percentile", *options, stdin=stdin).stdout

    text = exposition.checked(of("prometheus"))
    strict = exposition.parse(of("openmetrics"), openmetrics=True)
    # The text format has no such rule: there it stays a summary with its sum and count.
    assert text["percentile_value"].kind == "summary"
    assert strict["percentile_value"].kind == ("gauge" if negative else "summary")
    wanted = [
        sample
        for sample in text["percentile_value"].samples
        if not negative or sample.name == "percentile_value"
    ]
    assert strict["percentile_value"].samples == wanted
    names = ("percentile_max", "percentile_avg", "percentile_min", "percentile_numbers")
    for name in names:
        assert strict[name].samples == text[name].samples
    counts = Counter(group for group, _ in numbers)
    found = {dict(s.labels)["g"]: s.value for s in strict["percentile_numbers"].samples}
    assert found == counts


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--by", "a"], "--by"),
        (["--format", "json"], "--format"),
        (["--max-groups", "5"], "--max-groups"),
        (["--key", "a", "--max-groups", "5"], "--max-groups"),
        (["--max-groups", "0"], "--max-groups"),
        (["--key", ""], "--key"),
        (["--accuracy", "1%"], "--accuracy"),
        (["--accuracy", "30%", "--sketch", "x"], "--accuracy"),
        (["--accuracy", "1", "--sketch", "x"], "--accuracy"),
        (["--key", "a", "--by", "b", "--sketch", "x"], "--by"),
        (["--merge", "--strict", "x"], "--strict"),
        (["--plot", "--output", "json"], "--plot"),
        (["--sketch", "-", "--output", "json"], "--sketch"),
        (["--output", "xml"], "--output"),
    ],
)
def test_options_without_meaning_are_refused(
    arguments: list[str], name: str, tmp_path: Path
) -> None:
    done = run("percentile", *arguments, stdin=SAMPLE, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith(f"percentile: error: {name} ")
    assert hint.startswith("hint: ")
    assert not list(tmp_path.iterdir())


# -- terminals ----------------------------------------------------------------------------------


def on_terminal(
    command: list[str],
    *,
    keyboard: bool = False,
    columns: int = 80,
    env: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Run with stdout and stderr (and stdin) on a terminal; the status and what it shows."""
    master, slave = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "TERM")}
    process = subprocess.Popen(
        command,
        stdin=slave if keyboard else subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env={**clean, "TERM": "xterm", "PYTHONUTF8": "1", **(env or {})},
    )
    os.close(slave)
    shown = b""
    while True:
        ready, _, _ = select.select([master], [], [], 20)
        assert ready, "silent for 20 s"
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    return process.wait(20), shown.decode()


def test_on_a_terminal_without_files_the_usage_is_shown() -> None:
    status, shown = on_terminal([script("percentile")], keyboard=True)
    assert status == 1
    assert shown.startswith("Usage: percentile ")
    # On stderr, not on stdout.
    master, slave = pty.openpty()
    done = subprocess.run([script("percentile")], stdin=slave, capture_output=True, check=False)
    os.close(master)
    os.close(slave)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"Usage: percentile ")


def plot_lines(shown: str) -> list[str]:
    return [line for line in shown.replace("\r", "").split("\n") if "│" in line]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_plot_fits_the_terminal_and_counts_every_number(columns: int, tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    source = random.Random(3)
    numbers = [source.gauss(50, 9) for _ in range(2000)]
    path.write_bytes(text_of(numbers))
    _, shown = on_terminal([script("percentile"), "--plot", str(path)], columns=columns)
    lines = plot_lines(shown)
    assert "\x1b[36m" in lines[0]
    bare = [re.sub(r"\x1b\[\d+m", "", line) for line in lines]
    assert {len(line) for line in bare} == {columns}
    assert 5 <= len(bare) <= 22
    edges = [float(line.split("│")[0]) for line in bare]
    counts = [int(line.split()[-3].replace(",", "")) for line in bare]
    assert sum(counts) == 2000
    for low, high, count in zip(edges, [*edges[1:], math.inf], counts, strict=True):
        assert sum(low <= number < high for number in numbers) == count
    assert max(bare, key=lambda line: line.count("█")) == bare[counts.index(max(counts))]


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_when_it_is_not_wanted(env: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(SAMPLE)
    _, shown = on_terminal([script("percentile"), "--plot", str(path)], env=env)
    assert plot_lines(shown)
    assert "\x1b" not in shown
    assert b"\x1b" not in run("percentile", "--plot", path).stdout


def test_a_wide_range_gets_rows_that_grow() -> None:
    stdin = text_of([0.0, *(10 ** (-3 + at / 50) for at in range(300))])
    out = run("percentile", "--plot", stdin=stdin, env={"PYTHONUTF8": "1"}).stdout.decode()
    edges = [float(line.split("│")[0]) for line in plot_lines(out)]
    assert edges[0] == 0
    assert edges[1:4] == [0.001, 0.002, 0.005]
    assert edges[-1] == 500
    ascii_only = run("percentile", "--plot", stdin=stdin, env={"PYTHONIOENCODING": "ascii"})
    assert ascii_only.returncode == 0
    assert b"0.001 |#" in ascii_only.stdout


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        finite | sane | st.sampled_from([0.0, 5e-324, -1.7e308, 1.7e308]), min_size=1, max_size=40
    )
)
def test_every_number_is_in_one_row_of_the_plot(numbers: list[float]) -> None:
    status, text = in_process(["--plot"], text_of(numbers))
    assert status == 0
    rows = [line for line in text.splitlines()[9:] if line]
    assert sum(int(row.split()[-3].replace(",", "")) for row in rows) == len(numbers)
    assert len(rows) <= 45


def test_progress_of_a_slow_file_is_shown_on_the_terminal_and_wiped(tmp_path: Path) -> None:
    fifo = tmp_path / "slow"
    os.mkfifo(fifo)
    feeder = subprocess.Popen(["sh", "-c", f"(echo 1; sleep 1.2; echo 2) >{fifo}"])
    status, shown = on_terminal([script("percentile"), str(fifo)])
    feeder.wait(10)
    assert status == 0
    assert "\rpercentile: 2 B, " in shown
    assert all(len(line) < 80 for line in shown.replace("\x1b[K", "").split("\r"))
    assert shown.rindex("\r\x1b[K") < shown.index("count: 2")


# -- sketches -----------------------------------------------------------------------------------


def test_merged_sketches_keep_their_accuracy_without_an_option(tmp_path: Path) -> None:
    """The default of --accuracy is for a sketch of numbers alone."""
    parts = [tmp_path / "a", tmp_path / "b"]
    for part in parts:
        done = run("percentile", "--accuracy", "2%", "--sketch", part, stdin=SAMPLE)
        assert done.returncode == 0
    whole = tmp_path / "whole"
    merged = run("percentile", "--merge", "--sketch", whole, *parts)
    assert (merged.returncode, merged.stderr) == (0, b"")
    shown = json.loads(run("percentile", "--merge", "--output", "json", whole).stdout)
    assert shown["accuracy"] == 0.02


def test_many_hosts_pooled_are_within_the_stated_error(tmp_path: Path) -> None:
    source = random.Random(5)
    everything: list[float] = []
    paths = []
    for host in range(6):
        numbers = [source.lognormvariate(host - 3, 1.5) for _ in range(3000)]
        numbers += [-source.expovariate(2) for _ in range(100)] + [0.0] * 50
        everything += numbers
        paths.append(tmp_path / f"{host}.sketch")
        done = run("percentile", "--sketch", paths[-1], stdin=text_of(numbers))
        assert figures(done.stdout)["count"] == len(numbers)
    wanted = ["99.9", "99", "90", "50", "10", "1", "0.2"]
    options = ["--percentile-set", ",".join(wanted), "--output", "json"]
    pooled = json.loads(run("percentile", *options, "--merge", *paths).stdout)
    ordered = sorted(everything)
    for name in wanted:
        exact = ordered[max(math.floor(len(ordered) * (float(name) / 100) + 0.5) - 1, 0)]
        assert abs(pooled["percentiles"][name] - exact) <= 0.01 * (1 + 1e-9) * abs(exact), name
    assert pooled["count"] == len(everything)
    assert (pooled["max"], pooled["min"]) == (ordered[-1], ordered[0])
    assert pooled["avg"] == pytest.approx(math.fsum(everything) / len(everything), rel=1e-15)
    assert pooled["accuracy"] == 0.01
    # The sketch of all numbers is the same file as the merged one, in any order.
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    run("percentile", "--sketch", whole, stdin=text_of(everything))
    assert run("percentile", "--sketch", merged, "--merge", *reversed(paths)).returncode == 0
    assert merged.read_bytes() == whole.read_bytes()


def test_a_sketch_through_a_pipe() -> None:
    sketch = run("percentile", "--sketch", "-", "--accuracy=0.1%", stdin=SAMPLE)
    assert (sketch.returncode, sketch.stdout[:8]) == (0, b"KJSKETCH")
    done = run("percentile", "--merge", "-", stdin=sketch.stdout)
    assert figures(done.stdout)["max"] == 137671.5
    assert figures(done.stdout)["75pt"] == pytest.approx(137568.4, rel=0.001)
    empty = run("percentile", "--sketch", "-")
    assert run("percentile", "--merge", stdin=empty.stdout).stdout == b""


def test_sketches_that_do_not_fit_or_are_damaged_are_named(tmp_path: Path) -> None:
    fine, coarse = tmp_path / "fine", tmp_path / "coarse"
    run("percentile", "--sketch", fine, stdin=SAMPLE)
    run("percentile", "--sketch", coarse, "--accuracy", "5%", stdin=SAMPLE)
    content = fine.read_bytes()
    damaged, text = tmp_path / "damaged", tmp_path / "text"
    damaged.write_bytes(content[:-9])
    text.write_bytes(SAMPLE)
    huge = tmp_path / "huge"
    huge.write_bytes(content)
    os.truncate(huge, 1 << 30)
    for other, words in (
        (coarse, "its accuracy is 5 %, not 1 %"),
        (damaged, "it is damaged or cut short"),
        (text, "it is no sketch"),
        (huge, "it is larger than a sketch can be"),
        (tmp_path / "none", "No such file"),
    ):
        done = run("percentile", "--merge", fine, other)
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"{other}: {words}" in done.stderr.decode()
        assert ("with the same --accuracy" in done.stderr.decode()) is (other == coarse)


def test_a_sketch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sketch"
    run("percentile", "--sketch", path, stdin=SAMPLE)
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = subprocess.run(
        [script("percentile"), "--sketch", str(path)],
        input=b"1\n2\n", capture_output=True, check=False, preexec_fn=small_files,
    )  # fmt: skip
    assert done.returncode == 1
    assert figures(done.stdout)["count"] == 2  # they need no file
    assert f"error: {path}: File too large".encode() in done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    done = run("percentile", "--sketch", tmp_path / "no" / "where", stdin=SAMPLE)
    assert done.returncode == 1
    assert b"No such file or directory" in done.stderr


def test_a_device_or_a_link_in_place_of_the_sketch_stays_what_it_is(tmp_path: Path) -> None:
    node, target, link = tmp_path / "null", tmp_path / "target", tmp_path / "link"
    os.mkfifo(node)
    reader = subprocess.Popen(["cat", str(node)], stdout=subprocess.PIPE)
    assert run("percentile", "--sketch", node, stdin=SAMPLE).returncode == 0
    assert reader.communicate(timeout=20)[0].startswith(b"KJSKETCH")
    assert node.is_fifo()
    link.symlink_to(target)
    assert run("percentile", "--sketch", link, stdin=SAMPLE).returncode == 0
    assert link.is_symlink()
    assert target.read_bytes().startswith(b"KJSKETCH")
    done = run("percentile", "--sketch", "/dev/full", stdin=SAMPLE)
    assert (done.returncode, figures(done.stdout)["count"]) == (1, 6)
    assert done.stderr == b"percentile: error: /dev/full: No space left on device\n"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    with open(path, "wb") as file:
        file.write(b"\xe9:1\tg:\xc3\xa9\xff\nx\n")
    for form in ("text", "json", "prometheus"):
        done = subprocess.run(
            [script("percentile"), b"--key=\xe9", b"--by=g", f"--output={form}", path],
            capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )  # fmt: skip
        assert done.returncode == 0
        assert b"\\xe9" in done.stdout
        assert b"1 of 2 lines" in done.stderr
        assert b"caf" in done.stderr


# -- bad days -----------------------------------------------------------------------------------


def test_a_full_disk_is_an_error_and_a_closed_pipe_is_not() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([script("percentile")], input=SAMPLE, stdout=full,
                              stderr=subprocess.PIPE, check=False)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == b"percentile: error: standard output: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([script("percentile")], input=SAMPLE, stdout=writer,
                          stderr=subprocess.PIPE, check=False)  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("busy", [True, False])
def test_an_interrupt_ends_it_at_once(busy: bool) -> None:
    process = subprocess.Popen(
        [script("percentile"), "/dev/zero" if busy else "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def reading() -> bool:
        with open(f"/proc/{process.pid}/maps") as maps:
            return "_native" in maps.read()

    wait_until(reading)
    time.sleep(0.1)  # from the loaded module into the read; either way it must end
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(10) == 130
        assert time.monotonic() - start < 2
    finally:
        process.kill()
        out, err = process.communicate()
    assert (out, err) == (b"", b"")


def test_memory_is_eight_bytes_a_number_and_little_more(tmp_path: Path) -> None:
    """Peak memory of 6 million numbers (far over what any buffer of a fixed size would hide)."""
    path = tmp_path / "numbers"
    block = text_of([random.Random(at).random() * 100 for at in range(100_000)])
    with open(path, "wb") as file:
        for _ in range(60):
            file.write(block)
    for options, bound in ([], 6_000_000 * 8 + (64 << 20)), (["--sketch", "/dev/null/x"], 64 << 20):
        status, peak_bytes = peak([*options, str(path)])
        assert status == (1 if options else 0)
        assert peak_bytes < bound, options
