"""Option names by their prefixes and short forms: beside the real mariadb client."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from kojuto.errors import KojutoError
from kojuto.tools.myps.optionfile import OptionFiles
from kojuto.tools.myps.prefixes import SHORTEST, SWITCHES, settings
from kojuto.tools.myps.tls import Tls
from tests.conftest import need_program, run

if TYPE_CHECKING:
    from collections.abc import Iterator

THEIR_GROUPS = ["mysql", "mariadb-client", "client", "client-server", "client-mariadb"]
NOT_THEIRS = ("ssl-mode", "password")  # of MySQL's clients, and never shown


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    found = Path(f"/dev/shm/kojuto-test-prefixes-{os.getpid()}.cnf")
    yield found
    found.unlink()


def theirs(path: Path, text: str) -> tuple[dict[str, str], bool]:
    """What the client has read, as its help shows it, and whether it took all of it."""
    path.write_text(text)
    path.chmod(0o644)
    done = subprocess.run(
        ["mariadb", f"--defaults-file={path}", "--help"],
        executable=need_program("mariadb"), capture_output=True, text=True, check=False,
        env={**os.environ, "LANG": "C"},
    )  # fmt: skip
    _, _, table = done.stdout.partition("(after reading options)")
    shown = {}
    for line in table.splitlines()[2:]:
        name, _, value = line.partition(" ")
        if name in SHORTEST:
            shown[name] = value.strip().removeprefix("(No default value)")
    complained = any(
        "Warning: option" in line or line.startswith(("mariadb: ", "Unknown"))
        for line in done.stderr.splitlines()
    )
    return shown, not complained


def ours(path: Path) -> dict[str, str]:
    """The same of ours, without what is not set."""
    files = OptionFiles(THEIR_GROUPS, lambda _: None)
    files.read(str(path), required=True)
    found = settings(files.options)
    tls = Tls(found)
    shown = {name: value for name, value in found if value is not None}
    shown["ssl-verify-server-cert"] = "TRUE" if tls._verify else "FALSE"
    shown.pop("ssl", None)
    if tls._on is not None:
        shown["ssl"] = "TRUE" if tls._on else "FALSE"
    return shown


def compare(path: Path, lines: list[str]) -> None:
    plain, _ = theirs(path, "[client]\n")
    shown, took_all = theirs(path, "[client]\n" + "\n".join(lines) + "\n")
    try:
        found = ours(path)
    except KojutoError:
        assert not took_all, lines
        return
    assert took_all, lines
    assert {**plain, **found} == shown, lines


TABLE = [
    ["user=a"], ["User=a"], ["USER = a "], ["us=a"], ["loose-user=a"], ["loose_us=a"],
    ["maximum-user=a"], ["skip-user"], ["enable-user"], ["skip-user=0"], ["user"], ["user="],
    ["port=3310"], ["maximum-port=3310"], ["loose-maximum-port=3310"], ["port=3310", "port=3311"],
    ["skip-port"], ["skip-port=0"], ["skip-port=1"], ["port=3310", "disable-port=0"],
    ["ssl"], ["ssl=0"], ["ssl=1"], ["ssl=off"], ["ssl=On"], ["ssl=TRUE"], ["ssl=yes"], ["ssl="],
    ["skip-ssl"], ["skip_ssl"], ["disable-ssl"], ["enable-ssl"], ["SKIP-ssl"], ["loose-ssl=0"],
    ["skip-ssl=0"], ["skip-ssl=1"], ["skip-ssl=off"], ["disable-ssl=0"], ["enable-ssl=0"],
    ["loose-skip-ssl"], ["skip-loose-ssl"], ["skip-skip-ssl"], ["skip-enable-ssl"],
    ["enable-skip-ssl"], ["maximum-ssl=0"], ["loose-loose-ssl=0"], ["maximum-ssl"],
    ["skip-ssl", "ssl"], ["ssl", "skip-ssl"], ["skip-ssl", "enable-ssl"],
    ["ssl-ca=/a"], ["ssl_ca=/a"], ["loose-ssl-ca=/a"], ["ssl-ca"], ["skip-ssl-ca"],
    ["skip-ssl", "ssl-ca=/a"], ["ssl-ca=/a", "skip-ssl"], ["skip-ssl", "ssl-capath=/a"],
    ["skip-ssl", "ssl-cert=/a"], ["skip-ssl", "ssl-key=/a"], ["skip-ssl", "ssl-cipher=a"],
    ["skip-ssl", "ssl-crl=a"], ["skip-ssl", "ssl-crlpath=a"], ["skip-ssl", "tls-version=TLSv1.2"],
    ["ssl-verify-server-cert"], ["loose-ssl-verify-server-cert"], ["ssl-v=1"],
    ["ssl-verify-server-cert", "skip-ssl"], ["skip-ssl-verify-server-cert"],
    ["loose-no-such"], ["loose-no-such=1"], ["skip-loose-no-such"], ["loose-skip-no-such=0"],
    ["protocol=TCP"], ["protocol=t"], ["socket=/a", "loose-socket=/b"], ["host="],
    ["[CLIENT]", "user=a"], ["[Client-Server]", "user=a"], ["[client-MariaDB]", "user=a"],
    ["[mysqld]", "user=a"], ["user=a", "[client-mariadb]", "user=b", "[client]", "port=3310"],
    ["h"], ["h="], ["h=a"], ["h=0"], ["h=1"], ["h=on"], ["h=off"], ["skip-h"], ["loose-h=a"],
    ["p=a"], ["P=a"], ["ssl-c=/a"], ["ssl_cr=/a"], ["enable-ss"], ["user=a", "h=a"],
    ["[mysqld]", "h=a"],
    ["!inclde /etc/my.cnf", "user=a"], ["!", "user=a"], ["! include /a", "user=a"],
]  # fmt: skip


@pytest.mark.parametrize("lines", TABLE, ids=";".join)
def test_each_form_is_read_as_by_the_client(lines: list[str], path: Path) -> None:
    compare(path, lines)


VALUES = {
    "port": ["3306", "3307", "0"],
    "protocol": ["tcp", "TCP", "socket", "SOCK"],
    "ssl": (switch := ["0", "1", "on", "off", "true", "FALSE", "yes", "2", ""]),
    "ssl-verify-server-cert": switch,
}
NAMES = [name for name in SHORTEST if name not in NOT_THEIRS]
PREFIX = st.sampled_from(["skip-", "disable-", "enable-", "maximum-", "loose-"])


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A line with an option that both know, now and then by a few letters of it."""
    name = draw(st.sampled_from([*NAMES, *SWITCHES * 3]))
    letters = draw(st.integers(1, len(name)) | st.just(len(name)))
    before = "".join(draw(st.lists(PREFIX, max_size=2)))
    if name == "protocol":  # which has a value of its own for each of these
        before = "loose-" * ("loose-" in before)
    word = before + name[:letters]
    if draw(st.booleans()):
        word = word.replace("-", "_", 1)
    if draw(st.booleans()):
        word = word.upper()
    value = draw(st.sampled_from([None, *VALUES.get(name, ["/a", "b", "0", ""])]))
    return word if value is None else f"{word}={value}"


