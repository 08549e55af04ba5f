"""Counters and histograms of the plugins: they grow from run to run, whatever a log holds."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from kojuto.common import prometheus
from kojuto.common.prometheus import Family
from tests import exposition
from tests.conftest import run, script
from tests.exposition import checked, strict
from tests.jobs import PLUGINS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jobs import Jobs

__all__ = ["strict"]


def values_of(families: dict[str, exposition.Family], name: str, label: str) -> dict[str, float]:
    return {dict(s.labels).get(label, ""): s.value for s in families[name].samples}


def test_counters_grow_from_run_to_run(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    command = [PLUGINS[0], "--logfile", str(log), "--key-prefix", "p", "--output"]
    log.write_text("status:200\tptime:0.5\n" * 3 + "status:500\tptime:1\n")
    first = checked(run(*command, "prometheus").stdout)
    assert values_of(first, "axslog_requests_total", "status")["2xx"] == 3
    # Runs that print another form count too, and a run whose output fails does not.
    with log.open("a") as file:
        file.write("status:200\tptime:0.25\n" * 2)
    assert run(*command, "mackerel").returncode == 0
    with log.open("a") as file:
        file.write("status:404\tptime:2\n")
    with open("/dev/full", "wb") as full:
        failed = subprocess.run(
            [script(command[0]), *command[1:], "prometheus"],
            stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert failed.returncode == 1
    families = checked(run(*command, "prometheus").stdout)
    found = values_of(families, "axslog_requests_total", "status")
    assert found == {"1xx": 0, "2xx": 5, "3xx": 0, "4xx": 1, "499": 0, "5xx": 1}
    assert families["axslog_timed_requests_total"].samples[0].value == 7
    assert families["axslog_time_taken_seconds_total"].samples[0].value == 5.0
    labels = dict(families["axslog_timed_requests_total"].samples[0].labels)
    assert labels == {"prefix": "p", "log": str(log)}


def test_a_log_that_is_away_takes_no_counter_down(tmp_path: Path, workdir: Path) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    for log in logs:
        log.write_text("status:200\tptime:1\n")
    command = [PLUGINS[0], "--logfile", f"{logs[0]},{logs[1]}", "--key-prefix", "p"]
    command += ["--output", "prometheus"]
    assert run(*command).returncode == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    logs[1].rename(elsewhere / "b")
    families = checked(run(*command).stdout)
    assert values_of(families, "axslog_timed_requests_total", "log") == {str(logs[0]): 1}
    (elsewhere / "b").rename(logs[1])
    families = checked(run(*command).stdout)
    found = values_of(families, "axslog_timed_requests_total", "log")
    assert found == {str(log): 1 for log in logs}


def test_a_histogram_grows_and_begins_afresh_with_other_bounds(
    tmp_path: Path, workdir: Path
) -> None:
    log = tmp_path / "log"
    command = [PLUGINS[0], "--logfile", str(log), "--key-prefix", "p", "--output", "prometheus"]

    def buckets(bounds: str, *times: str) -> dict[str, float]:
        with log.open("a") as file:
            file.writelines(f"status:200\tptime:{each}\n" for each in times)
        families = checked(run(*command, "--buckets", bounds).stdout)
        family = families["axslog_request_duration_seconds"]
        found = {dict(s.labels).get("le", s.name[-6:]): s.value for s in family.samples}
        assert families["axslog_timed_requests_total"].samples[0].value >= found["_count"]
        return found

    # A bound belongs to its bucket.
    first = buckets("0.1,0.5,1", "0.1", "0.100001", "0.5", "1", "1.5")
    assert first == {
        "0.1": 1,
        "0.5": 3,
        "1.0": 4,
        "+Inf": 5,
        "ds_sum": pytest.approx(3.200001),
        "_count": 5,
    }
    again = buckets("0.1,0.5,1", "0.05", "9")
    assert (again["0.1"], again["+Inf"], again["_count"]) == (2, 7, 7)
    assert buckets("0.1,0.5", "0.05") == {
        "0.1": 1, "0.5": 1, "+Inf": 1, "ds_sum": 0.05, "_count": 1,
    }  # fmt: skip
    # Those of before are other bounds again.
    assert buckets("0.1,0.5,1", "0.05")["_count"] == 1


def test_times_beyond_all_reason_take_no_counter_down_and_stop_no_run(
    tmp_path: Path, workdir: Path
) -> None:
    log = tmp_path / "log"
    command = [PLUGINS[0], "--logfile", str(log), "--key-prefix", "p", "--output", "prometheus"]

    def taken(*times: str) -> tuple[float, float]:
        with log.open("a") as file:
            file.writelines(f"status:200\tptime:{each}\n" for each in times)
        done = run(*command, "--buckets", "1")
        assert (done.returncode, done.stderr) == (0, b"")
        families = checked(done.stdout)
        names = ("axslog_time_taken_seconds_total", "axslog_timed_requests_total")
        seconds, requests = (families[name].samples[0].value for name in names)
        return seconds, requests

    assert taken("2") == (2, 1)
    assert taken("-1", "-3") == (2, 3)
    assert taken("1e308", "1e308", "1e308") == (2, 6)
    assert taken("1e308") == (1e308, 7)
    # More than a float can hold: it begins afresh.
    assert taken("1e308") == (1e308, 8)
    assert taken("1") == (1e308, 9)


def test_negative_times_are_no_summary_in_openmetrics(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    kinds = []
    for time_s in (1, -1):
        log.write_text(f"status:200\tptime:{time_s}\n")
        key = f"p{time_s}"
        done = run(PLUGINS[0], "--logfile", log, "--key-prefix", key, "--output", "openmetrics")
        family = exposition.parse(done.stdout, openmetrics=True)["axslog_latency_seconds"]
        assert {sample.value for sample in family.samples} == {time_s}
        kinds.append(family.kind)
    assert kinds == ["summary", "gauge"]


def test_a_family_takes_over_that_another_of_its_name_is_negative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KOJUTO_STRICT")
    families = [Family("x", "summary", "X."), Family("x", "summary", "X.")]
    families[0].add(1, "_sum", at="a").add(1, "_count", at="a").add(1, quantile="0.5", at="a")
    families[1].add(-1, quantile="0.5", at="b")
    family = exposition.parse(prometheus.document(families, openmetrics=True), openmetrics=True)[
        "x"
    ]
    assert (family.kind, [sample.value for sample in family.samples]) == ("gauge", [1, -1])
    # Nothing is left of one that had a sum and a count only.
    alone = Family("y", "summary", "Y.").add(-1, "_sum").add(1, "_count")
    assert prometheus.document([alone], openmetrics=True) == b"# EOF\n"


@pytest.mark.parametrize(
    "bounds",
    ["0", "-1", "x", "1,1", "2,1", "nan", "inf", "1,,2", ",".join(map(str, range(1, 102)))],
)
def test_bounds_that_make_no_buckets_are_refused(bounds: str) -> None:
    for command in ([PLUGINS[0], "--key-prefix", "p"], [PLUGINS[2]]):
        done = run(*command, "--logfile", "x", f"--buckets={bounds}")
        assert done.returncode == 2
        assert b"--buckets" in done.stderr
        assert b"bound" in done.stderr


def test_the_counters_of_the_other_log_plugins_grow(jobs: Jobs) -> None:
    for name, family, label in (
        (PLUGINS[1], "log_incr_rate_lines_total", "log"),
        (PLUGINS[2], "postfixlog_transfers_total", "class"),
    ):
        job = jobs.make(name)
        job.command += ["--output", "prometheus"]
        before = values_of(checked(job.run().stdout), family, label)
        assert sum(before.values()) > 0
        log = jobs.folder / ("log" if label == "log" else "mail")
        log.write_bytes(log.read_bytes() * 2)
        after = values_of(checked(job.run().stdout), family, label)
        assert sum(after.values()) > sum(before.values())
        assert all(after[key] >= value for key, value in before.items())
