"""WebSocket tunnels, a client's and a server's end in a row, beside a direct connection; the same
over TLS beside stunnel. All in one run over a loopback.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.peers.servers import accepts

from benches.bench_relay import LOAD, ROOT, UNPACED, add, free_ports
from benches.bench_relay import load as timed
from benches.harness import RUNS, own_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benches.harness import Table

BULK_BYTES = 1_000_000_000
ROUND_TRIPS = 20_000
TUNNEL = ROOT / "tests" / "programs" / "tunnel.py"
ENDS = ("sink", "source", "echo")


class Field:
    """The servers behind, a tunnel to each, and a TLS tunnel of either kind to each."""

    def __init__(self, folder: Path, ports: Iterator[int]) -> None:
        self.processes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.direct = {end: next(ports) for end in ENDS}
        self.ports: dict[str, dict[str, int]] = {"direct": self.direct}
        self._start("sink", [LOAD, "serve", "sink", self.direct["sink"]])
        self._start("echo", [LOAD, "serve", "echo", self.direct["echo"]])
        self._start("source", [LOAD, "source", self.direct["source"], BULK_BYTES])
        pem = self._certificate(folder)
        for kind in ("ws", "wss", "stunnel"):
            self.ports[kind] = {}
            for end in ENDS:
                self.ports[kind][end] = next(ports)
                to = self.direct[end]
                if kind != "stunnel":
                    server = next(ports)
                    self._tunnel(f"{kind} server", "server", server, to)
                    to = server
                if kind != "ws":
                    shield = next(ports)
                    text = f"accept = 127.0.0.1:{shield}\nconnect = 127.0.0.1:{to}\ncert = {pem}\n"
                    self._stunnel(f"{kind} TLS server", folder / f"{kind}-{end}-server", text)
                    to = shield
                name, port = f"{kind} client", self.ports[kind][end]
                if kind == "stunnel":
                    text = f"client = yes\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{to}\n"
                    self._stunnel(name, folder / f"{end}-client", text)
                else:
                    secure = ["tls=localhost", "insecure=1"] if kind == "wss" else []
                    self._tunnel(name, "client", port, to, *secure)
        for ends in self.ports.values():
            for port in ends.values():
                self._await(port)

    @staticmethod
    def _certificate(folder: Path) -> Path:
        pem = folder / "server.pem"
        subject = ["-subj", "/CN=localhost", "-days", "2"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
        subprocess.run([*command, "-keyout", pem, "-out", folder / "crt"], check=True,
                       capture_output=True)  # fmt: skip
        pem.write_bytes(pem.read_bytes() + (folder / "crt").read_bytes())
        return pem

    def _start(self, name: str, command: list[str | Path | int]) -> None:
        path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": path},
        )
        self.processes.setdefault(name, []).append(process)

    def _tunnel(self, name: str, role: str, port: int, to: int, *options: str) -> None:
        self._start(name, [sys.executable, TUNNEL, role, port, to, *options])

    def _stunnel(self, name: str, path: Path, service: str) -> None:
        path.write_text(f"foreground = yes\npid =\nsocket = l:TCP_NODELAY=1\n"
                        f"socket = r:TCP_NODELAY=1\n[s]\n{service}")  # fmt: skip
        self._start(name, ["stunnel", path])

    @staticmethod
    def _await(port: int) -> None:
        deadline = time.monotonic() + 20
        while not accepts(port):
            assert time.monotonic() < deadline, f"nobody listens on {port}"
            time.sleep(0.02)

    def cpu_s(self, name: str) -> float:
        """CPU of all threads, those that have ended too."""
        total = 0
        for process in self.processes[name]:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            total += int(stat[11]) + int(stat[12])
        return total / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        everything = [p for processes in self.processes.values() for p in processes]
        for process in everything:
            process.kill()
        for process in everything:
            process.communicate(timeout=30)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    build = ["cargo", "build", "--release", "--quiet", "-p", "kojuto-io", "--example", "relay_load"]
    subprocess.run(build, cwd=ROOT, check=True)
    ports = iter(free_ports(30))  # in there all are for clients
    with own_loopback():
        made = Field(tmp_path_factory.mktemp("websocket"), ports)
        yield made
        made.close()


def load(*words: str | int) -> tuple[float, float]:
    """Run a client; (the seconds it printed, its own CPU seconds)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [str(LOAD), *map(str, words)], check=True, capture_output=True, timeout=300
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(done.stdout), cpu


