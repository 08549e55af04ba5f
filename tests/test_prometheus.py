"""Every document for Prometheus: read strictly, checked by promtool, each series once."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from kojuto.common import prometheus
from kojuto.common.plugin import metrics
from kojuto.common.plugin.metrics import Group, Metrics
from kojuto.common.prometheus import Family
from tests import exposition
from tests.conftest import run, script
from tests.exposition import checked
from tests.jobs import PLUGINS, SERVERS
from tests.peers.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jobs import Job, Jobs
    from tests.peers.servers import Stage


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given twice is an error then, in us and in all that is started."""
    monkeypatch.setenv("KOJUTO_STRICT", "1")


# -- the commands -----------------------------------------------------------------------------

MORE = {
    "axslog": [
        [],
        ["--by", "host"],
        ["--by", "host", "--max-groups", "1"],
        ["--percentiles", "99,99.0,100,0.1"],
        ["--max-read-size", "10"],
        ["--buckets", "0.5,1,2"],
    ],
    "log-incr-rate": [[], ["--pattern", "x"], ["--max-read-size", "10"]],
    "postfix-log": [[], ["--by-relay", "--by-dsn", "--activity"], ["--by-relay", "--max-groups", "1"], ["--buckets", "0.1,1,60"]],  # noqa: E501
    "pinging": [[], ["--detail", "--percentile", "99,99.0,90,50"], ["--loss", "--jitter"]],
    "linux-process-status": [
        [],
        ["--threads", "--with-children", "--io", "--context-switches", "--pss"],
        ["--cpu-base", "core", "--ignore-cgroup", "--threads"],
    ],
    "percentile": [[], ["--percentile-set", "99,99.0,100,0"], ["--accuracy", "2%", "--sketch", "/dev/null"]],  # noqa: E501
}  # fmt: skip
CASES = [
    pytest.param(name, options, id=" ".join([name, *options]))
    for name in (*PLUGINS, "percentile")
    for options in MORE[name.removeprefix("mackerel-plugin-")]
]


ACCESS = [
    "status:200\tptime:0.5\thost:a.b", "status:404\tptime:1\thost:a_b",
    "status:200\tptime:2\thost:\u65e5\u672c", 'status:200\tptime:2\thost:"\\x',
    "status:200\tptime:2\thost:other", "status:500\tptime:3",
]  # fmt: skip


def prepared(name: str, options: list[str], jobs: Jobs) -> Job:
    """The job behind a first run of a minute ago, so that there are rates."""
    job = jobs.make(name)
    job.command += options
    log = None
    if name.endswith("axslog"):
        log = jobs.file("access", "\n".join(ACCESS) + "\n")
    elif name.endswith("postfix-log"):
        log = jobs.folder / "mail"
    if log is not None or name.endswith("process-status"):
        assert job.run().returncode == 0
    if log is not None:
        for path in jobs.state.iterdir():
            if path.suffix != ".lock":
                state = json.loads(path.read_text())
                path.write_text(json.dumps({**state, "time": int(time.time()) - 60}))
        log.write_bytes(log.read_bytes() * 2)
    return job


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_plugin_with_every_option(
    name: str, options: list[str], jobs: Jobs, tmp_path: Path
) -> None:
    documents = {}
    for form in ("prometheus", "openmetrics"):
        job = prepared(name, options, jobs)
        job.command += ["--output", form]
        done = job.run()
        assert done.returncode == 0, done.stderr
        documents[form] = done.stdout
    families = checked(documents["prometheus"])
    open_ones = exposition.parse(documents["openmetrics"], openmetrics=True)
    assert {name.removesuffix("_total") for name in families} == set(open_ones)
    # The textfile has what standard output would have.
    target = tmp_path / "metrics.prom"
    job = prepared(name, options, jobs)
    job.command += ["--textfile", str(target)]
    done = job.run()
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert set(checked(target.read_bytes())) == set(families)
    assert [path for path in os.listdir(tmp_path) if path.startswith("metrics")] == ["metrics.prom"]


@pytest.mark.parametrize("name", SERVERS)
def test_every_server(name: str, jobs: Jobs, stage: Stage) -> None:
    job, port = jobs.make(name), free_port()
    job.command += ["--metrics-listen", f"{LOOPBACK}:{port}"]
    program = stage.program(job.command, env=job.env)
    program.wait_for_port(port)

    def get(accept: str) -> tuple[str, bytes]:
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{port}/metrics", headers={"Accept": accept} if accept else {}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.headers["Content-Type"], answer.read()

    kind, document = get("")
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    families = checked(document)
    assert all(name.startswith("kojuto_") for name in families)
    # What Prometheus 2.42 asks with.
    asked = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"  # noqa: E501
    kind, document = get(asked)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    open_ones = exposition.parse(document, openmetrics=True)
    assert {name.removesuffix("_total") for name in families} == set(open_ones)


