"""What docs/install.md lists for a command is all that it takes beside ``--no-deps kojuto``."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from release.targets import TARGETS
from tests.conftest import ROOT
from tests.jobs import SERVERS, Jobs, jobs
from tests.release.dist import wheel_of
from tests.test_breath import Running
from tests.test_lean import NEEDS, moved
from tests.wheels import environment, fetched_pip

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["jobs"]
ROW = re.compile(r"^\| `([\w-]+)` \| (.+) \|$", re.MULTILINE)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NEEDS)
def test_the_packages_of_its_row_are_enough(name: str, jobs: Jobs, tmp_path: Path) -> None:
    section = (ROOT / "docs/install.md").read_text().partition("## Without other packages")[2]
    row = dict(ROW.findall(section))[name]
    # What stands behind a semicolon is for an option, or for an older Python.
    packages = re.findall(r"`([\w-]+)`", row.partition(";")[0])
    home = environment(tmp_path / "venv", fetched_pip("pip", tmp_path), wheel_of(TARGETS[0]))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", home / "python", "install", "--quiet", *packages],
        check=True,
    )
    job = moved(jobs.make(name), home)
    if name in SERVERS:
        assert Running(job).end() == 0
        return
    done = job.run()
    assert done.returncode == job.status
    assert b"missing" not in done.stderr
