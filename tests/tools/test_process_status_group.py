"""linux-process-status --unit and --cgroup: real groups of version 1, a tree of files for 2."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import read_metrics, run, wait_until
from tests.peers.process_status import NAME, python

if TYPE_CHECKING:
    from collections.abc import Iterator

CPUS = os.cpu_count() or 1


def group(*arguments: str, status: int = 0) -> tuple[dict[str, float], str]:
    done = run(NAME, *arguments, "--key-prefix", "p")
    assert done.returncode == status, done.stderr
    prefix = "process-status."
    figures = {
        name.removeprefix(prefix).replace("_p.", "."): float(value)
        for name, value in read_metrics(done.stdout).items()
    }
    return figures, done.stderr.decode()


def files(folder: Path, **contents: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"cgroup__procs": "", **contents}.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files as version 2 has them: a slice with limits and a service in it."""
    files(tmp_path / "app.slice", memory__max="1000000000\n", cpu__max="50000 100000\n")
    service = tmp_path / "app.slice/web.service"
    files(
        service,
        memory__current="250000000\n", memory__max="max\n", cpu__max="max 100000\n",
        cpu__stat="usage_usec 5000000\nnr_throttled 3\nthrottled_usec 1000000\n",
        cpu__pressure="some avg10=0.00 total=100\nfull avg10=0.00 total=7\n",
        memory__pressure="some avg10=0.00 total=200\nfull avg10=0.00 total=300\n",
        io__pressure="some avg10=0.00 total=400\nfull avg10=0.00 total=500\n",
    )  # fmt: skip
    return service


def a_minute_ago(workdir: Path) -> None:
    """Make the last run one of a minute ago."""
    [state] = [path for path in workdir.iterdir() if path.suffix != ".lock"]
    sample = json.loads(state.read_text())
    state.write_text(json.dumps({**sample, "uptime": sample["uptime"] - 60}))


def test_the_files_of_version_2(tree: Path, workdir: Path) -> None:
    first, told = group("--cgroup", str(tree))
    assert first == {
        "cpu_limit.cpus": 0.5, "mem.used": 250e6, "mem.max": 1e9, "mem_usage.percentage": 25,
    }  # fmt: skip
    assert told == "Notice: first time execution command\n"
    a_minute_ago(workdir)
    (tree / "cpu.stat").write_text("usage_usec 11000000\nthrottled_usec 4000000\n")
    (tree / "cpu.pressure").write_text("some avg10=0.00 total=600100\n")
    (tree / "memory.pressure").write_text("some total=1200200\nfull total=300\n")
    (tree / "io.pressure").write_text("some total=2400400\nfull total=600500\n")
    second, told = group("--cgroup", str(tree))
    assert told == ""
    rates = {name: value for name, value in second.items() if name not in first}
    assert rates == pytest.approx(
        {
            "cpu.percentage": 10 / CPUS, "throttled.percentage": 5, "pressure.cpu_some": 1,
            "pressure.memory_some": 2, "pressure.memory_full": 0, "pressure.io_some": 4,
            "pressure.io_full": 1,
        },
        rel=0.2,
    )  # fmt: skip
    a_minute_ago(workdir)
    (tree / "cpu.stat").write_text("usage_usec 17000000\nthrottled_usec 4000000\n")
    assert group("--cgroup", str(tree), "--cpu-base", "cgroup")[0]["cpu.percentage"] == (
        pytest.approx(20, rel=0.2)
    )
    assert group("--cgroup", str(tree), "--ignore-cgroup")[0]["mem.max"] > 1e9
    defined = run(
        NAME, "--cgroup", tree, "--key-prefix", "p", env={"MACKEREL_AGENT_PLUGIN_META": "1"}
    )
    graphs = json.loads(defined.stdout.decode().splitlines()[1])["graphs"]
    names = {f"{title}.{m['name']}" for title, body in graphs.items() for m in body["metrics"]}
    assert {name.removeprefix("process-status.").replace("_p.", ".") for name in names} == set(
        second
    )


