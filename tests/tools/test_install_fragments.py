"""Fragments for mackerel-agent and nginx: read by those programs, and true to the commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomllib  # type: ignore[import-not-found]  # the tests need 3.11, the package 3.10

from kojuto.common import parser
from kojuto.errors import KojutoError
from kojuto.tools.deteco import doctor
from kojuto.tools.install import mackerel, nginx, tree
from tests.conftest import need_program, run, script
from tests.peers.deteco import Deteco, Pair, service
from tests.peers.gates import client, round_trip, server
from tests.peers.servers import LOOPBACK, Program, echo, free_port

if TYPE_CHECKING:
    from tests.peers.servers import Stage

PLUGINS = {node.name: node for node in tree.programs() if node.name.startswith("mackerel-")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("installed")
    done = run("kojuto", "install", "--mackerel", "--nginx", folder)
    assert (done.returncode, done.stderr) == (0, b"")
    return folder


def test_a_fragment_does_nothing_until_its_comment_is_taken_off(installed: Path) -> None:
    fragments = sorted((installed / "etc/mackerel-agent/conf.d").iterdir())
    assert len(fragments) == len(PLUGINS) == 5
    for path in fragments:
        text = path.read_text()
        assert tomllib.loads(text) == {}
        assert f'\n#   include = "{path.parent}/*.conf"\n' in text
        on = tomllib.loads(re.sub(r"^# (\[plugin|command)", r"\1", text, flags=re.M))
        ((_, plugin),) = on["plugin"]["metrics"].items()
        program, *arguments = plugin["command"]
        values, rest = parser.parse(PLUGINS[os.path.basename(program)].command, arguments)
        assert rest == []
        assert values.given
        shown = subprocess.run([program, "--version"], capture_output=True, check=True)
        assert shown.stdout.decode().startswith(os.path.basename(program))


def test_links_lead_to_the_plugins_and_are_left_out_beside_them(installed: Path) -> None:
    for name in PLUGINS:
        assert os.readlink(installed / "bin" / name) == script(name)
    home = Path(script("kojuto")).parent.parent
    done = run("kojuto", "install", "--mackerel", "--dry-run", home)
    assert f"{home}/bin/".encode() not in done.stdout


@pytest.mark.parametrize("name", ["two words", "x" * 255])
def test_a_plugin_whose_first_line_the_kernel_cannot_read_is_started_by_kojuto(
    name: str, tmp_path: Path
) -> None:
    """mackerel-agent asks no shell for what is a list of words."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    for each in PLUGINS:
        (folder / each).write_text(f"#!{folder}/python\n")
        (folder / each).chmod(0o755)
    (folder / "kojuto").write_text(f'#!/bin/sh\nexec {script("kojuto")} "$@"\n')  # as pip does
    (folder / "kojuto").chmod(0o755)
    found = mackerel.files(tree.programs(), str(tmp_path), str(folder))
    assert len(found) == len(PLUGINS)  # and no link to what does not start
    for file in found:
        (line,) = re.findall(r"^# command = (.*)$", file.content, re.M)
        command = tomllib.loads(f"command = {line}")["command"]
        assert command[:1] == [str(folder / "kojuto")]
        shown = subprocess.run([*command[:2], "--version"], capture_output=True, check=True)
        assert shown.stdout.decode().startswith(f"{command[1]} ")
        with pytest.raises(OSError, match=r"."):
            subprocess.run([folder / command[1], "--version"], check=True)


def configuration(installed: Path, folder: Path, port: int, upstreams: dict[str, int]) -> Path:
    """nginx with all the fragments, the ports of this machine in place of the usual ones."""
    snippets = folder / "snippets"
    snippets.mkdir()
    for path in (installed / nginx.FOLDER).iterdir():
        text = path.read_text()
        assert f"\n#   include {path};\n" in text
        for usual, own in upstreams.items():
            text = text.replace(usual, f"{LOOPBACK}:{own}")
        (snippets / path.name).write_text(text.replace("listen 3306", f"listen {free_port()}"))
    conf = folder / "nginx.conf"
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    load = f"load_module {module};" if Path(module).exists() else ""
    (folder / "html/api/echo").mkdir(parents=True)
    (folder / "html/api/echo/index.html").write_text("allowed")
    conf.write_text(f"""
        {load} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr notice;
        user root; events {{ }}
        http {{
            access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            server {{
                listen {LOOPBACK}:{port};
                include {snippets}/kojuto-deteco.conf;
                include {snippets}/kojuto-consul-service-has-ip.conf;
                include {snippets}/kojuto-wsgate-server.conf;
                location /api/ {{ root {folder}/html; auth_request /auth; }}
                location /admin/ {{ root {folder}/html; auth_request /in-service; }}
            }}
        }}
        stream {{ include {snippets}/kojuto-ppdp.conf; }}
    """)
    return conf


def test_nginx_takes_the_fragments_and_asks_by_them(
    installed: Path, tmp_path: Path, stage: Stage
) -> None:
    key, port = Pair(), free_port()
    deteco = Deteco(tmp_path / "deteco", service("echo", [key]))
    stage.later(deteco.close)
    gate = server(stage, {"echo": stage.peer(echo).port})
    upstreams = {"127.0.0.1:8080": deteco.port, "127.0.0.1:8086": gate.port}
    conf = configuration(installed, tmp_path, port, upstreams)
    command = [need_program("nginx"), "-p", str(tmp_path), "-c", str(conf), "-e", "stderr"]
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr
    whole = subprocess.run([*command, "-T"], capture_output=True, text=True, check=True).stdout
    assert doctor.examine(whole.replace("auth_request /in-service;", "")) == ([], 1)

    program: Program = stage.program(command)
    program.wait_for_port(port)
    asked = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
    url = f"http://{LOOPBACK}:{port}/api/echo/"
    for header, status in ((f"Authorization: Bearer {key.token()}", "200"), ("X-None: x", "401")):
        line = [need_program(asked[0]), *asked[1:], "--header", header, url]
        assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == status
    tunnels = client(stage, f"http://{LOOPBACK}:{port}/proxy/echo")
    with tunnels.connect() as conn:
        round_trip(conn, b"through nginx" * 1000)


def test_the_location_is_the_one_of_the_help() -> None:
    assert nginx.location("In nginx:\n  location = /a {\n      internal;\n  }\n\nmore") == (
        "location = /a {\n    internal;\n}\n"
    )
    with pytest.raises(KojutoError):
        nginx.location("nothing")