GROUP = st.sampled_from(["[client]", "[CLIENT-server]", "[Client-MariaDB]", "[mysqld]", "[mysql]"])


@how(max_examples=120, deadline=None)
@given(st.lists(lines() | GROUP, max_size=8))
def test_any_options_are_read_as_by_the_client(path: Path, drawn: list[str]) -> None:
    compare(path, drawn)


def test_a_name_may_be_as_short_as_the_client_takes_it_and_no_shorter(path: Path) -> None:
    """Ours stop where theirs have another option that begins so."""
    for name in NAMES:
        for letters in range(1, len(name) + 1):
            value = "tcp" if name == "protocol" else "1"
            _, took = theirs(path, f"[client]\n{name[:letters]}={value}\n")
            if took:
                ((known, _),) = settings([(name[:letters], value)])
                assert known == name or name[:letters] in SHORTEST, name[:letters]
            else:
                with pytest.raises(KojutoError, match=f"option {name[:letters]}: cut too short"):
                    settings([(name[:letters], value)])


def test_a_server_that_is_named_by_a_letter_is_no_other_server(path: Path) -> None:
    """The client ends, and so does ours, before it reaches the server that is there anyhow."""
    path.write_text("[client]\nh=db1.example.com\n")
    done = run("myps", "grep", "--defaults-file", path, "--time", "10")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "myps grep: error: option h: cut too short",
        "hint: write host in the option file",
    ]


def test_what_only_mysqls_clients_know() -> None:
    assert settings([("loose-ssl-mode", "VERIFY_CA")]) == [("ssl-mode", "VERIFY_CA")]
    assert settings([("LOOSE_SSL_MODE", "x")]) == [("ssl-mode", "x")]
    assert settings([("password", None)]) == [("password", None)]
    assert settings([("skip-password", None)]) == [("password", "")]
    assert settings([("pas", "x")]) == [("password", "x")]
