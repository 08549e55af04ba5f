"""Configuration files in TOML: their mark, their limit, what is said of a bad one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kojuto.common import tomlfile
from kojuto.errors import KojutoError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_mark_of_utf_8_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf" + "[a]\r\nb = 'ü'\n".encode())
    assert tomlfile.read(str(path)) == {"a": {"b": "ü"}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = \xff\n", "not TOML: "),
        (b"[a\n", "not TOML: "),
        (b"a = " + b"[" * 100_000, "not TOML: "),
        (None, "No such file or directory"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "a.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(KojutoError) as refused:
        tomlfile.read(str(path))
    assert str(refused.value).startswith(f"{path}: {message}")
