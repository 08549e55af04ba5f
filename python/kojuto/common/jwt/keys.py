"""The keys of tokens: read from PEM, each with the algorithms that it may be used with.

The key fixes the algorithms, never the token (RFC 8725, section 3.1). Sources: RFC 7468, 7518,
8037, 9864. No message holds key material.
"""

from __future__ import annotations

from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_KEY_FILE_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"
"""What some editors begin a text in UTF-8 with."""
DECRYPT_HINT = (
    "'openssl pkey -in FILE -out PLAIN' decrypts it; keep PLAIN readable for its user only"
)
MIN_RSA_BITS = 2048
"""RFC 7518, section 3.3."""
WEAK_RSA_BITS = 1024
"""For those who ask for it."""
MAX_RSA_BITS = 16_384
"""A check takes time with the cube of the size."""

RSA = ("RS256", "RS384", "RS512")
RSA_PSS = ("PS256", "PS384", "PS512")
ED25519 = ("EdDSA", "Ed25519")
"""RFC 8037, 3.1, and the name of this one curve by RFC 9864, 2.2."""
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class WeakKeyError(KojutoError):
    """A key that is too small for general use, and may be taken by those who ask for it."""


class Key:
    """A public key and the algorithms it may check.

    Args:
        public: of cryptography.
        algorithms: names of RFC 7518, 3.1, RFC 8037, 3.1, and RFC 9864, 2.2; the token's must be
            among them.
        kid: its name in a key set; None for PEM keys, which have none.
        title: how messages call it: ``key 2 of keys.pem (RSA, 2048 bits)``.
    """

    __slots__ = ("_fingerprint", "algorithms", "kid", "public", "title")

    def __init__(
        self, public: Any, algorithms: tuple[str, ...], title: str, kid: str | None = None
    ) -> None:
        self.public = public
        self.algorithms = algorithms
        self.title = title
        self.kid = kid
        self._fingerprint = ""

    def fingerprint(self) -> str:
        """What tells it from other keys: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal."""
        if not self._fingerprint:
            from hashlib import sha256

            from cryptography.hazmat.primitives import serialization

            info = serialization.PublicFormat.SubjectPublicKeyInfo
            data: bytes = self.public.public_bytes(serialization.Encoding.DER, info)
            self._fingerprint = sha256(data).hexdigest()
        return self._fingerprint


class PrivateKey:
    """A private key and the one algorithm it signs with: RS256, ES256/384/512 or EdDSA."""

    __slots__ = ("algorithm", "private")

    def __init__(self, private: Any, algorithm: str) -> None:
        self.private = private
        self.algorithm = algorithm

    def __repr__(self) -> str:
        return f"PrivateKey({self.algorithm})"


def read_key_file(path: str) -> bytes:
    """The bytes of a key file, without the marks (BOM) of texts that were put into it.

    Raises:
        KojutoError: it cannot be read, or is over 1 MiB.
    """
    try:
        with open(path, "rb") as file:
            pem = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise KojutoError(f"{path}: {words(error)}") from None
    if len(pem) > MAX_KEY_FILE_BYTES:
        raise KojutoError(f"{path}: over {MAX_KEY_FILE_BYTES} bytes, which is not a key file")
    return _without_marks(pem)


def _without_marks(text: bytes) -> bytes:
    return text.removeprefix(BOM).replace(b"\n" + BOM, b"\n")


def load_public_keys(
    pem: bytes, source: str, *, pss: bool = False, weak: bool = False
) -> list[Key]:
    """The public keys of a PEM text: RSA from 2048 bits, EC on P-256, P-384 or P-521, Ed25519.

    Args:
        pem: one block or more, with any text around them: ``PUBLIC KEY``, ``RSA PUBLIC KEY``, or
            ``CERTIFICATE``, of which only the key counts (its dates and issuer do not).
        source: file or service, for messages.
        pss: RSA keys check PS256, PS384 and PS512 too.
        weak: RSA keys from 1024 bits are taken.

    Returns:
        At least one key, in their order.

    Raises:
        KojutoError: naming `source` and the block: there is none, one is of another kind (a private
            key, above all), too small or broken.
    """
    return [
        public_key(_read_public(label, block, name), name, pss=pss, weak=weak)
        for number, (label, block) in enumerate(_pem_blocks(pem, source, _PUBLIC_HINT), start=1)
        if (name := f"key {number} of {source}")
    ]


