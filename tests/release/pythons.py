"""Pythons to install the wheels into: the oldest and the newest at hand, Debian's for AArch64 under
qemu-user, and CPython compiled with musl. What is fetched and compiled stays in ``target``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import ROOT, need_program

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOM = ROOT / "target/release-check"
OLDEST = (3, 10)

# Not of this machine's libraries, which are glibc's; what would ask for them is left out.
MODULES = """\
*static*
binascii binascii.c
*disabled*
_bz2 _crypt _ctypes _curses _curses_panel _dbm _gdbm _hashlib _lzma _sqlite3 _ssl _tkinter _uuid nis
readline zlib
"""


def at_hand() -> dict[tuple[int, int], str]:
    """The Pythons of this machine that kojuto is for, by version: in PATH, and what pyenv has."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders = [
        *os.environ["PATH"].split(":"),
        *map(str, pyenv.glob("*/bin")),
        str(Path(sys.executable).parent),
    ]
    found: dict[tuple[int, int], str] = {}
    for minor in range(OLDEST[1], 40):
        for folder in folders:
            path = shutil.which(f"python3.{minor}", path=folder)
            # A shim of pyenv may be there for one that is not chosen.
            if (
                path
                and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode
                == 0
            ):
                found.setdefault((3, minor), path)
    return found


# Asked for its folders of headers, zig tells those of this machine, whatever it takes itself, and
# setup.py would have it take them first.
COMPILER = """\
#!/bin/sh
case " $*" in *" -E -v -") exit 1 ;; esac
exec {zig} cc -target {machine}-linux-musl -dynamic "$@"
"""


class Foreign:
    """A Python for another platform: how it is started, and where pip puts packages for it."""

    def __init__(
        self, command: Sequence[str | Path], version: str, platforms: Sequence[str]
    ) -> None:
        self.command = [str(word) for word in command]
        self.version = version
        self.platforms = platforms

    def install(self, folder: Path, *requirements: str | Path) -> None:
        """By pip of this machine, which chooses what that platform can have; pip's options may be
        among the requirements.
        """
        options = [f"--platform={platform}" for platform in self.platforms]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder,
             "--python-version", self.version, "--implementation", "cp", "--only-binary=:all:",
             *options, *requirements],
            check=True,
        )  # fmt: skip


def _apt(room: Path, *options: str, parts: Path | None = None) -> list[str]:
    """An apt of its own: what it fetches for another architecture is no part of this machine."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (room / folder).mkdir(parents=True, exist_ok=True)
    (room / "status").touch()
    settings = [
        f"Dir::State={room}/state", f"Dir::State::status={room}/status", f"Dir::Cache={room}/cache",
        "APT::Sandbox::User=root", *options,
    ]  # fmt: skip
    if parts is not None:
        settings += [f"Dir::Etc::sourceparts={parts}", "Dir::Etc::sourcelist=/dev/null"]
    return [need_program("apt-get"), "-qq", *(f"-o{setting}" for setting in settings)]


def _debian(architecture: str, *packages: str) -> Path:
    """A folder with what packages and all that they need hold, unpacked and not configured."""
    root = ROOM / f"debian-{architecture}"
    if (root / ".whole").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    room = ROOM / f"apt-{architecture}"
    apt = _apt(room, f"APT::Architecture={architecture}", f"APT::Architectures={architecture}")
    subprocess.run([*apt, "update"], check=True)
    subprocess.run(
        [*apt, "install", "-y", "--download-only", "--no-install-recommends", *packages],
        check=True,
    )
    root.mkdir(parents=True)
    for package in (room / "cache/archives").glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, root], check=True)
    (root / ".whole").touch()
    return root


def aarch64() -> Foreign:
    """Debian's python3, run by qemu-user."""
    python = _of_debian()
    return Foreign(
        [need_program("qemu-aarch64"), "-L", python.parents[2], python],
        python.name.removeprefix("python"),
        [f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)],
    )


