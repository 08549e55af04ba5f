"""deteco with a token it knows beside nginx ``return 200``, each alone on the same core; and with
tokens that it does not know.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from benches.harness import BIN, RUNS, Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benches.harness import Table

CONNECTIONS = 64
SECONDS = 3
CORES = sorted(os.sched_getaffinity(0))


class Server:
    """A server pinned to the first core."""

    def __init__(self, command: list[str | Path], port: int) -> None:
        pinned = ["taskset", "-c", str(CORES[0]), *map(str, command)]
        self.process = subprocess.Popen(
            pinned, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.port = port
        self._await()

    def _await(self) -> None:
        import socket

        deadline = time.monotonic() + 20
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", self.port)):
                assert time.monotonic() < deadline, self.process.args
                time.sleep(0.05)

    def cpu_s(self) -> float:
        """CPU seconds so far of the process and its children."""
        from benches.bench_relay import children

        ticks = 0
        for pid in [self.process.pid, *children(self.process.pid)]:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Field:
    """Both servers, and the request that both are asked."""

    def __init__(self, folder: Path) -> None:
        from benches.bench_relay import free_ports

        ours, theirs, new = free_ports(3)
        key, public_key = folder / "key", folder / "key.pub"
        deteco = BIN / "deteco"
        commands: tuple[list[str | Path], ...] = (
            ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key],
            ["pkey", "-in", key, "-pubout", "-out", public_key],
        )
        for command in commands:
            subprocess.run(["openssl", *command], check=True, stderr=subprocess.DEVNULL)
        header = subprocess.run(
            [deteco, "jwtgen", "--private-key", key, "--private-key-user", "bench"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        self.headers = [header, "X-Original-URI: /api/echo/some/path?query=1"]
        conf = folder / "deteco.toml"
        public = public_key.read_text()
        conf.write_text(
            f"[[services]]\nid='bench'\npaths=['/api/echo']\npublic_keys=['''{public}''']\n"
        )
        nginx = folder / "nginx.conf"
        nginx.write_text(
            f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;"
            "events { worker_connections 1024; } http { access_log off;"
            f" client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;"
            f" fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;"
            f" scgi_temp_path {folder}/s; keepalive_requests 1000000000;"
            f" server {{ listen 127.0.0.1:{theirs}; location = /auth {{"
            ' add_header X-Deteco-User bench; return 200 "OK\\n"; } } }'
        )
        listen = ["--listen", f"127.0.0.1:{ours}"]
        self.sides = {
            "deteco": Server([deteco, "--conf", conf, *listen], ours),
            # Without a cache each request's token is a new one.
            "new": Server(
                [deteco, "--conf", conf, "--listen", f"127.0.0.1:{new}", "--cache-size", "0"], new
            ),
            "nginx": Server(["nginx", "-p", folder, "-c", nginx, "-e", "stderr"], theirs),
        }

    def load(self, side: str) -> tuple[float, float, float]:
        """Requests per second, 99th percentile in microseconds, CPU microseconds per request."""
        server = self.sides[side]
        before = server.cpu_s()
        done = subprocess.run(
            ["taskset", "-c", str(CORES[-1]), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s",
             "--latency", *(word for header in self.headers for word in ("-H", header)),
             f"http://127.0.0.1:{server.port}/auth"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert "Non-2xx" not in done, done
        assert "Socket errors" not in done, done
        found = re.search(r"99%\s+([\d.]+)(us|ms|s)\n", done)
        count = re.search(r"(\d+) requests in", done)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", done)
        assert found and count and rate, done  # noqa: PT018
        p99_us = float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]]
        cpu_us = (server.cpu_s() - before) / int(count[1]) * 1e6
        return float(rate[1]), p99_us, cpu_us

    def close(self) -> None:
        for server in self.sides.values():
            server.close()


@pytest.fixture
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    made = Field(tmp_path_factory.mktemp("deteco"))
    yield made
    made.close()


def test_a_known_token(table: Table, field: Field) -> None:
    """64 keep-alive connections, the load on another core where there is one."""
    sides = ("deteco", "nginx")
    for side in sides:
        field.load(side)
    found = [{side: field.load(side) for side in sides} for _ in range(RUNS)]
    median = {side: [statistics.median(r[side][at] for r in found) for at in range(3)]
              for side in sides}  # fmt: skip
    figures = {
        f"{side}_{name}": median[side][at]
        for side in sides
        for at, name in enumerate(("per_s", "p99_us", "cpu_us"))
    }
    ratios = [r["deteco"][0] / r["nginx"][0] for r in found]
    row = table.add(
        Row("deteco, known token", "requests per second of deteco / nginx return 200",
            statistics.median(ratios), min(ratios), max(ratios), 0.8, True, figures)
    )  # fmt: skip
    for at, name, question in (
        (1, "deteco, p99", "99th percentile of the answer's time, deteco / nginx"),
        (2, "deteco, CPU", "CPU of a request, deteco / nginx"),
    ):
        ratios = [r["deteco"][at] / r["nginx"][at] for r in found]
        table.add(
            Row(name, question, statistics.median(ratios), min(ratios), max(ratios), None, False,
                figures)
        )  # fmt: skip
    print({name: round(value, 2) for name, value in figures.items()})
    assert row.ok


def test_new_tokens(table: Table, field: Field) -> None:
    """RS256 with 2048 bits, each checked as if it had never been seen."""
    sides = ("deteco", "new")
    for side in sides:
        field.load(side)
    found = [{side: field.load(side) for side in sides} for _ in range(RUNS)]
    ratios = [r["new"][0] / r["deteco"][0] for r in found]
    figures = {f"{side}_per_s": statistics.median(r[side][0] for r in found) for side in sides}
    row = table.add(
        Row("deteco, new tokens", "requests per second with new RS256 tokens / with a known one",
            statistics.median(ratios), min(ratios), max(ratios), 0.3, True, figures)
    )  # fmt: skip
    assert row.ok
