"""The text of statements as their clients sent it, whatever the character set of the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Query = Callable[[str], Sequence[tuple[Any, ...]]]

SHOWN_BYTES = 65_535
"""So much of a statement has the process list (PROCESS_LIST_INFO_WIDTH of the servers)."""


def is_cut(sent: bytes) -> bool:
    """Whether the process list has the beginning of a longer statement."""
    return len(sent) >= SHOWN_BYTES


def as_utf8(sent: bytes) -> str | None:
    """The statement, if it is UTF-8; where it was cut, up to its last whole character."""
    if is_cut(sent):
        for position in range(1, 4):
            if sent[-position] >= 0xC0:  # the first byte of a character that may not be whole
                whole = sent[-position:].decode("utf-8", "ignore")
                sent = sent if whole else sent[:-position]
                break
    try:
        return sent.decode()
    except UnicodeDecodeError:
        return None


def converted(query: Query, wanted: dict[int, int]) -> dict[int, str]:
    """Statements of connections with another character set, as the server converts them.

    ``SHOW PROCESSLIST`` alone knows that set. It has no query ids: they are asked for again.

    Args:
        query: asks the server.
        wanted: thread ids and the query ids they had.

    Returns:
        The texts of those that still run the same statement, by thread id.
    """
    texts = {}
    for row in query("SHOW FULL PROCESSLIST"):
        number = int(row[0])
        if number in wanted and row[7] is not None:
            texts[number] = bytes(row[7]).decode("utf-8", "replace")[:SHOWN_BYTES]
    numbers = ", ".join(map(str, wanted))
    same = query(
        "SELECT ID, QUERY_ID FROM information_schema.PROCESSLIST "  # noqa: S608
        f"WHERE ID IN ({numbers}) AND INFO IS NOT NULL"
    )
    still = {int(row[0]) for row in same if wanted.get(int(row[0])) == int(row[1])}
    return {number: text for number, text in texts.items() if number in still}


def by_guess(sent: bytes) -> str:
    """What cannot be asked for any more, as Western European text, the servers' old default."""
    return sent.decode("cp1252", "replace")
