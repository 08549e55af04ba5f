"""The platforms that a wheel is built for; run as a program it lists them as Rust calls them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Target(NamedTuple):
    """One of them."""

    triple: str
    """As Rust calls it."""
    compatibility: str
    """The policy of the wheel, as maturin and auditwheel call it (PEP 600, PEP 656)."""

    @property
    def machine(self) -> str:
        """As ``uname -m`` calls it."""
        return self.triple.partition("-")[0]

    @property
    def libc(self) -> str:
        """``gnu`` or ``musl``."""
        return self.triple.rpartition("-")[2]

    @property
    def platform(self) -> str:
        """The tag of the wheel, the way that pip's ``--platform`` takes it."""
        return f"{self.compatibility}_{self.machine}"


TARGETS = (
    Target("x86_64-unknown-linux-gnu", "manylinux_2_17"),
    Target("aarch64-unknown-linux-gnu", "manylinux_2_17"),
    Target("x86_64-unknown-linux-musl", "musllinux_1_2"),
    Target("aarch64-unknown-linux-musl", "musllinux_1_2"),
)


def output(*command: str) -> str:
    """What a program prints when it is run in the source."""
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def version() -> str:
    """The version of the source: the one place that has it is Cargo.toml."""
    found = [
        line.split('"')[1]
        for line in (ROOT / "Cargo.toml").read_text().splitlines()
        if line.startswith("version = ")
    ]
    if len(found) != 1:
        raise ValueError(f"Cargo.toml has {len(found)} lines 'version = …', and should have one")
    return found[0]


if __name__ == "__main__":
    print("\n".join(target.triple for target in TARGETS))
