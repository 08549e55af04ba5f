"""mackerel-plugin-axslog: which lines and values count, groups, graphs, Prometheus text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.axslog import figures
from tests.conftest import read_metrics, run
from tests.peers.axslog import CORPUS, EXPECTED, MANIFEST, PROG, age, follow, write

if TYPE_CHECKING:
    from pathlib import Path

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
