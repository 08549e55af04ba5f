"""Map files: ``left,right`` a line, ``#`` comments and blank lines between them."""

from __future__ import annotations

from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Left = TypeVar("Left")
    Right = TypeVar("Right")

MAX_BYTES = 16 << 20


def read(
    path: str, left: Callable[[str], Left], right: Callable[[str], Right], shape: str
) -> dict[Left, Right]:
    """The lines of a map file, in their order.

    Args:
        path: of the file, in UTF-8, at most 16 MiB.
        left: reads what is before the first comma, blanks at its ends removed; raises `ValueError`
            with what is wrong.
        right: the same for what is after it.
        shape: what a line looks like, for messages: ``name,host:port``.

    Raises:
        KojutoError: the file cannot be read, or a line has another form; the message names it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KojutoError(f"--map {path}: {words(error)}") from None
    if len(data) > MAX_BYTES:
        raise KojutoError(f"--map {path}: over {MAX_BYTES} bytes")
    found: dict[Left, Right] = {}
    lines: dict[Left, int] = {}
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        where = f"--map {path}, line {number}"
        try:
            text = raw.decode().strip()
        except UnicodeDecodeError:
            raise KojutoError(f"{where}: not valid UTF-8") from None
        if not text or text.startswith("#"):
            continue
        first, comma, second = text.partition(",")
        if not comma or not text.isprintable():
            raise KojutoError(f"{where}: not of the form {shape}", "comment lines begin with #")
        try:
            key, value = left(first.strip()), right(second.strip())
        except ValueError as error:
            raise KojutoError(f"{where}: {error}", f"a line looks like {shape}") from None
        if key in lines:
            raise KojutoError(f"{where}: {first.strip()} is already in line {lines[key]}")
        found[key], lines[key] = value, number
    return found
