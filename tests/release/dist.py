"""The wheels that ``make wheels`` has put into ``dist``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from release.targets import version
from tests.conftest import ROOT
from tests.wheels import sources

if TYPE_CHECKING:
    from release.targets import Target

LIBRARIES = [
    Path(os.environ.get(name) or Path.home() / folder)
    for name, folder in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup"))
]


def wheel_of(target: Target) -> Path:
    """The one for a target; a test fails when it is not there or is older than the source."""
    found = list((ROOT / "dist").glob(f"kojuto-{version()}-*{target.platform}*.whl"))
    if len(found) != 1:
        pytest.fail(f"dist has {len(found)} wheels for {target.platform}: run 'make wheels'")
    newest = max(path.stat().st_mtime for path in sources())
    if found[0].stat().st_mtime < newest:
        pytest.fail(f"{found[0].name} is older than the source: run 'make wheels'")
    return found[0]
