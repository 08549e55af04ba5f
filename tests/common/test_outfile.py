"""A result in a file: replaced as a whole with its mode, a device written to."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from kojuto.common import outfile
from kojuto.errors import UsageError
from tests.disks import mount

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_file_has_what_the_umask_leaves_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "result"
    before = os.umask(0o027)
    try:
        outfile.write(str(path), b"one")
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o640)
    path.chmod(0o604)
    outfile.write(str(path), b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o604)
    assert os.listdir(tmp_path) == ["result"]


def test_a_name_may_be_as_long_as_names_may_be(tmp_path: Path) -> None:
    for name in ("n" * 255, "\u3042" * 85):
        for content in (b"one", b"two"):
            outfile.write(str(tmp_path / name), content)
            assert (tmp_path / name).read_bytes() == content
    assert len(os.listdir(tmp_path)) == 2


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    outfile.write(str(tmp_path / "link"), b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"x"


def test_a_named_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    outfile.write(str(path), bytes(200_000))
    reader.join()
    assert got == [bytes(200_000)]


def test_a_file_that_is_mounted_is_written_to(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_bytes(b"a longer one")
    inside.touch()
    mount("--bind", outside, inside)
    try:
        outfile.write(str(inside), b"one")
    finally:
        subprocess.run(["umount", inside], check=True)
    assert (outside.read_bytes(), inside.read_bytes()) == (b"one", b"")


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        outfile.write("/dev/full", b"x")
    assert caught.value.filename == "/dev/full"
    with pytest.raises(FileNotFoundError):
        outfile.write(str(tmp_path / "no" / "such"), b"x")


def test_what_is_something_else_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "access.log"

    def check() -> None:
        outfile.must_be("--save", str(path), "page", (b"<!doctype html", b"<html"))

    check()
    for replaced in (b"", b"<!DOCTYPE html>\n", b"<html>"):
        path.write_bytes(replaced)
        check()
    for kept in (b"<", b"status:200\n", b"\n<html>"):
        path.write_bytes(kept)
        with pytest.raises(UsageError, match=f"--save {path}: it is there and no page"):
            check()
    for other in ("-", "/dev/null", "/dev/full"):
        outfile.must_be("--save", other, "page", (b"<html",))
    path.unlink()
    with pytest.raises(FileNotFoundError):
        outfile.must_be("--save", str(path / "page"), "page", (b"<html",))
    os.mkfifo(path)  # which would be waited for
    check()
