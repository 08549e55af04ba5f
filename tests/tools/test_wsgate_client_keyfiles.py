"""wsgate-client: key files that are encrypted, and those with a mark of UTF-8."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.conftest import run
from tests.keys import private_key, private_pem, public_pem
from tests.peers.certificates import self_signed
from tests.peers.gates import backend, client, round_trip, server, tls
from tests.peers.servers import LOOPBACK, echo, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.servers import Stage

BOM = b"\xef\xbb\xbf"


def test_an_encrypted_key_ends_the_start_and_asks_for_nothing(tmp_path: Path) -> None:
    certificate, plain = self_signed(tmp_path, "client", "client.test")
    key = tmp_path / "encrypted.pem"
    key.write_bytes(private_pem(load_pem_private_key(plain.read_bytes(), None), b"hidden-secret"))
    (tmp_path / "map").write_text(f"{LOOPBACK}:{free_port()},https://x/\n")
    options: list[str | Path] = ["--map", tmp_path / "map", "--cert", certificate]
    done = run("wsgate-client", *options, "--key", key, stdin=b"hidden-secret\n")
    assert done.returncode == 1
    assert done.stdout == b""
    assert f"{key}: the private key is encrypted" in done.stderr.decode()
    assert b"openssl pkey -in FILE -out PLAIN" in done.stderr
    assert b"pass phrase" not in done.stderr


def marked(path: Path) -> str:
    """A file with what some editors begin a text with."""
    found = path.with_name(f"marked-{path.name}")
    found.write_bytes(BOM + path.read_bytes())
    return str(found)


@pytest.mark.parametrize("packed", [[], ["--enable-compression"]], ids=["plain", "compressed"])
def test_certificates_with_a_mark(stage: Stage, packed: list[str]) -> None:
    context, authority = tls(stage.folder, LOOPBACK)
    ours, key = self_signed(stage.folder, "client", "client.test")
    context.load_verify_locations(ours)
    context.verify_mode = ssl.CERT_REQUIRED
    url = backend(stage, ssl=context).url("https")
    trust = ["--ca-file", marked(authority), *packed]
    local = client(stage, url, *trust, "--cert", marked(ours), "--key", marked(key))
    with local.connect() as conn:
        round_trip(conn, b"known")


def test_keys_of_tokens_with_marks(stage: Stage) -> None:
    """Also where several such files were put into one."""
    public, private = stage.folder / "public.pem", stage.folder / "private.pem"
    public.write_bytes(b"".join(BOM + public_pem(private_key("ec", at)) for at in (1, 2)))
    private.write_bytes(BOM + private_pem(private_key("ec", 2)))
    gate = server(stage, {"a": stage.peer(echo).port}, "--public-key", str(public))
    local = client(stage, gate.url("a"), "--private-key", str(private))
    with local.connect() as conn:
        round_trip(conn, b"hello")