def test_a_group_that_was_made_again_starts_afresh(tree: Path, workdir: Path) -> None:
    group("--cgroup", str(tree))
    a_minute_ago(workdir)
    tree.rename(tree.with_name("old"))
    files(tree, cpu__stat="usage_usec 9000000\n")
    figures, told = group("--cgroup", str(tree))
    assert "another group" in told
    assert "cpu.percentage" not in figures


def test_files_that_are_not_there_or_broken_are_left_out(tree: Path, workdir: Path) -> None:
    (tree / "memory.current").unlink()
    (tree / "cpu.stat").write_text("usage_usec\nx y\n\n")
    (tree / "io.pressure").write_text("\nsome\n")
    assert set(group("--cgroup", str(tree))[0]) == {"cpu_limit.cpus"}


@pytest.fixture
def unit() -> Iterator[str]:
    """A unit of a name of its own, as systemd makes one, in the hierarchies of version 1."""
    name = f"kojuto-test-{os.getpid()}.service"
    roots = [Path("/sys/fs/cgroup") / each for each in ("systemd", "memory", "cpu", "cpuacct")]
    if os.geteuid() != 0 or not all((root / "cgroup.procs").exists() for root in roots):
        pytest.skip("no hierarchies of version 1 to make groups in")
    folders = [root / "kojuto.slice" / name for root in roots]
    try:
        for folder in folders:
            folder.mkdir(parents=True)
        yield name
    finally:
        for folder in folders:
            members = folder / "cgroup.procs"
            wait_until(lambda members=members: not members.read_text())  # type: ignore[misc]
            folder.rmdir()
            with contextlib.suppress(OSError):
                folder.parent.rmdir()


BURN = """
held = bytearray(b'x') * (40 << 20)
print("ready")
while True:
    sum(range(1000))
"""


def throttled(folder: Path) -> int:
    """Nanoseconds that the group was not let run."""
    return int((folder / "cpu.stat").read_text().split("throttled_time ")[1].split()[0])


def test_a_real_unit_of_version_1(unit: str, workdir: Path) -> None:
    root = Path("/sys/fs/cgroup")
    memory = root / "memory/kojuto.slice" / unit
    (memory / "memory.limit_in_bytes").write_text(str(200 << 20))
    quota = root / "cpu/kojuto.slice" / unit / "cpu.cfs_quota_us"
    if quota.exists():
        quota.write_text("20000")
    join = [f"echo $$ > {root}/{each}/kojuto.slice/{unit}/cgroup.procs"
            for each in ("systemd", "memory", "cpu", "cpuacct")]  # fmt: skip
    shell = "; ".join([*join, 'exec "$@"'])
    with python(BURN, "sh", "-c", shell, "sh"):
        first, _ = group("--unit", unit.removesuffix(".service"))
        used = root / "cpuacct/kojuto.slice" / unit / "cpuacct.usage"
        before, waited = int(used.read_text()), throttled(quota.parent)
        wait_until(lambda: int(used.read_text()) > before + 100_000_000)
        waited = throttled(quota.parent) - waited
        second, _ = group("--unit", unit, "--cpu-base", "core")
    assert 40 << 20 < first["mem.used"] < 200 << 20
    assert first["mem.max"] == 200 << 20
    assert second["cpu.percentage"] > 0
    if quota.exists():
        assert second["cpu_limit.cpus"] == 0.2
        # On a busy machine it may get less than its quota.
        assert second["throttled.percentage"] > 0 or waited == 0


def test_the_root_is_a_group_and_another_folder_is_none(tmp_path: Path, workdir: Path) -> None:
    _, told = group("--cgroup", "/")
    assert told == "Notice: first time execution command\n"
    for folder in (str(tmp_path), "/proc", "/etc"):
        figures, told = group("--cgroup", folder, status=1)
        assert not figures
        assert f"no control group {folder}" in told


def test_what_cannot_be_found_or_goes_with_nothing_else(workdir: Path) -> None:
    told = group("--unit", "no-such-unit", status=1)[1]
    assert "no control group of a unit no-such-unit.service" in told
    assert "no control group no/such" in group("--cgroup", "no/such", status=1)[1]
    for other in (["--pid", "1"], ["--with-children"], ["--pss"], ["--cgroup", "x"]):
        assert "--unit cannot go with " + other[0] in group("--unit", "x", *other, status=2)[1]
