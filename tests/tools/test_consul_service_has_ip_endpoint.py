"""consul-service-has-ip: the way to Consul: tokens, passwords, a proxy, TLS."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from kojuto.tools.consul_service_has_ip.endpoint import Endpoint
from tests.conftest import script, wait_until
from tests.peers.certificates import self_signed
from tests.peers.consul import SECRET, Consul, instance
from tests.peers.consul_checker import NAME, checker, consul, get
from tests.peers.servers import LOOPBACK, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage

__all__ = ["consul"]


def copy(a: socket.socket, b: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := a.recv(1 << 16):
            b.sendall(data)
    with contextlib.suppress(OSError):
        b.shutdown(socket.SHUT_RDWR)


def test_the_zone_of_an_address_stays_on_this_machine() -> None:
    for zone in ("%25lo", "%lo"):
        found = Endpoint(f"http://[fe80::1{zone}]:8500/x")
        assert (found.host, found.port) == ("fe80::1%lo", 8500)
        assert (found.server_name, found.netloc) == ("fe80::1", "[fe80::1]:8500")
        assert found.name == "http://[fe80::1%lo]:8500/x"


def test_the_token_is_shown_to_consul_and_to_nobody_else(stage: Stage, consul: Consul) -> None:
    consul.token = SECRET
    consul.set("web", instance("10.0.0.1"))
    path = stage.folder / "token"
    path.write_text("wrong-token-of-mine\n")
    metrics = free_port()
    options: list[str | Path] = [
        "--metrics-listen",
        f"{LOOPBACK}:{metrics}",
        "--access-log-dir",
        stage.folder / "log",
    ]
    server = checker(stage, consul, "--token-file", path, *options)
    refused = server.get("/has/web/10.0.0.1")
    assert refused.status == 500
    assert refused.message.endswith(": 403 Forbidden: ACL not found")
    path.write_text(SECRET + "\n")  # it is read again when Consul refuses
    wait_until(lambda: server.status("/has/web/10.0.0.1") == 200)
    # A Consul that repeats the token in an error does not get it into a log or an answer.
    consul.fail(500, f"rpc error: token {SECRET} is odd")
    wait_until(lambda: server.status("/has/web/10.0.0.1") == 500)
    assert server.get("/has/web/10.0.0.1").message.endswith("rpc error: token ***** is odd")
    shown = get(metrics, "/metrics").body
    with open(f"/proc/{server.pid}/cmdline", "rb") as cmdline:
        shown += cmdline.read()
    assert server.end() == 0
    shown += server.output.read_bytes()
    shown += b"".join(f.read_bytes() for f in (stage.folder / "log").iterdir())
    assert SECRET.encode() not in shown
    assert b"wrong-token-of-mine" not in shown
    by_environment = checker(stage, consul, env={"CONSUL_HTTP_TOKEN": SECRET})
    consul.work()
    wait_until(lambda: by_environment.status("/has/web/10.0.0.1") == 200)
    both = {"CONSUL_HTTP_TOKEN": "x", "CONSUL_HTTP_TOKEN_FILE": str(path)}
    assert checker(stage, consul, env=both).status("/has/web/10.0.0.1") == 200


def test_sighup_reads_the_token_again(stage: Stage, consul: Consul) -> None:
    consul.token = SECRET
    consul.set("web", instance("10.0.0.1"))
    path = stage.folder / "token"
    path.write_text(SECRET)
    server = checker(stage, consul, "--token-file", path)
    assert server.status("/has/web/10.0.0.1") == 200
    wait_until(lambda: consul.waits("web"))
    consul.token = "the-next-token"
    path.write_text(consul.token)
    server.kill(signal.SIGHUP)
    time.sleep(0.2)  # nothing shows that a signal was taken
    consul.set("web", instance("10.0.0.2"))
    wait_until(lambda: server.status("/has/web/10.0.0.2") == 200)
    # The answer may be that to the question before; the next one follows.
    wait_until(lambda: consul.asked[-1].headers["X-Consul-Token"] == "the-next-token")
    assert not server.lines(msg="Consul refuses")
    for broken, words in (("", "holds no token"), (None, "No such file or directory")):
        told = len(server.lines(level="error"))
        if broken is None:
            path.unlink()
        else:
            path.write_text(broken)
        server.kill(signal.SIGHUP)
        line = server.wait_for_lines(told + 1, level="error")[-1]
        assert line["msg"] == "Failed to read the token again, the last one is kept"
        assert line["error"] == f"{path}: {words}"
        assert server.status("/has/web/10.0.0.2") == 200


def test_consul_by_environment_unix_socket_and_password(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    path = stage.folder / "consul.sock"
    relay = socket.socket(socket.AF_UNIX)
    relay.bind(str(path))
    relay.listen()
    stage.later(relay.close)

    def pass_on() -> None:
        conn, _ = relay.accept()  # one connection carries all questions
        with conn, socket.create_connection((LOOPBACK, consul.port)) as there:
            back = threading.Thread(target=copy, args=(there, conn), daemon=True)
            back.start()
            copy(conn, there)
            back.join()

    threading.Thread(target=pass_on, daemon=True).start()
    for address, shown in [
        (f"{LOOPBACK}:{consul.port}", f"http://{LOOPBACK}:{consul.port}"),
        (f"unix://{path}", f"unix://{path}"),
        (f"http://ops:pa%20ss@{LOOPBACK}:{consul.port}", f"http://{LOOPBACK}:{consul.port}"),
    ]:
        port = free_port()
        command = [script(NAME), "-l", LOOPBACK, "-p", str(port)]
        program = stage.program(command, env={"CONSUL_HTTP_ADDR": address})
        program.wait_for("Start listen")
        assert get(port, "/has/web/10.0.0.1").status == 200
        assert program.wait_for_lines(1, msg="Start listen")[0]["consul"] == shown
        assert "pa%20ss" not in program.text()
        assert program.end() == 0
    assert consul.asked[-1].headers["Authorization"] == "Basic b3BzOnBhIHNz"


def test_an_http_proxy_on_the_way(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    proxy = f"http://{LOOPBACK}:{consul.port}"  # what it is asked for is a whole URL then
    options = ["--consul-api-endpoint", "http://consul.invalid:8500"]
    environment = {"http_proxy": proxy, "no_proxy": "localhost"}
    server = checker(stage, consul, *options, env=environment)
    assert server.status("/has/web/10.0.0.1") == 200
    assert consul.asked[0].target.startswith("http://consul.invalid:8500/v1/health/service/web?")
    assert consul.asked[0].headers["Host"] == "consul.invalid:8500"
    environment["no_proxy"] = ".invalid"
    around = checker(stage, consul, *options, env=environment)
    assert around.status("/has/web/10.0.0.1") == 500


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1", "http://proxy..example:3128", "http://[::1:1", "http://p:x"]
)
def test_what_is_no_proxy_is_told_at_the_start(proxy: str) -> None:
    command = [script("consul-service-has-ip"), "--listen", LOOPBACK, "--port", str(free_port())]
    command += ["--consul-api-endpoint", "http://consul.invalid:8500"]
    environment = {**os.environ, "http_proxy": proxy, "no_proxy": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    message = "http_proxy: not an HTTP proxy (write http://HOST:PORT)"
    assert done.stderr.startswith(f"consul-service-has-ip: error: {message}\nhint: ")


def test_an_https_consul_is_verified(stage: Stage) -> None:
    cert, key = self_signed(stage.folder, "consul", "server.dc1.consul", LOOPBACK)
    path = stage.folder / "both.pem"
    path.write_bytes(key.read_bytes() + cert.read_bytes())
    consul = Consul(path)
    stage.later(consul.stop)
    consul.set("web", instance("10.0.0.1"))
    strange = checker(stage, consul)
    assert "certificate verify failed" in strange.get("/has/web/10.0.0.1").message
    known = checker(stage, consul, "--ca-file", str(cert))
    assert known.status("/has/web/10.0.0.1") == 200
    wait_until(lambda: consul.waits("web"))
    consul.set("web", instance("10.0.0.2"))
    wait_until(lambda: known.status("/has/web/10.0.0.1") == 404)
    assert known.end() == 0
    other = {"CONSUL_CACERT": str(cert), "CONSUL_TLS_SERVER_NAME": "other.consul"}
    refused = checker(stage, consul, env=other).get("/has/web/10.0.0.2")
    assert "Hostname mismatch" in refused.message
    # Through a proxy's tunnel the name in the URL is the one that is verified.
    heads: list[bytes] = []

    def tunnel(conn: socket.socket) -> None:
        heads.append(conn.recv(4096))
        conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection((LOOPBACK, consul.port)) as there:
            back = threading.Thread(target=copy, args=(there, conn), daemon=True)
            back.start()
            copy(conn, there)
            back.join()

    proxy = f"http://me:secret@{LOOPBACK}:{stage.peer(tunnel).port}"
    environment = {"https_proxy": proxy, "no_proxy": "", "CONSUL_CACERT": str(cert)}
    options = ["--consul-api-endpoint", "https://server.dc1.consul:8501"]
    far = checker(stage, consul, *options, env=environment)
    assert far.status("/has/web/10.0.0.2") == 200
    first = heads[0].split(b"\r\n")
    assert first[0] == b"CONNECT server.dc1.consul:8501 HTTP/1.1"
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in first
    careless = checker(stage, consul, env={"CONSUL_HTTP_SSL_VERIFY": "false"})
    assert careless.status("/has/web/10.0.0.2") == 200
    wait_until(lambda: careless.lines(level="warn"))
