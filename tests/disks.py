"""Small file systems that a test mounts for itself, and fills."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def mount(*arguments: str | Path) -> None:
    """Mount something; where that is refused the test fails under CI and is skipped elsewhere."""
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        text = f"cannot mount: {done.stderr.decode().strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)


def mount_tmpfs(path: Path, options: str) -> None:
    """Mount a tmpfs, as `mount` does."""
    path.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", options, "none", path)


@contextlib.contextmanager
def small_disk(path: Path, options: str = "size=1m") -> Iterator[Path]:
    """A real small disk for as long as the block runs."""
    mount_tmpfs(path, options)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 KiB, to be filled."""
    with small_disk(tmp_path / "tiny", "size=64k,mode=700") as path:
        yield path


def fill(disk: Path) -> Path:
    """Leave not one byte free; removing the file that is returned makes room again."""
    path = disk / "filler"
    with open(path, "ab", buffering=0) as file:
        for block in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(block))
    return path
