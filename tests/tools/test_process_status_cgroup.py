"""mackerel-plugin-linux-process-status: the limits of control groups."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.process_status.cgroup import Groups
from tests.conftest import wait_until
from tests.peers.process_status import IDLE, python, status

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def limited() -> Iterator[Path]:
    """The folder of a control group of our own with a memory limit of 300 MiB above it."""
    if os.geteuid() != 0:
        pytest.skip("control groups need root")
    name = f"kojuto-test-{os.getpid()}"
    for root, file in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / name
        if (root / "cgroup.procs").exists():
            group.mkdir()
            with contextlib.suppress(OSError):
                if not (group / file).exists():
                    (root / "cgroup.subtree_control").write_text("+memory")
            if (group / file).exists():
                break
            group.rmdir()
    else:
        pytest.skip("no memory controller here")
    inner = group / "inner"
    try:
        (group / file).write_text(str(300 << 20))
        inner.mkdir()
        yield inner
    finally:
        for folder in (inner, group):
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()


def test_the_limit_of_a_group_above_is_the_maximum(limited: Path, workdir: Path) -> None:
    with python("held = bytearray(b'x') * (60 << 20);" + IDLE) as process:
        outside = status(process.pid)
        (limited / "cgroup.procs").write_text(str(process.pid))
        inside = status(process.pid)
        ignored = status(process.pid, "--ignore-cgroup")
        process.kill()
        process.wait()
        wait_until(lambda: not (limited / "cgroup.procs").read_text(), what="the group is empty")
    assert inside["mem.max"] == 300 << 20
    assert inside["mem_usage.percentage"] == pytest.approx(
        inside["mem.used"] * 100 / (300 << 20), abs=1e-4
    )
    assert outside["mem.max"] > 300 << 20
    assert ignored["mem.max"] == outside["mem.max"]


def fake_proc(tmp_path: Path, mounts: str, groups: str) -> str:
    proc = tmp_path / "proc"
    for pid in ("self", "42"):
        (proc / pid).mkdir(parents=True)
    (proc / "self" / "mountinfo").write_text(mounts)
    (proc / "42" / "cgroup").write_text(groups)
    return str(proc)


def limit(root: Path, path: str, **files: str) -> None:
    (root / path).mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (root / path / name.replace("__", ".")).write_text(value + "\n")


def test_version_2_takes_the_lowest_limit_up_to_the_root(tmp_path: Path) -> None:
    root = tmp_path / "cg roup"
    limit(root, "a", memory__max="1000000", cpu__max="75000 50000")
    limit(root, "a/b", memory__max="2000000", cpu__max="max 100000")
    limit(root, "a/b/c", memory__max="max", cpu__max="200000 50000")
    point = str(root).replace(" ", "\\040")
    mounts = f"30 20 0:26 / {point} rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    groups = Groups(42, fake_proc(tmp_path, mounts, "0::/a/b/c\n"))
    assert groups.memory_limit() == 1_000_000
    assert groups.cpu_limit() == 1.5


def test_version_1_and_a_mounted_part_and_no_limit(tmp_path: Path) -> None:
    root = tmp_path / "memory"
    limit(root, "job", memory__limit_in_bytes="5000")
    limit(root, "", memory__limit_in_bytes=str((1 << 63) - 4096))
    limit(tmp_path / "cpu", "job", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    mounts = (
        f"31 20 0:27 /docker/x {root} rw - cgroup cgroup rw,memory\n"
        f"32 20 0:28 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    )
    told = "4:memory:/docker/x/job\n3:cpu,cpuacct:/job\n0::/\n"
    groups = Groups(42, fake_proc(tmp_path, mounts, told))
    assert groups.memory_limit() == 5000
    assert groups.cpu_limit() is None


def test_a_group_outside_what_is_mounted_has_no_known_limit(tmp_path: Path) -> None:
    root = tmp_path / "v2"
    limit(root, "", memory__max="7000")
    mounts = f"30 20 0:26 / {root} rw - cgroup2 cgroup2 rw\n"
    limit(tmp_path, "other", memory__max="5000")
    assert Groups(42, fake_proc(tmp_path, mounts, "0::/../other\n")).memory_limit() == 7000
