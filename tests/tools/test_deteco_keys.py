"""deteco keygen: the files it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kojuto.tools.deteco import keys

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_file_replaces_nothing(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_bytes(b"old")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (there, link):
        with pytest.raises(FileExistsError):
            keys._write(str(path), b"new", 0o600)
    assert there.read_bytes() == b"old"
    assert not (tmp_path / "elsewhere").exists()
