"""``deteco``: its configuration and its other commands."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import run
from tests.peers.deteco import EC, ED, OTHER, RSA, service, start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage


# -- configuration ------------------------------------------------------------------------------


def refused(folder: Path, configuration: str | bytes) -> str:
    """What is said about a wrong file."""
    path = folder / "deteco.toml"
    if isinstance(configuration, str):
        configuration = configuration.encode()
    path.write_bytes(configuration)
    done = run("deteco", "--conf", path, "--dry-run")
    assert done.returncode == 1
    assert done.stdout == b""
    said = done.stderr.decode()
    assert said.startswith(f"deteco: error: {path}: ")
    assert "PRIVATE KEY" not in said
    return said


def test_a_wrong_configuration_is_one_line_that_names_the_service_and_the_key(
    tmp_path: Path,
) -> None:
    good = service("echo", [ED])
    private = RSA.private_pem.decode()
    small = subprocess.run(
        "openssl genrsa 1024 2>/dev/null | openssl pkey -pubout",
        shell=True, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    cases = {
        "": "no service",
        "[[services]": "not TOML",
        good + good: "two services have the id echo",
        "[[services]]\npaths = []": "service number 1: id",
        '[[services]]\nid = 3': "service number 1: id",
        service("echo", []): "service echo: public_keys must be a list with at least one",
        service("echo", [ED], "[]"): "service echo: paths",
        service("echo", [ED], '"/api"'): "service echo: paths",
        service("echo", [ED], '["/a%00"]'): "service echo: path /a%00: ",
        service("echo", [ED], '["/a\\nb"]'): "service echo: path ",
        service("echo", [ED], rest="ID = 'x'"): "ID: it is there twice, in another case",
        service("echo", [ED], rest="leeway = 'x'"): "service echo: leeway: ",
        service("echo", [ED], rest="leeway = '2h'"): "service echo: leeway: ",
        service("echo", [ED], rest="typ = 'x'"): "service echo: typ must be a list",
        service("echo", [ED], rest="headers = {X-Deteco-User = 'sub'}"): "has a meaning of its own",
        service("echo", [ED], rest="headers = {'a b' = 'sub'}"): "not the name of a header",
        service("echo", [ED], rest="allow_weak_keys = 1"): "service echo: allow_weak_keys must be",
        service("echo", [ED], "[3]"): "service echo: paths are strings or tables",
        service("echo", [ED], "[{path = '/a', method = 'x'}]"): "path /a: method: no such setting",
        service("echo", [ED], rest="require = {aud = 3}"): "service echo: require.aud",
        service("echo", [ED], rest="require = []"): "service echo: require",
        service("echo", [ED], rest='methods = ["get"]'): "service echo: methods",
        service("echo", [ED], rest="pss = 1"): "service echo: pss",
        f"[[services]]\nid='a'\npaths=['/']\npublic_keys=['''{private}''']": (
            "key 1 of public_keys entry 1 of service a is a private key"
        ),
        f"[[services]]\nid='a'\npaths=['/']\npublic_keys=['''{small}''']": (
            "public_keys entry 1 of service a: an RSA key of 1024 bits is below the minimum of "
            "2048\nhint: allow_weak_keys = true in service a takes it"
        ),
        "[[services]]\nid='a'\npaths=['/']\npublic_keys=['rubbish']": "entry 1 of service a",
        service("echo", [ED, ED]).replace("MCow", "MCox", 1): "entry 1 of service echo",
    }  # fmt: skip
    for configuration, said in cases.items():
        assert said in refused(tmp_path, configuration)
    assert "not TOML" in refused(tmp_path, b"\xff\xfe")
    missing = run("deteco", "--conf", tmp_path / "missing", "--dry-run")
    assert missing.returncode == 1
    assert b"missing: No such file" in missing.stderr
    assert run("deteco").returncode == 2
    for wrong in ("--jwt-freshness=0", "--auth-endpoint=live", "--auth-endpoint=", "--listen=x"):
        assert run("deteco", "--conf", "x", wrong).returncode == 2


def test_a_dry_run_says_that_all_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "deteco.toml"
    path.write_text(service("a", [ED, RSA]) + service("b", [EC], rest="require = {iss = ['x']}"))
    done = run("deteco", "--conf", path, "--dry-run")
    assert done.returncode == 0
    assert done.stdout == b""
    assert b"2 services" in done.stderr


def test_what_the_original_took_is_taken(tmp_path: Path) -> None:
    """Names in any case, settings and tables that are not known, a byte order mark."""
    path = tmp_path / "deteco.toml"
    text = service("a", [ED]).replace("[[services]]\nid", "[[Services]]\nID")
    text = text.replace("paths", "Paths") + "comment = 'x'\n[other]\na = 1\n[[others]]\nid = 'x'\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    done = run("deteco", "--conf", path, "--dry-run")
    assert done.returncode == 0, done.stderr
    said = done.stderr.decode()
    for name in ("service a: comment", "other", "others"):
        assert f"{path}: {name}: no such setting, it is passed over" in said


def test_toml_is_read_on_python_310_too(tmp_path: Path) -> None:
    """There the standard library has no TOML; the other reader gives the same."""
    import tomli

    tomllib = pytest.importorskip("tomllib", reason="the standard library has TOML from 3.11 on")
    text = service("a", [ED], rest="require = {aud = ['x', 'y']}\npss = true")
    assert tomli.loads(text) == tomllib.loads(text)


# -- the other commands -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519"])
def test_keygen_jwtgen_and_the_server_fit_together(stage: Stage, kind: str) -> None:
    name = stage.folder / f"key-{kind}"
    os.umask(os.umask(0))  # whatever it is
    made = run("deteco", "keygen", "--type", kind, "--out", name)
    assert made.returncode == 0
    assert made.stdout.decode().split() == [str(name), f"{name}.pub"]
    assert stat.S_IMODE(name.stat().st_mode) == 0o600
    again = run("deteco", "keygen", "--type", kind, "--out", name)
    assert again.returncode == 1
    assert b" already exists" in again.stderr
    signed_ = run(
        "deteco", "jwtgen", "--private-key", name, "--private-key-user", "robot", "--max-age", "2m"
    )
    assert signed_.returncode == 0
    header, bearer, token = signed_.stdout.decode().split()
    assert (header, bearer) == ("Authorization:", "Bearer")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == "robot"
    assert claims["exp"] - claims["iat"] == 120
    public = (stage.folder / f"key-{kind}.pub").read_text()
    conf = f"[[services]]\nid='robot'\npaths=['/x']\npublic_keys=['''{public}''']\n"
    deteco = start(stage, conf)
    answer = deteco.ask(token, "/x/y")
    assert (answer.status, answer.headers["X-Deteco-User"]) == (200, "robot")


def test_jwtgen_with_a_wrong_key_is_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(ED.public_pem)
    for path in (wrong, tmp_path / "missing"):
        done = run("deteco", "jwtgen", "--private-key", path, "--private-key-user", "a")
        assert done.returncode == 1
        assert done.stdout == b""
        assert done.stderr.startswith(b"deteco jwtgen: error: ")
    assert run("deteco", "jwtgen").returncode == 2
    assert run("deteco", "nonsense").returncode == 2


def test_check_explains_each_decision(tmp_path: Path) -> None:
    conf = tmp_path / "deteco.toml"
    conf.write_text(service("echo", [RSA, ED], rest='methods = ["GET"]'))

    def check(token: str, uri: str, method: str = "GET", stdin: bytes = b"") -> tuple[int, str]:
        done = run("deteco", "--conf", conf, "check", token, method, uri, stdin=stdin)
        assert done.stderr == b""
        return done.returncode, done.stdout.decode()

    token = ED.token()
    status, text = check(token, "/api/echo/x")
    assert status == 0
    assert "signature: right by key 1 of public_keys entry 2 of service echo (Ed25519)" in text
    assert re.search(r"answer:    200 X-Deteco-User: echo\n", text)
    assert token not in text
    readings = check(token, "/api/echo/a%252Fb;v/../c")[1].split("reading:   ")[1:]
    shown = {reading.splitlines()[0] for reading in readings}
    assert shown >= {"/api/echo/a%252Fb;v/../c", "/api/echo/a%2Fb/../c", "/api/echo/a/c"}
    assert "reading:   none: a % without two hexadecimal digits" in check(token, "/api/%")[1]
    assert check("-", "/api/echo", stdin=f"Authorization: Bearer {token}\n".encode())[0] == 0
    for length, why in ((16_384, "not three segments"), (16_385, "16385 characters are over")):
        text = f"Authorization: Bearer {'x' * length}\n"
        assert f"answer:    401 {why}" in check("-", "/", stdin=text.encode())[1]
    for uri, method, why in (
        ("/api/echo/../x", "GET", "403 the path can be read as one that lies under none that is"),
        ("/x", "GET", "403 the path lies under none"),
        ("/api/echo", "POST", "403 the method is not allowed"),
        ("/api/echo/\n", "GET", "403 "),
    ):
        status, text = check(token, uri, method)
        assert status == 1
        assert why in text
    for bad, why in (
        (OTHER.token(), "401 the signature is wrong"),
        (ED.token("nobody"), "401 the claim sub names no service"),
        (ED.token(exp=1), "401 the token has expired"),
        ("x.y", "401 not three segments"),
    ):
        status, text = check(bad, "/api/echo")
        assert status == 1
        assert why in text
    assert run("deteco", "check", "--conf", conf, token).returncode == 2
