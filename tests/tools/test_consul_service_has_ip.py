"""consul-service-has-ip: its command line, its answers, `/auth`, secrets, life as a server."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto._native import Membership
from tests.conftest import need_program, run, script, wait_until
from tests.peers.certificates import self_signed
from tests.peers.consul import SECRET, Checker, Consul, get, instance
from tests.peers.servers import LOOPBACK, free_port, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers.servers import Stage

NAME = "consul-service-has-ip"


@pytest.fixture
def consul() -> Iterator[Consul]:
    server = Consul()
    yield server
    server.stop()


def checker(stage: Stage, consul: Consul, *options: str | Path, **keywords: object) -> Checker:
    program = Checker(stage.folder, consul, *options, **keywords)
    stage.later(program.close)
    return program


def copy(a: socket.socket, b: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := a.recv(1 << 16):
            b.sendall(data)
    with contextlib.suppress(OSError):
        b.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--consul-api-endpoint is required"),
        (["--consul-api-endpoint", "ftp://x"], "--consul-api-endpoint ftp://x: not an endpoint"),
        (["--consul-api-endpoint", "http://"], "--consul-api-endpoint http://: no host"),
        (["--consul-api-endpoint", "http://h:x"], "--consul-api-endpoint http://h:x: "),
        (["--consul-api-endpoint", "http://h?a"], "--consul-api-endpoint http://h?a: an endpoint"),
        (["--port", "70000"], "--port 70000: above the maximum"),
        (["--timeout", "soon"], "--timeout soon: not a duration"),
        (["--wait", "11m"], "--wait 11m: above the maximum of 10m (1s to 10m)"),
        (["--address", "lan"], "--address lan: not one of any, node, service, tagged:NAME"),
        (["--service", "a.b"], "--service a.b: no name of a service"),
        (["--trusted-proxies", "10.0.0.1/8"], "--trusted-proxies 10.0.0.1/8: "),
        (["--address-header", "Via"], "--address-header Via: not one of"),
    ],
)
def test_a_wrong_call_names_the_value(options: list[str], message: str) -> None:
    done = run(NAME, *options, env={"CONSUL_HTTP_ADDR": ""})
    assert done.returncode == 2
    assert message in done.stderr.decode().splitlines()[0]


def test_what_cannot_be_used_ends_the_start_with_1(tmp_path: Path) -> None:
    empty = tmp_path / "token"
    empty.write_text("\n")
    there = ["--consul-api-endpoint", "http://127.0.0.1:1", "-p", "0"]
    for options, message in [
        (["--token-file", str(tmp_path / "none")], "none: No such file or directory"),
        (["--token-file", str(empty)], "token: holds no token"),
        (["--access-log-dir", str(empty)], "token: File exists"),
        (["--ca-file", str(empty), "--consul-api-endpoint", "https://x"], f"{empty}: "),
    ]:
        done = run(NAME, *there, *options)
        assert done.returncode == 1, done.stderr
        error, hint = done.stderr.decode().splitlines()[-2:]
        assert message in error
        assert hint.startswith("hint: ")


def test_answers_are_those_of_the_original(stage: Stage, consul: Consul) -> None:
    consul.set(
        "api-xx_1",
        instance("10.0.9.1"),
        instance("10.0.9.2", "192.0.2.2", old=True),
        instance("10.0.9.3", status="critical"),
        instance("2001:db8::9"),
        instance("::ffff:10.0.9.4"),
        instance("db.example"),
    )
    server = checker(stage, consul)
    assert [server.get(path).body for path in ("/", "/live")] == [b"OK\n", b"OK\n"]
    yes = server.get("/has/api-xx_1/10.0.9.1")
    assert (yes.status, yes.body) == (200, b'{"error":0}\n')
    assert yes.headers["content-type"] == "application/json"
    no = server.get("/has/api-xx_1/10.0.20.x")
    assert no.status == 404
    assert no.body == b'{"error":1,"messages":"ip:10.0.20.x is not in service:api-xx_1"}\n'
    for address in (
        "10.0.9.2", "192.0.2.2", "2001:DB8:0::9", "2001%3adb8::9", "[2001:db8::9]", "10.0.9.4",
        "::ffff:a00:901", "db.example",
    ):  # fmt: skip
        assert server.status(f"/has/api-xx_1/{address}") == 200, address
    for address in ("10.0.9.3", "10.0.9.10", "6.6.6.6", "db.exampl", "010.0.9.1", "10.0.9.1/32"):
        assert server.status(f"/has/api-xx_1/{address}") == 404, address
    assert server.status("/has/nobody/10.0.9.1") == 404
    assert server.get("/has/a.b/10.0.9.1").body == b"404 page not found\n"
    assert server.get("/has/api-xx_1/%zz").status == 400
    assert server.get("/has/api-xx_1/%3Cb%3e").message == "ip:<b> is not in service:api-xx_1"
    assert b"<b>" not in server.get("/has/api-xx_1/%3Cb%3e").body
    assert server.get("/has/api-xx_1/10.0.9.1", method="HEAD").body == b""
    assert server.get("/has/api-xx_1/10.0.9.1", method="POST").headers["allow"] == "GET, HEAD"
    # All that took three questions: one for each service, and the blocking queries.
    assert len([a for a in consul.asked if not a.index]) == 2
    assert {a.service for a in consul.asked} == {"api-xx_1", "nobody"}
    assert all("passing" in asked.query for asked in consul.asked)


@pytest.mark.parametrize(
    ("rule", "members"),
    [
        ("any", {"10.0.0.1", "10.1.0.1", "10.0.0.2"}),
        ("node", {"10.0.0.1", "10.0.0.2"}),
        ("service", {"10.1.0.1", "10.0.0.2"}),
        ("tagged:wan", {"192.0.2.1", "10.0.0.2"}),
        ("tagged:lan_ipv4", {"10.1.0.1", "10.0.0.2"}),
        ("tagged:none", {"10.1.0.1", "10.0.0.2"}),
    ],
)
def test_which_addresses_count(stage: Stage, consul: Consul, rule: str, members: set[str]) -> None:
    consul.set("web", instance("10.0.0.1", "10.1.0.1", wan="192.0.2.1"), instance("10.0.0.2"))
    server = checker(stage, consul, "--address", rule)
    known = ("10.0.0.1", "10.1.0.1", "10.0.0.2", "192.0.2.1")
    assert {ip for ip in known if server.status(f"/has/web/{ip}") == 200} == members


def test_data_centres_tags_and_filters_are_asked_apart(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1", tags=("blue", "a b&c")), instance("10.0.0.2"))
    consul.set("web", instance("10.9.0.1"), dc="tokyo")
    server = checker(stage, consul, "--stale", "--cached")
    for query, members in [
        ("", {"10.0.0.1", "10.0.0.2"}),
        ("?dc=tokyo", {"10.9.0.1"}),
        ("?tag=blue", {"10.0.0.1"}),
        ("?tag=blue&tag=a+b%26c&x=y", {"10.0.0.1"}),
        ("?tag=blue&tag=none", set()),
        ("?filter=Service.Port+%3D%3D+80&ns=team", {"10.0.0.1", "10.0.0.2"}),
    ]:
        known = ("10.0.0.1", "10.0.0.2", "10.9.0.1")
        found = {ip for ip in known if server.status(f"/has/web/{ip}{query}") == 200}
        assert found == members, query
    away = server.get("/has/web/10.0.0.1?dc=osaka")
    assert away.status == 500
    assert "500 Internal Server Error: No path to datacenter" in away.message
    assert all("stale" in asked.query and "cached" in asked.query for asked in consul.asked)
    assert consul.questions("web", filter="Service.Port == 80", ns="team")
    assert not [asked for asked in consul.asked if "x" in asked.query]


def test_auth_judges_the_client_that_a_trusted_proxy_names(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"), instance(LOOPBACK))
    server = checker(stage, consul)
    assert server.status("/auth?service=web", X_Real_IP="10.0.0.1") == 200
    assert server.status("/auth?service=web", X_Real_IP="::ffff:10.0.0.1") == 200
    no = server.get("/auth?service=web", X_Real_IP="10.0.0.2")
    assert (no.status, no.message) == (403, "ip:10.0.0.2 is not in service:web")
    # A header that the proxy does not set may be the client's.
    assert server.status("/auth?service=web", X_Forwarded_For="10.0.0.1") == 403
    assert server.status("/auth?service=web") == 403
    assert server.status("/auth?service=web&ip=10.0.0.1") == 200
    assert server.status("/auth", X_Real_IP="10.0.0.1") == 400
    assert server.status("/auth?service=a%2Fb", X_Real_IP="10.0.0.1") == 400
    # Who is not trusted is judged by his own address.
    wary = checker(stage, consul, "--trusted-proxies", "192.0.2.0/24")
    assert wary.status("/auth?service=web", X_Real_IP="10.0.0.9") == 200
    consul.set("web", instance("10.0.0.1"))
    wait_until(lambda: wary.status("/auth?service=web", X_Real_IP="10.0.0.1") == 403)
    assert wary.status("/auth?service=web&ip=10.0.0.1") == 403
    chain = checker(
        stage, consul, "--address-header", "X-Forwarded-For",
        "--trusted-proxies", "127.0.0.1,10.9.0.0/16",
    )  # fmt: skip
    for value, status in [
        ("6.6.6.6, 10.0.0.1, 10.9.0.1", 200),
        ("10.0.0.1, 6.6.6.6, 10.9.0.1", 403),
        ("10.0.0.1, unknown", 403),
    ]:
        found = chain.status("/auth?service=web", X_Forwarded_For=value, X_Real_IP="10.0.0.1")
        assert found == status, value


def test_nginx_lets_in_who_is_in_the_service(stage: Stage, consul: Consul) -> None:
    nginx = need_program("nginx")
    server = checker(stage, consul)
    consul.set("bastion", instance("127.0.0.2"))
    root = stage.folder / "root"
    root.mkdir()
    (root / "secret").write_text("the secret\n")
    port, folder = free_port(), stage.folder / "nginx"
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(f"""
        daemon off; master_process off; pid {folder}/pid; error_log stderr;
        events {{ worker_connections 64; }}
        http {{
          access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{
            listen {LOOPBACK}:{port}; root {root};
            location / {{ auth_request /in-service; }}
            location = /in-service {{
              internal;
              proxy_pass http://{LOOPBACK}:{server.port}/auth?service=bastion;
              proxy_pass_request_body off;
              proxy_set_header Content-Length "";
              proxy_set_header X-Real-IP $remote_addr;
            }}
          }}
        }}""")
    stage.program([nginx, "-c", config]).wait_for_port(port)

    def asked(source: str, **headers: str) -> int:
        with socket.create_connection((LOOPBACK, port), 10, (source, 0)) as conn:
            lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
            conn.sendall(f"GET /secret?x=1 HTTP/1.0\r\nHost: x\r\n{lines}\r\n".encode())
            answer = read_all(conn)
        assert (b"the secret" in answer) == (b" 200 " in answer[:20])
        return int(answer.split()[1])

    assert asked("127.0.0.2") == 200
    assert asked("127.0.0.3") == 403
    assert asked("127.0.0.3", X_Real_IP="127.0.0.2", X_Forwarded_For="127.0.0.2") == 403
    consul.set("bastion", instance("127.0.0.3"))
    wait_until(lambda: asked("127.0.0.3") == 200)
    assert asked("127.0.0.2") == 403
    consul.stop()
    wait_until(lambda: asked("127.0.0.3") == 500)


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


ALL = st.ip_addresses()


@settings(max_examples=300, deadline=None)
@given(address=ALL, other=ALL)
def test_an_address_is_its_value_however_it_is_written(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    table = Membership(trusted=["127.0.0.1"], header="X-Real-IP")
    key = Membership.key("web", "")
    table.watch(key)
    assert table.put(key, [str(address)])

    def value(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return str(mapped or ip)

    spellings = [str(address), address.exploded, address.exploded.upper()]
    if isinstance(address, ipaddress.IPv4Address):
        spellings += [f"::ffff:{address}", f"[::FFFF:{address}]"]
    # The set does not change when the same address comes in another spelling.
    assert not any(table.put(key, [spelling]) for spelling in spellings)
    assert table.put(key, [str(other)]) == (value(other) != value(address))


def test_start_server_restarts_it_under_load(stage: Stage, consul: Consul) -> None:
    starter = need_program("start_server")
    consul.set("web", instance("10.0.0.1"))
    port, logs = free_port(), stage.folder / "logs"
    command = [starter, "--port", f"{LOOPBACK}:{port}", "--interval", "1", "--", script(NAME)]
    options = ["--consul-api-endpoint", consul.url, "--access-log-dir", str(logs)]
    program = stage.program([*command, *options, "--service", "web"])
    program.wait_for("Members")
    stop, results, broken = threading.Event(), [0], []

    def load() -> None:
        while not stop.is_set():
            try:
                reply = get(port, "/has/web/10.0.0.1")
                assert (reply.status, reply.body) == (200, b'{"error":0}\n')
                results[0] += 1
            except Exception as error:  # noqa: PERF203
                broken.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for ended in (1, 2):
            program.kill(signal.SIGHUP)
            program.wait_for_lines(ended, msg="Complete shutdown")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not broken
    assert results[0] > 100
    assert program.end() == 0
    # Each generation waited for the files of the one before; no line is lost.
    lines = b"".join(p.read_bytes() for p in logs.glob("access_log.*")).splitlines()
    assert len(lines) == sum(b"uri:/has/web/10.0.0.1\t" in line for line in lines)
    assert len(lines) == results[0]


def test_a_repeated_sigterm_costs_no_line(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    folder = stage.folder / "logs"
    holder = checker(stage, consul, "--access-log-dir", folder)
    holder.get("/has/web/1")
    # The second one has to wait for the files, so its end takes a while.
    server = checker(stage, consul, "--access-log-dir", folder)
    for number in range(50):
        server.get(f"/has/web/{number}")
    server.kill()
    wait_until(lambda: server.lines(msg="Complete shutdown"))
    for _ in range(20):
        server.kill()
        time.sleep(0.02)
    assert holder.end() == 0
    assert server.process.wait(20) == 0
    assert len((folder / "current").read_text().splitlines()) == 51


def test_systemd_hands_the_socket_down(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    with socket.create_server((LOOPBACK, 0)) as sock:
        port = sock.getsockname()[1]
        shell = f'exec 3<&{sock.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        command = ["bash", "-c", shell, "bash", script(NAME), "--consul-api-endpoint", consul.url]
        program = stage.program(command, pass_fds=[sock.fileno()])
        program.wait_for("Start listen")
    assert get(port, "/has/web/10.0.0.1").status == 200
    assert program.end() == 0


def test_sigterm_lets_an_open_question_end(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    consul.delay_s = 1.0
    server = checker(stage, consul)
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(server.status("/has/web/10.0.0.1")))
    asking.start()
    wait_until(lambda: consul.asked)
    assert server.end() == 0
    asking.join()
    assert found == [200]
    wait_until(lambda: server.lines(msg="Complete shutdown"))


def test_slow_clients_and_large_requests_are_cut(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    server = checker(stage, consul, "--read-timeout", "500ms")
    with socket.create_connection((LOOPBACK, server.port), 10) as slow:
        slow.sendall(b"GET /has/web/10.0.0.1 HTTP/1.1\r\n")
        began = time.monotonic()
        assert b" 200 " not in read_all(slow)
        assert time.monotonic() - began < 5
    assert server.status("/has/web/10.0.0.1", Cookie="x" * 70_000) == 431
    with socket.create_connection((LOOPBACK, server.port), 10) as large:
        head = b"GET /has/new/1.2.3.4 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        large.sendall(head)
        assert large.recv(100).startswith(b"HTTP/1.1 413 ")
    assert server.status("/has/web/10.0.0.1") == 200


def test_the_access_log_is_ltsv_in_dated_files(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1"))
    folder = stage.folder / "made" / "logs"
    folder.mkdir(parents=True)
    old = folder / "access_log.202001010000"
    old.write_text("old\n")
    os.utime(old, (0, 0))
    other = folder / "access_log"
    other.write_text("not one of its files\n")
    os.utime(other, (0, 0))
    server = checker(stage, consul, "--access-log-dir", folder, "--access-log-rotate", "2")
    server.get("/has/web/10.0.0.1?dc=dc1", User_Agent="a\tb\\", Referer="http://r/")
    server.get("/has/web/10.0.0.2", X_Forwarded_For="192.0.2.9")
    assert server.end() == 0
    assert not old.exists()
    assert other.exists()
    name = time.strftime("access_log.%Y%m%d0000")
    assert os.readlink(folder / "current") == name
    lines = (folder / name).read_text().splitlines()
    first, second = (dict(f.split(":", 1) for f in line.split("\t")) for line in lines)
    assert (first["method"], first["uri"]) == ("GET", "/has/web/10.0.0.1?dc=dc1")
    assert (first["status"], first["size"], first["host"]) == ("200", "12", LOOPBACK)
    assert (first["ua"], first["referer"]) == ("a\\x09b\\x5c", "http://r/")
    assert first["vhost"] == f"{LOOPBACK}:{server.port}"
    assert (
        abs(time.time() - time.mktime(time.strptime(first["time"][:19], "%Y-%m-%dT%H:%M:%S"))) < 60
    )
    assert all(0 < float(line["reqtime"]) < 10 for line in (first, second))
    assert (second["status"], second["forwardedfor"]) == ("404", "192.0.2.9")


def test_a_new_day_begins_a_new_access_log(stage: Stage, consul: Consul) -> None:
    folder, ahead_s = stage.folder / "logs", 4
    # A zone in which it is midnight in a few seconds (tzset(3): west is positive).
    now = time.time()
    east = int(86400 - ahead_s - now % 86400 + 43200) % 86400 - 43200
    zone = f"XXX{'-' if east >= 0 else '+'}" + time.strftime("%H:%M:%S", time.gmtime(abs(east)))
    server = checker(stage, consul, "--access-log-dir", folder, env={"TZ": zone})

    def days() -> list[str]:
        stamps = (time.gmtime(now + east + day * 86400) for day in (0, 1))
        return [time.strftime("access_log.%Y%m%d0000", stamp) for stamp in stamps]

    sent = 0
    while not (folder / days()[1]).exists():
        assert server.status(f"/has/web/{sent}") == 404
        sent += 1
        time.sleep(0.02)
        assert time.time() - now < 30
    assert server.end() == 0
    texts = [(folder / day).read_text() for day in days()]
    found = [line.split("uri:/has/web/")[1].split("\t")[0] for line in "".join(texts).splitlines()]
    assert found == [str(number) for number in range(sent)]
    assert all(text.count("\n") >= 1 for text in texts)
    assert os.readlink(folder / "current") == days()[1]


def test_the_access_log_on_standard_output(stage: Stage, consul: Consul) -> None:
    server = checker(stage, consul, "--access-log-dir", "stdout")
    server.get("/live")
    wait_until(lambda: "uri:/live\t" in server.text())


def test_a_full_disk_costs_the_access_log_and_no_answer(
    stage: Stage, consul: Consul, tiny_disk: Path
) -> None:
    consul.set("web", instance("10.0.0.1"))
    server = checker(stage, consul, "--access-log-dir", tiny_disk)

    def answered(**headers: str) -> None:
        reply = server.get("/has/web/10.0.0.1", **headers)
        assert reply.status == 200, reply.body

    while not server.lines(msg="Access log", level="warn"):
        answered(User_Agent="x" * 2000)
    assert "No space left on device" in server.wait_for_lines(1, msg="Access log")[0]["note"]
    for _ in range(50):
        answered()
    assert server.end(within_s=30) == 0
