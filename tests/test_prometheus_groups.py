"""Counters and histograms of axslog by group: they grow from run to run and stay bounded."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run
from tests.exposition import checked, strict
from tests.jobs import PLUGINS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.exposition import Family

__all__ = ["strict"]

COMMAND = [PLUGINS[0], "--key-prefix", "p"]
BY_URI = [*COMMAND, "--by", "uri"]


def shown(command: list[str]) -> dict[str, Family]:
    """What a run gives Prometheus."""
    return checked(run(*command, "--output", "prometheus").stdout)


def add(log: Path, *lines: tuple[str, int, float | str]) -> None:
    with log.open("a") as file:
        file.writelines(
            f"uri:{uri}\tstatus:{status}\tptime:{ptime}\n" for uri, status, ptime in lines
        )


def by_group(families: dict[str, Family], name: str, **labels: str) -> dict[str, float]:
    """The value of each group, of the series with these labels."""
    found = {}
    for sample in families[name].samples:
        of = dict(sample.labels)
        if labels.items() <= of.items():
            found[of["group"] + ("!" if "special" in of else "")] = sample.value
    return found


def test_the_counters_of_each_group_grow(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    command = [*BY_URI, "--logfile", str(log), "--buckets", "0.5,1"]
    add(log, ("/a", 200, 0.25), ("/a", 200, 0.5), ("/b", 500, 2), ("", 200, 1), ("other", 302, 1))
    first = shown(command)
    requests = "axslog_group_requests_total"
    assert by_group(first, requests, status="2xx") == {"/a": 2, "/b": 0, "none!": 1, "other": 0}
    assert by_group(first, requests, status="5xx")["/b"] == 1
    # Another form of output counts too, and a run whose output fails does not.
    add(log, ("/b", 200, 0.25))
    assert run(*command).returncode == 0
    add(log, ("/a", 404, 4), ("/c", 200, 8))
    families = shown(command)
    assert by_group(families, requests, status="2xx") == {
        "/a": 2, "/b": 1, "none!": 1, "other": 0, "/c": 1,
    }  # fmt: skip
    assert by_group(families, requests, status="4xx")["/a"] == 1
    assert by_group(families, "axslog_group_timed_requests_total")["/a"] == 3
    assert by_group(families, "axslog_group_time_taken_seconds_total") == {
        "/a": 4.75, "/b": 2.25, "none!": 1, "other": 1, "/c": 8,
    }  # fmt: skip
    histogram = {
        dict(sample.labels).get("le", sample.name.rpartition("_")[2]): sample.value
        for sample in families["axslog_group_request_duration_seconds"].samples
        if dict(sample.labels)["group"] == "/a"
    }
    assert histogram == {"0.5": 2, "1.0": 2, "+Inf": 3, "sum": 4.75, "count": 3}
    everything = families["axslog_requests_total"].samples
    assert sum(s.value for s in everything) == sum(s.value for s in families[requests].samples) == 8


def test_groups_beyond_max_groups_are_pooled_and_the_sum_never_falls(
    tmp_path: Path, workdir: Path
) -> None:
    log = tmp_path / "log"
    command = [*BY_URI, "--logfile", str(log), "--max-groups", "2"]
    sums = []
    for number in range(4):
        add(log, *[(f"/{uri % (number + 3)}", 200, 1) for uri in range(20)])
        families = shown(command)
        found = by_group(families, "axslog_group_timed_requests_total")
        assert len(found) == 3
        assert "other!" in found
        sums.append(sum(found.values()))
    assert sums == [20, 40, 60, 80]


def test_the_counters_of_a_failed_run_are_those_of_before(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    command = [*BY_URI, "--logfile", str(log)]
    add(log, ("/a", 200, 1))
    assert run(*command).returncode == 0
    add(log, ("/a", 200, 1))
    assert run(*command, "--textfile", str(tmp_path / "no" / "x.prom")).returncode == 1
    families = shown(command)
    assert by_group(families, "axslog_group_timed_requests_total") == {"/a": 2}


def test_each_of_several_logs_has_its_own_and_one_that_is_away_takes_none_down(
    tmp_path: Path, workdir: Path
) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    for log in logs:
        add(log, ("/x", 200, 1))
    command = [*BY_URI, "--logfile", ",".join(map(str, logs)), "--buckets", "1"]
    name = "axslog_group_timed_requests_total"
    families = shown(command)
    assert [by_group(families, name, log=str(log)) for log in logs] == [{"/x": 1}, {"/x": 1}]
    # Out of the directory, where it would be found as one that was rotated.
    away = tmp_path / "elsewhere" / "a"
    away.parent.mkdir()
    logs[0].rename(away)
    add(logs[1], ("/x", 200, 1))
    families = shown(command)
    assert [by_group(families, name, log=str(log)) for log in logs] == [{}, {"/x": 2}]
    away.rename(logs[0])
    families = shown(command)
    assert [by_group(families, name, log=str(log)) for log in logs] == [{"/x": 1}, {"/x": 2}]


def test_another_key_begins_afresh_and_other_buckets_only_the_histogram(
    tmp_path: Path, workdir: Path
) -> None:
    log = tmp_path / "log"
    command = [*BY_URI, "--logfile", str(log)]
    name = "axslog_group_timed_requests_total"
    for more, counted in ((["--buckets", "1"], 1), (["--buckets", "2"], 1), ([], 0)):
        add(log, ("/x", 200, 1))
        families = shown([*command, *more])
        histogram = families.get("axslog_group_request_duration_seconds")
        last = histogram.samples[-1].value if histogram else 0
        assert last == counted
    assert by_group(families, name) == {"/x": 3}
    add(log, ("/x", 200, 1))
    families = shown([*COMMAND, "--logfile", str(log), "--by", "status"])
    assert by_group(families, name) == {"200": 1}


def test_names_of_any_bytes_are_known_again(tmp_path: Path, workdir: Path) -> None:
    log = tmp_path / "log"
    names = [b"\xff\x01%", "日本".encode(), b"x" * 300, b"a%20b", b'"\\']
    command = [*BY_URI, "--logfile", str(log)]
    for count in (1, 2):
        with log.open("ab") as file:
            file.writelines(b"uri:" + name + b"\tstatus:200\tptime:1\n" for name in names)
        families = shown(command)
        found = by_group(families, "axslog_group_timed_requests_total")
        assert list(found.values()) == [count] * len(names)


@pytest.mark.parametrize("bounds", [0, 100])
def test_as_many_groups_as_there_can_be_stay_readable(
    bounds: int, tmp_path: Path, workdir: Path
) -> None:
    """The position file at its bound is read by the next run, which goes on from it."""
    log = tmp_path / "log"
    command = [*BY_URI, "--logfile", str(log), "--max-groups", "10000"]
    if bounds:
        command += ["--buckets", ",".join(str(number + 0.123456) for number in range(bounds))]
    body = b"".join(
        b"uri:%06d%s\tstatus:200\tptime:%d.5\n" % (number, b"\xff" * 190, number % 120)
        for number in range(10_050)
    )
    for _ in range(2):
        with log.open("ab") as file:
            file.write(body)
        done = run(*command)
        assert (done.returncode, done.stderr) == (0, b"")
    [position] = [path for path in workdir.iterdir() if not path.name.endswith(".lock")]
    assert 500_000 < os.path.getsize(position) < 12 << 20
    # The strict reader would take half a minute for so much.
    done = run(*command, "--output", "prometheus")
    series = rb"^axslog_group_timed_requests_total\{(.*)\} (\S+)$"
    found = dict(re.findall(series, done.stdout, re.MULTILINE))
    assert sum(map(float, found.values())) == 20_100
    pooled = [value for labels, value in found.items() if b'group="other",' in labels]
    assert [float(value) > 0 for value in pooled] == [True]
