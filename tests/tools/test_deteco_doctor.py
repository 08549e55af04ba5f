"""``deteco doctor``: what it finds in configurations of nginx."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto.errors import KojutoError
from kojuto.tools.deteco import doctor
from tests.conftest import need_program, run

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
server {
    listen 127.0.0.1:8081;
    location /api { auth_request /auth; root /srv; }
    location = /auth {
        internal;
        proxy_pass http://127.0.0.1:8080/auth;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header X-Original-URI $request_uri;
        proxy_set_header X-Original-Method $request_method;
    }
}
"""


def findings(text: str) -> list[str]:
    return doctor.examine(text)[0]


def test_a_good_configuration_has_nothing() -> None:
    assert doctor.examine(GOOD) == ([], 1)
    assert doctor.examine("http { }") == ([], 0)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ('proxy_set_header Content-Length "";', "", 'Content-Length ""; is missing'),
        ('Content-Length ""', "Content-Length $content_length", 'Content-Length ""; is missing'),
        ("proxy_pass_request_body off;", "", "proxy_pass_request_body off; is missing"),
        ("proxy_set_header X-Original-URI $request_uri;", "", "is missing: all is 403"),
        ("$request_uri", "$uri", "X-Original-URI is $uri: only $request_uri is what the client"),
        ("$request_uri", "$document_uri", "X-Original-URI is $document_uri"),
        ("$request_method", "GET", "X-Original-Method is not $request_method"),
        ("internal;", "", "internal; is missing"),
        ("= /auth {", "= /aut {", "its server has no location /auth"),
        ("root /srv;", "alias /srv/;", "location /api without a slash at its end and alias /srv/"),
    ],
)
def test_each_mistake_is_found(before: str, after: str, found: str) -> None:
    assert before in GOOD
    (said,) = findings(GOOD.replace(before, after))
    assert found in said


def included(tmp: str, inner: str) -> str:
    """What ``nginx -T`` prints when the location stands in a file of its own."""
    place = GOOD.index("    location = /auth")
    location = GOOD[place : GOOD.rindex("}")]
    outer = GOOD[:place] + f"    include {inner};\n" + "}\n"
    return (
        f"# configuration file {tmp}/nginx.conf:\nhttp {{ include sites/*; }}\n\n"
        f"# configuration file {tmp}/sites/one:\n{outer}\n"
        f"# configuration file {tmp}/snippets/auth.conf:\n{location}\n"
    )


@pytest.mark.parametrize("inner", ["snippets/auth.conf", "/etc/nginx/snippets/*.conf"])
def test_what_is_included_stands_where_it_is_included(inner: str) -> None:
    text = included("/etc/nginx", inner)
    assert doctor.examine(text) == ([], 1)
    (said,) = findings(text.replace("        internal;\n", ""))
    assert said.startswith("/etc/nginx/snippets/auth.conf:1: ")
    assert "internal; is missing" in said
    (said,) = findings(text.replace(f"include {inner}", "include snippets/*/auth.conf"))
    assert "its server has no location /auth" in said


def test_a_file_may_be_included_twice_but_not_in_itself() -> None:
    text = included("/etc/nginx", "snippets/auth.conf")
    twice = text.replace("sites/*;", "sites/*; include sites/o*;")
    assert doctor.examine(twice) == ([], 2)
    with pytest.raises(KojutoError, match="files include each other"):
        doctor.examine(text.replace("internal;", "include snippets/auth.conf;"))


