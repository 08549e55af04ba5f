"""Builds the wheels: ``python -m release.wheels [TRIPLE]…``, all four when none is named.

``PROFILE=quick`` in the environment builds them with that profile of Cargo.toml, to try things out.

zig links them, so that they run where glibc is as old as 2.17, or musl as old as 1.2. The same
source, Rust, zig and maturin give the same bytes wherever the source and the home are: the names of
folders that the compilers write down are replaced, and nothing of the clock goes in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from release import documents, linked
from release.targets import ROOT, TARGETS, output

if TYPE_CHECKING:
    from release.targets import Target

NOTICES = ROOT / "LICENSE-THIRD-PARTY.txt"
"""Only there while a wheel is built: pyproject.toml takes it in as a licence where it is."""
BILL = "kojuto.cdx.json"


def folders() -> dict[str, str]:
    """The folders whose names get into what is compiled, and what stands for them there."""
    cargo = os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo")
    return {
        str(ROOT): "/kojuto",
        cargo: "/cargo",
        output("rustc", "--print", "sysroot").strip(): "/rust",
    }


def environment(target: Target) -> dict[str, str]:
    """What the compilers are told."""
    env = {**os.environ, "CARGO_INCREMENTAL": "0"}
    for name in ("RUSTFLAGS", "SOURCE_DATE_EPOCH"):
        env.pop(name, None)
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    names = folders().items()
    env["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(
        f"--remap-path-prefix={path}={stands}" for path, stands in names
    )
    env[f"CFLAGS_{target.triple.replace('-', '_')}"] = " ".join(
        f"-ffile-prefix-map={path}={stands}" for path, stands in names
    )
    return env


def build(target: Target, folder: Path, profile: str) -> Path:
    """One wheel, with the notices and the bill of what is linked into it."""
    parts = linked.parts(target)
    with tempfile.TemporaryDirectory() as room:
        bill = Path(room) / BILL
        bill.write_text(documents.bill(target, parts))
        NOTICES.write_text(documents.texts(target, parts))
        try:
            subprocess.run(
                ["maturin", "build", "--profile", profile, "--locked", "--zig", "--quiet",
                 "--target", target.triple, "--compatibility", target.compatibility,
                 "--sbom-include", str(bill), "--out", room],
                cwd=ROOT, env=environment(target), check=True,
            )  # fmt: skip
        finally:
            NOTICES.unlink()
        (wheel,) = Path(room).glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        # Not os.replace: the temporary folder may be on another file system.
        return Path(shutil.copy(wheel, folder))


def main(triples: list[str]) -> int:
    """Build those that are named, into ``dist``."""
    unknown = set(triples) - {target.triple for target in TARGETS}
    if unknown:
        print(f"wheels: no such target: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    for target in TARGETS:
        if not triples or target.triple in triples:
            profile = os.environ.get("PROFILE") or "release"
            print(build(target, ROOT / "dist", profile), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
