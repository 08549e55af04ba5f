"""Key files of tokens: which are read, which are refused, and what is said of them."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from kojuto.common import jwt
from kojuto.errors import KojutoError
from tests.common.tokens import NOW, P
from tests.keys import ec_key, private_pem, public_pem, rsa_key

if TYPE_CHECKING:
    from pathlib import Path


def test_openssl_makes_keys_that_load_and_verify(tmp_path: Path) -> None:
    def openssl(*arguments: str) -> bytes:
        done = subprocess.run(
            ["openssl", *arguments], capture_output=True, check=True, cwd=tmp_path
        )
        return done.stdout

    openssl("genrsa", "-traditional", "-out", "rsa.pem", "2048")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-out", "ec.pem")
    openssl("genpkey", "-algorithm", "ed25519", "-out", "ed.pem")
    for name in ("rsa.pem", "ec.pem", "ed.pem"):
        key = jwt.load_private_key((tmp_path / name).read_bytes(), name)
        public = jwt.load_public_keys(openssl("pkey", "-in", name, "-pubout", "-text"), name)
        assert jwt.verify(jwt.sign(key, P), public, now=NOW, freshness_s=60) == P
    openssl("req", "-x509", "-key", "rsa.pem", "-subj", "/CN=x", "-out", "cert.pem")
    token = jwt.sign(jwt.load_private_key((tmp_path / "rsa.pem").read_bytes(), "r"), P)
    for pem in (
        (tmp_path / "cert.pem").read_bytes(),
        openssl("rsa", "-in", "rsa.pem", "-RSAPublicKey_out"),
    ):
        assert jwt.verify(token, jwt.load_public_keys(pem, "p"), now=NOW, freshness_s=60) == P


def test_a_fingerprint_is_that_of_the_pem_block_and_is_made_once() -> None:
    pem = public_pem(rsa_key()) + public_pem(ec_key())
    found = [key.fingerprint() for key in jwt.load_public_keys(pem, "p")]
    blocks = [b"".join(part.splitlines()[1:]) for part in pem.split(b"-----END PUBLIC KEY-----\n")]
    assert found == [hashlib.sha256(base64.b64decode(one)).hexdigest() for one in blocks if one]

    class Public:
        asked = 0

        def public_bytes(self, *_: object) -> bytes:
            self.asked += 1
            return b"x"

    public = Public()
    key = jwt.Key(public, ("EdDSA",), "key")
    assert key.fingerprint() == key.fingerprint() == hashlib.sha256(b"x").hexdigest()
    assert public.asked == 1


CUT = public_pem(rsa_key())[:-30]


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "x.pem: there is no PEM block in it"),
        (b"no key\n", "x.pem: there is no PEM block in it"),
        (lambda: private_pem(rsa_key()), "key 1 of x.pem is a private key"),
        (lambda: public_pem(rsa_key()) + private_pem(ec_key()), "key 2 of x.pem is a private key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "key 1 of x.pem cannot"),
        (lambda: public_pem(rsa_key())[:-30], "the PEM block of line 1 has no END line"),
        (lambda: b"\n" + CUT + b"\n" + public_pem(ec_key()), "of line 2 has no END"),
        (b"-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----", "X509 CRL is not a public key"),
        (lambda: public_pem(rsa_key(1024)), "1024 bits is below the minimum of 2048"),
        (lambda: public_pem(ec_key(ec.SECP256K1)), "of a kind that is not supported"),
        (lambda: public_pem(ed448.Ed448PrivateKey.generate()), "of a kind that is not supported"),
    ],
)  # fmt: skip
def test_what_is_no_public_key_is_named(pem: Any, message: str) -> None:
    with pytest.raises(KojutoError) as caught:
        jwt.load_public_keys(pem() if callable(pem) else pem, "x.pem")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "no PEM block"),
        (lambda: public_pem(rsa_key()), "PUBLIC KEY is not a private key"),
        (lambda: private_pem(rsa_key(), b"secret"), "is encrypted"),
        (lambda: private_pem(rsa_key(1024)), "below the minimum"),
        (lambda: private_pem(rsa_key()) * 2, "2 PEM blocks"),
        (lambda: private_pem(ec_key(ec.SECP256K1)), "not supported"),
        (b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----", "cannot be read"),
    ],
)
def test_what_is_no_private_key_is_named_and_not_shown(pem: Any, message: str) -> None:
    with pytest.raises(KojutoError) as caught:
        jwt.load_private_key(pem() if callable(pem) else pem, "x.pem")
    assert message in str(caught.value)
    assert "PUBLIC KEY-----" not in str(caught.value.hint)
    assert "c2VjcmV0" not in str(caught.value) + str(caught.value.hint)


def test_an_rsa_key_has_2048_to_16384_bits() -> None:
    """Keys of these sizes take minutes to make, so these are only numbers of the size."""

    def key(bits: int) -> rsa.RSAPublicKey:
        return rsa.RSAPublicNumbers(65537, (1 << bits) - 1).public_key()

    for bits in (jwt.MIN_RSA_BITS, jwt.MAX_RSA_BITS):
        assert jwt.public_key(key(bits), "k").title == f"k (RSA, {bits} bits)"
    with pytest.raises(KojutoError, match="k: an RSA key of 2047 bits is below"):
        jwt.public_key(key(jwt.MIN_RSA_BITS - 1), "k")
    with pytest.raises(KojutoError, match="k: an RSA key of 16385 bits is above 16384"):
        jwt.public_key(key(jwt.MAX_RSA_BITS + 1), "k")


def test_a_key_file_has_an_upper_bound(tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    path.write_bytes(b"x" * jwt.MAX_KEY_FILE_BYTES)
    assert len(jwt.read_key_file(str(path))) == 1 << 20
    path.write_bytes(b"x" * (jwt.MAX_KEY_FILE_BYTES + 1))
    with pytest.raises(KojutoError, match="over 1048576 bytes"):
        jwt.read_key_file(str(path))


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(KojutoError, match="Is a directory"):
        jwt.read_key_file(str(tmp_path))
    with pytest.raises(KojutoError, match="No such file"):
        jwt.read_key_file(str(tmp_path / "none"))
    (tmp_path / "large").write_bytes(b"x" * (1 << 20) + b"x")
    with pytest.raises(KojutoError, match="over 1048576 bytes"):
        jwt.read_key_file(str(tmp_path / "large"))


def test_a_private_key_is_shown_without_its_secret() -> None:
    key = jwt.load_private_key(private_pem(ec_key(ec.SECP384R1)), "k")
    assert repr(key) == "PrivateKey(ES384)"
    assert not hasattr(key, "__dict__")  # nothing shows its fields either
