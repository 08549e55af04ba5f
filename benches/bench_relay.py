"""ppdp beside HAProxy, nginx stream and a direct connection, all in one run over a loopback."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.machine import free_port
from tests.peers.servers import allow_descriptors

from benches.harness import BIN, RUNS, Row, own_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benches.harness import Table

ROOT = Path(__file__).resolve().parent.parent
LOAD = ROOT / "target/release/examples/relay_load"
BULK_BYTES = 4_000_000_000
ROUND_TRIPS = 20_000
CONNECTIONS = 3_200
NAMES = ("direct", "ppdp", "haproxy", "nginx")
ASLEEP = "ppdp that never polls"


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


def limit() -> int:
    """The descriptors that there are; for 10,000 connections a relay needs two each."""
    return allow_descriptors(20_200)


class Field:
    """The two servers behind, and each relay in front of both."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.processes: dict[str, list[subprocess.Popen[bytes]]] = {
            name: [] for name in (*NAMES, ASLEEP)
        }
        self.sink = dict(zip(NAMES, ports[:4], strict=True))
        self.echo = dict(zip((*NAMES, ASLEEP), ports[4:], strict=True))
        for kind, to in (("sink", self.sink["direct"]), ("echo", self.echo["direct"])):
            self._start("direct", [LOAD, "serve", kind, str(to)])
            port = (self.sink if kind == "sink" else self.echo)["ppdp"]
            self._start(
                "ppdp", [BIN / "ppdp", "-l", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{to}"]
            )
        listen, upstream = (f"127.0.0.1:{self.echo[name]}" for name in (ASLEEP, "direct"))
        self._start(
            ASLEEP,
            [BIN / "ppdp", "-l", listen, "--upstream", upstream, "--busy-poll", "0"],
        )
        pairs = [(self.sink, "sink"), (self.echo, "echo")]
        haproxy = folder / "haproxy.cfg"
        haproxy.write_text(
            "global\n  maxconn 9900\ndefaults\n  mode tcp\n  timeout connect 5s\n"
            "  timeout client 5m\n  timeout server 5m\n"
            + "".join(
                f"listen {name}\n  bind 127.0.0.1:{at['haproxy']}\n"
                f"  server s 127.0.0.1:{at['direct']}\n"
                for at, name in pairs
            )
        )
        self._start("haproxy", ["haproxy", "-db", "-f", haproxy])
        nginx = folder / "nginx.conf"
        servers = "".join(
            f"server {{ listen 127.0.0.1:{at['nginx']} backlog=4096; "
            f"proxy_pass 127.0.0.1:{at['direct']}; proxy_half_close on; }}\n"
            for at, _ in pairs
        )
        nginx.write_text(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
            f"daemon off; pid {folder}/pid; error_log stderr; worker_processes auto;\n"
            f"events {{ worker_connections 9900; }}\nstream {{ {servers} }}\n"
        )
        self._start("nginx", ["nginx", "-p", folder, "-c", nginx, "-e", "stderr"])
        for port in ports:
            self._await(port)

    def _start(self, name: str, command: list[str | Path]) -> None:
        path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": path},
            preexec_fn=limit,  # noqa: PLW1509
        )
        self.processes[name].append(process)

    def _await(self, port: int) -> None:
        import socket

        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:  # noqa: PERF203
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def cpu_s(self, name: str) -> float:
        """CPU of all threads and children of a relay, from the scheduler's own nanoseconds."""
        total = 0
        for process in self.processes[name]:
            for pid in (process.pid, *children(process.pid)):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def resident_bytes(self, name: str, which: int) -> int:
        statm = Path(f"/proc/{self.processes[name][which].pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        for processes in self.processes.values():
            for process in processes:
                process.terminate()
        for processes in self.processes.values():
            for process in processes:
                process.wait(30)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    build = ["cargo", "build", "--release", "--quiet", "-p", "kojuto-io", "--example", "relay_load"]
    subprocess.run(build, cwd=ROOT, check=True)
    ports = free_ports(9)  # in there all are for clients
    with own_loopback():
        made = Field(tmp_path_factory.mktemp("relay"), ports)
        yield made
        made.close()


# A sender with Reno sets no timers. Where the system's default is BBR, a direct connection is
# paced by them; where it is CUBIC, this makes no difference.
UNPACED = {"RELAY_LOAD_CONGESTION": "reno"}


def load(*arguments: str | int, env: Mapping[str, str] | None = None) -> float:
    """Run a client; the seconds it printed."""
    done = subprocess.run(
        [str(LOAD), *map(str, arguments)],
        check=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, **(env or {})},
    )
    return float(done.stdout)


