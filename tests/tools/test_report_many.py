"""The reports of many hosts: how large they are, and what a made-up one may cost."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from kojuto import report
from tests.conftest import run
from tests.report import hosts

if TYPE_CHECKING:
    from pathlib import Path

HOST_BYTES, HUNDRED_BYTES = 32 << 10, 1 << 20


def test_a_host_of_forty_endpoints_is_small(tmp_path: Path) -> None:
    # With more lines it grows by the digits of its counts alone.
    for lines in (1000, 30_000, 150_000):
        path = hosts.saved(tmp_path, 0, lines)
        assert len(report.Report.load(path).rows()) == hosts.ENDPOINTS
        assert path.stat().st_size <= HOST_BYTES, lines


def test_a_hundred_hosts_merged_are_small_and_right(tmp_path: Path) -> None:
    paths = [hosts.saved(tmp_path, host, 3000) for host in range(100)]
    assert max(path.stat().st_size for path in paths) <= HOST_BYTES
    whole = tmp_path / "whole.kjr"
    done = run("kojuto", "report", "--merge", "--save", whole, "--output", "json", *paths)
    assert done.returncode == 0, done.stderr
    assert whole.stat().st_size <= HUNDRED_BYTES
    found = json.loads(done.stdout)
    assert (found["lines"], len(found["endpoints"])) == (300_000, hosts.ENDPOINTS)
    # The same in another order, and by way of files that are put behind each other.
    together = b"".join(path.read_bytes() for path in reversed(paths))
    assert bytes(report.Report.from_bytes(together)) == whole.read_bytes()


def number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def made_up(keys: int, figures: bytes, tmp_path: Path) -> Path:
    """A file with a right checksum of so many keys, made of that of an empty report."""
    log = tmp_path / "a.log"
    log.write_text("uri:/a\tstatus:200\n")
    empty = bytes(report.scan(log, where="status == 500"))
    content = zlib.decompress(empty[13:-4], wbits=-15)
    assert content.endswith(b"\0")  # no keys
    texts = b"".join(b"\0\4" + struct.pack(">I", key) + figures for key in range(keys))
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(content[:-1] + number(keys) + texts) + packer.flush()
    file = empty[:9] + struct.pack("<I", len(packed)) + packed
    path = tmp_path / "made-up.kjr"
    path.write_bytes(file + struct.pack("<I", zlib.crc32(file)))
    return path


PEAK = """
import resource, sys
from kojuto import report
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    report.Report.load(sys.argv[1])
    print("read")
except ValueError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
FAR = bytes([0, 0, 2, 2, 2, 2, 1, 1, 1, 0, 2, 2, 3]) + number(2200)
"""Two lines, whose times are 2,201 buckets from each other: 17 kB of memory."""


@pytest.mark.parametrize(("keys", "is_read"), [(1000, True), (120_000, False)])
def test_a_made_up_report_takes_up_bounded_memory(tmp_path: Path, keys: int, is_read: bool) -> None:
    path = made_up(keys, FAR, tmp_path)
    size = path.stat().st_size
    assert size < 1 << 20
    done = subprocess.run(
        [sys.executable, "-c", PEAK, path], check=True, capture_output=True, text=True
    )
    said, peak_kb = done.stdout.splitlines()
    assert (said == "read") is is_read
    # Without a bound the larger one is 2 GB.
    assert int(peak_kb) * 1024 < 2 * (32 << 20) + 2 * 512 * size
    shown = run("kojuto", "report", "--merge", path)
    assert shown.returncode == (0 if is_read else 1)
    assert b"Traceback" not in shown.stderr
