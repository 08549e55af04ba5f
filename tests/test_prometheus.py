"""Every document for Prometheus: read strictly, checked by promtool, each series once."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests import exposition
from tests.conftest import run
from tests.exposition import checked, strict
from tests.jobs import PLUGINS, SERVERS
from tests.peers.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jobs import Job, Jobs
    from tests.peers.servers import Stage

__all__ = ["strict"]

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