def rounds(
    work: str, ports: dict[str, int], amount: int, runs: int = RUNS
) -> list[dict[str, float]]:
    """Each side once per round, in turn; what every side took."""
    for name in NAMES:
        load(work, ports[name], max(amount // 10, 16))
    return [{name: load(work, ports[name], amount) for name in NAMES} for _ in range(runs)]


def add(  # noqa: PLR0917
    table: Table,
        name: str, question: str, ratios: list[float], bound: float | None,
        at_least: bool, figures: dict[str, float]) -> Row:  # fmt: skip
    row = Row(name, question, statistics.median(ratios), min(ratios), max(ratios), bound, at_least,
              figures)  # fmt: skip
    return table.add(row)


def test_bulk(table: Table, field: Field) -> None:
    """Throughput of one connection, and the CPU that each relay spent on it."""
    before = {name: field.cpu_s(name) for name in NAMES}
    found = rounds("bulk", field.sink, BULK_BYTES)
    gigabytes = (RUNS + 0.1) * BULK_BYTES / 1e9
    cpu = {name: (field.cpu_s(name) - before[name]) / gigabytes for name in NAMES}
    rates = {name: statistics.median(BULK_BYTES / 1e9 / r[name] for r in found) for name in NAMES}
    figures = {f"{name}_gb_per_s": rate for name, rate in rates.items()}
    rows = [
        add(table, "relay, bulk, direct", "throughput of ppdp / direct TCP",
            [r["direct"] / r["ppdp"] for r in found], 0.85, True, figures),
        add(table, "relay, bulk, others", "throughput of ppdp / the better of HAProxy and nginx",
            [min(r["haproxy"], r["nginx"]) / r["ppdp"] for r in found], 1.7, True, figures),
    ]  # fmt: skip
    # The servers behind have worked for all four.
    figures = {f"{name}_cpu_s_per_gb": cpu[name] for name in NAMES if name != "direct"}
    for other in ("haproxy", "nginx"):
        ratio = cpu["ppdp"] / cpu[other]
        rows.append(add(table, f"relay, CPU, {other}", f"CPU seconds per GB of ppdp / {other}",
                        [ratio], 1.0, False, figures))  # fmt: skip
    assert all(row.ok for row in rows)


def test_bulk_unpaced(table: Table, field: Field) -> None:
    """The same from a sender without pacing. No bound: with two cores for three processes, a
    relay of no cost at all would not reach a direct connection that keeps both busy.
    """
    sides = ("direct", "ppdp")
    found = [
        {name: load("bulk", field.sink[name], BULK_BYTES, env=UNPACED) for name in sides}
        for _ in range(RUNS + 1)
    ][1:]
    figures = {f"{name}_gb_per_s": statistics.median(BULK_BYTES / 1e9 / r[name] for r in found)
               for name in sides}  # fmt: skip
    add(table, "relay, bulk, unpaced", "throughput of ppdp / direct TCP, a sender without pacing",
        [r["direct"] / r["ppdp"] for r in found], None, True, figures)  # fmt: skip


def test_round_trip(table: Table, field: Field) -> None:
    """64 bytes there and back, one connection."""
    before = {name: field.cpu_s(name) for name in NAMES}
    found = rounds("rtt", field.echo, ROUND_TRIPS)
    cpu = {name: field.cpu_s(name) - before[name] for name in NAMES}
    figures = {f"{name}_us": statistics.median(r[name] for r in found) / ROUND_TRIPS * 1e6
               for name in NAMES}  # fmt: skip
    row = add(table, "relay, round trip", "time of a 64-byte round trip, ppdp / nginx stream",
              [r["ppdp"] / r["nginx"] for r in found], 1.0, False, figures)  # fmt: skip
    add(table, "relay, round trip CPU", "CPU of a 64-byte round trip, ppdp / nginx stream",
        [cpu["ppdp"] / cpu["nginx"]], None, False, cpu)  # fmt: skip
    assert row.ok


def test_connection_rate(table: Table, field: Field) -> None:
    """Connect, one byte there and back, close; 16 clients at a time."""
    before = {name: field.cpu_s(name) for name in NAMES}
    found = rounds("rate", field.echo, CONNECTIONS, 3 * RUNS)  # a quarter of a second each
    cpu = {name: field.cpu_s(name) - before[name] for name in NAMES}
    figures = {f"{name}_per_s": CONNECTIONS / statistics.median(r[name] for r in found)
               for name in NAMES}  # fmt: skip
    row = add(table, "relay, connections", "connections per second, ppdp / HAProxy",
              [r["haproxy"] / r["ppdp"] for r in found], 1.0, True, figures)  # fmt: skip
    add(table, "relay, connections CPU", "CPU of a connection, ppdp / HAProxy",
        [cpu["ppdp"] / cpu["haproxy"]], None, False, cpu)  # fmt: skip
    assert row.ok


def system_calls(field: Field, name: str, work: str, count: int, folder: Path) -> float:
    """How many system calls a relay makes for one unit of work, from strace(1)."""
    process = field.processes[name][-1]
    pids = [process.pid, *children(process.pid)]
    report = folder / f"{name}-{work}"
    command = ["strace", "-c", "-f", "-U", "calls", "-o", str(report)]
    for pid in pids:
        command += ["-p", str(pid)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert strace.stderr is not None
    for _ in pids:
        assert b" attached" in strace.stderr.readline()
    load(work, field.echo[name], count)
    time.sleep(0.3)  # what follows the client's last close
    strace.send_signal(signal.SIGINT)
    strace.communicate(timeout=30)
    counts = [int(line) for line in report.read_text().split() if line.isdigit()]
    return sum(counts[:-1]) / count  # the last one is the total


def test_system_calls(table: Table, field: Field, tmp_path: Path) -> None:
    """What a short connection and a round trip cost, whatever else the machine does: who polls
    makes as many calls as there is time for, so this is about a relay that sleeps in between.
    """
    works = (("rate", "connection", CONNECTIONS // 2), ("rtt", "round trip", 2_000))
    rows = []
    for work, title, count in works:
        figures = {
            f"{name}_calls": system_calls(field, name, work, count, tmp_path)
            for name in (ASLEEP, "haproxy", "nginx")
        }
        ratio = figures[f"{ASLEEP}_calls"] / min(figures["haproxy_calls"], figures["nginx_calls"])
        question = f"system calls of a {title}, ppdp / the fewer of HAProxy's and nginx's"
        rows.append(add(table, f"relay, calls, {title}", question, [ratio], 1.05, False, figures))
    assert all(row.ok for row in rows)


def test_many_connections(table: Table, field: Field) -> None:
    """CPU per round trip with 10, 1,000 and 10,000 open connections, and their memory."""
    most = min(10_000, (limit() - 100) // 2)
    cost: dict[int, float] = {}
    memory = 0
    for count in (10, 1_000, most):
        client = subprocess.Popen(
            [str(LOAD), "fan", str(field.echo["ppdp"]), str(count), str(30_000 // count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline() == b"open\n"
        memory = field.resident_bytes("ppdp", 1)
        before = field.cpu_s("ppdp")
        client.stdin.write(b"\n")
        client.stdin.flush()
        client.stdout.readline()
        cost[count] = (field.cpu_s("ppdp") - before) / (30_000 // count * count) * 1e6
        client.communicate(b"\n", timeout=60)
    rows = [
        add(table, "relay, growth", f"CPU of a round trip at {most} connections / at 10",
            [cost[most] / cost[10]], 2.0, False,
            {f"at_{count}_us": value for count, value in cost.items()}),
        add(table, "relay, memory", f"resident bytes at {most} connections / as much of 100 MiB",
            [memory / (most / 10_000 * (100 << 20))], 1.0, False, {"bytes": memory}),
    ]  # fmt: skip
    assert all(row.ok for row in rows)
