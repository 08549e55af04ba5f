"""``deteco jwtgen`` and ``deteco keygen``."""

from __future__ import annotations

import os

from kojuto.common import cli, outfile, streams, units
from kojuto.common.cli import Command, Option, Values
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

JWTGEN = Command(
    "deteco jwtgen",
    "Signs a token and prints it as a header, ready for curl --header @-.",
    [
        Option(
            "--private-key",
            metavar="FILE",
            required=True,
            help="the private key to sign with (PEM; RSA, EC or Ed25519)",
        ),
        Option(
            "--private-key-user",
            metavar="SUB",
            required=True,
            help="the service that the token is for (sub)",
        ),
        Option(
            "--max-age",
            metavar="TIME",
            read=units.timed("1s", "36500d"),
            default="1h",
            help="how long the token is valid; --jwt-freshness of the server may end it sooner",
        ),
        Option("--audience", metavar="AUD", repeat=True, help="a claim aud"),
    ],
)

KEYGEN = Command(
    "deteco keygen",
    "Makes a pair of keys: NAME, the private one (mode 0600), and NAME.pub.",
    [
        Option(
            "--type",
            metavar="KIND",
            choices=("rsa", "ec", "ed25519"),
            default="ed25519",
            help="rsa (3072 bits), ec (P-256) or ed25519",
        ),
        Option(
            "--out",
            metavar="NAME",
            required=True,
            help="the two files; existing ones are not replaced",
        ),
    ],
)


def jwtgen(values: Values, _: list[str]) -> int:
    """Print ``Authorization: Bearer TOKEN``; returns the exit status.

    Raises:
        KojutoError: the key cannot be read, or nobody reads the token.
    """
    from time import time

    from kojuto.common import jwt

    key = jwt.load_private_key(jwt.read_key_file(values.private_key), values.private_key)
    now, user = int(time()), values.private_key_user
    claims: dict[str, Any] = {"sub": user, "iss": user, "iat": now}
    claims["exp"] = now + max(int(values.max_age), 1)
    if values.audience:
        claims["aud"] = values.audience[0] if len(values.audience) == 1 else values.audience
    streams.print_whole(f"Authorization: Bearer {jwt.sign(key, claims)}")
    return cli.DONE


def keygen(values: Values, _: list[str]) -> int:
    """Write the two files; returns the exit status.

    Raises:
        KojutoError: one of them is there already, or nobody reads their names.
        OSError: naming the file.
    """
    from cryptography.hazmat.primitives import serialization

    for path in (values.out, values.out + ".pub"):
        if os.path.lexists(path):
            raise KojutoError(f"{path} already exists", "choose another --out, or remove it")
    private = _generate(values.type)
    pem = serialization.Encoding.PEM
    _write(
        values.out,
        private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        0o600,
    )
    public = private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        _write(values.out + ".pub", public, 0o644)
    except BaseException:
        os.unlink(values.out)
        raise
    streams.print_whole(f"{values.out}\n{values.out}.pub")
    return cli.DONE


def _generate(kind: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if kind == "rsa":
        return rsa.generate_private_key(65537, 3072)
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def _write(path: str, content: bytes, mode: int) -> None:
    """Make the file; one that cannot be written whole is no key, and would be in the way."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        with outfile.naming(path), open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        os.unlink(path)
        raise
