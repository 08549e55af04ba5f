"""Asking a running server by its metrics port, and showing what it says as a table."""

from __future__ import annotations

from kojuto.common import streams
from kojuto.common.cli import Option
from kojuto.common.server import listen
from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

TIMEOUT_S = 5.0
JSON = Option("--json", help="print what is known as a JSON object")


def ask(address: tuple[str, int], path: str, member: str, command: str) -> dict[str, Any]:
    """The JSON object that a running server answers with.

    Args:
        address: host and port of its ``--metrics-listen``.
        path: of the document, ``/status``.
        member: what the object must have.
        command: the server's name, for messages.

    Raises:
        KojutoError: nobody answers there, or somebody else.
    """
    import json
    from http.client import HTTPConnection, HTTPException

    host, port = address
    where = listen.address_text(host, port)
    if host in listen.ANY:
        host = "127.0.0.1"
    conn = HTTPConnection(host, port, timeout=TIMEOUT_S)
    hint = f"is this the --metrics-listen of a running {command}?"
    try:
        conn.request("GET", path)
        answer = conn.getresponse()
        body = answer.read()
    except (OSError, HTTPException) as error:
        raise KojutoError(f"{where} does not answer: {words(error)}", hint) from None
    finally:
        conn.close()
    try:
        found = json.loads(body) if answer.status == 200 else None
    except ValueError:
        found = None
    if not isinstance(found, dict) or member not in found:
        raise KojutoError(f"{where}{path}: {answer.status}, not the state of a {command}", hint)
    return found


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The lines of a table, its columns as wide as they must be; control characters are escaped.

    Args:
        rows: the heads first, all of one length.
        right: the columns that are set flush right.
    """
    shown = [[streams.one_line(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    padded = [
        [
            text.rjust(width) if at in right else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in shown
    ]
    return ["  ".join(row).rstrip() for row in padded]
