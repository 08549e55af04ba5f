"""`sabo` in its usual place: a database dump through it restores to the same checksum."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import need_program, script, wait_until
from tests.streams import processes_end, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["processes_end"]

ROWS = 1_000_000


@contextlib.contextmanager
def mariadb(directory: Path) -> Iterator[list[str]]:
    """A server of its own in `directory`, reached by a socket only; yields client options."""
    data, path = directory / "data", directory / "s"
    need_program("mariadbd")
    subprocess.run(
        [
            need_program("mariadb-install-db"), "--no-defaults", f"--datadir={data}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    server = spawn(
        [
            need_program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--socket={path}",
            "--skip-networking", "--user=root", f"--pid-file={directory}/pid",
            "--innodb-buffer-pool-size=256M", "--innodb-flush-log-at-trx-commit=0",
            "--innodb-log-file-size=256M",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    options = ["--no-defaults", f"--socket={path}", "--user=root"]
    ping = [need_program("mariadb-admin"), *options, "ping"]
    wait_until(
        lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0,
        within_s=60, what="mariadbd answers",
    )  # fmt: skip
    yield options
    server.terminate()
    server.wait(timeout=60)


@pytest.mark.timeout(600)  # the server takes most of it, on a busy machine some minutes
def test_a_dump_of_a_million_rows_restores_to_the_same_checksum(tmp_path: Path) -> None:
    work = tmp_path / "members"
    work.mkdir()
    with mariadb(tmp_path) as options:

        def sql(text: str, *more: str) -> str:
            client = [need_program("mariadb"), *options, "-N", *more, "-e", text]
            return subprocess.run(client, check=True, capture_output=True, text=True).stdout

        sql(
            "CREATE DATABASE one; CREATE DATABASE two; CREATE TABLE one.t"
            " (id INT PRIMARY KEY, word VARCHAR(40), raw BINARY(8));"
            " INSERT INTO one.t SELECT seq, MD5(seq), UNHEX(LEFT(SHA1(seq), 16))"
            f" FROM one.seq_1_to_{ROWS}"
        )
        out = tmp_path / "dump.sql"
        limit = [script("sabo"), "--max-bandwidth", "30M", "--work-dir", str(work)]
        with open(out, "wb") as sink:
            dump = spawn(
                [need_program("mariadb-dump"), *options, "--hex-blob", "one"],
                stdout=subprocess.PIPE,
            )
            pipe = spawn(limit, stdin=dump.stdout, stdout=sink)
            assert pipe.wait(timeout=250) == 0
            assert dump.wait(timeout=60) == 0
        assert os.path.getsize(out) > 50 * ROWS
        with open(out, "rb") as source:
            restore = spawn([need_program("mariadb"), *options, "two"], stdin=source)
            assert restore.wait(timeout=250) == 0
        sums = [sql(f"CHECKSUM TABLE {name}.t").split()[1] for name in ("one", "two")]
        assert sums[0] == sums[1] != "NULL"
        assert sql("SELECT COUNT(*) FROM two.t").strip() == str(ROWS)
