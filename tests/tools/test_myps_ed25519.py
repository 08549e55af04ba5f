"""The login by ed25519: beside a library where that can sign too, and on a real server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto.tools.myps.ed25519 import signature
from tests.conftest import run
from tests.peers.mariadb import mariadb
from tests.peers.myps import no_settings_of_ours

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_a_password_of_32_bytes_signs_as_the_key_of_a_library(key: bytes, message: bytes) -> None:
    assert signature(key, message) == Ed25519PrivateKey.from_private_bytes(key).sign(message)


def test_it_logs_in_with_the_right_password_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_settings_of_ours(monkeypatch, tmp_path)
    with mariadb() as server:
        server.execute("INSTALL SONAME 'auth_ed25519'")
        for number, password in enumerate(("x", "pa#ss wörd 🙂", os.urandom(40).hex())):
            user = f"ed{number}"
            server.execute(
                f"CREATE USER {user}@'%%' IDENTIFIED VIA ed25519 USING PASSWORD(%s)", password
            )
            server.execute(f"GRANT PROCESS ON *.* TO {user}@'%'")
            grep = ["grep", "--user", "nobody", "--mysql-user", user]
            for where in (
                ["--mysql-socket", server.socket],
                ["--mysql-host", "127.0.0.1", "--mysql-port", str(server.port)],
            ):
                right = {"MYSQL_PWD": password}
                assert run("myps", *grep, *where, env=right).stderr == b""
                done = run("myps", *grep, *where, env={"MYSQL_PWD": password + "x"})
                assert b"Access denied" in done.stderr
