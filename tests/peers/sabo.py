"""The options of a sabo that works in a folder of the test's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

FAST = "100G"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "members"
    path.mkdir()
    return path


def arguments(work: Path, rate: str | int = FAST) -> list[str]:
    return ["--max-bandwidth", str(rate), "--work-dir", str(work)]
