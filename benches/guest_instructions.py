"""How many AArch64 instructions the scanners need for a byte: plain words beside NEON.

``make cross-bench`` runs it. The programs are real ones for AArch64, run by qemu-user one
instruction at a time, each of which it writes down; the counts are exact and the same on any
machine. What a pass costs is the difference between runs of one and of three passes. It fails
where NEON spares less than a fifth: then it does not pay for itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benches.logs import access_log

ROOT = Path(__file__).parent.parent
TARGET = "aarch64-unknown-linux-gnu"
QEMU = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
LINES = 300
MOST = 0.8
"""The most instructions that NEON may need where it is used, as a ratio to plain words."""


class Scan(NamedTuple):
    """A scanner of ``rust/kojuto-core/benches/passes.rs``."""

    name: str
    log: str
    neon: bool
    """Whether it has something of its own for NEON."""


SCANS = (
    Scan("newlines", "ltsv", neon=True),
    Scan("ltsv", "ltsv", neon=True),
    Scan("json", "json", neon=True),
    Scan("json-full", "json", neon=True),
    Scan("mask", "ltsv", neon=False),
)


def build(name: str, flags: str) -> Path:
    """Build ``passes`` with these flags of rustc in ``target/NAME``; where the program is."""
    command = ["cargo", "build", "--quiet", "--package=kojuto-core", "--bench=passes"]
    command += [f"--target={TARGET}", f"--target-dir=target/{name}", "--profile=bench"]
    done = subprocess.run(
        [*command, "--message-format=json-render-diagnostics"],
        cwd=ROOT,
        env={**os.environ, "RUSTFLAGS": flags},
        stdout=subprocess.PIPE,
        check=True,
    )
    messages = map(json.loads, done.stdout.splitlines())
    (program,) = (Path(message["executable"]) for message in messages if message.get("executable"))
    return program


def one_by_one() -> str:
    """What this qemu-user calls running one instruction at a time (renamed in 8.1)."""
    offered = subprocess.run(["qemu-aarch64", "-help"], capture_output=True, check=True).stdout
    return "-one-insn-per-tb" if b"-one-insn-per-tb" in offered else "-singlestep"


def run(program: Path, scan: Scan, log: Path, passes: int) -> tuple[int, bytes]:
    """The instructions of a whole run, and what the program printed."""
    read, write = os.pipe()
    trace = ("-d", "exec,nochain", "-D", f"/dev/fd/{write}")
    command: list[str | Path] = [*QEMU, one_by_one(), *trace, program]
    command += [scan.name, log, str(passes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[write]) as process:
        os.close(write)
        with open(read, "rb") as lines:
            count = sum(line.startswith(b"Trace ") for line in lines)
        printed = process.communicate()[0]
    if process.returncode or not count:
        sys.exit(f"{program.name} {scan.name}: status {process.returncode}, {count} instructions")
    return count, printed


def per_byte(program: Path, scan: Scan, log: Path) -> tuple[float, bytes]:
    """Instructions for a byte of the log, and what three passes printed."""
    once, _ = run(program, scan, log, 1)
    thrice, printed = run(program, scan, log, 3)
    return (thrice - once) / 2 / log.stat().st_size, printed


def main() -> int:
    """Print the table; 1 when NEON does not pay."""
    plain, neon = build("portable", "--cfg kojuto_portable"), build("neon", "")
    print(f"{'instructions for a byte':24} {'plain':>8} {'NEON':>8} {'ratio':>6}")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for scan in SCANS:
            log = access_log(Path(folder) / scan.log, scan.log, LINES)
            (before, expected), (after, found) = (
                per_byte(program, scan, log) for program in (plain, neon)
            )
            if found != expected:
                sys.exit(f"{scan.name}: plain words find {expected!r}, NEON {found!r}")
            paid = not scan.neon or after <= MOST * before
            failed |= not paid
            verdict = "" if paid else f"  over {MOST}"
            print(f"{scan.name:24} {before:8.3f} {after:8.3f} {after / before:6.3f}{verdict}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