def bulk(field: Field, kinds: tuple[str, ...], end: str) -> tuple[list[dict[str, float]], dict[str, float]]:  # fmt: skip  # noqa: E501
    """(Seconds of each kind, round by round; CPU seconds per GB of each process and of both ends
    of the connection with each kind in between).
    """
    words = ["bulk"] if end == "sink" else ["pull"]
    amount = [BULK_BYTES] if end == "sink" else []
    names = [name for name in field.processes if name.split()[0] in kinds]
    found: list[dict[str, float]] = []
    cpu = dict.fromkeys([*(f"ends, {kind}" for kind in kinds), *names], 0.0)
    rounds = 2 * RUNS  # each is short, and a direct connection's speed varies twofold
    for count in range(rounds + 1):
        times: dict[str, float] = {}
        before = {name: field.cpu_s(name) for name in names}
        for kind in kinds:
            at = field.cpu_s(end)
            times[kind], own = load(*words, field.ports[kind][end], *amount)
            if count:  # the first round warms up
                cpu[f"ends, {kind}"] += own + field.cpu_s(end) - at
        if count:
            found.append(times)
            for name in names:
                cpu[name] += field.cpu_s(name) - before[name]
    return found, {name: total / rounds / (BULK_BYTES / 1e9) for name, total in cpu.items()}


@pytest.mark.parametrize(("end", "way"), [("sink", "up, masked"), ("source", "down")])
def test_bulk(table: Table, field: Field, end: str, way: str) -> None:
    """Throughput of one tunnel, and what its processes cost."""
    found, cpu = bulk(field, ("direct", "ws"), end)
    rates = {f"{kind}_gb_per_s": statistics.median(BULK_BYTES / 1e9 / r[kind] for r in found)
             for kind in ("direct", "ws")}  # fmt: skip
    row = add(table, f"WebSocket, {way}", "throughput of two ends in a row / direct TCP",
              [r["direct"] / r["ws"] for r in found], 0.45, True, {**rates, **cpu})  # fmt: skip
    share = (cpu["ws server"] + cpu["ws client"]) / cpu["ends, direct"]
    add(table, f"WebSocket CPU, {way}", "CPU of both ends of the tunnel / of a direct connection",
        [share], None, False, cpu)  # fmt: skip
    assert row.ok


def test_bulk_unpaced(table: Table, field: Field) -> None:
    """The masked way from a sender without pacing, as in bench_relay.py."""
    ports = {kind: field.ports[kind]["sink"] for kind in ("direct", "ws")}
    found = [
        {kind: timed("bulk", port, BULK_BYTES, env=UNPACED) for kind, port in ports.items()}
        for _ in range(RUNS + 1)
    ][1:]
    rates = {f"{kind}_gb_per_s": statistics.median(BULK_BYTES / 1e9 / r[kind] for r in found)
             for kind in ports}  # fmt: skip
    add(table, "WebSocket, up, unpaced", "the same, a sender without pacing",
        [r["direct"] / r["ws"] for r in found], None, True, rates)  # fmt: skip


@pytest.mark.parametrize(("end", "way"), [("sink", "up"), ("source", "down")])
def test_bulk_over_tls(table: Table, field: Field, end: str, way: str) -> None:
    """The same stunnel as TLS server; before it our client with TLS and frames, or stunnel."""
    found, cpu = bulk(field, ("wss", "stunnel"), end)
    rates = {f"{kind}_gb_per_s": statistics.median(BULK_BYTES / 1e9 / r[kind] for r in found)
             for kind in ("wss", "stunnel")}  # fmt: skip
    add(table, f"wss, {way}", "throughput of wss and a server's end / of stunnel alone",
        [r["stunnel"] / r["wss"] for r in found], None, True, {**rates, **cpu})  # fmt: skip
    add(table, f"wss CPU, {way}", "CPU of our client with TLS / of stunnel as client",
        [cpu["wss client"] / cpu["stunnel client"]], None, False, cpu)  # fmt: skip


def test_round_trip(table: Table, field: Field) -> None:
    """64 bytes there and back."""
    kinds = ("direct", "ws", "wss", "stunnel")
    found = []
    for count in range(RUNS + 1):
        times = {kind: load("rtt", field.ports[kind]["echo"], ROUND_TRIPS)[0] for kind in kinds}
        if count:
            found.append(times)
    figures = {f"{kind}_us": statistics.median(r[kind] for r in found) / ROUND_TRIPS * 1e6
               for kind in kinds}  # fmt: skip
    row = add(table, "WebSocket, round trip", "64 bytes through two ends in a row / direct TCP",
              [r["ws"] / r["direct"] for r in found], 2.0, False, figures)  # fmt: skip
    add(table, "wss, round trip", "64 bytes through wss and a server's end / stunnel alone",
        [r["wss"] / r["stunnel"] for r in found], None, False, figures)  # fmt: skip
    assert row.ok
