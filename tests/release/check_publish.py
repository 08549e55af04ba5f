"""``make release`` in a clone, since it tags: when it refuses, and what it leaves in ``dist``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from release.targets import TARGETS, output, version
from tests.conftest import ROOT
from tests.release.dist import wheel_of

if TYPE_CHECKING:
    from pathlib import Path

WHO = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]


class Clone:
    """A clone of what is here now, committed and not tagged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(["git", "clone", "--quiet", "--no-tags", ROOT, path], check=True)
        changed = output("git", "ls-files", "--modified", "--others", "--exclude-standard")
        for name in changed.splitlines():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path / name, follow_symlinks=False)
        self.name_version(f"## {version()} - 2026-12-01")
        self.commit()

    def name_version(self, heading: str) -> None:
        """Give the changelog this heading in the place of the version's, or of what is to come."""
        log = self.path / "CHANGELOG.md"
        text = log.read_text()
        there = re.search(rf"^## {re.escape(version())}(?: .*)?$", text, re.MULTILINE)
        log.write_text(text.replace(there[0] if there else "## Unreleased", heading, 1))

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *WHO, *arguments], cwd=self.path, check=True, capture_output=True, text=True
        ).stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A release")

    def publish(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "release.publish", *arguments], cwd=self.path, check=False,
            capture_output=True, text=True,
            env={**os.environ, "GIT_COMMITTER_NAME": "Somebody",
                 "GIT_COMMITTER_EMAIL": "somebody@example.com"},
        )  # fmt: skip

    def refuses(self, *arguments: str) -> str:
        done = self.publish(*arguments)
        assert done.returncode == 1
        assert self.git("tag", "--list") == "" or "is there" in done.stderr
        return done.stderr


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


def test_a_clean_source_with_a_heading_is_ready(clone: Clone) -> None:
    done = clone.publish("--ready")
    assert (done.returncode, done.stdout) == (0, f"release: this source can become v{version()}\n")
    assert clone.git("tag", "--list") == ""


def test_a_changed_tree_is_refused(clone: Clone) -> None:
    (clone.path / "README.md").write_text("changed\n")
    assert "the tree is not clean:\n M README.md" in clone.refuses("--ready")


def test_a_tag_that_is_there_is_refused(clone: Clone) -> None:
    clone.git("tag", f"v{version()}")
    assert f"the tag v{version()} is there" in clone.refuses("--ready")


def test_a_changelog_without_the_version_is_refused(clone: Clone) -> None:
    clone.name_version(f"## {version()}1")
    clone.commit()
    assert f"CHANGELOG.md has no heading '## {version()}'" in clone.refuses("--ready")


def test_a_version_that_the_lock_has_not_is_refused(clone: Clone) -> None:
    for name in ("Cargo.toml", "CHANGELOG.md"):
        path = clone.path / name
        path.write_text(path.read_text().replace(version(), "99.0.0"))
    clone.commit()
    assert "Cargo.lock is not that of Cargo.toml" in clone.refuses("--ready")


def test_it_asks_first_and_tags_last(clone: Clone) -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "release"], cwd=clone.path, check=True, capture_output=True, text=True
    ).stdout
    steps = ["publish --ready", "cargo fmt", "cargo test", "release.wheels", "check_", "publish\n"]
    places = [shown.index(step) for step in steps]
    assert places == sorted(places)


def test_what_it_leaves(clone: Clone) -> None:
    dist = clone.path / "dist"
    dist.mkdir()
    assert "dist has 0 wheels for manylinux_2_17_x86_64" in clone.refuses()
    for target in TARGETS:
        shutil.copy(wheel_of(target), dist)
    start = clone.path / "python/kojuto/start.py"
    start.write_text(f"{start.read_text()}\n# later\n")
    clone.commit()
    assert "has another python/kojuto/start.py" in clone.refuses()
    clone.git("reset", "--quiet", "--hard", "HEAD^")
    done = clone.publish()
    assert done.returncode == 0, done.stderr
    names = {path.name for path in dist.iterdir()}
    wheels = [wheel_of(target) for target in TARGETS]
    assert names == {
        "SHA256SUMS", f"kojuto-{version()}.tar.gz", *(wheel.name for wheel in wheels),
        *(f"{wheel.stem}.cdx.json" for wheel in wheels),
    }  # fmt: skip
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=dist, check=True
    )
    assert len((dist / "SHA256SUMS").read_text().splitlines()) == len(names) - 1
    with tarfile.open(dist / f"kojuto-{version()}.tar.gz") as sdist:
        assert f"kojuto-{version()}/Cargo.lock" in sdist.getnames()
    assert clone.git("describe", "--exact-match") == f"v{version()}\n"
    assert clone.git("cat-file", "-t", f"v{version()}") == "tag\n"
