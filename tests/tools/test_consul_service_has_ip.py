"""consul-service-has-ip: its command line, its answers, `/auth`."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto._native import Membership
from tests import shown
from tests.conftest import need_program, run, wait_until
from tests.peers.consul import Consul, instance
from tests.peers.consul_checker import NAME, checker, consul
from tests.peers.servers import LOOPBACK, free_port, read_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage

__all__ = ["consul"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--consul-api-endpoint is required"),
        (["--consul-api-endpoint", "ftp://x"], "--consul-api-endpoint ftp://x: not an endpoint"),
        (["--consul-api-endpoint", "http://"], "--consul-api-endpoint http://: no host"),
        (["--consul-api-endpoint", "http://a..b"], "--consul-api-endpoint http://a..b: not a host"),
        (["--consul-api-endpoint", "http://h:x"], "--consul-api-endpoint http://h:x: "),
        (["--consul-api-endpoint", "http://h?a"], "--consul-api-endpoint http://h?a: an endpoint"),
        (["--port", "70000"], "--port 70000: above the maximum"),
        (["--timeout", "soon"], "--timeout soon: not a duration"),
        (["--wait", "11m"], "--wait 11m: above the maximum of 10m (1s to 10m)"),
        (["--address", "lan"], "--address lan: not one of any, node, service, tagged:NAME"),
        (["--service", "a.b"], "--service a.b: not the name of a service"),
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


def test_it_answers_what_the_manual_shows(stage: Stage, consul: Consul) -> None:
    consul.set("api", instance("10.0.9.1"))
    consul.set("api", instance("10.0.20.1", tags=("green",)), dc="tokyo")
    server = checker(stage, consul, "--stale-if-error", "5m")
    curl = [need_program("curl"), "--silent", "--show-error"]
    there = {":3000/": f":{server.port}/"}
    for output in (shown.output("curl http://", there), shown.output("curl 'http://", there)):
        said = subprocess.run([*curl, *output.words()], capture_output=True, check=True).stdout
        output.compare(said, exactly=True)


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
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):  # as the original
        assert server.get("/has/api-xx_1/10.0.9.1", method=method).body == b'{"error":0}\n'
        assert server.get("/live", method=method).body == b"OK\n"
    moved = server.get("/has//api-xx_1/./10.0.9.1?dc=dc1")
    assert (moved.status, moved.headers["location"]) == (301, "/has/api-xx_1/10.0.9.1?dc=dc1")
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


def test_data_centres_are_asked_apart_and_tags_are_found_here(stage: Stage, consul: Consul) -> None:
    consul.set("web", instance("10.0.0.1", tags=("blue", "a b&c")), instance("10.0.0.2"))
    consul.set("web", instance("10.9.0.1"), dc="tokyo")
    server = checker(stage, consul, "--stale", "--cached")
    for query, members in [
        ("", {"10.0.0.1", "10.0.0.2"}),
        ("?dc=tokyo", {"10.9.0.1"}),
        ("?tag=blue", {"10.0.0.1"}),
        ("?tag=BLUE", {"10.0.0.1"}),  # as Consul compares them
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
    assert not [asked for asked in consul.asked if {"x", "tag"} & set(asked.query)]


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


ALL = st.ip_addresses()


@settings(max_examples=300, deadline=None)
@given(address=ALL, other=ALL)
def test_an_address_is_its_value_however_it_is_written(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    table = Membership(trusted=["127.0.0.1"], header="X-Real-IP", allowed=[])
    key = Membership.key("web", "")
    table.watch(key)
    assert table.put(key, [([str(address)], [])])

    def value(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return str(mapped or ip)

    spellings = [str(address), address.exploded, address.exploded.upper()]
    if isinstance(address, ipaddress.IPv4Address):
        spellings += [f"::ffff:{address}", f"[::FFFF:{address}]"]
    # The set does not change when the same address comes in another spelling.
    assert not any(table.put(key, [([spelling], [])]) for spelling in spellings)
    assert table.put(key, [([str(other)], [])]) == (value(other) != value(address))