def _read_public(label: str, block: bytes, name: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    if "PRIVATE KEY" in label:
        raise KojutoError(
            f"{name} is a private key; a public key is expected here",
            "'openssl pkey -in PRIVATE.pem -pubout' prints it",
        )
    if label not in ("PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"):
        raise KojutoError(f"{name}: {label} is not a public key", _PUBLIC_HINT)
    try:
        if label == "CERTIFICATE":
            return load_pem_x509_certificate(block).public_key()
        return load_pem_public_key(block)
    except UnsupportedAlgorithm:
        raise KojutoError(f"{name} is of a kind that is not supported", _KINDS) from None
    except (ValueError, TypeError):
        raise KojutoError(f"{name} cannot be read", _PUBLIC_HINT) from None


_PUBLIC_HINT = "a public key begins with -----BEGIN PUBLIC KEY-----"
_PRIVATE_HINT = "a private key begins with -----BEGIN PRIVATE KEY-----"
_KINDS = "RSA from 2048 bits, EC on P-256, P-384 or P-521, or Ed25519"


def public_key(
    public: Any, name: str, *, pss: bool = False, kid: str | None = None, weak: bool = False
) -> Key:
    """A `Key` of a key of cryptography, with the algorithms that fit it.

    Raises:
        KojutoError: it is too small or of another kind.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(public, rsa.RSAPublicKey):
        _check_rsa(public.key_size, name, WEAK_RSA_BITS if weak else MIN_RSA_BITS)
        algorithms = RSA + RSA_PSS if pss else RSA
        return Key(public, algorithms, f"{name} (RSA, {public.key_size} bits)", kid)
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in CURVES:
        return Key(public, (CURVES[public.curve.name],), f"{name} (EC, {public.curve.name})", kid)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return Key(public, ED25519, f"{name} (Ed25519)", kid)
    raise KojutoError(f"{name} is of a kind that is not supported", _KINDS)


def for_native(key: Key) -> list[tuple[str, str | None, bytes | None]]:
    """A key as `kojuto._native.TokenGate` takes it: algorithm, kid and bytes, for each algorithm.

    Without bytes what the native side does not check: P-521, and RSA keys of other than 2048 to
    8192 bits or with an odd exponent.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    der, raw = serialization.Encoding.DER, serialization.Encoding.Raw
    public, data = key.public, None
    if isinstance(public, rsa.RSAPublicKey):
        exponent = public.public_numbers().e
        if 2048 <= public.key_size <= 8192 and 3 <= exponent < 1 << 33 and exponent % 2:
            data = public.public_bytes(der, serialization.PublicFormat.PKCS1)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        if public.curve.name in ("secp256r1", "secp384r1"):
            point = serialization.PublicFormat.UncompressedPoint
            data = public.public_bytes(serialization.Encoding.X962, point)
    elif isinstance(public, ed25519.Ed25519PublicKey):
        data = public.public_bytes(raw, serialization.PublicFormat.Raw)
    return [(algorithm, key.kid, data) for algorithm in key.algorithms]


def load_private_key(pem: bytes, source: str) -> PrivateKey:
    """The private key of a PEM text, RSA (from 2048 bits), EC or Ed25519.

    Raises:
        KojutoError: naming `source`: there is none or more than one, it is encrypted, too small or
            of another kind.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    found = _pem_blocks(pem, source, _PRIVATE_HINT)
    blocks = [block for block in found if block[0] != "EC PARAMETERS"]
    if len(blocks) != 1:
        raise KojutoError(f"{source}: {len(blocks)} PEM blocks, one private key is expected")
    label, block = blocks[0]
    if label not in ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"):
        raise KojutoError(f"{source}: {label} is not a private key", _PRIVATE_HINT)
    try:
        private: Any = load_pem_private_key(block, None)
    except TypeError:
        raise KojutoError(
            f"{source}: the private key is encrypted",
            DECRYPT_HINT,
        ) from None
    except Exception:
        raise KojutoError(f"{source}: the private key cannot be read", _KINDS) from None
    if isinstance(private, rsa.RSAPrivateKey):
        _check_rsa(private.key_size, source)
        return PrivateKey(private, "RS256")
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return PrivateKey(private, CURVES[private.curve.name])
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return PrivateKey(private, "EdDSA")
    raise KojutoError(f"{source}: a private key of a kind that is not supported", _KINDS)


def _check_rsa(bits: int, name: str, least: int = MIN_RSA_BITS) -> None:
    if bits < least:
        raise (WeakKeyError if bits >= WEAK_RSA_BITS else KojutoError)(
            f"{name}: an RSA key of {bits} bits is below the minimum of {least}",
            "'openssl genpkey -algorithm ed25519 -out KEY.pem' makes a good one",
        )
    if bits > MAX_RSA_BITS:
        raise KojutoError(f"{name}: an RSA key of {bits} bits is above {MAX_RSA_BITS}")


def _pem_blocks(pem: bytes, source: str, hint: str) -> Iterator[tuple[str, bytes]]:
    """Label and text of each PEM block (RFC 7468); text outside blocks is skipped."""
    label = ""
    lines: list[bytes] = []
    found = False
    for number, line in enumerate(_without_marks(pem).splitlines(), start=1):
        line = line.strip()  # noqa: PLW2901
        if line.startswith(b"-----BEGIN ") and line.endswith(b"-----"):
            if label:
                break
            label = line[11:-5].decode("ascii", "replace")
            began, lines = number, [line]
        elif label:
            lines.append(line)
            if line == b"-----END " + label.encode() + b"-----":
                found = True
                yield label, b"\n".join(lines) + b"\n"
                label = ""
    if label:
        raise KojutoError(f"{source}: the PEM block of line {began} has no END line")
    if not found:
        raise KojutoError(f"{source}: there is no PEM block in it", hint)
