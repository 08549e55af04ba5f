"""percentile: a field by group, every form of the output, terminals."""

from __future__ import annotations

import json
import math
import os
import pty
import random
import re
import select
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import exposition
from tests.conftest import corpus, run, script
from tests.peers.percentile import SAMPLE, by_rule, figures, finite, in_process, sane, text_of

if TYPE_CHECKING:
    from pathlib import Path


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
    assert b"1 of 5 lines is not a number" in done.stderr
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
    checked = 0
    for log in sorted(corpus("accesslog/expected.json").parent.glob("ltsv/*")):
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
    assert checked


# -- output forms -------------------------------------------------------------------------------


def test_what_is_nothing_with_four_decimals_has_no_sign() -> None:
    done = run("percentile", stdin=b"-0.00001\n")
    assert b"-0.0000" not in done.stdout
    assert figures(done.stdout)["max"] == 0
    assert b"min: -0.0001\n" in run("percentile", stdin=b"-0.00006\n").stdout


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
