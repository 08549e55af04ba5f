"""mackerel-plugin-axslog on the logs of a real nginx that a real logrotate rotates meanwhile."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROG = "mackerel-plugin-axslog"

CONFIG = """
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
user root;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    log_format ltsv "time:$time_iso8601\\thost:$remote_addr\\tmethod:$request_method"
                    "\\turi:$request_uri\\tstatus:$status\\tsize:$body_bytes_sent\\tua:$http_user_agent"
                    "\\tptime:$request_time\\tapptime:$upstream_response_time";
    log_format json escape=json '{{"time":"$time_iso8601","uri":"$request_uri",'
                    '"ua":"$http_user_agent","status":"$status","ptime":$request_time,"size":$body_bytes_sent}}';
    access_log {dir}/logs/ltsv.log ltsv;
    access_log {dir}/logs/json.log json;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "ok"; }}
        location /moved {{ return 301 /; }}
        location /missing {{ return 404; }}
        location /broken {{ return 503; }}
    }}
}}
"""
PATHS = {"/": "2xx", "/moved": "3xx", "/missing": "4xx", "/broken": "5xx"}

ROTATIONS = {
    "plain": "rotate 50",
    "compressed": "rotate 50\n compress",
    "delayed": "rotate 50\n compress\n delaycompress",
    "dated": "rotate 50\n dateext\n dateformat -%Y%m%d-%s\n compress",
    "copytruncate": "rotate 50\n copytruncate",
    "copytruncate compressed": "rotate 50\n copytruncate\n compress",
}


class Nginx:
    """A running nginx, and how many requests of each class it has answered."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.logs = folder / "logs"
        self.sent = dict.fromkeys(PATHS.values(), 0)

    def request(self, count: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        paths = list(PATHS)
        for number in range(count):
            path = paths[number % len(paths)]
            # What a log line must survive: tabs and quotes in what the client sends.
            # Real requests differ; a log of equal lines could not be told from its copy.
            unique = f"{path}?{self.total}"
            connection.request("GET", unique, headers={"User-Agent": 'a "b" \\ c\x7f status:1'})
            connection.getresponse().read()
            self.sent[PATHS[path]] += 1
        connection.close()

    def logged(self) -> int:
        """Lines on disk, which nginx writes a moment after its answer."""
        count = 0
        for path in self.logs.glob("ltsv.log*"):
            data = path.read_bytes()
            count += (gzip.decompress(data) if path.suffix == ".gz" else data).count(b"\n")
        return count

    @property
    def total(self) -> int:
        return sum(self.sent.values())


@contextmanager
def nginx(folder: Path) -> Iterator[Nginx]:
    program = need_program("nginx")
    (folder / "logs").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(dir=folder, port=port))
    command = [program, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            server = Nginx(folder, port)
            wait_until(lambda: _answers(port) or process.poll() is not None, what="nginx to start")
            assert process.poll() is None, process.stderr and process.stderr.read()
            yield server
        finally:
            process.terminate()
            process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def rotate(server: Nginx, how: str) -> None:
    program = need_program("logrotate")
    if how == "dated":  # by the second: a name may not come twice
        second = time.time()
        wait_until(lambda: time.time() > second + 1.1)
    config = server.folder / "logrotate.conf"
    reopen = "" if "copytruncate" in how else (
        # nginx reopens its logs a moment after the signal: lines written into a log that is
        # compressed already are lost to everybody.
        f"postrotate\n kill -USR1 $(cat {server.folder}/nginx.pid)\n sleep 0.3\n endscript"
    )  # fmt: skip
    config.write_text(
        f"{server.logs}/*.log {{\n su root root\n missingok\n nocreate\n sharedscripts\n"
        f" {ROTATIONS[how]}\n {reopen}\n}}\n"
    )
    command = [program, "-f", "-s", str(server.folder / "state"), str(config)]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


class Plugin:
    """Runs of the plugin over one log, added up."""

    def __init__(self, log: Path, form: str) -> None:
        self.log, self.form = log, form
        self.counted = 0
        self.classes = dict.fromkeys(PATHS.values(), 0)

    def run(self) -> None:
        done = run(PROG, "--logfile", self.log, "--key-prefix", self.form, "--format", self.form,
                   "--output", "json")  # fmt: skip
        if done.returncode == 1 and b"rotated while it was read" in done.stderr:
            return  # counted by the next run
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        about = document["logs"][0]
        assert about["bad_lines"] == {}, done.stderr
        count = about["counted_lines"]
        self.counted += count
        for name in self.classes:
            share = document["metrics"].get(f"axslog.access_ratio_{self.form}.{name}_percentage", 0)
            self.classes[name] += round(share * count / 100)


@pytest.mark.parametrize("how", [name for name in ROTATIONS if "copytruncate" not in name])
def test_no_request_is_lost_or_counted_twice_while_logs_are_renamed(
    how: str, tmp_path: Path, workdir: Path
) -> None:
    with nginx(tmp_path) as server:
        plugins = [Plugin(server.logs / f"{form}.log", form) for form in ("ltsv", "json")]
        server.request(20)
        for plugin in plugins:
            plugin.run()
        stop = threading.Event()

        def keep_asking() -> None:
            while not stop.is_set():
                server.request(25)

        client = threading.Thread(target=keep_asking)
        client.start()
        try:
            # Rotations with no run between them, one, and two runs between rotations.
            for step in range(6):
                before = server.total
                wait_until(lambda before=before: server.total > before)  # type: ignore[misc]
                rotate(server, how)
                for plugin in plugins:
                    for _ in range(step % 3):
                        plugin.run()
        finally:
            stop.set()
            client.join()
        wait_until(lambda: server.logged() == server.total, what="nginx to write its logs")
        for plugin in plugins:
            plugin.run()
            plugin.run()
            assert plugin.counted == server.total
            assert plugin.classes == server.sent


@pytest.mark.parametrize("how", [name for name in ROTATIONS if "copytruncate" in name])
def test_copytruncate_loses_nothing_that_is_on_disk(
    how: str, tmp_path: Path, workdir: Path
) -> None:
    """Between its copy and its truncation logrotate itself loses what is written: requests pause
    just there, and go on before and after, so that the sum must be exact.
    """
    with nginx(tmp_path) as server:
        plugins = [Plugin(server.logs / f"{form}.log", form) for form in ("ltsv", "json")]
        for step in range(6):
            server.request(30 + 17 * step)
            if step % 3 != 1:
                for plugin in plugins:
                    plugin.run()
            server.request(11)
            wait_until(lambda: server.logged() == server.total, what="nginx to write its logs")
            rotate(server, how)
            # Grown past the old position again before the next run, and not.
            server.request(200 if step % 2 else 5)
        wait_until(lambda: server.logged() == server.total, what="nginx to write its logs")
        for plugin in plugins:
            plugin.run()
            assert plugin.counted == server.total
            assert plugin.classes == server.sent
