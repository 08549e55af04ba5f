"""`kojuto.common.plugin.state`: where what is remembered lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kojuto.common.plugin.state import state_path

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_two_names_have_two_files_within_the_work_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACKEREL_PLUGIN_WORKDIR", str(tmp_path))
    names = ["a_b", "a/b", "a\0b", "../b", ".._b", "a_b--07f4401c"]
    paths = {state_path(name) for name in names}
    assert len(paths) == len(names)
    assert {os.path.dirname(path) for path in paths} == {str(tmp_path)}
    assert state_path("a_b") == str(tmp_path / "a_b")


def test_a_name_that_is_too_long_for_a_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACKEREL_PLUGIN_WORKDIR", str(tmp_path))
    longest = "a" * 250
    assert state_path(longest) == str(tmp_path / longest)
    paths = {
        state_path(name) for name in [longest + "b", longest + "c", "\u3042" * 90, "\udcff" * 300]
    }
    assert len(paths) == 4
    for path in paths:
        with open(f"{path}.lock", "x"):
            pass
