"""mackerel-plugin-axslog: values on real logs, options, several logs, what goes wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from benches.harness import cost
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto import _native
from kojuto.common import parser
from kojuto.common.plugin.follow import FollowOptions, Log
from kojuto.tools import axslog
from kojuto.tools.axslog import figures
from tests.conftest import DATA, SHARED_CORPORA, read_metrics, run, script, wait_until

if TYPE_CHECKING:
    from kojuto._native import AccessScan

PROG = "mackerel-plugin-axslog"
CORPUS = SHARED_CORPORA / "accesslog"
if not CORPUS.exists():
    CORPUS = DATA / "accesslog"
MANIFEST = json.loads((CORPUS / "manifest.json").read_text())
EXPECTED = json.loads((CORPUS / "expected.json").read_text())


def follow(log: Path, *options: str) -> dict[str, str]:
    done = run(PROG, "--logfile", log, "--key-prefix", "t", *options)
    assert done.returncode == 0, done.stderr
    return read_metrics(done.stdout)


def age(workdir: Path, seconds: int) -> None:
    """Make the previous run `seconds` older than it is."""
    for path in workdir.iterdir():
        if not path.name.endswith(".lock"):
            text = path.read_text()
            path.write_text(
                re.sub(r'"time":(\d+)', lambda m: f'"time":{int(m[1]) - seconds}', text)
            )


def write(path: Path, *lines: str) -> Path:
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
    return path


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
    write(log, *["status:404\tptime:2"] * 119, "status:600\tptime:2")
    second = follow(log)
    assert list(second) == [
        *(f"axslog.latency_t.{n}" for n in ("average", *(f"{p}_percentile" for p in (99, 95, 90)))),
        *(f"axslog.access_num_t.{n}_count" for n in figures.CLASSES),
        "axslog.access_total_t.count",
        *(f"axslog.access_ratio_t.{n}_percentage" for n in figures.CLASSES),
    ]
    seconds = 119 / float(second["axslog.access_num_t.4xx_count"])
    assert 60 <= seconds <= 62
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


# -- options ------------------------------------------------------------------------------------


def test_the_first_listed_status_key_wins_wherever_it_stands(tmp_path: Path, workdir: Path) -> None:
    keys = ("--status-key", "up", "--status-key", "status")
    log = write(tmp_path / "log", "status:200\tptime:1\tup:503", "status:404\tptime:1\tup:-")
    metrics = follow(log, *keys)
    assert metrics["axslog.access_ratio_t.5xx_percentage"] == "50.000000"
    assert metrics["axslog.access_ratio_t.4xx_percentage"] == "50.000000"
    log = write(tmp_path / "json", '{"status":200,"ptime":1,"up":503}')
    metrics = follow(log, *keys, "--format", "json", "--key-prefix=t")
    assert metrics["axslog.access_ratio_t.5xx_percentage"] == "100.000000"


def test_filters(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "uri:/a\tstatus:200\tptime:1", "uri:/b\tstatus:200\tptime:3")
    assert follow(log, "--filter", "uri:/a")["axslog.latency_t.average"] == "1.000000"
    next(workdir.glob("*-t-*[0-9]")).unlink()
    inverted = follow(log, "-filter=uri:/a", "-invert-filter")
    assert inverted["axslog.latency_t.average"] == "3.000000"


def test_skip_until_json(tmp_path: Path, workdir: Path) -> None:
    line = '2026-11-22 info "x {"status":200,"ptime":"0.25"}'
    log = write(tmp_path / "log", line, '{"status":200,"ptime":"0.75"}')
    metrics = follow(log, "--format", "json", "--skip-until-json")
    assert metrics["axslog.latency_t.average"] == "0.500000"


def test_combined_logs_with_and_without_a_time(tmp_path: Path, workdir: Path) -> None:
    line = '::1 - - [22/Nov/2026:00:00:00 +0000] "GET / HTTP/1.1" {} 5 "-" "curl"{}'
    log = write(tmp_path / "log", line.format(200, " 0.5"), line.format(404, ""), "garbage")
    for form in ("combined", "auto"):
        done = run(PROG, "--logfile", log, "--key-prefix", form, "--format", form)
        metrics = read_metrics(done.stdout)
        assert metrics[f"axslog.latency_{form}.average"] == "0.500000"
        assert metrics[f"axslog.access_ratio_{form}.4xx_percentage"] == "50.000000"
        assert b"1 line not counted (not in the expected format: 1)" in done.stderr


@pytest.mark.parametrize(
    "entry", [e for e in MANIFEST if e["format"].startswith("combined")], ids=lambda e: e["file"]
)
def test_a_real_combined_log(entry: dict[str, str], workdir: Path) -> None:
    facts = EXPECTED[entry["file"]]
    done = run(PROG, "--logfile", CORPUS / entry["file"], "--key-prefix", "t",
               "--format", "combined", "--output", "json")  # fmt: skip
    document = json.loads(done.stdout)
    lines = facts["lines"] - (0 if facts["ends_with_newline"] else 1)
    assert document["logs"][0]["counted_lines"] == lines
    shares = document["metrics"]
    for status, count in facts["status_class"].items():
        if status in ("2xx", "3xx", "5xx"):
            share = shares[f"axslog.access_ratio_t.{status}_percentage"]
            assert share == pytest.approx(count * 100 / lines)
    if entry["latency"] == "$last":
        assert shares["axslog.latency_t.average"] == pytest.approx(facts["latency"]["avg"])


def test_a_regular_expression(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "took=12 code=200", "took=28 code=500", "nothing")
    metrics = follow(
        log, "--format", "regex", "--regex", r"took=(?P<ptime>\d+) code=(?P<status>\d+)",
        "--time-unit", "ms",
    )  # fmt: skip
    assert metrics["axslog.latency_t.average"] == "0.020000"
    assert metrics["axslog.access_ratio_t.5xx_percentage"] == "50.000000"


@pytest.mark.parametrize(
    ("how", "value"), [("sum", "0.600000"), ("last", "0.300000"), ("max", "0.300000")]
)
def test_lists_of_times(how: str, value: str, tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "status:200\tptime:0.1, 0.2 : 0.3")
    assert follow(log, "--time-list", how)["axslog.latency_t.average"] == value


def test_groups_are_bounded_and_the_rest_is_pooled(tmp_path: Path, workdir: Path) -> None:
    lines = [f"host:h{n}.x\tstatus:200\tptime:{n}" for n in (1, 1, 1, 2, 2, 3, 4)]
    log = write(tmp_path / "log", *lines, "status:500\tptime:9")
    metrics = follow(log, "--by", "host", "--max-groups", "2")
    assert metrics["axslog.latency_t.average"] == f"{23 / 8:f}"
    assert metrics["axslog.latency_t.h1_x--afa67f75.average"] == "1.000000"
    assert metrics["axslog.latency_t.h2_x--ade0c12c.average"] == "2.000000"
    assert metrics["axslog.latency_t.other.average"] == f"{16 / 3:f}"
    assert metrics["axslog.access_ratio_t.other.5xx_percentage"] == f"{100 / 3:f}"
    assert not any(".h3_x" in name for name in metrics)


def test_json_group_names_are_resolved(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", r'{"uri":"\/a\u0062","status":200,"ptime":1}')
    metrics = follow(log, "--format", "json", "--by", "uri")
    assert "axslog.latency_t._ab--130a825d.average" in metrics


def test_more_was_added_than_the_limit(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", *["status:200\tptime:1"] * 100)
    done = run(PROG, "--logfile", log, "--key-prefix", "t", "--max-read-size", "1KB")
    assert read_metrics(done.stdout) == {"axslog.skipped_t.bytes": "1900"}
    assert b"1900" in done.stderr
    age(workdir, 60)
    write(log, "status:200\tptime:3")
    assert follow(log, "--max-read-size", "1KB")["axslog.latency_t.average"] == "3.000000"


def test_threads_give_the_same_figures(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "".join(
            f"status:{200 + n % 7 * 50}\tptime:{n % 1000}.5\tpad:{'x' * (n % 90)}\n"
            for n in range(60_000)
        )
    )
    one = follow(log)
    next(workdir.glob("*-t-*[0-9]")).unlink()
    assert follow(log, "--threads", "3") == one


# -- several logs -------------------------------------------------------------------------------


def test_several_logs_are_pooled(tmp_path: Path, workdir: Path) -> None:
    a = write(tmp_path / "a", "status:200\tptime:1")
    b = write(tmp_path / "b", "status:500\tptime:3", "status:500\tptime:5")
    both = f"{a},{b}"
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
    assert 180 / 62 <= rate <= 3


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
    for part in ("no time taken: 1", "time taken is no number: 3", "no status: 1",
                 "status is no integer: 1", "not in the expected format: 2"):  # fmt: skip
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
        file.truncate(200 * 2**30)  # a hole: zeros without a line end, for minutes of reading
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


def test_a_wrong_expression_is_one_line(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log")
    done = run(PROG, "--logfile", log, "--key-prefix", "t", "--format", "regex", "--regex", "(")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"mackerel-plugin-axslog: error: regular expression: ")
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


# -- forms --------------------------------------------------------------------------------------


def test_the_graph_definition_covers_every_metric(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", "host:a\tstatus:200\tptime:1")
    options = ("--by", "host", "--percentiles", "50,99.9")
    command = ("--logfile", str(log), "--key-prefix", "t", *options)
    meta = run(PROG, *command, env={"MACKEREL_AGENT_PLUGIN_META": "1"})
    assert list(workdir.iterdir()) == []
    head, body = meta.stdout.decode().split("\n", 1)
    assert head == "# mackerel-agent-plugin"
    graphs = json.loads(body)["graphs"]
    run(PROG, *command)
    age(workdir, 60)
    write(log, "host:a\tstatus:200\tptime:1")
    units = {"float", "integer", "percentage", "seconds", "milliseconds", "bytes"}
    assert {graph["unit"] for graph in graphs.values()} <= units
    for name in follow(log, *options):
        graph, _, metric = name.rpartition(".")
        matching = [
            g for key, g in graphs.items()
            if re.fullmatch(key.replace(".", r"\.").replace("#", "[-a-zA-Z0-9_]+"), graph)
        ]  # fmt: skip
        assert len(matching) == 1, name
        assert metric in [m["name"] for m in matching[0]["metrics"]]


def test_prometheus_text(tmp_path: Path, workdir: Path) -> None:
    log = write(tmp_path / "log", 'host:a"\\b\tstatus:200\tptime:0.5')
    done = run(PROG, "--logfile", log, "--key-prefix", "t", "--by", "host",
               "--output", "prometheus")  # fmt: skip
    text = done.stdout.decode()
    assert text.endswith("\n")
    assert 'axslog_latency_seconds{prefix="t",quantile="0.99"} 0.5\n' in text
    assert 'axslog_access_ratio{prefix="t",status="2xx"} 1.0\n' in text
    families = re.findall(r"^# TYPE (\S+) (?:gauge|summary)$", text, re.M)
    assert len(families) == len(set(families))
    assert set(families) <= set(figures.FAMILIES)
    for line in text.splitlines():
        assert re.fullmatch(r'#.*|[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)*\})? -?[\d.e+-]+', line)


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


# -- cost ---------------------------------------------------------------------------------------


def test_memory_stays_within_32_mib_and_8_bytes_a_line(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    lines = 1_000_000
    with open(log, "wb") as file:
        for _ in range(100):
            file.write(b"status:200\tptime:0.123\tua:Mozilla/5.0\n" * (lines // 100))
    spent = cost([script(PROG), "--logfile", log, "--key-prefix", "t"])
    assert 8 * lines < spent.peak_bytes <= 32 * 2**20 + 8 * lines
