"""The last step of ``make release``: what goes beside the wheels in ``dist``, and the tag.

``python -m release.publish --ready`` only says whether this source may be released. Nothing leaves
the machine: what to do with ``dist`` and the tag is printed at the end.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from release.targets import ROOT, TARGETS, output, version

SUMS = "SHA256SUMS"


class RefusedError(Exception):
    """Why there is no release of this source."""


def ready() -> str:
    """The tag that this source would get; refused where it could not be found again by it."""
    changes = output("git", "status", "--porcelain")
    if changes:
        raise RefusedError(f"the tree is not clean:\n{changes.rstrip()}")
    tag = f"v{version()}"
    if output("git", "tag", "--list", tag):
        raise RefusedError(f"the tag {tag} is there: the next version goes into Cargo.toml")
    heading = rf"^## {re.escape(version())}(?: |$)"
    if not re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE):
        raise RefusedError(f"CHANGELOG.md has no heading '## {version()}'")
    # The versions of our own crates stand in Cargo.lock, too.
    locked = subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if locked.returncode != 0:
        raise RefusedError(f"Cargo.lock is not that of Cargo.toml:\n{locked.stderr.rstrip()}")
    return tag


def wheels(dist: Path) -> list[Path]:
    """The wheels of all platforms; refused when one is missing, or is not of this source."""
    found = []
    for target in TARGETS:
        named = list(dist.glob(f"kojuto-{version()}-*{target.platform}*.whl"))
        if len(named) != 1:
            raise RefusedError(f"dist has {len(named)} wheels for {target.platform}, not one")
        found += named
    others = set(dist.iterdir()) - set(found)
    if others:
        raise RefusedError(f"dist has more than the wheels: {sorted(path.name for path in others)}")
    source = ROOT / "python"
    for path in found:
        with zipfile.ZipFile(path) as wheel:
            held = {name: wheel.read(name) for name in wheel.namelist()}
        for name in output("git", "ls-files", "python/kojuto").splitlines():
            file = ROOT / name
            if held.get(str(file.relative_to(source))) != file.read_bytes():
                raise RefusedError(f"{path.name} has another {name}: run 'make wheels'")
    return found


def bill(wheel: Path) -> Path:
    """The bill of materials of a wheel, beside it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [
            name for name in archive.namelist() if name.endswith(".dist-info/sboms/kojuto.cdx.json")
        ]
        path = wheel.with_name(f"{wheel.stem}.cdx.json")
        path.write_bytes(archive.read(name))
    return path


def publish() -> None:
    """Fill ``dist`` and set the tag."""
    tag, dist = ready(), ROOT / "dist"
    files = wheels(dist)
    maturin = Path(sys.executable).parent / "maturin"
    subprocess.run([maturin, "sdist", "--out", dist], cwd=ROOT, check=True)
    files.append(dist / f"kojuto-{version()}.tar.gz")
    twine = [sys.executable, "-m", "twine", "check", "--strict"]
    subprocess.run([*twine, *files], cwd=ROOT, check=True)
    files += [bill(wheel) for wheel in files if wheel.suffix == ".whl"]
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(files)
    ]
    (dist / SUMS).write_text("".join(sums))
    subprocess.run(["git", "tag", "--annotate", tag, "--message", f"kojuto {version()}"],
                   cwd=ROOT, check=True)  # fmt: skip
    print(f"\ndist holds what {tag} is:\n{''.join(sums)}")
    print(f"next: git push origin {tag}; twine upload dist/*.whl dist/*.tar.gz")


def main(arguments: list[str]) -> int:
    """Say whether a release can be made, or make it."""
    try:
        if arguments == ["--ready"]:
            print(f"release: this source can become {ready()}")
        elif arguments:
            print("usage: python -m release.publish [--ready]", file=sys.stderr)
            return 2
        else:
            publish()
    except RefusedError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
