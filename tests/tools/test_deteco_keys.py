"""deteco keygen: the files it writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.deteco import keys
from tests.conftest import run
from tests.disks import fill

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


@pytest.mark.parametrize(("free", "failed"), [(0, "key"), (4096, "key.pub")])
def test_a_disk_without_room_is_named_and_keeps_no_half_of_a_pair(
    free: int, failed: str, tiny_disk: Path
) -> None:
    filler = fill(tiny_disk)
    os.truncate(filler, filler.stat().st_size - free)  # a page holds the private key
    command = ["deteco", "keygen", "--type", "ed25519", "--out", str(tiny_disk / "key")]
    done = run(*command)
    assert done.returncode == 1
    words = f"deteco keygen: error: {tiny_disk / failed}: No space left on device\n"
    assert done.stderr.decode() == words
    assert list(tiny_disk.iterdir()) == [filler]
    filler.unlink()
    assert run(*command).returncode == 0