# -- what grows from run to run ------------------------------------------------------------------


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


# -- identity -----------------------------------------------------------------------------------


def test_values_that_look_alike_stay_apart_in_every_form(tmp_path: Path, workdir: Path) -> None:
    hosts = [
        "\u65e5\u672c",
        "\u6771\u4eac",
        "a.b",
        "a_b",
        "/a/b",
        "other",
        "none",
        "a--00000000",
        "",
    ]
    log = tmp_path / "log"
    log.write_text("".join(f"status:200\tptime:{n}\thost:{h}\n" for n, h in enumerate(hosts)))
    options = ["--logfile", str(log), "--by", "host", "--key-prefix"]
    document = exposition.parse(run(PLUGINS[0], *options, "p", "--output", "prometheus").stdout)[
        "axslog_latency_average_seconds"
    ]
    found = {dict(s.labels).get("group"): s.value for s in document.samples if len(s.labels) == 2}
    assert found == {host: float(n) for n, host in enumerate(hosts) if host}
    special = [dict(s.labels) for s in document.samples if "special" in dict(s.labels)]
    assert special == [{"group": "none", "special": "missing", "prefix": "p"}]
    done = run(PLUGINS[0], *options, "m", "--verbose")
    names = [line.split("\t")[0].split(".")[2] for line in done.stdout.decode().splitlines()
             if line.endswith("average") or ".average\t" in line]  # fmt: skip
    names.remove("average")
    assert len(set(names)) == len(hosts)
    assert {"a_b", "none"} < set(names)
    changed = [line for line in done.stderr.decode().splitlines() if " is called " in line]
    assert len(changed) == len(hosts) - 2
    # The name does not depend on who else was seen.
    log.write_text("status:200\tptime:1\thost:a.b\n")
    alone = run(PLUGINS[0], *options, "s").stdout.decode()
    assert next(n for n in names if n.startswith("a_b--")) in alone