def musl(machine: str) -> Foreign:
    """CPython of Debian's source, compiled by zig with musl, run with Debian's musl."""
    python = _compiled(machine)
    version = python.resolve().name.removeprefix("python")
    platforms = [f"musllinux_1_{minor}_{machine}" for minor in (1, 2)]
    if machine == os.uname().machine:
        assert Path(f"/lib/ld-musl-{machine}.so.1").exists(), "'make servers' installs musl"
        return Foreign([python], version, platforms)
    root = _of_debian().parents[2]
    return Foreign([need_program(f"qemu-{machine}"), "-L", root, python], version, platforms)


def _of_debian() -> Path:
    """Debian's python3 for AArch64; its musl is beside it."""
    (python,) = _debian("arm64", "python3", "musl").glob("usr/bin/python3.[0-9]*[0-9]")
    return python


def _compiled(machine: str) -> Path:
    """The interpreter, compiled once for each state of this file."""
    import ziglang

    room = ROOM / f"musl-{machine}"
    python = room / "root/musl/bin/python3"
    if (room / ".whole").exists():
        return python
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    source = _source()
    version = ".".join(source.name.removeprefix("Python-").split(".")[:2])
    zig = Path(ziglang.__file__).parent / "zig"
    compiler = room / "cc"
    compiler.write_text(COMPILER.format(zig=zig, machine=machine))
    compiler.chmod(0o755)
    env = {
        **os.environ,
        "CC": str(compiler),
        "AR": f"{zig} ar",
        "RANLIB": f"{zig} ranlib",
        "READELF": need_program("readelf"),
        "PKG_CONFIG": "false",  # it tells of this machine's libraries
        "CFLAGS": "-O1 -fno-sanitize=undefined -Wno-date-time",
        "OPT": "-DNDEBUG -fwrapv",
    }
    # What it cannot find out when it cannot run what it compiles.
    known = ["ac_cv_file__dev_ptmx=yes", "ac_cv_file__dev_ptc=no", "ac_cv_buggy_getaddrinfo=no"]
    # In zig's musl, and not yet in that of Debian 12 (1.2.3).
    known += ["ac_cv_func_preadv2=no", "ac_cv_func_pwritev2=no"]
    configure = [
        str(source / "configure"), "--quiet", f"--host={machine}-linux-musl",
        f"--build={os.uname().machine}-linux-gnu", "--prefix=/musl", "--without-ensurepip",
        "--disable-test-modules", f"--with-build-python={at_hand()[_numbers(version)]}", *known,
    ]  # fmt: skip
    with open(room / "log", "wb") as log:

        def run(*command: str) -> None:
            subprocess.run(command, cwd=room, env=env, stdout=log, stderr=log, check=True)

        run(*configure)
        (room / "Modules/Setup.local").write_text(MODULES)
        run("make", "-j2")
        run("make", "install", f"DESTDIR={room}/root")
    (room / ".whole").touch()
    return python


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)


def _source() -> Path:
    """Debian's source of its python3, unpacked as its authors published it."""
    room = ROOM / "apt-source"
    parts = room / "sources"
    parts.mkdir(parents=True, exist_ok=True)
    for path in Path("/etc/apt/sources.list.d").glob("debian*.sources"):
        text = re.sub(r"^Types: .*", "Types: deb-src", path.read_text(), flags=re.MULTILINE)
        (parts / path.name).write_text(text.split("\n\n")[0])  # the release, without its updates
    apt = _apt(room, parts=parts)
    subprocess.run([*apt, "update"], check=True)
    name = _of_debian().name
    release = re.search(r"^Suites: (\S+)", next(parts.iterdir()).read_text(), re.MULTILINE)
    assert release
    subprocess.run(
        [*apt, "source", "--download-only", f"{name}/{release[1]}"], cwd=room, check=True
    )
    (archive,) = room.glob(f"{name}_*.orig.tar.*")
    subprocess.run(["tar", "-xf", archive, "-C", room], check=True)
    (configure,) = room.glob("Python-*/configure")
    return configure.parent
