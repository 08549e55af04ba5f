"""mackerel-plugin-axslog: bad, giant and any other lines."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto import _native
from kojuto.common import parser
from kojuto.common.plugin.follow import FollowOptions, Log
from kojuto.tools import axslog
from tests.conftest import DATA, SHARED_CORPORA, read_metrics, run
from tests.peers.axslog import PROG, follow, write

if TYPE_CHECKING:
    from pathlib import Path

    from kojuto._native import AccessScan


# -- what goes wrong ----------------------------------------------------------------------------


def test_bad_lines_are_summed_up_in_one_line(tmp_path: Path, workdir: Path) -> None:
    log = write(
        tmp_path / "log", "status:200\tptime:-", "status:200\tptime:x", "ptime:1",
        "status:2OO\tptime:1", "hello", "", "status:200\tptime:1e999", "status:200\tptime:nan",
        "status:200\tptime:1",
    )  # fmt: skip
    done = run(PROG, "--logfile", log, "--key-prefix", "t")
    assert len(done.stderr.splitlines()) == 1
    text = done.stderr.decode()
    assert "8 lines not counted" in text
    for part in ("no time taken: 1", "time taken is not a number: 3", "no status: 1",
                 "status is not an integer: 1", "not in the expected format: 2"):  # fmt: skip
        assert part in text
    assert r"'status:200\tptime:-'" in text
    assert read_metrics(done.stdout)["axslog.latency_t.average"] == "1.000000"


def test_when_nothing_fits_the_hint_says_where_to_look(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", '{"status":200,"ptime":1}')
    done = run(PROG, "--logfile", log, "--key-prefix", "t")
    assert b"hint: is the log in --format ltsv, and are --ptime-key ptime" in done.stderr


def test_random_bytes_are_data(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    noise = os.urandom(300_000).replace(b"\n", b"") + b"\n"
    log.write_bytes(noise + b"status:200\tptime:2\r\n" + noise + b"\0\xff\nstatus:200\tptime:4\n")
    for form in ("ltsv", "json", "combined", "auto"):
        done = run(PROG, "--logfile", log, "--key-prefix", form, "--format", form)
        assert done.returncode == 0
        assert len(done.stderr.splitlines()) <= 2
    assert b"axslog.latency_ltsv.average\t3.000000" in run(
        PROG, "--logfile", log, "--key-prefix", "x").stdout.replace(b"_x", b"_ltsv")  # fmt: skip


def test_a_giant_line_is_skipped_and_counting_goes_on(tmp_path: Path, workdir: Path) -> None:
    log = write(
        tmp_path / "log", "status:200\tptime:1\tx:" + "y" * 2_000_000, "status:200\tptime:3"
    )
    done = run(PROG, "--logfile", log, "--key-prefix", "t", "--max-line-size", "1M")
    assert read_metrics(done.stdout)["axslog.latency_t.average"] == "3.000000"
    assert b"1 line over --max-line-size skipped" in done.stderr
    next(workdir.glob("*-t-*[0-9]")).unlink()
    assert follow(log)["axslog.latency_t.average"] == "2.000000"


def test_lines_up_to_64_mib_count_and_longer_ones_are_skipped(
    tmp_path: Path, workdir: Path
) -> None:
    log = tmp_path / "log"
    with open(log, "wb") as file:
        for mib, time_s in ((63, 1), (65, 100), (63, 3)):
            file.write(b"x:" + b"y" * (mib * 2**20) + b"\tstatus:200\tptime:%d\n" % time_s)
    done = run(PROG, "--logfile", log, "--key-prefix", "t")
    assert read_metrics(done.stdout)["axslog.latency_t.average"] == "2.000000"
    assert b"1 line over --max-line-size skipped" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--logfile and --key-prefix are required"),
        (["--logfile", "x"], "--key-prefix is required"),
        (["--logfile"], "--logfile needs a value: --logfile FILE[,FILE…]"),
        (["--max-read-size", "10Q"], "--max-read-size 10Q: not a size (write 100M, 32KB, 2GiB"),
        (["--format", "xml"], "--format xml: not one of ltsv, json, combined, regex, auto"),
        (["--percentiles", "0"], "--percentiles 0: '0' is not a percentile"),
        (["--logfile", "x", "--key-prefix", "t", "--format", "regex"], "--format regex needs"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(arguments: list[str], message: str) -> None:
    done = run(PROG, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(f"{PROG}: error: {message}")


def scan_of(log: Path, positions: Path, *options: str) -> AccessScan:
    """A first run over a log, in this process."""
    positions.mkdir(exist_ok=True)
    values, _ = parser.parse(axslog.COMMAND, ["--logfile", str(log), "--key-prefix", "t", *options])
    where = Log(str(log), "t")
    where.position_file = str(positions / log.name)
    (scan,) = _native.follow_access_logs(
        [where], FollowOptions(values, 10**9), axslog.AccessOptions(values)
    )
    assert not isinstance(scan, OSError)
    return scan


# -- any line -----------------------------------------------------------------------------------


def model(text: str) -> tuple[int, list[float]]:
    """(lines that count, times) by the plainest reading of LTSV."""
    times = []
    for line in text.split("\n")[:-1]:
        fields: dict[str, str] = {}
        for field in line.removesuffix("\r").split("\t"):
            label, colon, value = field.partition(":")
            if colon and value not in ("", "-"):
                fields.setdefault(label, value)
        ptime, status = fields.get("ptime", ""), fields.get("status", "")
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", ptime, re.A) and re.fullmatch(
            r"[+-]?\d+", status, re.A
        ):
            times.append(float(ptime))
    return len(times), times


FIELD = st.tuples(
    st.sampled_from(["ptime", "status", "uri", "status", "ptime", "x", "statusx"]),
    st.one_of(
        st.sampled_from(["-", "", "200", "404", "0.1", "1e-3", "+5", ".5", "x", "2 00", "1_0"]),
        st.floats(0, 1e6).map(str),
        st.text("abc:\0é \r", max_size=80),
    ),
).map(":".join)


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(st.lists(FIELD, max_size=8).map("\t".join), max_size=30))
def test_any_ltsv_lines_are_counted_as_the_model_counts_them(
    lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ltsv")
    log = folder / "log"
    text = "".join(line + "\n" for line in lines)
    log.write_bytes(text.encode())
    scan = scan_of(log, folder / "positions")
    shutil.rmtree(folder)
    count, times = model(text)
    assert scan.lines == len(lines)
    assert scan.tally.total == count
    assert scan.tally.latency_mean == pytest.approx(sum(times) / max(len(times), 1))
    assert sum(number for _, number in scan.bad_lines) == len(lines) - count


def test_every_file_of_the_json_corpus_is_read_without_harm(tmp_path: Path, workdir: Path) -> None:
    folder = SHARED_CORPORA / "json" / "test_parsing"
    if not folder.exists():
        folder = DATA / "json"
    files = sorted(folder.glob("*.json"))
    assert len(files) > 10
    good = b'{"status":200,"ptime":1}\n'
    for file in files:
        log = tmp_path / file.stem
        log.write_bytes(file.read_bytes() + b"\n" + good)
        scan = scan_of(log, tmp_path / "positions", "--format", "json")
        assert scan.tally.total == 1, file
        assert scan.lines == file.read_bytes().count(b"\n") + 2, file
