"""Reading a command line: the options, their values, what is left over.

It is written here, without argparse, for two reasons: a monitoring plugin starts every minute and
argparse costs more than the plugin itself; and the originals are Go programs, so that
``-percentile-set 99``, ``--percentile-set=99`` and ``-jwt_freshness`` all have to work.
"""

from __future__ import annotations

import sys

from kojuto.common.command import Values
from kojuto.common.streams import complain
from kojuto.errors import DONE, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from kojuto.common.command import Command, Option

DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
"""What word processors put in place of a hyphen: other hyphens, dashes, minus signs."""
SHOWN = 300
"""Characters of a value that a message shows."""


def parse(command: Command, argv: Sequence[str]) -> tuple[Values, list[str]]:
    """Read the arguments.

    Args:
        command: the command line.
        argv: without the program's name.

    Returns:
        The values and the positional arguments.

    Raises:
        UsageError: an option or value is wrong; the message names it.
        SystemExit: ``--help`` or ``--version`` was printed (status 0).
    """
    return Parser(command).read(argv)


class Parser:
    """One call of a command: what its options are called, and the reading of the arguments."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._not_taken: tuple[str, str] | None = None
        self._long: dict[str, Option] = {}
        self._short: dict[str, Option] = {}
        for option in self._command.options:
            for name in option.names:
                if name.startswith("--"):
                    self._long[name[2:].replace("_", "-")] = option
                else:
                    self._short[name[1:]] = option

    def read(self, argv: Sequence[str]) -> tuple[Values, list[str]]:
        """Read the arguments, as `parse` has it."""
        values: dict[str, Any] = {}
        positional: list[str] = []
        rest = list(argv)
        while rest:
            token = rest.pop(0)
            if token == "--":
                positional += rest
                break
            if not self._is_option(token):
                self._look_for_dashes(token, certain=self._command.positional is None)
                positional.append(token)
                if self._command.stop_at_positional:
                    positional += rest
                    break
                continue
            for option, text in self._resolve(token, rest):
                self._store(values, option, text)
                if option.bare is not None and text is None and rest:
                    self._not_taken = option.title, rest[0]
        if values.get("help"):
            from kojuto.common import helptext

            self._show(helptext.help_text(self._command))
        if values.get("version"):
            self._show(version_line(self._command.prog))
        given = {*values}
        self._check(given, positional)
        for option in self._command.options:
            if option.dest not in given:
                values[option.dest] = option.absent()
        return Values(given, **values), positional

    def _is_option(self, token: str) -> bool:
        """Whether it is an option, and no ``-`` alone, negative number or other argument."""
        if not token.startswith("-") or token == "-":
            return False
        return not _is_number(token) or token[1] in self._short

    def _resolve(self, token: str, rest: list[str]) -> list[tuple[Option, str | None]]:
        """Find the option or options of one token; takes the value from `rest` where needed."""
        name, equals, value = token.partition("=")
        text = value if equals else None
        bare = name.lstrip("-").replace("_", "-")
        option = self._long.get(bare) if len(bare) > 1 or name.startswith("--") else None
        if option is None and not name.startswith("--"):
            return self._resolve_short(token, rest)
        if option is None:
            self._unknown(token)
        return [(option, self._value(option, name, text, rest))]

    def _resolve_short(self, token: str, rest: list[str]) -> list[tuple[Option, str | None]]:
        found: list[tuple[Option, str | None]] = []
        letters = token[1:]
        while letters:
            option = self._short.get(letters[0])
            if option is None:
                self._unknown(token if not found else "-" + letters[0])
            name, letters = "-" + letters[0], letters[1:]
            if option.metavar is None:
                if letters.startswith("="):
                    found.append((option, self._value(option, name, letters[1:], rest)))
                    break
                found.append((option, None))
                continue
            text = letters.removeprefix("=") if letters else None
            found.append((option, self._value(option, name, text, rest)))
            break
        return found

    def _value(self, option: Option, name: str, text: str | None, rest: list[str]) -> str | None:
        if text is not None or option.metavar is None or option.bare is not None:
            return text
        if not rest:
            raise UsageError(f"{name} needs a value: {name} {option.metavar}", self._see_help())
        # go-flags' rule and words (argumentIsOption in its optstyle_other.go).
        if self._is_option(rest[0]) and not rest[0].startswith("---"):
            raise UsageError(
                f"expected argument for flag {name}, but got option {_shown(rest[0])}",
                f"write {name}={_shown(rest[0])} if that is its value",
            )
        self._look_for_dashes(rest[0])
        return rest.pop(0)

    def _store(self, values: dict[str, Any], option: Option, text: str | None) -> None:
        if option.metavar is None:
            values[option.dest] = _read_flag(option, text)
            return
        value = self._read(option, (option.bare or "") if text is None else text)
        if option.repeat:
            values.setdefault(option.dest, []).append(value)
        else:
            values[option.dest] = value

    def _read(self, option: Option, text: str) -> Any:
        if not text and not option.empty_ok:
            raise UsageError(
                f"{option.title} has an empty value",
                "a variable that is not set? Give it a value"
                + ("" if option.required else ", or leave the option out"),
            )
        if option.choices is not None and text not in option.choices:
            raise UsageError(
                f"{option.title} {_shown(text)}: not one of {', '.join(option.choices)}",
                self._see_help(),
            )
        try:
            return option.read(text)
        except ValueError as error:
            raise UsageError(
                f"{option.title} {_shown(text)}: {_shown(str(error))}", self._see_help()
            ) from None

    def _check(self, given: set[str], positional: list[str]) -> None:
        options = self._command.options
        missing = [o.title for o in options if o.required and o.dest not in given]
        if missing and not any(o.alone and o.dest in given for o in options):
            raise UsageError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} required",
                self._see_help(),
            )
        command = self._command
        takes_any = command.positional is not None and not command.commands
        if not positional or takes_any or positional[0] in command.commands:
            return
        first = positional[0]
        text = f"{_shown(first)}: unexpected argument" if first else "an argument is empty"
        if command.passes_over:
            complain(command.prog, f"warning: {text}, passed over", self._see_help())
            return
        if not first:
            raise UsageError(text, "a variable that is not set?")
        if self._not_taken is not None and self._not_taken[1] == first:
            option = self._not_taken[0]
            raise UsageError(text, f"write {option}={_shown(first)} if that is its value")
        if command.positional is None:  # else the command says which commands it has
            raise UsageError(text, self._see_help())

    def _look_for_dashes(self, token: str, *, certain: bool = False) -> None:
        """Refuse an option whose hyphens a word processor or wiki has made dashes of.

        Args:
            token: what may be one.
            certain: it can be nothing else; otherwise it must be the name of an option.

        Raises:
            UsageError: it is one.
        """
        if not token or (token[0] not in DASHES and token[0] != "-"):
            return
        name, equals, value = token.partition("=")
        dash = next((character for character in name if character in DASHES), None)
        if dash is None:
            return
        plain = name.translate(dict.fromkeys(map(ord, DASHES), "-")).lstrip("-")
        known = plain.replace("_", "-") in self._long
        if known or plain in self._short:
            way = f"write {'--' if known else '-'}{_shown(plain + equals + value)}"
        elif certain:
            way = "options begin with the hyphen of the keyboard: -"
        else:
            return
        from unicodedata import name as name_of

        raise UsageError(
            f"{_shown(token)}: has {name_of(dash)} (U+{ord(dash):04X}) instead of a hyphen", way
        )

    def _unknown(self, token: str) -> NoReturn:
        from difflib import get_close_matches

        self._look_for_dashes(token)
        name = _shown(token.partition("=")[0] if token.startswith("--") else token)
        near = get_close_matches(name.lstrip("-").replace("_", "-"), self._long, n=1)
        hint = f"did you mean --{near[0]}?" if near else self._see_help()
        raise UsageError(f"{name}: no such option", hint)

    def _see_help(self) -> str:
        return f"'{self._command.prog} --help' lists the options"

    def _show(self, text: str) -> NoReturn:
        print(text)
        raise SystemExit(DONE)


def _read_flag(option: Option, text: str | None) -> bool:
    if text is None or text.lower() in ("true", "1", "t", "yes"):
        return True
    if text.lower() in ("false", "0", "f", "no"):
        return False
    raise UsageError(f"{option.title}={_shown(text)}: a flag takes true or false")


def _is_number(token: str) -> bool:
    first = token[2:3] if token[1:2] == "." else token[1:2]
    return first.isascii() and first.isdigit()


def _shown(text: str) -> str:
    """`text` for a message: cut when it is very long."""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def version_line(prog: str) -> str:
    """``NAME VERSION (Python X, core Y)``."""
    from kojuto import __version__
    from kojuto._native import CORE_VERSION

    python = ".".join(map(str, sys.version_info[:3]))
    return f"{prog} {__version__} (Python {python}, core {CORE_VERSION})"
