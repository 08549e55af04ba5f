"""Configuration files in TOML."""

from __future__ import annotations

import sys

from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 16 << 20
BOM = b"\xef\xbb\xbf"


def read(path: str) -> dict[str, Any]:
    """The tables of a file, in UTF-8 with or without a mark of that (BOM), at most 16 MiB.

    Raises:
        KojutoError: it cannot be read, or is not TOML; the message names it.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KojutoError(f"{path}: {words(error)}") from None
    if len(data) > MAX_BYTES:
        raise KojutoError(f"{path}: over the limit of {MAX_BYTES} bytes")
    try:
        return tomllib.loads(data.removeprefix(BOM).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KojutoError(f"{path}: not TOML: {error}") from None
