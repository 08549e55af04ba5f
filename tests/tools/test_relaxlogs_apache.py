"""`relaxlogs` behind a real Apache.

At each graceful restart that ends its loggers and starts others, while processes of its own go on
that write to the old ones.
"""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, script, wait_until
from tests.peers.servers import LOOPBACK, accepts, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = "/usr/lib/apache2/modules"
CONF = """
ServerRoot {folder}
ServerName localhost
Listen {address}
PidFile {folder}/pid
DefaultRuntimeDir {folder}
ErrorLog {folder}/error_log
LoadModule mpm_worker_module {modules}/mod_mpm_worker.so
LoadModule authz_core_module {modules}/mod_authz_core.so
User nobody
Group nogroup
StartServers 1
ThreadsPerChild 4
MinSpareThreads 4
MaxSpareThreads 8
MaxRequestWorkers 8
DocumentRoot {root}
<Directory {root}>
    Require all granted
</Directory>
LogFormat "%U" path
CustomLog "||{logger}" path
"""


def requested(logs: Path) -> list[str]:
    """The paths in all files, sorted."""
    return sorted(line for file in logs.glob("access_log.*") for line in file.read_text().split())


def ask(port: int, number: int) -> None:
    conn = http.client.HTTPConnection(LOOPBACK, port, timeout=20)
    conn.request("GET", f"/{number}")
    assert conn.getresponse().read() == b"x"
    conn.close()


@pytest.fixture
def root() -> Iterator[Path]:
    """What is served, where Apache's own user may read it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_download_that_outlives_a_graceful_restart_holds_up_nobodys_log(
    tmp_path: Path, root: Path
) -> None:
    apache = need_program("apache2", "/usr/sbin")
    logs, port, numbers = tmp_path / "logs", free_port(), range(20)
    (root / "long").write_bytes(bytes(64 << 20))
    for number in numbers:
        (root / str(number)).write_text("x")
    conf = tmp_path / "httpd.conf"
    conf.write_text(CONF.format(
        folder=tmp_path, root=root, address=f"{LOOPBACK}:{port}", modules=MODULES,
        logger=f"{script('relaxlogs')} --ignore-term --log-dir {logs} --pattern access_log.%Y%m%d",
    ))  # fmt: skip
    server = subprocess.Popen([apache, "-D", "FOREGROUND", "-f", conf])
    try:
        wait_until(lambda: accepts(port))
        ask(port, 0)
        wait_until(
            lambda: requested(logs) == ["/0"], what="a line of the first logger, which is up"
        )
        with socket.create_connection((LOOPBACK, port), timeout=20) as slow:
            slow.sendall(b"GET /long HTTP/1.0\r\n\r\n")
            assert slow.recv(15) == b"HTTP/1.1 200 OK"
            server.send_signal(signal.SIGUSR1)
            error_log = tmp_path / "error_log"
            wait_until(lambda: error_log.read_text().count("resuming normal operations") == 2)
            for number in numbers:
                ask(port, number)
            short = sorted(["/0", *(f"/{number}" for number in numbers)])
            wait_until(lambda: requested(logs) == short, what="the lines of short requests")
            while slow.recv(1 << 20):
                pass
        wait_until(lambda: requested(logs) == [*short, "/long"], what="the line of the long one")
        assert "another relaxlogs" not in error_log.read_text()
    finally:
        server.terminate()
        assert server.wait(20) == 0
