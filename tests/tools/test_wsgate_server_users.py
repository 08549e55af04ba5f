"""wsgate-server: who may reach which name, and what `check` says of it."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from kojuto.errors import KojutoError
from kojuto.tools.wsgate_server import users
from kojuto.tools.wsgate_server.identity import Who
from tests.conftest import run, wait_until
from tests.keys import private_key, public_pem, token
from tests.peers.gates import UPGRADE, Server, ask, server
from tests.peers.servers import echo
from tests.tools.test_wsgate_server_iap import AUDIENCE, assertion, jwk_set

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.peers.servers import Stage

USERS = """
[db]
sub = ["alice", "batch"]
groups = ["dba"]

["web-*"]
email = ["bob@example.com"]

["web-[12]"]
groups = ["dev", "ops"]

[open]
sub = ["*"]

[nobody]
sub = []
"""


@pytest.fixture
def may(tmp_path: Path) -> Callable[..., bool]:
    """Whether a token with these claims may reach a name."""
    (tmp_path / "users.toml").write_text(USERS)
    known = users.read(str(tmp_path / "users.toml"))

    def may(name: str, **claims: Any) -> bool:
        try:
            known.right(name, Who("", claims))
        except users.NotAllowedError:
            return False
        return True

    return may


def test_a_name_is_reached_by_sub_email_or_group(may: Callable[..., bool]) -> None:
    assert may("db", sub="alice")
    assert may("db", sub="zoe", groups=["x", "dba"])
    assert may("db", groups="dba")
    assert not may("db", sub="Alice")
    assert not may("db", sub="ali")
    assert not may("db", groups=["alice"], email="alice")
    assert not may("db", sub="dba")
    assert may("web-9", email="bob@example.com")
    assert may("web-9", email="bob@example.com", email_verified=True)
    assert not may("web-9", email="bob@example.com", email_verified=False)
    assert not may("web-9", email="bob@example.com", email_verified="false")
    assert not may("web-9", groups=["dev"])
    assert may("web-1", groups=["dev"])
    assert may("web-1", email="bob@example.com"), "what one table allows no other takes away"
    assert not may("web-12", groups=["dev"])
    assert may("open", sub="anybody")
    assert may("open")
    assert not may("nobody", sub="*")
    assert not may("DB", sub="alice")
    assert not may("db2", sub="alice")
    assert not may("db\n", sub="alice")
    assert not may("xdb", sub="alice")


@pytest.mark.parametrize("claim", [None, 1, True, {"dba": 1}, [["dba"]], [None]])
def test_a_claim_of_another_form_is_nobodys(may: Callable[..., bool], claim: Any) -> None:
    assert not may("db", groups=claim)
    assert not may("web-9", email=claim)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[db]\nsubs = ['a']\n", "[db]: subs: no such key (sub, email, groups)"),
        ("[db]\nsub = 'a'\n", "[db]: sub must be a list of strings"),
        ("[db]\ngroups = [1]\n", "[db]: groups must be a list of strings"),
        ("db = ['a']\n", "db: not a table"),
        ("[a.b]\nsub = ['a']\n", "[a]: b: no such key"),
        ("[db\n", "not TOML: "),
    ],
)
def test_a_wrong_file_ends_the_start_and_names_the_entry(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "users.toml"
    path.write_text(text)
    with pytest.raises(KojutoError) as refused:
        users.read(str(path))
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    (tmp_path / "map").write_text("a,127.0.0.1:1\n")
    (tmp_path / "keys").write_bytes(public_pem(private_key("ec")))
    options: list[str | Path] = [
        "--map",
        tmp_path / "map",
        "--public-key",
        tmp_path / "keys",
        "--users",
        path,
    ]
    done = run("wsgate-server", "--listen", "127.0.0.1:0", *options)
    assert done.returncode == 1
    assert message in done.stderr.decode()


def test_a_name_with_a_dot_is_to_be_quoted() -> None:
    with pytest.raises(KojutoError) as refused:
        users.Users({"a": {"b": {"sub": ["x"]}}})
    assert refused.value.hint == 'a name with a dot is quoted: ["a.b"]'


def test_users_without_tokens_have_no_meaning(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("a,127.0.0.1:1\n")
    (tmp_path / "users").write_text(USERS)
    for rest in (["--map", tmp_path / "map"], ["check", "x", "db"]):
        done = run("wsgate-server", "--users", tmp_path / "users", *rest)
        assert done.returncode == 2
        assert b"--users has no meaning without tokens" in done.stderr
    assert run("wsgate-server", "check", "x", "db").returncode == 2
    assert b"no such command" in run("wsgate-server", "chek").stderr


def gate_with_users(stage: Stage, *names: str) -> tuple[Server, Path]:
    (stage.folder / "keys.pem").write_bytes(public_pem(private_key("ec")))
    file = stage.folder / "users.toml"
    file.write_text(USERS)
    port = stage.peer(echo).port
    options = ["--public-key", str(stage.folder / "keys.pem"), "--users", str(file)]
    return server(stage, dict.fromkeys(names, port), *options), file


def bearer(**claims: Any) -> dict[str, str]:
    return {**UPGRADE, "Authorization": f"Bearer {token(private_key('ec'), **claims)}"}


def test_a_known_token_without_the_right_is_403_and_logged(stage: Stage) -> None:
    gate, _ = gate_with_users(stage, "db", "web-1", "unlisted")
    assert gate.status("/proxy/db", **bearer(sub="alice")) == 101
    assert gate.status("/proxy/web-1", **bearer(sub="x", groups=["ops"])) == 101
    status, text = ask(gate.port, "/proxy/db", **bearer(sub="mallory", groups=["ops"]))
    assert status == 403
    assert text.endswith("\r\n\r\nNot allowed: db\n")
    line = gate.wait_for_line(msg="Not allowed access")
    assert (line["sub"], line["destination"], line["level"]) == ("mallory", "db", "warn")
    assert line["error"] == "neither the sub nor the email nor a group is in [db]"
    assert line["seq"] == 3
    assert gate.status("/proxy/unlisted", **bearer(sub="alice")) == 403
    wait_until(lambda: gate.lines(error="--users has no entry for this name"))
    assert gate.status("/proxy/web-7", **bearer(sub="alice")) == 403, "there or not, he may not"
    assert gate.status("/proxy/web-7", **bearer(email="bob@example.com")) == 404
    assert gate.status("/proxy/%64b", **bearer(sub="mallory")) == 403
    bad = token(private_key("ec", 1), sub="alice")
    assert gate.status("/proxy/db", **UPGRADE, Authorization=f"Bearer {bad}") == 401
    assert gate.status("/proxy/db", **UPGRADE) == 401


def test_a_hangup_reads_the_users_with_the_map_and_keys_or_none_of_them(stage: Stage) -> None:
    gate, file = gate_with_users(stage, "db")
    assert gate.status("/proxy/db", **bearer(sub="zoe")) == 403
    file.write_text("[db]\nsub = ['zoe']\n")
    gate.kill(signal.SIGHUP)
    gate.wait_for("Reloaded")
    assert gate.status("/proxy/db", **bearer(sub="zoe")) == 101
    assert gate.status("/proxy/db", **bearer(sub="alice")) == 403
    file.write_text("[db]\nsub = ['alice']\nnames = ['x']\n")
    (stage.folder / "keys.pem").write_bytes(public_pem(private_key("ed25519")))
    gate.write_map({"new": 1})
    gate.kill(signal.SIGHUP)
    gate.wait_for("the last ones are kept")
    assert "[db]: names: no such key" in gate.lines(level="error")[0]["error"]
    assert gate.status("/proxy/db", **bearer(sub="zoe")) == 101
    # The keys are wrong and the users right: the old users stay, too.
    file.write_text("[db]\nsub = ['alice']\n")
    (stage.folder / "keys.pem").write_bytes(b"")
    gate.kill(signal.SIGHUP)
    wait_until(lambda: len(gate.lines(level="error")) == 2)
    assert gate.status("/proxy/db", **bearer(sub="zoe")) == 101


def test_the_email_of_an_iap_assertion_counts(stage: Stage) -> None:
    (stage.folder / "jwk").write_bytes(jwk_set({"one": private_key("ec")}))
    file = stage.folder / "users.toml"
    file.write_text("[a]\nemail = ['eve@example.com']\n")
    options = ["--iap-audience", AUDIENCE, "--iap-keys", str(stage.folder / "jwk")]
    gate = server(stage, {"a": stage.peer(echo).port}, *options, "--users", str(file))

    def answer(**claims: Any) -> int:
        signed = assertion(private_key("ec"), "one", **claims)
        return gate.status("/proxy/a", **UPGRADE, X_Goog_IAP_JWT_Assertion=signed)

    assert answer() == 101
    assert answer(email="eva@example.com") == 403


# -- check ------------------------------------------------------------------------------------


def test_check_says_why(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("db,db.internal:3306\n")
    (tmp_path / "keys").write_bytes(public_pem(private_key("ec")))
    (tmp_path / "users").write_text(USERS)
    options: list[str | Path] = ["--public-key", tmp_path / "keys", "--users", tmp_path / "users"]

    def check(text: str, name: str, *more: Any, stdin: bytes = b"") -> tuple[int, str]:
        done = run("wsgate-server", *options, "check", *more, text, name, stdin=stdin)
        assert done.stderr == b""
        assert text == "-" or text not in done.stdout.decode()
        return done.returncode, done.stdout.decode()

    good = token(private_key("ec"), sub="alice", email="a@example.com", groups=["x", "y"])
    status, text = check(good, "db", "--map", tmp_path / "map")
    assert status == 0
    assert "signature: right by key 1 of " in text
    assert "sub:       alice\nemail:     a@example.com\ngroups:    x, y\n" in text
    assert (
        "users:     [db] sub alice\nmap:       db.internal:3306\nanswer:    101 allowed\n" in text
    )
    assert check("-", "db", stdin=f"Authorization: Bearer {good}\n".encode())[0] == 0
    for bad, name, why in (
        (token(private_key("ec"), sub="zoe"), "db", "403 neither the sub nor the email"),
        (good, "web-1", "in [web-*] and [web-[12]]"),
        (good, "unlisted", "403 --users has no entry for this name"),
        (
            token(private_key("ec"), sub="alice", exp=int(time.time()) - 1),
            "db",
            "401 the token has",
        ),
        (token(private_key("ec", 1), sub="alice"), "db", "401 the signature is wrong"),
        ("x.y", "db", "401 not three segments"),
    ):
        status, text = check(bad, name)
        assert status == 1
        assert why in text
    status, text = check(good, "open", "--map", tmp_path / "map")
    assert status == 1
    assert "404 " in text
    del options[2:]
    assert "whoever has a token may reach every name" in check(good, "any")[1]
    assert run("wsgate-server", "check", *options, good).returncode == 2


def test_check_of_an_iap_assertion(tmp_path: Path) -> None:
    (tmp_path / "jwk").write_bytes(jwk_set({"one": private_key("ec")}))
    (tmp_path / "users").write_text("[a]\nemail = ['eve@example.com']\n")
    options: list[str | Path] = ["--iap-audience", AUDIENCE, "--iap-keys", tmp_path / "jwk"]
    signed = assertion(private_key("ec"), "one")
    done = run("wsgate-server", "check", *options, "--users", tmp_path / "users", signed, "a")
    assert done.returncode == 0
    assert b"[a] email eve@example.com" in done.stdout
