"""A cached answer of consul-service-has-ip beside nginx's ``return 200``, and beside asking Consul
for each request. The load is ApacheBench over kept connections; Consul is an nginx that answers
at once from memory, which is faster than any real one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.machine import free_port

from benches.harness import BIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benches.harness import Table

REQUESTS = 40_000
SINGLE = 4_000
MEMBERS = 40


class Field:
    """nginx (``return 200``, and Consul's part) and two servers of ours."""

    def __init__(self, folder: Path) -> None:
        self.nginx_port, self.consul_port = free_port(), free_port()
        instances = [
            {"Node": {"Address": f"10.0.0.{i}"}, "Service": {"Address": ""}, "Checks": []}
            for i in range(MEMBERS)
        ]
        config = folder / "nginx.conf"
        config.write_text(f"""
            daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
            events {{ worker_connections 512; }}
            http {{
              access_log off; keepalive_requests 100000000;
              server {{ listen 127.0.0.1:{self.nginx_port};
                        location / {{ default_type application/json;
                                      return 200 '{{"error":0}}\\n'; }} }}
              server {{ listen 127.0.0.1:{self.consul_port};
                        add_header X-Consul-Index 7;
                        default_type application/json;
                        location / {{ return 200 '{json.dumps(instances)}'; }} }}
            }}""")
        self.nginx = self._start(["nginx", "-p", folder, "-c", config, "-e", "stderr"])
        self._await(self.nginx_port)
        self.ports, self.processes = {}, {}
        for name, options in (("watched", []), ("direct", ["--max-watches", "0"])):
            self.ports[name] = port = free_port()
            command: list[str | Path] = [BIN / "consul-service-has-ip", "-l", "127.0.0.1"]
            command += [
                "-p",
                str(port),
                "--consul-api-endpoint",
                f"http://127.0.0.1:{self.consul_port}",
                "--access-log-dir",
                "none",
                *options,
            ]
            self.processes[name] = self._start(command)
            self._await(port)

    @staticmethod
    def _start(command: list[str | Path]) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
        return subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": path},
        )

    @staticmethod
    def _await(port: int) -> None:
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

    def close(self) -> None:
        for process in [self.nginx, *self.processes.values()]:
            process.terminate()
            process.wait(20)


def tree(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def cpu_us(pid: int) -> float:
    """CPU of a process and its children, from the scheduler's own nanoseconds."""
    total = 0
    for one in tree(pid):
        for task in Path(f"/proc/{one}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e3


def load(port: int, count: int, connections: int) -> float:
    """Ask so often over kept connections; the mean time of one request, µs."""
    url = f"http://127.0.0.1:{port}/has/web/10.0.0.7"
    command = ["ab", "-q", "-k", "-n", str(count), "-c", str(connections), url]
    told = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert re.search(r"Failed requests: +0\n", told), told
    assert "Non-2xx" not in told, told
    found = re.search(r"Time per request: +([0-9.]+) \[ms\] \(mean\)", told)
    assert found is not None
    return float(found[1]) * 1e3


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    for program in ("ab", "nginx"):
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None:
            pytest.skip(f"{program} is not installed")
    found = Field(tmp_path_factory.mktemp("consul"))
    yield found
    found.close()


def test_cpu_of_a_cached_answer(table: Table, field: Field) -> None:
    """CPU µs of the server for one request, 16 connections."""

    def per_request(pid: int, port: int, count: int = REQUESTS) -> float:
        before = cpu_us(pid)
        load(port, count, 16)
        return (cpu_us(pid) - before) / count

    watched, direct = field.processes["watched"].pid, field.processes["direct"].pid
    ports = field.ports
    row = table.compare(
        "consul, cached answer, CPU",
        "µs of CPU for a request / nginx `return 200`",
        lambda: per_request(watched, ports["watched"]),
        lambda: per_request(field.nginx.pid, field.nginx_port),
        bound=2.5,
    )
    table.compare(
        "consul, asked each time, CPU",
        "µs of CPU for a request without a watch / with one",
        lambda: per_request(direct, ports["direct"], SINGLE),
        lambda: per_request(watched, ports["watched"]),
        runs=3,
    )
    assert row.ok


def test_time_of_a_cached_answer(table: Table, field: Field) -> None:
    """Mean µs of one request after the other on one connection."""
    ports = field.ports
    row = table.compare(
        "consul, cached answer, time",
        "µs of a round trip / nginx `return 200`",
        lambda: load(ports["watched"], SINGLE, 1),
        lambda: load(field.nginx_port, SINGLE, 1),
        bound=2.0,
    )
    table.compare(
        "consul, asked each time, time",
        "µs of a round trip without a watch / with one",
        lambda: load(ports["direct"], SINGLE // 4, 1),
        lambda: load(ports["watched"], SINGLE, 1),
        runs=3,
    )
    assert row.ok
