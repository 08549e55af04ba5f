"""percentile --merge of what kojuto report --save wrote, and the two kinds of file side by side."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from kojuto import Sketch, report
from tests.conftest import run
from tests.peers.percentile import SAMPLE, by_rule

if TYPE_CHECKING:
    from pathlib import Path


def logs_of(tmp_path: Path) -> list[Path]:
    paths = []
    rng = random.Random(3)
    for part in range(3):
        paths.append(tmp_path / f"{part}.log")
        with paths[-1].open("w") as out:
            for _ in range(500):
                path = f"/p{rng.randrange(4)}" if rng.random() < 0.9 else "/only"
                out.write(f"method:GET\turi:{path}\tstatus:200\treqtime:{rng.expovariate(9):.6f}\n")
        with paths[-1].open("a") as out:
            out.write("method:GET\turi:/untimed\tstatus:200\treqtime:-\n")
    return paths


def saved(logs: list[Path], *options: str) -> list[Path]:
    files = []
    for log in logs:
        files.append(log.with_suffix(".kjr"))
        done = run("kojuto", "report", "--save", files[-1], *options, "--output=csv", log)
        assert done.returncode == 0
    return files


def test_the_endpoints_of_reports_are_groups_with_the_figures_of_the_report(tmp_path: Path) -> None:
    logs = logs_of(tmp_path)
    files = saved(logs)
    merge = ["percentile", "--merge", "--percentile-set", "99.9,99,50,50.0"]
    shown = json.loads(run(*merge, "--output=json", *files).stdout)
    assert (shown["by"], shown["accuracy"]) == ("endpoint", 0.01)
    whole = report.scan(logs)
    rows = {row["endpoint"]: row for row in whole.rows([99.9, 99, 50]) if row["timed"]}
    assert {group["group"] for group in shown["groups"]} == set(rows)
    counts = [group["count"] for group in shown["groups"]]
    assert counts == sorted(counts, reverse=True)
    for group in shown["groups"]:
        row = rows[group["group"]]
        assert [group[name] for name in ("max", "avg", "min")] == [
            row["max"], row["avg"], row["min"],
        ]  # fmt: skip
        assert group["percentiles"] == pytest.approx(
            {"99.9": row["p99.9"], "99": row["p99"], "50": row["p50"], "50.0": row["p50"]}
        )
    text = run(*merge, *reversed(files)).stdout
    assert text == run(*merge, "-", stdin=b"".join(file.read_bytes() for file in files)).stdout
    assert text.startswith(b"endpoint: GET /p")
    assert b"untimed" not in text
    metrics = run(*merge, "--output=prometheus", *files).stdout
    assert b'endpoint="GET /only"' in metrics


def test_percentiles_of_a_report_are_within_a_hundredth_of_those_of_the_lines(
    tmp_path: Path,
) -> None:
    logs = logs_of(tmp_path)
    shown = run("percentile", "--merge", *saved(logs)).stdout.decode()
    times: list[float] = []
    for log in logs:
        lines = log.read_text().splitlines()
        times += [float(line.rsplit(":", 1)[1]) for line in lines if "uri:/p1\t" in line]
    exact = by_rule(times, ["99", "95", "90", "75"]).splitlines()
    block = shown.split("endpoint: GET /p1\n")[1].splitlines()[: len(exact)]
    for found, wanted in zip(block, exact, strict=True):
        assert found.split(":")[0] == wanted.split(":")[0]
        off = abs(float(found.split(": ")[1]) - float(wanted.split(": ")[1]))
        assert off <= 0.01 * float(wanted.split(": ")[1]) + 1e-4


def test_reports_merged_are_written_as_the_report_of_all(tmp_path: Path) -> None:
    logs = logs_of(tmp_path)
    files = saved(logs)
    one, other = tmp_path / "one.kjr", tmp_path / "other.kjr"
    assert run("percentile", "--merge", "--sketch", one, *files).returncode == 0
    done = run("kojuto", "report", "--merge", "--save", other, "--output=csv", *files)
    assert done.returncode == 0
    assert one.read_bytes() == other.read_bytes()
    assert report.Report.load(one).rows() == report.scan(logs).rows()
    by = saved(logs, "--group-by", "method,status")
    shown = run("percentile", "--merge", *by).stdout
    assert shown.startswith(b"method,status: GET 200\n")


def test_without_merge_a_sketch_or_report_is_no_list_of_bad_lines(tmp_path: Path) -> None:
    sketch = tmp_path / "sketch"
    assert run("percentile", "--sketch", sketch, stdin=SAMPLE).returncode == 0
    for file, what in ((sketch, "a sketch"), (saved(logs_of(tmp_path))[0], "a saved report")):
        done = run("percentile", "-", file, stdin=SAMPLE)
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"percentile: error: {file}: it is {what}\nhint: --merge".encode() in done.stderr


def test_sketches_and_reports_do_not_mix_and_damage_is_named(tmp_path: Path) -> None:
    files = saved(logs_of(tmp_path))
    sketch = tmp_path / "sketch"
    assert run("percentile", "--sketch", sketch, stdin=SAMPLE).returncode == 0
    for first, second, why in (
        (files[0], sketch, "it is a sketch, not a report"),
        (sketch, files[0], "it is a report, not a sketch"),
    ):
        done = run("percentile", "--merge", first, second)
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"{second}: {why}".encode() in done.stderr
    together = files[0].read_bytes() + sketch.read_bytes()
    for broken in (files[0].read_bytes()[:-3], together, b"KJREPORT"):
        done = run("percentile", "--merge", "-", stdin=broken)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"standard input: " in done.stderr
    other = saved(logs_of(tmp_path), "--no-fold")[0]
    plain = tmp_path / "plain.kjr"
    report.scan(tmp_path / "0.log").save(plain)
    done = run("percentile", "--merge", other, plain)
    assert (done.returncode, b"with the same options" in done.stderr) == (1, True)
    for option in ("--plot", "--max-groups=3", "--accuracy=1%"):
        done = run("percentile", "--merge", option, plain)
        assert done.returncode == 1
        assert f"{option.split('=')[0]} cannot go with reports".encode() in done.stderr
    with pytest.raises(ValueError, match="not a sketch"):
        Sketch.from_bytes(plain.read_bytes())
