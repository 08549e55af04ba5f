"""wsgate-client --headers: files of them, and which are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kojuto.errors import KojutoError, UsageError
from kojuto.tools.wsgate_client import (
    MAX_HEADER_FILE_BYTES,
    read_headers,
)

if TYPE_CHECKING:
    from pathlib import Path


PROPERTY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def test_a_file_of_headers_is_taken_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    line = b"X: y\n"
    path.write_bytes(line + b"#" * (MAX_HEADER_FILE_BYTES - len(line)))
    assert read_headers([f"@{path}"]) == [("X", "y")]
    path.write_bytes(line + b"#" * (MAX_HEADER_FILE_BYTES - len(line)) + b"\nY: z\n")
    with pytest.raises(KojutoError) as refused:
        read_headers([f"@{path}"])
    assert str(refused.value) == f"--headers @{path}: 65542 bytes, above the limit of 65536"


@pytest.mark.parametrize(
    "name", ["Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Sec-WebSocket-Key"]
)
def test_headers_of_the_upgrade_itself_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is set by the WebSocket handshake"):
        read_headers([f"{name}: x"])


@PROPERTY
@given(st.text())
def test_no_header_can_smuggle_a_line(text: str) -> None:
    try:
        found = read_headers([text.lstrip("@")])
    except KojutoError:
        return
    for name, value in found:
        assert not set(name + value) & set("\r\n\0")
