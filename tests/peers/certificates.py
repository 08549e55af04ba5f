"""Certificates that a test makes for itself."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.conftest import need_program

if TYPE_CHECKING:
    from pathlib import Path


def _make(folder: Path, name: str, *options: str | Path) -> None:
    command = [
        need_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", folder / f"{name}-key.pem",
        "-out", folder / f"{name}.pem", *options,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)


def authority(folder: Path, name: str = "ca") -> None:
    """``NAME.pem`` and ``NAME-key.pem``: somebody who signs."""
    folder.mkdir(parents=True, exist_ok=True)
    _make(folder, name, "-subj", "/CN=a test's authority",
          "-addext", "basicConstraints=critical,CA:true",
          "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip


def signed(folder: Path, name: str, *addresses: str, by: Path) -> None:
    """``NAME.pem`` and ``NAME-key.pem``, for these IP addresses, or for a client without any.

    Args:
        folder: where they go.
        name: of the files.
        addresses: that the certificate is for.
        by: the folder and name of the authority, without ``.pem``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options: list[str | Path] = [
        "-subj", f"/CN={name}", "-CA", f"{by}.pem", "-CAkey", f"{by}-key.pem",
        "-addext", "basicConstraints=CA:false",
        "-addext", f"extendedKeyUsage={'serverAuth' if addresses else 'clientAuth'}",
    ]  # fmt: skip
    if addresses:
        names = ",".join(f"IP:{address}" for address in addresses)
        options += ["-addext", f"subjectAltName={names}"]
    _make(folder, name, *options)
