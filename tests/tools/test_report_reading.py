"""Which logs a report reads: patterns, files named twice, what is not there."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import pytest

from kojuto.errors import KojutoError, UsageError
from kojuto.tools.report import reading

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.log", "b.log", "b.log.1", "odd[1].log"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "c.log").mkdir()
    (tmp_path / "link.log").symlink_to("a.log")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*names: str) -> list[str]:
    return reading.paths("kojuto report", names)


@pytest.mark.usefixtures("folder")
def test_a_pattern_is_its_files_in_order_without_folders() -> None:
    assert paths("b*") == ["b.log", "b.log.1"]
    assert paths("?.log") == ["a.log", "b.log"]
    assert paths("odd[1].log") == ["odd[1].log"]
    assert paths("b.log", "a.log") == ["b.log", "a.log"]


@pytest.mark.usefixtures("folder")
def test_a_file_that_is_named_twice_is_read_once_and_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert paths("a.log", "b.log", "a.log", "link.log", "b*") == ["a.log", "b.log", "b.log.1"]
    assert capsys.readouterr().err.splitlines() == [
        "kojuto report: a.log is named twice and read once",
        "kojuto report: link.log is named twice, as a.log, and read once",
        "kojuto report: b.log is named twice and read once",
    ]


def test_standard_input_is_a_file_as_any_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.dup(0)
    with (folder / "a.log").open() as file:
        os.dup2(file.fileno(), 0)
    try:
        assert paths() == ["-"]
        assert paths("-", "-", "a.log") == ["-"]
    finally:
        os.dup2(before, 0)
        os.close(before)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "kojuto report: standard input is named twice and read once"
    assert told[1] == "kojuto report: a.log is named twice, as standard input, and read once"


@pytest.mark.usefixtures("folder")
def test_what_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        paths("a.log", "no.log")
    assert caught.value.filename == "no.log"
    with pytest.raises(UsageError, match=r"^no\*: no file matches$"):
        paths("no*")


def test_without_a_log_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    with pytest.raises(UsageError, match="no log is named") as caught:
        paths()
    assert caught.value.hint == "kojuto report /var/log/nginx/access.log"


def test_a_saved_report_that_is_packed_is_told_with_the_way_out(folder: Path) -> None:
    (folder / "a.kjr.gz").write_bytes(gzip.compress(b"kjreport"))
    with pytest.raises(KojutoError, match=r"^a\.kjr\.gz: compressed with gzip$") as caught:
        reading.merged(["a.kjr.gz"])
    assert caught.value.hint == "gzip -dc a.kjr.gz | kojuto report --merge - reads it"
