"""Network namespaces that a test makes and removes, with links that delay, lose and duplicate."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import need_program, script

if TYPE_CHECKING:
    from collections.abc import Iterator

WIRE = Path(__file__).with_name("wire.py")
Profile = dict[str, "float | str"]


class Namespace:
    """A network namespace with its loopback up."""

    def __init__(self) -> None:
        need_program("ip")
        if os.geteuid() != 0:
            if os.environ.get("CI") == "true":
                pytest.fail("network namespaces need root")
            pytest.skip("network namespaces need root")
        self.name = f"kojuto-{os.getpid()}-{os.urandom(3).hex()}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.sh("ip link set lo up")

    def close(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)
        shutil.rmtree(f"/etc/netns/{self.name}", ignore_errors=True)

    def etc(self, **files: str) -> None:
        """Files of /etc that commands in here see instead: ``hosts``, ``resolv.conf``."""
        folder = Path("/etc/netns") / self.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)

    def command(self, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *arguments]

    def sh(self, line: str) -> None:
        subprocess.run(self.command(*line.split()), check=True)

    def allow_unprivileged_ping(self, groups: str = "0 2147483647") -> None:
        self.python(f"open('/proc/sys/net/ipv4/ping_group_range','w').write({groups!r})")

    def python(self, code: str) -> str:
        done = subprocess.run(
            self.command(sys.executable, "-c", code), check=True, capture_output=True, text=True
        )
        return done.stdout

    def run(
        self, name: str, *arguments: str, user: int | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run an installed command inside, as another user if told."""
        line = [script(name), *arguments]
        if user is not None:
            groups = [
                "--regid",
                str(user),
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
            ]
            line = ["setpriv", "--reuid", str(user), *groups, *line]
        return subprocess.run(
            self.command(*line), capture_output=True, timeout=timeout_s, check=False
        )


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    space = Namespace()
    try:
        yield space
    finally:
        space.close()


@dataclass
class Link:
    """Hosts that can be pinged from `space`; `figures` are there once the link is closed."""

    space: Namespace
    addresses: list[str]
    figures: dict[str, dict[str, Any]]


@contextlib.contextmanager
def wire(*profiles: Profile, v6: bool = False) -> Iterator[Link]:
    """A namespace with one host for each profile behind a TUN device (see `tests.peers.wire`)."""
    first = "2001:db8::10" if v6 else "192.0.2.10"
    start = ipaddress.ip_address(first)
    addresses = [str(start + 2 * number) for number in range(len(profiles))]
    setup = {
        ipaddress.ip_address(address).packed.hex(): profile
        for address, profile in zip(addresses, profiles, strict=True)
    }
    with namespace() as space:
        process = subprocess.Popen(
            space.command(sys.executable, str(WIRE)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        figures: dict[str, dict[str, Any]] = {}
        try:
            process.stdin.write(json.dumps(setup) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            yield Link(space, addresses, figures)
            process.stdin.close()
            told = json.loads(process.stdout.readline())
            for address in addresses:
                figures[address] = told[ipaddress.ip_address(address).packed.hex()]
            assert process.wait(10) == 0
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()


@contextlib.contextmanager
def netem(*profiles: Profile) -> Iterator[Link]:
    """Two namespaces and a veth pair for each profile, ``tc netem`` at the far end of each."""
    need_program("tc")
    with namespace() as space, namespace() as far:
        addresses = []
        for number, profile in enumerate(profiles):
            near_name, far_name, net = f"near{number}", f"far{number}", f"198.51.100.{4 * number}"
            own, other = (str(ipaddress.ip_address(net) + step) for step in (1, 2))
            space.sh(f"ip link add {near_name} type veth peer name {far_name} netns {far.name}")
            for where, name, address in ((space, near_name, own), (far, far_name, other)):
                where.sh(f"ip addr add {address}/30 dev {name}")
                where.sh(f"ip link set {name} up")
            told = subprocess.run(
                far.command("tc", "qdisc", "add", "dev", far_name, "root", *netem_words(profile)),
                capture_output=True,
                text=True,
                check=False,
            )
            if told.returncode != 0:
                assert "qdisc kind is unknown" in told.stderr, told.stderr
                pytest.skip("this kernel has no netem (CONFIG_NET_SCH_NETEM)")
            addresses.append(other)
        yield Link(space, addresses, {})


@contextlib.contextmanager
def wired(*far_addresses: str, own: str = "10.9.0.1/16") -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces and a veth pair, ``near`` and ``far``; the far one has these addresses."""
    with namespace() as space, namespace() as far:
        space.sh(f"ip link add near type veth peer name far netns {far.name}")
        space.sh(f"ip addr add {own} dev near")
        space.sh("ip link set near up")
        for address in far_addresses:
            far.sh(f"ip addr add {address}/16 dev far")
        far.sh("ip link set far up")
        yield space, far


@contextlib.contextmanager
def stuffed(space: Namespace, target: str, buffer_bytes: int) -> Iterator[None]:
    """Somebody in `space` sends to `target` as fast as the queue of the device takes it, with so
    many bytes of it in the queue at a time.
    """
    code = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, {buffer_bytes // 2})\n"
        f"s.connect(({target!r}, 9))\n"
        "for n in range(10**9):\n"
        "    try:\n"
        "        s.send(bytes(1400))\n"
        "    except OSError:\n"  # nobody listens there
        "        pass\n"
        "    if n == 100:\n"
        "        print('full', flush=True)\n"
    )
    process = subprocess.Popen(
        space.command(sys.executable, "-c", code), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "full\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def netem_words(profile: Profile) -> list[str]:
    words = ["netem"]
    if "delay" in profile:
        words += ["delay", f"{profile['delay']}ms"]
        if "jitter" in profile:
            words.append(f"{profile['jitter']}ms")
    for key in ("loss", "duplicate", "reorder"):
        if key in profile:
            words += [key, f"{profile[key]}%"]
    return words
