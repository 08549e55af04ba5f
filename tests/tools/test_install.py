"""kojuto install: files that are put in their places, and none of somebody else's replaced."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from kojuto.errors import KojutoError
from kojuto.tools.install import place
from kojuto.tools.install.place import File
from tests.conftest import run, script

if TYPE_CHECKING:
    from pathlib import Path


def put(folder: Path, *files: File, force: bool = False, dry_run: bool = False) -> list[str]:
    return list(place.put(list(files), str(folder), force=force, dry_run=dry_run))


def test_each_file_is_told_and_there_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "usr/local"
    line = [script("kojuto"), "install", str(folder)]
    done = subprocess.run(line, capture_output=True, umask=0o077, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    for top, _, _ in os.walk(tmp_path / "usr"):
        assert os.stat(top).st_mode & 0o777 == 0o755, top
    told = done.stdout.decode().splitlines()
    there = {os.path.join(top, name) for top, _, names in os.walk(tmp_path) for name in names}
    assert set(told) == there
    assert len(told) == len(there) > 60
    for path in told:
        assert os.path.islink(path) or os.stat(path).st_mode & 0o777 == 0o644
        assert os.path.exists(path), f"{path} leads nowhere"
    assert f"{folder}/share/man/man1/kojuto-install.1" in there
    assert f"{folder}/share/bash-completion/completions/ppdp" in there
    assert f"{folder}/share/zsh/site-functions/_kojuto" in there
    assert f"{folder}/share/fish/vendor_completions.d/myps.fish" in there


@pytest.mark.parametrize("reader", ["left", "full"])
def test_all_files_are_there_though_nobody_reads_their_names(reader: str, tmp_path: Path) -> None:
    told = run("kojuto", "install", "--dry-run", "--man", tmp_path).stdout.decode().splitlines()
    if reader == "full":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        behind, out = os.pipe()
        os.close(behind)
    try:
        line = [script("kojuto"), "install", "--man", str(tmp_path)]
        done = subprocess.run(line, stdout=out, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(out)
    words = (1, b"kojuto install: error: standard output: No space left on device\n")
    assert (done.returncode, done.stderr) == (words if reader == "full" else (0, b""))
    assert len(told) > 10
    assert all(os.path.exists(path) for path in told)


def test_one_of_both_and_below_the_home_of_who_is_not_root(tmp_path: Path) -> None:
    at = ["--dry-run", "~/x"]
    pages = run("kojuto", "install", "--man", *at, env={"HOME": str(tmp_path)}).stdout.decode()
    assert {path.split("/share/")[1][:4] for path in pages.splitlines()} == {"man/"}
    assert all(path.startswith(f"{tmp_path}/x/") for path in pages.splitlines())
    words = run("kojuto", "install", "--completion", *at, env={"HOME": str(tmp_path)})
    assert b"/man/" not in words.stdout
    assert not os.listdir(tmp_path)


def test_the_date_of_the_pages_can_be_given(tmp_path: Path) -> None:
    env = {"SOURCE_DATE_EPOCH": "1000000000"}
    assert run("kojuto", "install", "--man", tmp_path, env=env).returncode == 0
    page = (tmp_path / "share/man/man1/sabo.1").read_text()
    assert page.startswith(".TH SABO 1 2001-09-09 ")


def test_what_is_not_ours_stays_and_nothing_else_is_written(tmp_path: Path) -> None:
    foreign = tmp_path / "share/man/man1/sabo.1"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine\n")
    done = run("kojuto", "install", tmp_path)
    assert done.returncode == 1
    assert done.stdout == b""
    error, hint = done.stderr.decode().splitlines()
    assert error == (
        f"kojuto install: error: {foreign}: not written by kojuto install, or changed since"
    )
    assert hint == "hint: --force replaces such files; nothing was written"
    assert foreign.read_text() == "mine\n"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["sabo.1"]
    assert run("kojuto", "install", "--force", tmp_path).returncode == 0
    assert foreign.read_text().startswith(".TH SABO 1 ")


def test_what_we_wrote_is_replaced_by_another_version_but_not_once_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a/b"
    monkeypatch.setattr(place, "__version__", "0.0.9")
    assert put(tmp_path, File("a/b", "one\n", "#")) == [str(path)]
    monkeypatch.undo()
    put(tmp_path, File("a/b", "two\n", "#"))
    assert path.read_text().startswith("two\n# kojuto install ")
    put(tmp_path, File("a/b", "two\n", "#"))
    path.write_text(path.read_text().replace("two", "2"))
    with pytest.raises(KojutoError, match="not written by kojuto install, or changed since"):
        put(tmp_path, File("a/b", "three\n", "#"))
    put(tmp_path, File("a/b", "three\n", "#"), dry_run=True, force=True)
    assert path.read_text().startswith("2\n")
    put(tmp_path, File("a/b", "three\n", "#"), force=True)
    assert path.read_text().startswith("three\n")


def test_a_link_of_somebody_is_not_followed(tmp_path: Path) -> None:
    """Or a link in a folder that others may write to would choose which file root replaces."""
    precious = tmp_path / "precious"
    precious.write_text("mine\n")
    (tmp_path / "a").symlink_to(precious)
    with pytest.raises(KojutoError):
        put(tmp_path, File("a", "text\n", "#"))
    put(tmp_path, File("a", "text\n", "#"), force=True)
    assert precious.read_text() == "mine\n"
    assert not (tmp_path / "a").is_symlink()


def test_links_are_made_again_and_turned(tmp_path: Path) -> None:
    files = File("d/a", "text\n", "#"), place.link("d/b", "a")
    put(tmp_path, *files)
    put(tmp_path, *files)
    assert os.readlink(tmp_path / "d/b") == "a"
    put(tmp_path, File("d/b", "now a file\n", "#"))
    assert (tmp_path / "d/a").read_text().startswith("text\n")
    put(tmp_path, *files)
    assert os.readlink(tmp_path / "d/b") == "a"
    (tmp_path / "d/b").unlink()
    (tmp_path / "d/b").symlink_to("elsewhere")
    with pytest.raises(KojutoError):
        put(tmp_path, *files)
    assert [path.name for path in (tmp_path / "d").iterdir() if ".new" in path.name] == []


def test_a_link_to_another_kojuto_is_turned_and_one_to_another_program_stays(
    tmp_path: Path,
) -> None:
    for name in ("old", "new", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plugin").touch()
    (tmp_path / "old/kojuto").touch()
    turned = tmp_path / "bin/plugin"
    (tmp_path / "bin").mkdir()
    for before, may in (("old/plugin", True), ("gone/plugin", True), ("theirs/plugin", False),
                        ("old/kojuto", False)):  # fmt: skip
        turned.symlink_to(tmp_path / before)
        with nullcontext() if may else pytest.raises(KojutoError):
            put(tmp_path, place.link("bin/plugin", f"{tmp_path}/new/plugin"))
        assert os.readlink(turned) == f"{tmp_path}/{'new/plugin' if may else before}"
        turned.unlink()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n", b"# kojuto install 0.1.0 sha256=\n"])
def test_what_else_may_lie_there_is_not_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert not place.is_ours(str(path))
    assert not place.is_ours(str(tmp_path))
    assert not place.is_ours(str(tmp_path / "none"))


def test_a_full_disk_is_told_with_what_is_there_by_then(tiny_disk: Path) -> None:
    done = run("kojuto", "install", tiny_disk)
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    there = {str(path) for path in tiny_disk.rglob("*") if path.is_file() or path.is_symlink()}
    assert set(done.stdout.decode().splitlines()) == there


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["a", "b"], 2, "b: unexpected argument"),
        ([""], 2, "DIR is empty"),
        (["/dev/null/x"], 1, "/dev/null/x"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], status: int, message: str) -> None:
    done = run("kojuto", "install", *arguments)
    assert (done.returncode, done.stdout) == (status, b"")
    assert message in done.stderr.decode().splitlines()[0]
