"""mackerel-plugin-axslog: values on real logs, several logs, what goes wrong, memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from benches.harness import cost

from kojuto.tools.axslog import figures
from tests.conftest import read_metrics, run, script, wait_until
from tests.peers.axslog import CORPUS, EXPECTED, MANIFEST, PROG, age, follow, write

# -- values -------------------------------------------------------------------------------------


def options_for(entry: dict[str, str]) -> list[str]:
    options = ["--format", "json" if entry["format"] == "json" else "ltsv"]
    options += ["--ptime-key", entry["latency"], "--status-key", entry["status"]]
    if entry.get("strip_prefix_regex"):
        options.append("--skip-until-json")
    return options


@pytest.mark.parametrize(
    "entry",
    [e for e in MANIFEST if e["format"] in ("ltsv", "json") and e["status"]],
    ids=lambda e: e["file"],
)
def test_a_real_log_gives_the_expected_figures(
    entry: dict[str, str], tmp_path: Path, workdir: Path
) -> None:
    facts = EXPECTED[entry["file"]]
    log = tmp_path / "access.log"
    content = (CORPUS / entry["file"]).read_bytes()
    log.write_bytes(content if content.endswith(b"\n") else content + b"\n")
    done = run(PROG, "--logfile", log, "--key-prefix", "t", *options_for(entry), "--output", "json")
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)["logs"][0]
    joint = facts["joint"]
    assert about["lines"] == facts["lines"]
    assert about["counted_lines"] == joint["count"]
    assert sum(about["bad_lines"].values()) == facts["lines"] - joint["count"]
    (workdir / f"{os.getuid()}-axslog-v5-t-{os.getuid()}").unlink()
    metrics = follow(log, *options_for(entry), "--percentiles", "50,90,95,99")
    for name, key in [
        ("average", "avg"),
        *((f"{p}_percentile", f"p{p}") for p in (50, 90, 95, 99)),
    ]:
        assert metrics[f"axslog.latency_t.{name}"] == f"{float(joint[key]):f}"
    classes = {f"{n}xx": 0 for n in range(1, 6)} | {"499": 0}
    # In these logs every line with a known status has a time too, or none of its class has.
    for status, count in facts["status"].items():
        key = "499" if status == "499" else f"{status[0]}xx"
        if re.fullmatch(r"[1-5]\d\d", status):
            classes[key] += count
    if joint["count"] == sum(facts["status"].values()) - facts["status"].get("MISSING", 0):
        for name, count in classes.items():
            share = count * 100 / joint["count"]
            assert metrics[f"axslog.access_ratio_t.{name}_percentage"] == f"{share:f}"


def test_the_output_lines_and_their_order(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "status:200\tptime:0.5", "status:499\tptime:1")
    first = follow(log)
    assert first == {
        "axslog.latency_t.average": "0.750000",
        "axslog.latency_t.99_percentile": "1.000000",
        "axslog.latency_t.95_percentile": "1.000000",
        "axslog.latency_t.90_percentile": "1.000000",
        "axslog.access_ratio_t.1xx_percentage": "0.000000",
        "axslog.access_ratio_t.2xx_percentage": "50.000000",
        "axslog.access_ratio_t.3xx_percentage": "0.000000",
        "axslog.access_ratio_t.4xx_percentage": "0.000000",
        "axslog.access_ratio_t.499_percentage": "50.000000",
        "axslog.access_ratio_t.5xx_percentage": "0.000000",
    }
    age(workdir, 60)
    began_s = time.monotonic()
    write(log, *["status:404\tptime:2"] * 119, "status:600\tptime:2")
    second = follow(log)
    took_s = time.monotonic() - began_s
    assert list(second) == [
        *(f"axslog.latency_t.{n}" for n in ("average", *(f"{p}_percentile" for p in (99, 95, 90)))),
        *(f"axslog.access_num_t.{n}_count" for n in figures.CLASSES),
        "axslog.access_total_t.count",
        *(f"axslog.access_ratio_t.{n}_percentage" for n in figures.CLASSES),
    ]
    seconds = 119 / float(second["axslog.access_num_t.4xx_count"])
    assert 60 <= seconds <= 62 + took_s
    assert second["axslog.access_total_t.count"] == f"{120 / round(seconds):f}"
    assert second["axslog.access_ratio_t.4xx_percentage"] == f"{11900 / 120:f}"
    age(workdir, 60)
    third = follow(log)
    assert list(third) == [
        *(f"axslog.access_num_t.{n}_count" for n in figures.CLASSES),
        "axslog.access_total_t.count",
    ]
    assert set(third.values()) == {"0.000000"}


def test_an_empty_log_prints_nothing_on_the_first_run(tmp_path: Path, workdir: Path) -> None:
    assert follow(write(tmp_path / "log")) == {}


def test_a_position_file_of_the_original_is_taken_over(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "status:200\tptime:1")
    stat = log.stat()
    uid = os.getuid()
    (workdir / f"{uid}-axslog-v5-t-{uid}").write_text(
        json.dumps(
            {"pos": stat.st_size, "time": int(time.time()) - 30, "inode": stat.st_ino,
             "dev": stat.st_dev}
        )
    )  # fmt: skip
    write(log, "status:500\tptime:3")
    metrics = follow(log)
    assert metrics["axslog.latency_t.average"] == "3.000000"
    assert 1 / 33 <= float(metrics["axslog.access_total_t.count"]) <= 1 / 29


# -- several logs -------------------------------------------------------------------------------


def test_a_comma_at_the_end_costs_no_position(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "status:200\tptime:1")
    follow(log)
    write(log, "status:500\tptime:3")
    assert follow(tmp_path / "log,")["axslog.latency_t.average"] == "3.000000"


def test_several_logs_are_pooled(tmp_path: Path, workdir: Path) -> None:
    a = write(tmp_path / "a", "status:200\tptime:1")
    b = write(tmp_path / "b", "status:500\tptime:3", "status:500\tptime:5")
    both = f"{a},{b}"
    begun_s = time.monotonic()
    done = run(PROG, "--logfile", both, "--key-prefix", "t")
    first = read_metrics(done.stdout)
    # The ratios are of per-second figures, which the first run has not.
    assert list(first) == [
        f"axslog.latency_t.{n}" for n in ("average", *(f"{p}_percentile" for p in (99, 95, 90)))
    ]
    assert first["axslog.latency_t.average"] == "3.000000"
    assert len(list(workdir.glob(f"*-axslog-v5-t-{'?' * 32}-{os.getuid()}"))) == 2
    age(workdir, 60)
    write(a, *["status:200\tptime:1"] * 60)
    write(b, *["status:404\tptime:1"] * 120)
    second = read_metrics(run(PROG, "--logfile", both, "--key-prefix", "t").stdout)
    assert second["axslog.access_ratio_t.2xx_percentage"] == f"{100 / 3:f}"
    rate = float(second["axslog.access_total_t.count"])
    assert 180 / (61 + time.monotonic() - begun_s) <= rate <= 3


def test_a_log_that_is_named_twice_is_read_once(tmp_path: Path, workdir: Path) -> None:
    log, link = tmp_path / "log", tmp_path / "current"
    link.symlink_to(log)
    no = tmp_path / "no"
    for again in (log, link):
        write(log, "status:200\tptime:1")
        done = run(PROG, "--logfile", f"{log},{again},{no},{no}", "--key-prefix", "t",
                   "--output", "prometheus", "--once")  # fmt: skip
        assert done.stdout.count(b'status="2xx"} 1\n') == 1
        told = done.stderr.decode()
        assert told.count(f"{PROG}: {again} is named twice") == 1
        assert told.count(f"{PROG}: {no} is named twice and read once\n") == 1
        log.unlink()
    write(log, "status:200\tptime:1")
    assert follow(Path(f"{log},{log}"))["axslog.latency_t.average"] == "1.000000"


def test_one_missing_log_is_a_warning_and_all_missing_an_error(
    tmp_path: Path, workdir: Path
) -> None:
    log = write(tmp_path / "a", "status:200\tptime:1")
    done = run(PROG, "--logfile", f"{tmp_path / 'no'},{log}", "--key-prefix", "t")
    assert done.returncode == 0
    assert b"axslog.latency_t.average\t1.000000" in done.stdout
    assert b"warning: " in done.stderr
    assert b"/no: No such file or directory" in done.stderr
    done = run(PROG, "--logfile", tmp_path / "no", "--key-prefix", "t")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"error: " in done.stderr
    assert b"/no: No such file or directory" in done.stderr
    done = run(PROG, "--logfile", f"{tmp_path / 'no'},{tmp_path / 'nor'}", "--key-prefix", "t")
    assert (done.returncode, done.stdout) == (1, b"")


def test_two_runs_at_once_do_not_count_the_same_lines(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "status:200\tptime:1")
    uid = os.getuid()
    from kojuto._native import StateLock

    lock = StateLock(str(workdir / f"{uid}-axslog-v5-t-{uid}"))
    done = run(PROG, "--logfile", log, "--key-prefix", "t")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"another run is reading the same log" in done.stderr
    lock.release()
    assert follow(log)["axslog.latency_t.average"] == "1.000000"


def test_an_interrupt_ends_a_long_run_at_once_and_nothing_counts(
    tmp_path: Path, workdir: Path
) -> None:
    log = write(tmp_path / "log", "status:200\tptime:1")
    with open(log, "ab") as file:
        file.write(b"begun")
        file.truncate(200 * 2**30)  # a hole inside a line: zeros for minutes of reading
    process = subprocess.Popen(
        [script(PROG), "--logfile", str(log), "--key-prefix", "t", "--max-read-size", "1TB"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    opened = Path(f"/proc/{process.pid}/fd")

    def reading() -> bool:
        """Of the log alone: the end of a folder that an import lists is a large number too."""
        for fd in os.listdir(opened):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if (opened / fd).readlink() == log:
                    text = (opened.parent / "fdinfo" / fd).read_text()
                    return int(text.split("pos:\t")[1].split()[0]) > 10**8
        return False

    wait_until(reading, what="the run to read")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=5)
    assert (process.returncode, out, errors) == (130, b"", b"")
    assert [path for path in workdir.iterdir() if path.suffix != ".lock"] == []


def test_a_wrong_expression_is_one_line(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log")
    done = run(PROG, "--logfile", log, "--key-prefix", "t", "--format", "regex", "--regex", "(")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"mackerel-plugin-axslog: error: not a regular expression: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_unprivileged_cannot_be_fooled_by_a_planted_state(
    tmp_path: Path, workdir: Path
) -> None:
    log = write(tmp_path / "log", "status:200\tptime:1")
    uid = os.getuid()
    target = tmp_path / "precious"
    target.write_text("precious")
    (workdir / f"{uid}-axslog-v5-t-{uid}").symlink_to(target)
    done = run(PROG, "--logfile", log, "--key-prefix", "t")
    assert done.returncode == 0
    assert b"symbolic link" in done.stderr
    assert target.read_text() == "precious"


# -- cost ---------------------------------------------------------------------------------------


def test_memory_stays_within_32_mib_and_8_bytes_a_line(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    lines = 1_000_000
    with open(log, "wb") as file:
        for _ in range(100):
            file.write(b"status:200\tptime:0.123\tua:Mozilla/5.0\n" * (lines // 100))
    spent = cost([script(PROG), "--logfile", log, "--key-prefix", "t"])
    assert 8 * lines < spent.peak_bytes <= 32 * 2**20 + 8 * lines
