"""kojuto report --html: the page of real logs, beside what is printed, and how it can fail."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from kojuto import report
from tests.conftest import corpus, run
from tests.tools.test_report_page import data_of

if TYPE_CHECKING:
    from pathlib import Path

LOG = corpus("accesslog/ltsv/alp-example.log")


def test_it_is_written_beside_the_table(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = run("kojuto", "report", "--html", page, "--tz", "UTC", LOG)
    assert done.returncode == 0
    assert done.stdout == run("kojuto", "report", "--tz", "UTC", LOG).stdout
    found, told = data_of(page.read_bytes()), report.scan(LOG)
    rows = told.rows()
    assert found["columns"]["endpoint"] == [row["endpoint"] for row in rows]
    assert found["columns"]["count"] == [row["count"] for row in rows]
    assert found["total"]["count"] == told.lines
    assert len(found["maps"]) == len(rows)
    assert sum(count for _, count, *_ in found["timeline"]["slices"]) == told.lines
    assert found["from"].endswith("+00:00")
    assert found["title"] == "alp-example.log"


def test_output_html_prints_it_and_python_gives_it(tmp_path: Path) -> None:
    done = run("kojuto", "report", "--output", "html", "--slowest", "3", LOG)
    assert done.returncode == 0
    assert len(data_of(done.stdout)["slowest"]) == 3
    page = report.scan(LOG).to_html([75])
    assert data_of(page.encode())["percentiles"] == ["p75"]
    told = json.loads(report.scan(LOG).to_json())
    assert [line["time"] for line in data_of(page.encode())["slowest"]] == [
        line["time"] for line in told["slowest"]
    ]


def test_saved_reports_give_the_page_of_their_logs(tmp_path: Path) -> None:
    saved, page, merged = tmp_path / "kjr", tmp_path / "one.html", tmp_path / "two.html"
    done = run("kojuto", "report", "--save", "-", "--html", page, LOG)
    saved.write_bytes(done.stdout)
    assert done.returncode == 0
    assert run("kojuto", "report", "--merge", "--html", merged, saved).returncode == 0
    one, two = data_of(page.read_bytes()), data_of(merged.read_bytes())
    for name in ("columns", "timeline", "maps", "total"):
        assert one[name] == two[name]


def test_rows_of_another_field_are_named_by_it(tmp_path: Path) -> None:
    done = run("kojuto", "report", "--output", "html", "--group-by", "status", LOG)
    found = data_of(done.stdout)
    assert (found["of"], found["noun"]) == ("status", "row")
    assert "200" in found["columns"]["endpoint"]


def test_a_file_that_cannot_be_written_loses_no_other_result(tmp_path: Path) -> None:
    saved = tmp_path / "kjr"
    full = "/dev/full"
    done = run("kojuto", "report", "--html", full, "--save", saved, LOG)
    assert done.returncode == 1
    assert b"/dev/full: No space left on device" in done.stderr
    assert b"endpoint" in done.stdout
    assert saved.exists()
    page = tmp_path / "report.html"
    assert run("kojuto", "report", "--html", page, "--save", full, LOG).returncode == 1
    assert data_of(page.read_bytes())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--html", "-"], "hint: --output html prints the page"),
        (["--output", "html", "--plot"], "--plot cannot go with --output html"),
        (["--output", "html", "--sort", "p99"], "--sort cannot go with --output html"),
        (["--output", "html", "--reverse"], "--reverse cannot go with --output html"),
        (["--output", "html", "--limit", "5"], "--limit cannot go with --output html"),
        (["--output", "html", "--columns", "count"], "--columns cannot go with --output html"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], told: str) -> None:
    done = run("kojuto", "report", *words, LOG)
    assert done.returncode == 2
    assert told in done.stderr.decode()


def test_without_the_charts_it_says_what_to_install_before_a_log_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    # Whoever asks for the carrier is told that there is none.
    (folder / "sitecustomize.py").write_text(
        "import importlib.metadata as m\nreal = m.distribution\n"
        "def gone(name):\n"
        "    if name == 'youplot': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.distribution = gone\n"
    )
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run(
        "kojuto", "report", "--html", tmp_path / "x.html", tmp_path / "no.log",
        env={"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "kojuto report: error: --html needs the package youplot, which has uPlot 1.6.31\n"
        "hint: pip install 'kojuto[report]'\n"
    )
    assert sys.modules.get("youplot") is None
