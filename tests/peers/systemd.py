"""A systemd of the tests' own: process 1 of namespaces, on an overlay of this machine's files.

It has its own control groups, network, /run and /tmp; what it writes is gone with it. The Python of
the tests and this source are in /opt there, where a confined service may read them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path

import pytest

from kojuto.commands import COMMANDS
from kojuto.start import HELD
from tests.conftest import ROOT, need_program, wait_until

GROUPS = Path("/sys/fs/cgroup")
START = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {folder}
mkdir {folder}/up {folder}/work {folder}/root
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/up,workdir={folder}/work {folder}/root
cd {folder}/root
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
if [ -e {groups}/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t tmpfs tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
fi
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
rm -rf etc/systemd/system
mkdir -p etc/systemd/system/service.d etc/kojuto opt/kojuto opt/python opt/source opt/packages
mount --bind {python} opt/python
mount --bind {source} opt/source
mount --bind {packages} opt/packages
printf '[Unit]\\nAllowIsolate=yes\\n' >etc/systemd/system/tests.target
printf '%s\\n' '[Service]' 'StandardError=append:/run/%N.log' \\
    'Environment=LD_LIBRARY_PATH=/opt/python/lib' >etc/systemd/system/service.d/tests.conf
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
ip link set lo up
exec env -i container=kojuto PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    /lib/systemd/systemd --system --unit=tests.target --log-target=null --show-status=no
"""
LAUNCHER = """#!/opt/kojuto/bin/python3
import sys
from {module} import {name}
sys.exit({name}())
"""


class Systemd:
    """The manager, ready for units."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0:
            if os.environ.get("CI") == "true":
                pytest.fail("a systemd of one's own needs root")
            pytest.skip("a systemd of one's own needs root")
        for program in ("unshare", "nsenter", "systemctl", "ip"):
            need_program(program)
        unified = (GROUPS / "cgroup.controllers").exists()
        name = f"kojuto-{os.getpid()}-{os.urandom(3).hex()}"
        tops = [GROUPS] if unified else [GROUPS / "systemd", GROUPS / "unified"]
        self._groups = [top / name for top in tops if top.is_dir()]
        for group in self._groups:
            group.mkdir()
        start = START.format(
            folder=folder, groups=GROUPS, python=sys.base_prefix, source=ROOT,
            packages=sysconfig.get_path("platlib"),
        )  # fmt: skip
        joins = [f"echo $$ >{shlex.quote(str(group / 'cgroup.procs'))}" for group in self._groups]
        inside = "exec unshare -mpiunC --fork --kill-child sh -c " + shlex.quote(start)
        self._process = subprocess.Popen(
            ["sh", "-c", "\n".join(["set -e", *joins, inside])],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        wait_until(lambda: self._process.poll() is not None or children.read_text().strip())
        if self._process.poll() is not None:
            pytest.fail(self._process.stderr.read().decode())  # type: ignore[union-attr]
        self._inside = ["nsenter", "-t", children.read_text().split()[0], "-a"]
        wait_until(lambda: self.run("systemctl", "is-system-running", check=False) == "running\n")
        self._install_kojuto()

    def _install_kojuto(self) -> None:
        python = f"/opt/python/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
        self.run(python, "-m", "venv", "--without-pip", "--symlinks", "/opt/kojuto")
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        site = f"/opt/kojuto/lib/python{version}/site-packages"
        self.write(f"{site}/source.pth", "/opt/source/python\n/opt/packages\n")
        for name, (module, _) in {**COMMANDS, "kojuto": ("kojuto.start", "")}.items():
            held = name in HELD or name == "kojuto"
            text = LAUNCHER.format(
                module="kojuto.start" if held else module,
                name=name.replace("-", "_") if held else "main",
            )
            self.write(f"/opt/kojuto/bin/{name}", text)
            self.run("chmod", "755", f"/opt/kojuto/bin/{name}")

    def run(self, *command: str, check: bool = True, stdin: str = "") -> str:
        """Run a command inside; its output."""
        done = subprocess.run(
            [*self._inside, *command], input=stdin, capture_output=True, text=True, check=False,
            timeout=60, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
        if check and done.returncode != 0:
            pytest.fail(f"{command}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        self.run("mkdir", "-p", os.path.dirname(path))
        self.run("tee", path, stdin=text)

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "-P", name, unit).strip()

    def log(self, service: str) -> str:
        """What a service has written to standard error."""
        return self.run("cat", f"/run/{service}.log", check=False)

    def get(self, url: str) -> int:
        """The status of an HTTP answer inside."""
        code = (
            "import sys, urllib.request as u, urllib.error as e\n"
            "try: print(u.urlopen(sys.argv[1], timeout=20).status)\n"
            "except e.HTTPError as error: print(error.code)"
        )
        return int(self.run("/opt/kojuto/bin/python3", "-c", code, url))

    def close(self) -> None:
        self._process.kill()  # --kill-child: and with it process 1 and all below
        self._process.communicate()
        for group in self._groups:
            wait_until(partial(_is_removed, group), what=f"{group} is empty")


def _is_removed(group: Path) -> bool:
    """Whether a control group and all below it can go, which those that end have left."""
    try:
        for path in sorted(group.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
        group.rmdir()
    except OSError:
        return False
    return True
