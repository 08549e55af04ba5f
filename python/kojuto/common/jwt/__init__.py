"""Signed tokens (JWT): the keys, signing, verifying. No message holds a token or key material."""

from kojuto.common.jwt.argument import from_argument
from kojuto.common.jwt.keys import (
    DECRYPT_HINT,
    MAX_KEY_FILE_BYTES,
    MAX_RSA_BITS,
    MIN_RSA_BITS,
    RSA_PSS,
    Key,
    PrivateKey,
    WeakKeyError,
    for_native,
    load_private_key,
    load_public_keys,
    public_key,
    read_key_file,
)
from kojuto.common.jwt.signers import Signers
from kojuto.common.jwt.signing import sign
from kojuto.common.jwt.verifying import (
    IAT_LEEWAY_S,
    MAX_TOKEN_CHARS,
    ClaimError,
    FormError,
    NoKeyError,
    NoTokenError,
    SignatureError,
    TokenError,
    bearer,
    check_claims,
    signed_by,
    signed_payload,
    unverified_subject,
    verify,
)

__all__ = [
    "DECRYPT_HINT", "IAT_LEEWAY_S", "MAX_KEY_FILE_BYTES", "MAX_RSA_BITS", "MAX_TOKEN_CHARS",
    "MIN_RSA_BITS", "RSA_PSS", "ClaimError", "FormError", "Key", "NoKeyError", "NoTokenError",
    "PrivateKey", "SignatureError", "Signers", "TokenError", "WeakKeyError", "bearer",
    "check_claims", "for_native", "from_argument", "load_private_key", "load_public_keys",
    "public_key", "read_key_file", "sign", "signed_by", "signed_payload", "unverified_subject",
    "verify",
]  # fmt: skip
