"""kojuto.common.plugin.state: where the originals left what they remembered."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kojuto.common.plugin import state

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_file_of_this_users_is_looked_for_in_the_work_directory_and_then_in_tmpdir(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert state.originals_path("x") is None
    (tmp_path / "x").touch()
    assert state.originals_path("x") == str(tmp_path / "x")
    (workdir / "x").touch()
    assert state.originals_path("x") == str(workdir / "x")


def test_a_link_a_folder_and_another_users_file_are_none(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert state.originals_path("folder") is None
    assert state.originals_path("link") is None
    assert state.originals_path("file") is not None
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert state.originals_path("file") is None
