"""Certificates that a test makes for itself."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.keys import private_pem

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.timedelta(days=1)


def authority(folder: Path, name: str = "ca") -> Path:
    """``NAME.pem`` and ``NAME-key.pem``: somebody who signs. Answers them without ``.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"a test's authority {name}")
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_agreement", "crl_sign", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    builder = (
        _builder(subject, subject, key, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, **usage), critical=True)
    )
    _write(folder, name, builder.sign(key, hashes.SHA256()), key)
    return folder / name


def signed(
    folder: Path, name: str, *hosts: str, by: Path, since: int = -2, until: int = 30
) -> tuple[Path, Path]:
    """``NAME.pem`` and ``NAME-key.pem``, for these hosts, or for a client without any.

    Args:
        folder: where they go.
        name: of the files.
        hosts: the names and IP addresses that the certificate is for.
        by: as `authority` answers it.
        since: the first day that it holds, from now on.
        until: the last one.
    """
    issuer = x509.load_pem_x509_certificate(by.with_name(f"{by.name}.pem").read_bytes())
    signer = _key(by.with_name(f"{by.name}-key.pem"))
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    subject = _name(hosts[0] if hosts else name)
    builder = (
        _builder(subject, issuer.subject, key, signer, since=since, until=until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )
    return _write(folder, name, _for(builder, hosts).sign(signer, hashes.SHA256()), key)


def self_signed(
    folder: Path, name: str, *hosts: str, ca: bool = False, since: int = -2, until: int = 30
) -> tuple[Path, Path]:
    """``NAME.pem`` and ``NAME-key.pem``, which nobody has signed, for these hosts; with `ca` an
    authority by its extensions, as ``openssl req -x509`` makes it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(hosts[0])
    builder = _builder(subject, subject, key, key, since=since, until=until).add_extension(
        x509.BasicConstraints(ca=ca, path_length=None), critical=True
    )
    return _write(folder, name, _for(builder, hosts).sign(key, hashes.SHA256()), key)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key(path: Path) -> Any:
    return serialization.load_pem_private_key(path.read_bytes(), None)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Any,
    signer: Any,
    *,
    since: int = -2,
    until: int = 30,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    ours, theirs = key.public_key(), signer.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(ours)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since * DAY)
        .not_valid_after(now + until * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ours), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(theirs), critical=False)
    )


def _for(builder: x509.CertificateBuilder, hosts: tuple[str, ...]) -> x509.CertificateBuilder:
    if not hosts:
        return builder
    names = [_general_name(host) for host in hosts]
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(folder: Path, name: str, certificate: x509.Certificate, key: Any) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    chain, private = folder / f"{name}.pem", folder / f"{name}-key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(private_pem(key))
    return chain, private
