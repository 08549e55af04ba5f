"""What stands in for the stores and the cluster of the lines that are shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.conftest import wait_until
from tests.peers.certificates import self_signed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.systemd import Systemd

WEB = "logs.example.com"
CERTIFICATE = "/srv/shown/web.pem"
S3FS = '''
"""A store whose buckets are folders of /srv/shown/stores."""
from fsspec.implementations.local import LocalFileSystem
__version__ = "2026.1.0"

class S3FileSystem(LocalFileSystem):
    protocol = "s3"

    @classmethod
    def _strip_protocol(cls, path):
        path = path.removeprefix("s3://").removeprefix("/srv/shown/stores/")
        return "/srv/shown/stores/" + path.lstrip("/")
'''
SERVER = f"""
import http.server, ssl
server = http.server.ThreadingHTTPServer(("{WEB}", 443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("{CERTIFICATE}", "/srv/shown/web-key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
CLUSTER = """
from distributed import LocalCluster
where = {"host": "scheduler", "scheduler_port": 8786, "dashboard_address": None}
with LocalCluster(1, processes=False, **where):
    import time
    time.sleep(600)
"""
SETUP = """
set -e
cd /srv/shown
mkdir -p stores/logs/2026-11-01
cp access.log.1.gz stores/logs/2026-11-01/access.gz
zstd -qf access.log
"""
SERVES = ["/opt/kojuto/bin/python3", "/srv/shown/serves.py"]
"""The server of `WEB`."""
SCHEDULES = "exec /opt/kojuto/bin/python3 /srv/shown/cluster.py"


def prepare(machine: Systemd, folder: Path) -> None:
    """Have the files there, and the web server running."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    certificate, key = self_signed(folder, "web", WEB)
    for path, text in {
        f"/opt/kojuto/lib/{version}/site-packages/s3fs.py": S3FS,
        "/srv/shown/serves.py": SERVER,
        "/srv/shown/cluster.py": CLUSTER,
        CERTIFICATE: certificate.read_text(),
        "/srv/shown/web-key.pem": key.read_text(),
    }.items():
        machine.write(path, text)
    machine.run("bash", "-c", SETUP)
    at = "--property=WorkingDirectory=/srv/shown"
    machine.run("systemd-run", "--quiet", "--unit=web", at, *SERVES)
    wait_until(lambda: machine.run("ss", "-Hltn", "sport = 443"), what="the web server listens")
