"""The configuration of deteco: its upper bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kojuto.common import tomlfile
from kojuto.errors import KojutoError
from kojuto.tools.deteco import services

if TYPE_CHECKING:
    from pathlib import Path


def test_a_configuration_has_an_upper_bound(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_bytes(b"#" * tomlfile.MAX_BYTES)
    with pytest.raises(KojutoError, match="there is no service in it"):
        services.load(str(path), print)
    path.write_bytes(b"#" * (tomlfile.MAX_BYTES + 1))
    with pytest.raises(KojutoError, match="over the limit of 16777216 bytes"):
        services.load(str(path), print)
    for length, message in ((1024, "public_keys must be"), (1025, "id must be a printable string")):
        with pytest.raises(KojutoError, match=message):
            services._service({"id": "x" * length}, 1, print)