def test_a_real_nginx_prints_it_so(tmp_path: Path) -> None:
    text = included(str(tmp_path), "snippets/auth.conf")
    for part in text.split("# configuration file ")[1:]:
        name, _, content = part.partition(":\n")
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "w", encoding="utf-8") as file:
            file.write(content)
    with open(tmp_path / "nginx.conf", "a", encoding="utf-8") as file:
        file.write(f"events {{ }} pid {tmp_path}/pid;\n")
    line = [need_program("nginx"), "-T", "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
    done = subprocess.run(line, capture_output=True, check=True, text=True)
    assert doctor.examine(done.stdout) == ([], 1)


def test_what_is_fine_is_not_complained_of() -> None:
    for before, after in (
        ("location /api { auth_request /auth; root /srv; }",
         "auth_request /auth; location /api/ { alias /srv/; }"),
        ("auth_request /auth;", "auth_request /auth; location ~ ^/x { alias /y/; }"),
        ("internal;", "internal; # proxy_set_header X-Original-URI $uri;"),
        ("auth_request /auth;", "auth_request off;"),
        ("root /srv;", "alias /srv;"),
    ):  # fmt: skip
        assert findings(GOOD.replace(before, after)) == [], after
    # Headers are inherited where a location sets none itself.
    headers = GOOD[GOOD.index("proxy_set_header C") : GOOD.index("    }\n}")]
    assert findings(GOOD.replace(headers, "").replace("listen", f"{headers} listen")) == []


def test_it_reads_what_nginx_prints(tmp_path: Path) -> None:
    conf, part = tmp_path / "nginx.conf", tmp_path / "part.conf"
    part.write_text(GOOD.replace("$request_uri", "$uri"))
    conf.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{ }} http {{ access_log off;"
        ' log_format x \'{"a": "$uri"}\'; map $uri $y { "~^/a{1,3}$" 1; default "a b"; }'
        f" client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;"
        f" fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u;"
        f" scgi_temp_path {tmp_path}/s; include {part}; }}"
    )
    nginx = need_program("nginx")
    command = [nginx, "-T", "-p", str(tmp_path), "-c", str(conf), "-e", "stderr"]
    printed = subprocess.run(command, capture_output=True, check=False).stdout
    done = run("deteco", "doctor", "-", stdin=printed)
    assert done.returncode == 1
    line = GOOD.splitlines().index("    location = /auth {") + 1
    assert done.stdout.decode().startswith(f"{part}:{line}: location /auth: X-Original-URI is $uri")
    (tmp_path / "good").write_text(GOOD)
    done = run("deteco", "doctor", tmp_path / "good")
    assert (done.returncode, done.stdout) == (0, b"1 auth_request, nothing to complain of\n")
    (tmp_path / "none").write_text("events { }")
    assert run("deteco", "doctor", tmp_path / "none").returncode == 1


@pytest.mark.parametrize("conf", [GOOD, GOOD + "nonsense;"])
def test_without_a_file_it_asks_nginx(tmp_path: Path, conf: str) -> None:
    """By the name that is found in PATH, which is led to a configuration of the test's here."""
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{ }} http {{ access_log off;"
        f" client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;"
        f" fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u;"
        f" scgi_temp_path {tmp_path}/s; {conf} }}"
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nginx").write_text(
        f'#!/bin/sh\nexec {need_program("nginx")} "$@" -p {tmp_path} -c {tmp_path}/nginx.conf'
        " -e stderr\n"
    )
    (tmp_path / "bin/nginx").chmod(0o755)
    done = run("deteco", "doctor", env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
    if conf == GOOD:
        assert (done.returncode, done.stdout) == (0, b"1 auth_request, nothing to complain of\n")
    else:
        assert done.returncode == 1
        assert b"nonsense" in done.stderr
    done = run("deteco", "doctor", env={"PATH": f"{tmp_path}"})
    assert done.returncode == 1
    assert b"No such file or directory" in done.stderr
    assert b"deteco doctor FILE reads" in done.stderr


def test_what_is_no_configuration_is_one_line(tmp_path: Path) -> None:
    for text in ("}", "a {", "a { b {", "a 'b", '"', "a {" * 200):
        path = tmp_path / "conf"
        path.write_text(text)
        done = run("deteco", "doctor", path)
        assert done.returncode == 1
        assert done.stderr.startswith(b"deteco doctor: error: ")
    assert run("deteco", "doctor", tmp_path / "missing").returncode == 1
    assert run("deteco", "doctor", "a", "b").returncode == 2


@settings(max_examples=200, deadline=None)
@given(st.text("ab {};\"'\\#$\n/=~") | st.text())
def test_any_text_ends_well(text: str) -> None:
    try:
        doctor.examine(text)
    except KojutoError:
        return
