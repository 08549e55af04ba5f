"""Map files of the gateways: any bytes, and their upper bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kojuto.common.gateway import mapfile
from kojuto.common.server import listen
from kojuto.errors import KojutoError
from kojuto.tools.wsgate_client.backend import Address

if TYPE_CHECKING:
    from pathlib import Path


PROPERTY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def test_a_map_file_of_16_mib_is_read(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(b"a,b\n" + b"#" * (mapfile.MAX_BYTES - 4))
    assert mapfile.read(str(path), str, str, "shape") == {"a": "b"}


@PROPERTY
@given(st.one_of(st.binary(), st.text("ab,:[]1#\n /.%@http").map(str.encode)))
def test_a_map_file_is_read_or_refused_by_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "map"
    path.write_bytes(data)
    rights: list[Any] = [listen.upstream, Address]
    for right in rights:
        check_map(path, right)


def check_map(path: Path, right: Any) -> None:
    try:
        found = mapfile.read(str(path), str, right, "shape")
    except KojutoError as error:
        assert ", line " in str(error)
        return
    lines = path.read_text("utf-8-sig").split("\n")
    assert len(found) == sum(bool(line.strip()) and line.strip()[0] != "#" for line in lines)


def test_a_map_file_has_an_upper_bound(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(b"#" * (mapfile.MAX_BYTES + 1))
    with pytest.raises(KojutoError, match="over 16777216 bytes"):
        mapfile.read(str(path), str, str, "shape")
    with pytest.raises(KojutoError, match=f"^--map {path}x: No such file or directory$"):
        mapfile.read(f"{path}x", str, str, "shape")
    path.write_bytes(b"\xef\xbb\xbfa , b,c \r\n")
    assert mapfile.read(str(path), str, str, "shape") == {"a": "b,c"}