def test_the_pool_is_not_a_value_called_other(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    lines = ["other"] * 3 + ["x"] * 2 + ["y"]
    log.write_text("".join(f"status:200\tptime:1\thost:{host}\n" for host in lines))
    options = ["--logfile", str(log), "--by", "host", "--max-groups", "1", "--key-prefix", "p"]
    found = run(PLUGINS[0], *options, "--output", "json").stdout.decode()
    assert '{"by": "host", "value": "other", "name": "other--d9583520"}' in found
    assert '{"by": "host", "value": "other", "name": "other", "special": "other"}' in found


def test_a_key_prefix_with_dots_stays(workdir: Path) -> None:
    done = run(PLUGINS[4], "--pid", str(os.getpid()), "--key-prefix", "db.master")
    assert b"process-status.fds_db.master.count\t" in done.stdout
    done = run(PLUGINS[3], "--host", LOOPBACK, "--key-prefix", "8.8.8.8", "--count", "1")
    assert b"pinging.8.8.8.8_rtt_count.success\t" in done.stdout


def test_two_hosts_with_one_address_are_two_series(workdir: Path) -> None:
    options = ["--host", f"{LOOPBACK}=a", "--host", f"{LOOPBACK}=b", "--count", "1"]
    found = checked(run(PLUGINS[3], *options, "--output", "prometheus").stdout)
    assert len(found["pinging_success"].samples) == 2


def test_prefixes_that_look_alike_stay_apart(workdir: Path) -> None:
    for name, options in (
        (PLUGINS[3], ["--host", LOOPBACK, "--count", "1"]),
        (PLUGINS[4], ["--pid", str(os.getpid())]),
    ):
        series: set[exposition.Sample] = set()
        names: set[str] = set()
        for prefix in ("\u65e5", "\u6771", "a b", "a_b"):
            found = checked(
                run(name, *options, "--key-prefix", prefix, "--output", "prometheus").stdout
            )
            here = {s._replace(value=0) for family in found.values() for s in family.samples}
            assert not series & here
            series |= here
            assert all(prefix in dict(s.labels).values() for s in here)
            text = run(name, *options, "--key-prefix", prefix).stdout.decode()
            mine = {line.split("\t")[0] for line in text.splitlines() if "\t" in line}
            assert mine
            assert not names & mine
            names |= mine


def test_two_setups_of_postfix_log_have_no_series_in_common(jobs: Jobs) -> None:
    series: set[exposition.Sample] = set()
    for prefix in ("one", "two"):
        job = jobs.make(PLUGINS[2])
        job.command += ["--posfile-prefix", prefix, "--by-relay", "--by-dsn", "--output"]
        job.command.append("prometheus")
        families = checked(job.run().stdout)
        here = {s._replace(value=0) for family in families.values() for s in family.samples}
        assert len(here) > 20
        assert not series & here
        series |= here


def test_histograms_of_postfix_log_grow_and_leave_mackerel_as_it_is(
    tmp_path: Path, workdir: Path
) -> None:
    log = tmp_path / "maillog"
    command = [PLUGINS[2], "--logfile", str(log)]

    def deliver(*delays: tuple[str, str]) -> None:
        with log.open("a") as file:
            for total, parts in delays:
                file.write(
                    "Apr 19 12:50:52 m postfix/smtp[7]: A1: to=<a@b.example>, relay=b[192.0.2.1]:25"
                    f", delay={total}, delays={parts}, dsn=2.0.0, status=sent (250 Ok)\n"
                )

    def buckets(bounds: str) -> dict[str, dict[str, float]]:
        families = checked(run(*command, "--output", "prometheus", "--buckets", bounds).stdout)
        found: dict[str, dict[str, float]] = {}
        for sample in families["postfixlog_delivery_delay_seconds"].samples:
            labels = dict(sample.labels)
            assert (labels["prefix"], labels["log"]) == ("maillog", str(log))
            at = labels.get("le", sample.name.rpartition("_")[2])
            found.setdefault(labels["delay"], {})[at] = sample.value
        assert list(found) == ["total", "recving", "queuing", "connection", "transmission"]
        return found

    # A bound belongs to its bucket, among small numbers and among those that are kept as they are.
    deliver(("0.31", "0.01/0/0.3/0"), ("0.310001", "0/0/0/0.31"), ("2000", "1/1999/0/0"))
    deliver(("2000.1", "0/0.1/0/2000"))
    first = buckets("0.31,2000")
    assert first["total"] == {
        "0.31": 1, "2000.0": 3, "+Inf": 4, "sum": pytest.approx(4000.720001), "count": 4,
    }  # fmt: skip
    assert first["queuing"] == {"0.31": 3, "2000.0": 4, "+Inf": 4, "sum": 1999.1, "count": 4}
    assert first["transmission"]["sum"] == pytest.approx(2000.31)
    # Nothing is lost while the run before printed none.
    deliver(("5", "5/0/0/0"))
    done = run(*command, "--buckets", "0.31,2000")
    assert done.returncode == 0
    names = {line.split(b"\t")[0] for line in done.stdout.splitlines()}
    assert names
    assert not [name for name in names if b"bucket" in name or b"delivery" in name]
    again = buckets("0.31,2000")
    assert again["total"] == {
        "0.31": 1, "2000.0": 4, "+Inf": 5, "sum": pytest.approx(4005.720001), "count": 5,
    }  # fmt: skip
    assert again["recving"]["sum"] == pytest.approx(6.01)
    # Other bounds begin afresh, without a delivery too.
    assert buckets("1")["total"] == {"1.0": 0, "+Inf": 0, "sum": 0, "count": 0}
    done = run(*command, "--output", "prometheus")
    assert b"delivery_delay" not in done.stdout


def test_the_histograms_of_postfix_log_are_good_openmetrics(jobs: Jobs) -> None:
    job = jobs.make(PLUGINS[2])
    job.command += ["--buckets", "0.1,60", "--by-relay", "--output", "openmetrics"]
    families = exposition.parse(job.run().stdout, openmetrics=True)
    samples = families["postfixlog_delivery_delay_seconds"].samples
    assert len(samples) == 5 * (3 + 2)
    assert any(sample.value > 0 for sample in samples)


def test_percentiles_that_are_almost_alike_have_names_of_their_own(workdir: Path) -> None:
    options = ["--host", LOOPBACK, "--key-prefix", "p", "--count", "1"]
    done = run(PLUGINS[3], *options, "--percentile", "100,99.99999,99.5,1e-7")
    names = [line.split(b"\t")[0].split(b".")[-1] for line in done.stdout.splitlines()]
    found = {name for name in names if name.endswith(b"_percentile")}
    numbers = (b"90", b"100", b"99_99999", b"99_5", b"1e-07")
    assert found == {number + b"_percentile" for number in numbers}
    # What Python takes for 99 and Go for no number would share the name of 9.9.
    done = run(PLUGINS[0], "--logfile", "x", "--key-prefix", "p", "--percentiles", "9.9,9_9")
    assert done.returncode == 2
    assert b"'9_9' is not a percentile" in done.stderr


def test_two_textfiles_of_percentile_have_no_series_in_common(tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = run("percentile", "--textfile", tmp_path / f"{name}.prom", stdin=b"1\n2\n")
        assert (done.returncode, done.stdout) == (0, b"")
    documents = [exposition.parse((tmp_path / f"{n}.prom").read_bytes()) for n in ("one", "two")]
    series = [{s[:2] for family in d.values() for s in family.samples} for d in documents]
    assert not series[0] & series[1]


# -- textfiles ----------------------------------------------------------------------------------


def test_a_textfile_is_for_others_and_keeps_its_mode(tmp_path: Path) -> None:
    target, link = tmp_path / "a.prom", tmp_path / "link.prom"
    link.symlink_to(target)

    def write() -> None:
        old = os.umask(0o022)
        try:
            assert run("percentile", "--textfile", link, stdin=b"1\n").returncode == 0
        finally:
            os.umask(old)

    write()
    assert target.stat().st_mode & 0o7777 == 0o644
    target.chmod(0o640)
    write()
    assert target.stat().st_mode & 0o7777 == 0o640
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["a.prom", "link.prom"]


def test_a_full_disk_leaves_the_old_textfile(tiny_disk: Path) -> None:
    target = tiny_disk / "a.prom"
    assert run("percentile", "--textfile", target, stdin=b"1\n").returncode == 0
    before = target.read_bytes()
    filler = tiny_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    done = run("percentile", "--textfile", target, stdin=b"2\n")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == f"percentile: error: {target}: No space left on device\n".encode()
    assert target.read_bytes() == before
    assert sorted(os.listdir(tiny_disk)) == ["a.prom", "filler"]


@pytest.mark.parametrize("name", PLUGINS[:3])
def test_a_textfile_on_a_full_disk_leaves_the_position(
    name: str, jobs: Jobs, tiny_disk: Path
) -> None:
    target = tiny_disk / "a.prom"
    target.write_bytes(b"# old\n")
    with (tiny_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    job = jobs.make(name)

    def positions() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in jobs.state.iterdir() if p.suffix != ".lock"}

    before = positions()
    job.command += ["--textfile", str(target)]
    done = job.run()
    assert (done.returncode, done.stdout) == (1, b"")
    (error,) = [line for line in done.stderr.splitlines() if b"error: " in line]
    assert str(target).encode() in error
    assert b"No space left on device" in error
    assert positions() == before
    assert target.read_bytes() == b"# old\n"
    assert sorted(os.listdir(tiny_disk)) == ["a.prom", "filler"]


@pytest.mark.parametrize("name", [*PLUGINS, "percentile"])
def test_a_textfile_that_node_exporter_would_not_read_is_refused(name: str, jobs: Jobs) -> None:
    for wrong in ("metrics.txt", "/x/.prom", "metrics"):
        job = jobs.make(name)
        job.command += ["--textfile", wrong]
        done = job.run()
        assert done.returncode == 2
        assert b"node_exporter reads only *.prom" in done.stderr
    job = jobs.make(name)
    job.command += ["--textfile", "x.prom", "--output", "json"]
    done = job.run()
    assert done.returncode == 2
    assert b"--textfile cannot go with --output json" in done.stderr


# -- the writer ---------------------------------------------------------------------------------


def test_labels_and_help_are_escaped_and_read_back() -> None:
    family = Family("x_total", "counter", 'a\\b\n"c"')
    family.add(1, labels={"a": '"\\\n', "b": "\u65e5", "empty": ""})
    text = exposition.parse(prometheus.document([family]))["x_total"]
    assert text.samples[0].labels == (("a", '"\\\n'), ("b", "\u65e5"))
    assert text.help == 'a\\\\b\\n"c"'
    document = prometheus.document([family], openmetrics=True)
    assert exposition.parse(document, openmetrics=True)["x"].samples[0].name == "x_total"


def test_what_is_no_number_is_left_out() -> None:
    kinds = {"x": ("gauge", "X.", 1)}
    found = Metrics(kinds)
    for name, value in (("a", float("nan")), ("b", float("inf")), ("c", -float("inf")), ("d", 2.0)):
        found.add(name, value, "x", kind=name)
    assert found.document("prometheus").splitlines()[-1] == b'x{kind="d"} 2.0'
    assert prometheus.document([Family("y", "gauge", "Y.").add(float("nan"))]) == b""


def test_a_series_twice_is_refused_in_tests_and_dropped_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def twice() -> bytes:
        family = Family("x", "gauge", "X.").add(1, a="1").add(2, a="1")
        return prometheus.document([family, Family("x", "gauge", "X.").add(3, a="1")])

    with pytest.raises(ValueError, match="given twice"):
        twice()
    monkeypatch.delenv("KOJUTO_STRICT")
    assert exposition.parse(twice())["x"].samples == [exposition.Sample("x", (("a", "1"),), 1.0)]
    with pytest.raises(ValueError, match="no name or type"):
        Family("x", "counter", "A counter ends in _total.")


def test_a_histogram_grows_to_its_count() -> None:
    family = Family("x_seconds", "histogram", "X.")
    family.add_histogram([0.1, 1.0], [1, 2, 3], 9.5, {"a": "b"})
    (found,) = exposition.parse(prometheus.document([family])).values()
    assert [s.value for s in found.samples] == [1, 3, 6, 9.5, 6]
    assert [dict(s.labels).get("le") for s in found.samples[:3]] == ["0.1", "1.0", "+Inf"]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("text/plain", False),
        ("*/*", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; q=0.5, text/plain;q=0.4", True),
        ("application/openmetrics-text;q=0.3,text/plain;version=0.0.4;q=0.4", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x,,;", False),
    ],
)
def test_who_gets_openmetrics(accept: str, wanted: bool) -> None:
    assert prometheus.wants_openmetrics(accept) is wanted


def test_group_names() -> None:
    reserved = {"missing": "none", "other": "other"}
    assert Group("k", "value", b"plain-1_a", reserved).part == "plain-1_a"
    assert Group("k", "other", b"", reserved).part == "other"
    bad = Group("k", "value", b"\xff", reserved)
    assert (bad.special, bad.text) == ("bytes", "\\xff")
    parts = {Group("k", "value", raw, reserved).part for raw in (b"\xff", b"\xfe", b"\\xff")}
    assert len(parts) == 3
    assert metrics.name_part("a/b") == "a_b"


# -- the reader ---------------------------------------------------------------------------------

GOOD = '# HELP x X.\n# TYPE x gauge\nx{a="b"} 1\nx 2\n'
HEAD = "# TYPE h histogram\n"


def bucket(bound: str, count: int) -> str:
    return f'h_bucket{{le="{bound}"}} {count}\n'


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD[:-1],
        GOOD + "x 3\n",
        GOOD + 'x{a="b"} 3\n',
        GOOD + "# TYPE y gauge\ny 1\nx 3\n",
        GOOD + GOOD,
        GOOD + "y 1\n",
        GOOD.replace("gauge", "counter") + "x -1\n",
        GOOD.replace("gauge", "thing"),
        GOOD.replace('"b"', '"b'),
        GOOD.replace('"b"', '"\\t"'),
        GOOD.replace('"b"', '"b",'),
        GOOD.replace('a="b"', 'a="b",a="c"'),
        GOOD.replace(" 2", " two"),
        GOOD.replace("X.", "X\\."),
        GOOD.replace('a="b"', 'quantile="0.5"'),
        GOOD + "\n",
        GOOD + "# a comment\n",
        "# TYPE x gauge\n",
        "x 1\n",
        HEAD + bucket("1", 2) + "h_sum 1\nh_count 2\n",
        HEAD + bucket("1", 3) + bucket("+Inf", 2) + "h_sum 1\nh_count 2\n",
        HEAD + bucket("2", 1) + bucket("1", 2) + bucket("+Inf", 2) + "h_sum 1\nh_count 2\n",
        HEAD + bucket("+Inf", 2) + "h_sum 1\nh_count 3\n",
        HEAD + bucket("+Inf", 2) + "h_sum 1\n",
    ],
)
def test_the_reader_is_strict(wrong: str) -> None:
    exposition.parse(GOOD.encode())
    with pytest.raises(ValueError, match=r"."):
        exposition.parse(wrong.encode())


def test_the_reader_is_strict_with_openmetrics() -> None:
    good = "# TYPE x counter\nx_total 1\n# EOF\n"
    exposition.parse(good.encode(), openmetrics=True)
    for wrong in (
        good.replace("# EOF\n", ""), good.replace("x_total", "x"), good + "y 1\n",
        good.replace("x counter", "x_total counter"),
        "# TYPE x summary\nx{quantile=\"0.5\"} -1\n# EOF\n",
        "# TYPE x summary\nx_sum -1\n# EOF\n",
        HEAD + bucket("+Inf", 1) + "h_sum -1\nh_count 1\n# EOF\n",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            exposition.parse(wrong.encode(), openmetrics=True)
