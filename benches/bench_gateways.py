"""Connections a second through wsgate-client and wsgate-server, RS256 tokens checked, beside a pair
written with the `websockets` library alone. All in one run over a loopback.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import wait_until
from tests.peers.servers import accepts

from benches.bench_relay import LOAD, ROOT, add, free_ports, load
from benches.harness import BIN, RUNS, own_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benches.harness import Table

CONNECTIONS = 1_000
PAIR = Path(__file__).parent / "websockets_pair.py"


class Field:
    """An echo, and two pairs of gateways in front of it."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        echo, server, client, their_server, their_client = ports
        self.ports = {"kojuto": client, "websockets": their_client}
        key, public = folder / "key.pem", folder / "public.pem"
        make = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        subprocess.run([*make, "-out", key], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
        (folder / "server.map").write_text(f"a,127.0.0.1:{echo}\n")
        (folder / "client.map").write_text(
            f"127.0.0.1:{client},http://127.0.0.1:{server}/proxy/a\n"
        )
        self._start("echo", echo, LOAD, "serve", "echo", echo)
        self._start("kojuto server", server, BIN / "wsgate-server", "--listen",
                    f"127.0.0.1:{server}", "--map", folder / "server.map",
                    "--public-key", public)  # fmt: skip
        self._start("kojuto client", client, BIN / "wsgate-client",
                    "--map", folder / "client.map", "--private-key", key)  # fmt: skip
        self._start("websockets server", their_server, sys.executable, PAIR, "server",
                    their_server, echo, public)  # fmt: skip
        url = f"ws://127.0.0.1:{their_server}/"
        self._start("websockets client", their_client, sys.executable, PAIR, "client",
                    their_client, url, key)  # fmt: skip

    def _start(self, name: str, port: int, *command: str | int | Path) -> None:
        words = [str(word) for word in command]
        self.processes[name] = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        wait_until(lambda: accepts(port))

    def cpu_s(self, name: str) -> float:
        stat = Path(f"/proc/{self.processes[name].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(30)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    build = ["cargo", "build", "--release", "--quiet", "-p", "kojuto-io", "--example", "relay_load"]
    subprocess.run(build, cwd=ROOT, check=True)
    ports = free_ports(5)  # in there all are for clients
    with own_loopback():
        made = Field(tmp_path_factory.mktemp("gateways"), ports)
        yield made
        made.close()


def test_connections(table: Table, field: Field) -> None:
    """Connect, a byte there and back, close; and what one costs each process."""
    names = [name for name in field.processes if name != "echo"]
    before: dict[str, float] = {}
    found = []
    for count in range(RUNS + 1):
        if count == 1:  # the first round warms up
            before = {name: field.cpu_s(name) for name in names}
        times = {kind: load("rate", port, CONNECTIONS) for kind, port in field.ports.items()}
        found += [times] if count else []
    cpu = {f"{name}_cpu_us": (field.cpu_s(name) - before[name]) / RUNS / CONNECTIONS * 1e6
           for name in names}  # fmt: skip
    rates = {f"{kind}_per_s": statistics.median(CONNECTIONS / times[kind] for times in found)
             for kind in field.ports}  # fmt: skip
    row = add(table, "wsgate, connections", "connections a second of wsgate / of websockets alone",
              [times["websockets"] / times["kojuto"] for times in found], 2.0, True,
              {**rates, **cpu})  # fmt: skip
    for end in ("server", "client"):
        share = cpu[f"kojuto {end}_cpu_us"] / cpu[f"websockets {end}_cpu_us"]
        add(table, f"wsgate CPU, {end}", f"CPU of a connection, wsgate-{end} / websockets alone",
            [share], None, False, cpu)  # fmt: skip
    assert row.ok
