"""The log plugins beside a real logrotate: no line is lost and none counted twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.peers.rotators import Clock, SetUp, beside_logrotate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


SET_UPS = {
    "create": SetUp("rotate 5, create 0644"),
    "create, a late writer": SetUp("rotate 5, create 0644", late=True),
    "nocreate": SetUp("rotate 5, nocreate"),
    "copytruncate": SetUp("rotate 5, copytruncate"),
    "copytruncate, compress": SetUp("rotate 5, copytruncate, compress"),
    "copytruncate, dateext": SetUp("rotate 5, copytruncate, dateext, dateformat -%Y%m%d%H"),
    "compress": SetUp("rotate 5, create, compress"),
    "delaycompress": SetUp("rotate 5, create, compress, delaycompress", late=True),
    "xz": SetUp("rotate 5, create, compress, compresscmd /usr/bin/xz, compressext .xz"),
    "zstd": SetUp("rotate 5, create, compress, compresscmd /usr/bin/zstd, compressext .zst"),
    "bzip2": SetUp("rotate 5, create, compress, compresscmd /usr/bin/bzip2, compressext .bz2"),
    "lz4": SetUp("rotate 5, create, compress, compresscmd /usr/bin/lz4, compressext .lz4"),
    "xz, delayed": SetUp(
        "rotate 5, create, compress, delaycompress, compresscmd /usr/bin/xz, compressext .xz"
    ),
    "dateext, hourly": SetUp("rotate 5, hourly, create, dateext, dateformat -%Y%m%d%H"),
    "dateext, seconds": SetUp("rotate 5, create, compress, dateext, dateformat -%Y%m%d-%s"),
    "dateext, other signs": SetUp("rotate 5, create, dateext, dateformat .%Y-%m-%d_%H"),
    "dateext, extension": SetUp(
        "rotate 5, create, dateext, dateformat -%Y%m%d%H, extension .log, compress, delaycompress"
    ),
    "dateext, addextension": SetUp(
        "rotate 5, create, dateext, dateformat -%Y%m%d%H, addextension .log"
    ),
    "addextension": SetUp("rotate 5, create, addextension .log"),
    "addextension, compress": SetUp("rotate 5, create, addextension .log, compress"),
    "extension": SetUp("rotate 5, create, extension .log, compress, delaycompress"),
    "extension, copytruncate": SetUp("rotate 5, copytruncate, extension .log"),
    "olddir": SetUp("rotate 5, create, olddir archive"),
    "olddir, dateext, compress": SetUp(
        "rotate 5, create, olddir archive, compress, dateext, dateformat -%Y%m%d%H"
    ),
    "renamecopy": SetUp("rotate 5, renamecopy"),
    "copy": SetUp("rotate 5, copy"),
    "copy, compress": SetUp("rotate 5, copy, compress"),
    "shred, maxage": SetUp("rotate 3, create, shred, maxage 7"),
    "rotate 0": SetUp("rotate 0, create", most=0),
    "rotate 0, copytruncate": SetUp("rotate 0, copytruncate", most=0),
    "rotate 1": SetUp("rotate 1, create", most=1),
    "rotate 3, delaycompress": SetUp("rotate 3, nocreate, compress, delaycompress"),
    "start 5": SetUp("rotate 5, create, start 5"),
    "size": SetUp("rotate 5, create, size 1"),
}


@pytest.mark.parametrize("name", SET_UPS)
def test_logrotate(
    name: str, tmp_path: Path, workdir: Path, preload: Callable[[str], dict[str, str]]
) -> None:
    clock = Clock(tmp_path, preload("shift_clock") if "dateext" in SET_UPS[name].body else {})
    beside_logrotate(tmp_path / "logs" / "access.log", SET_UPS[name], clock)
