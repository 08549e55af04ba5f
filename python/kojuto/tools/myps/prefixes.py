"""Names of options as the mysql client takes them: prefixes, short forms, switches.

Source: ``my_getopt`` (MySQL internals, "Option prefixes"; the manual, "Program Option Modifiers").
"""

from __future__ import annotations

from kojuto.errors import KojutoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Setting = tuple[str, "str | None"]

SHORTEST = {
    "host": 2, "user": 2, "password": 3, "port": 2, "socket": 2, "protocol": 4,
    "ssl": 3, "ssl-mode": 8, "ssl-verify-server-cert": 5,
    "ssl-ca": 6, "ssl-capath": 7, "ssl-cert": 6, "ssl-key": 5, "ssl-cipher": 6,
    "ssl-crl": 7, "ssl-crlpath": 8, "tls-version": 2,
}  # fmt: skip
"""What is known here, and how many letters of it are enough (no other option begins so)."""
SWITCHES = ("ssl", "ssl-verify-server-cert")
PREFIXES = ("skip", "disable", "enable", "maximum", "loose")


def settings(options: Iterable[Setting]) -> list[Setting]:
    """The options that are known here, by their full names and in their order.

    Args:
        options: as they stand in the files, with prefixes.

    Returns:
        Their names and values: "1" or "0" for a switch, None for a password that is to be asked
        for.

    Raises:
        KojutoError: a name is cut too short to tell which is meant, a value is missing, or that
            of a switch is neither on nor off.
    """
    found = []
    for name, value in options:
        prefix, known = _known(name)
        if known is not None:
            found.append((known, _value(known, prefix, value)))
    return found


def _known(name: str) -> tuple[str, str | None]:
    """The last prefix, and the full name of the option, None for one that is not known."""
    given = name
    name = name.lower().replace("_", "-")
    prefix = ""
    while True:
        for full, letters in SHORTEST.items():
            if name == full or (len(name) >= letters and full.startswith(name)):
                return prefix, full
        meant = [full for full in SHORTEST if name and full.startswith(name)]
        if meant:
            # The client ends, too: with h=db1 passed over it would be another server.
            raise KojutoError(
                f"option {given}: cut too short", f"write {' or '.join(meant)} in the option file"
            )
        before, dash, rest = name.partition("-")
        if not dash or before not in PREFIXES:
            return prefix, None
        prefix, name = before, rest


def _value(name: str, prefix: str, value: str | None) -> str | None:
    if prefix in ("skip", "disable", "enable"):  # not off is on
        on = (value == "0") != (prefix == "enable")
        if name in SWITCHES:
            return "1" if on else "0"
        if name == "port":
            return "1" if on else "0"
        return "" if on or name == "password" else "0"
    if name in SWITCHES:
        text = "1" if value is None else value.lower()
        if text not in ("1", "on", "true", "0", "off", "false"):
            # The client warns and takes it for off: a wish for TLS would be lost.
            raise KojutoError(f"{name}={value}: neither on nor off", "write 1 or 0")
        return "1" if text in ("1", "on", "true") else "0"
    if value is None and name != "password":
        raise KojutoError(f"option {name}: a value is missing", f"write {name}=… in the file")
    return value
