"""Who may reach which name: the file of ``--users``."""

from __future__ import annotations

from kojuto.common import tomlfile
from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Mapping
    from typing import Any

    from kojuto.tools.wsgate_server.identity import Who

KEYS = ("sub", "email", "groups")
ANYBODY = "*"
HINT = "a table for each name, of sub, email and groups: [db] and sub = ['alice']"


class Entry:
    """One table of the file.

    Args:
        name: of the map, or a pattern.
        table: lists of texts by the keys of `KEYS`.

    Raises:
        KojutoError: it is of another form.
    """

    def __init__(self, name: str, table: Any) -> None:
        import re
        from fnmatch import translate

        if not isinstance(table, dict):
            raise KojutoError(f"{name}: not a table", HINT)
        self.title = f"[{name}]"
        self._pattern: re.Pattern[str] = re.compile(translate(name))
        self._texts: dict[str, frozenset[str]] = {}
        for key, texts in table.items():
            if key not in KEYS:
                hint = f'a name with a dot is quoted: ["{name}.{key}"]'
                raise KojutoError(
                    f"{self.title}: {key}: no such key (sub, email, groups)",
                    hint if isinstance(texts, dict) else HINT,
                )
            if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
                raise KojutoError(f"{self.title}: {key} must be a list of strings", HINT)
            self._texts[key] = frozenset(texts)

    def is_about(self, name: str) -> bool:
        """Whether it is about a name of the map."""
        return self._pattern.match(name) is not None

    def right(self, who: Who) -> str:
        """By what somebody may reach its names; empty when he may not."""
        for key, held in (("sub", [who.sub]), ("email", [who.email]), ("groups", who.groups)):
            wanted = self._texts.get(key, frozenset())
            for text in held:
                if text and text in wanted:
                    return f"{self.title} {key} {text}"
        return f"{self.title} sub {ANYBODY}" if ANYBODY in self._texts.get("sub", ()) else ""


class NotAllowedError(Exception):
    """A known token without the right to a name; the text says what is missing."""


class Users:
    """The entries of a file. What one allows no other takes away.

    Args:
        document: tables by name or pattern.

    Raises:
        KojutoError: one is of another form; the message names it.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._entries = [Entry(name, table) for name, table in document.items()]

    def right(self, name: str, who: Who) -> str:
        """By what somebody may reach a name, for messages.

        Raises:
            NotAllowedError: he may not.
        """
        found = [entry for entry in self._entries if entry.is_about(name)]
        for entry in found:
            if right := entry.right(who):
                return right
        if not found:
            raise NotAllowedError("--users has no entry for this name")
        titles = " and ".join(entry.title for entry in found)
        raise NotAllowedError(f"neither the sub nor the email nor a group is in {titles}")


def read(path: str) -> Users:
    """The file of ``--users``.

    Raises:
        KojutoError: it cannot be read, or is of another form; the message names the entry.
    """
    document = tomlfile.read(path)
    try:
        return Users(document)
    except KojutoError as error:
        raise KojutoError(f"--users {path}: {error}", error.hint) from None
