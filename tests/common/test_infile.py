"""The files of a command line: their names in messages, and each once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kojuto.common import infile

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_names_of_one_file_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, link = str(tmp_path / "log"), str(tmp_path / "link")
    (tmp_path / "log").touch()
    os.symlink(log, link)
    gone = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    assert infile.each_once("x", [link, log, "-", gone, log, gone]) == [link, "-", gone]
    shown = f"{tmp_path}/\N{REPLACEMENT CHARACTER}"
    assert capsys.readouterr().err.splitlines() == [
        f"x: {log} is named twice, as {link}, and read once",
        f"x: {log} is named twice, as {link}, and read once",
        f"x: {shown} is named twice and read once",
    ]


def test_standard_input_is_the_file_that_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    saved = os.dup(0)
    with log.open() as file:
        os.dup2(file.fileno(), 0)
    try:
        assert infile.each_once("x", ["-", str(log)]) == ["-"]
    finally:
        os.dup2(saved, 0)
        os.close(saved)
    assert (infile.title("-"), infile.title("a")) == ("standard input", "a")
