"""Wishes for TLS: which mode they make, and on a real server beside the real mariadb client."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from kojuto.errors import KojutoError
from kojuto.tools.myps.tls import Tls
from tests.conftest import need_program, run
from tests.peers.certificates import authority, signed
from tests.peers.mariadb import Server, mariadb
from tests.peers.myps import no_settings_of_ours

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("wishes", "mode"),
    [
        ("", "PREFERRED"),
        ("ssl=1", "REQUIRED"),
        ("ssl=0", "DISABLED"),
        ("ssl=0 ssl=1", "REQUIRED"),
        ("ssl=1 ssl=0", "DISABLED"),
        ("ssl-ca=a", "VERIFY_CA"),
        ("ssl-capath=a", "VERIFY_CA"),
        ("ssl-cert=a", "REQUIRED"),
        ("ssl-key=a", "REQUIRED"),
        ("ssl-cipher=a", "REQUIRED"),
        ("ssl-crl=a", "REQUIRED"),
        ("tls-version=a", "PREFERRED"),
        ("ssl-ca=a ssl=0", "DISABLED"),
        ("ssl=0 ssl-ca=a", "VERIFY_CA"),
        ("ssl-ca=a ssl=0 ssl=1", "VERIFY_CA"),
        ("ssl-verify-server-cert=1", "VERIFY_IDENTITY"),
        ("ssl-verify-server-cert=1 ssl=0", "VERIFY_IDENTITY"),
        ("ssl-verify-server-cert=1 ssl-verify-server-cert=0", "PREFERRED"),
        ("ssl-ca=a ssl-verify-server-cert=0", "VERIFY_CA"),
        ("ssl-mode=verify_ca", "VERIFY_CA"),
        ("ssl-mode=PREFERRED ssl-ca=a", "PREFERRED"),
        ("ssl-mode=REQUIRED ssl-ca=a", "REQUIRED"),
        ("ssl-mode=DISABLED ssl-ca=a", "DISABLED"),
        ("ssl-mode=DISABLED ssl-mode=REQUIRED", "REQUIRED"),
        ("ssl-mode=REQUIRED ssl=0", "DISABLED"),
        ("ssl-mode=DISABLED ssl=1", "REQUIRED"),
        ("ssl-mode=VERIFY_CA ssl=1", "VERIFY_CA"),
        ("ssl=0 ssl-mode=VERIFY_CA", "VERIFY_CA"),
        ("ssl-mode=REQUIRED ssl-verify-server-cert=1", "VERIFY_IDENTITY"),
    ],
)
def test_wishes_make_a_mode_and_a_later_one_wins(wishes: str, mode: str) -> None:
    made = [tuple(wish.split("=", 1)) for wish in wishes.split()]
    assert Tls(made).mode == mode  # type: ignore[arg-type]


def test_what_is_no_cipher_and_no_version_is_named() -> None:
    for name, value in (("ssl-cipher", "NO-SUCH"), ("tls-version", "SSLv2")):
        with pytest.raises(KojutoError, match=f"^{name}={value}: "):
            Tls([("ssl", "1"), (name, value)]).arguments(by_socket=False)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority(folder, "other")
    signed(folder, "cert", "localhost", by=authority(folder))
    return folder


@pytest.fixture(scope="module")
def server(certificates: Path) -> Iterator[Server]:
    files = {"ssl_ca": "ca.pem", "ssl_cert": "cert.pem", "ssl_key": "cert-key.pem"}
    with mariadb(**{name: certificates / file for name, file in files.items()}) as started:
        yield started


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)


WISHES = [
    "", "ssl", "skip-ssl", "loose-skip-ssl", "enable-ssl", "skip-ssl;ssl", "ssl;skip-ssl",
    "ssl-ca=CA", "ssl-ca=OTHER", "loose-ssl-ca=OTHER", "skip-ssl;ssl-ca=OTHER",
    "ssl-ca=OTHER;skip-ssl", "ssl-ca=OTHER;skip-ssl-verify-server-cert",
    "ssl-ca=CA;ssl-verify-server-cert", "ssl-verify-server-cert", "ssl-verify-server-cert;skip-ssl",
    "skip-ssl;ssl-verify-server-cert", "skip-ssl;ssl-cipher=AES256-GCM-SHA384",
    "ssl-cipher=NO-SUCH", "skip-ssl;ssl-cipher=NO-SUCH;skip-ssl", "tls-version=TLSv1.2",
    "tls-version=TLSv1.1", "tls-version=TLSv1.1;skip-ssl", "ssl-capath=/no/such",
    "tls-version=TLSv1.2;ssl-cipher=AES256-GCM-SHA384",
    "tls-version=TLSv1.2;ssl-cipher=ECDHE-ECDSA-AES256-GCM-SHA384",
    "ssl-ca=/no/such", "ssl-crl=/no/such", "ssl-crlpath=/no/such;ssl-ca=CA",
]  # fmt: skip


@pytest.mark.timeout(300)  # more than a hundred logins
def test_connections_are_encrypted_and_refused_as_the_clients(
    server: Server, certificates: Path, tmp_path: Path
) -> None:
    """One user may only come encrypted, so that being let in tells whether it was."""
    server.execute("CREATE USER tls@'%' REQUIRE SSL")
    server.execute("CREATE USER plain@'%'")
    server.execute("GRANT PROCESS ON *.* TO tls@'%', plain@'%'")
    client = need_program("mariadb")
    path = tmp_path / "my.cnf"
    differ = []
    for wish in WISHES:
        lines = wish.replace("=CA", f"={certificates}/ca.pem").replace(";", "\n")
        lines = lines.replace("=OTHER", f"={certificates}/other.pem")
        for user in ("tls", "plain"):
            where = f"host=127.0.0.1\nport={server.port}\nuser={user}"
            path.write_text(f"[client]\n{where}\n{lines}\n")
            path.chmod(0o644)
            file = f"--defaults-file={path}"
            theirs = subprocess.run(
                [client, file, "-e", "SELECT 1"], capture_output=True, check=False
            )
            ours = run("myps", "grep", file, "--user", "nobody")
            # No thread of nobody: status 1, and not a word.
            if (theirs.returncode == 0) != (ours.stderr == b""):
                differ.append((wish, user, theirs.stderr, ours.stderr))
    assert not differ
