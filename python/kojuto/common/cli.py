"""The shared command line: options, help, version, exit statuses, one-line errors.

It is written here, without argparse, for two reasons: a monitoring plugin starts every minute and
argparse costs more than the plugin itself; and the originals are Go programs, so that
``-percentile-set 99``, ``--percentile-set=99`` and ``-jwt_freshness`` all have to work.
"""

from __future__ import annotations

import os
import sys

from kojuto.common import streams
from kojuto.errors import KojutoError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn

DONE = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130

DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
"""What stands for a hyphen in text that was made to look well: hyphens, dashes, minus signs."""
SHOWN = 300
"""Characters of a value that a message shows."""


class Option:
    """One option of a command, as data: help, manual page and completion can be made from it.

    Args:
        names: as they are written, ``--key-prefix`` or ``-v``; the first long one names the value.
        help: one line for ``--help``; it never tells the default, which is data.
        read: turns the text into the value; raises `ValueError` with what was expected.
        default: what the user would have to type to get what holds when the option is not given,
            ``64MiB`` (a list of such for `repeat`); it goes through `read` too.
        metavar: how the value is called in the help; None makes it a flag.
        required: refuse to run without it.
        repeat: may be given several times, the values are collected in a list.
        choices: the only values allowed.
        bare: what an option that is written without ``=VALUE`` means, as it would be typed; such
            an option never takes the next argument.
        group: the heading under which ``--help`` lists it.
        empty_ok: whether an empty value has a meaning. Elsewhere it is refused: it comes from a
            variable that is not set.
    """

    __slots__ = (
        "bare", "choices", "default", "dest", "empty_ok", "group", "help", "metavar", "names",
        "read", "repeat", "required",
    )  # fmt: skip

    def __init__(
        self,
        *names: str,
        help: str,  # noqa: A002
        read: Callable[[str], Any] = str,
        default: str | Sequence[str] | None = None,
        metavar: str | None = None,
        required: bool = False,
        repeat: bool = False,
        choices: Sequence[str] | None = None,
        bare: str | None = None,
        group: str | None = None,
        empty_ok: bool = False,
    ) -> None:
        self.names = names
        self.help = help
        self.read = read
        self.default = default
        self.empty_ok = empty_ok
        self.metavar = metavar
        self.required = required
        self.repeat = repeat
        self.choices = choices
        self.bare = bare
        self.group = group
        long = [name for name in names if name.startswith("--")]
        self.dest = (long or list(names))[0].lstrip("-").replace("-", "_")

    @property
    def title(self) -> str:
        """The name to use in messages."""
        return next((name for name in self.names if name.startswith("--")), self.names[0])

    def absent(self) -> Any:
        """The value when the option is not given: the default, read as if it had been typed."""
        if self.metavar is None:
            return False
        if self.repeat:
            return [self.read(text) for text in self.default or ()]
        return self.read(self.default) if isinstance(self.default, str) else None


class Values:
    """The values of one call, as attributes; `given` holds what was written by the user."""

    def __init__(self, given: set[str], **values: Any) -> None:
        self.given = given
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Command:
    """A command line: its name, options and help.

    Args:
        prog: the command's name.
        summary: one sentence of what it is for.
        options: in the order of the help.
        positional: how the arguments that are no options are called, None when there are none.
        usage: the usage line without the name; made from the options when left out.
        epilog: examples and notes, printed below the options as they are.
        stop_at_positional: everything from the first positional argument on is left alone (for
            commands that run another one).
        passes_over: arguments that are no options and have no meaning are a warning only: a
            line of an agent's configuration with a word too much still yields its metrics.
        commands: the commands of the command, each with the ``MODULE:NAME`` of its `Command`.
    """

    def __init__(
        self,
        prog: str,
        summary: str,
        options: Sequence[Option],
        *,
        positional: str | None = None,
        usage: str | None = None,
        epilog: str = "",
        stop_at_positional: bool = False,
        passes_over: bool = False,
        commands: Mapping[str, str] | None = None,
    ) -> None:
        self.prog = prog
        self.summary = summary
        self.options = [
            *options,
            Option("-h", "--help", help="show this help and exit"),
            Option(
                *(["--version"] if any("-v" in o.names for o in options) else ["-v", "--version"]),
                help="show the version and exit",
            ),
        ]
        self.positional = positional
        self.usage = usage
        self.epilog = epilog
        self.stop_at_positional = stop_at_positional
        self.passes_over = passes_over
        self.commands = commands or {}
        self._long: dict[str, Option] = {}
        self._short: dict[str, Option] = {}
        for option in self.options:
            for name in option.names:
                if name.startswith("--"):
                    self._long[name[2:].replace("_", "-")] = option
                else:
                    self._short[name[1:]] = option

    # -- reading ------------------------------------------------------------------------------

    def parse(self, argv: Sequence[str]) -> tuple[Values, list[str]]:
        """Read the arguments.

        Args:
            argv: without the program's name.

        Returns:
            The values and the positional arguments.

        Raises:
            UsageError: an option or value is wrong; the message names it.
            SystemExit: ``--help`` or ``--version`` was printed (status 0).
        """
        values: dict[str, Any] = {}
        positional: list[str] = []
        rest = list(argv)
        while rest:
            token = rest.pop(0)
            if token == "--":
                positional += rest
                break
            if not self._is_option(token):
                self._look_for_dashes(token, certain=self.positional is None)
                positional.append(token)
                if self.stop_at_positional:
                    positional += rest
                    break
                continue
            for option, text in self._resolve(token, rest):
                self._store(values, option, text)
        if values.get("help"):
            self._show(self.help())
        if values.get("version"):
            self._show(version_line(self.prog))
        given = {*values}
        self._check(given, positional)
        for option in self.options:
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
        missing = [o.title for o in self.options if o.required and o.dest not in given]
        if missing:
            raise UsageError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} required",
                self._see_help(),
            )
        if positional and self.positional is None:
            text = f"{_shown(positional[0])}: unexpected argument"
            if not self.passes_over:
                raise UsageError(text, self._see_help())
            complain(self.prog, f"warning: {text}, passed over", self._see_help())

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
            f"{_shown(token)}: has {name_of(dash)} (U+{ord(dash):04X}) where a hyphen belongs", way
        )

    def _unknown(self, token: str) -> NoReturn:
        from difflib import get_close_matches

        self._look_for_dashes(token)
        name = _shown(token.partition("=")[0] if token.startswith("--") else token)
        near = get_close_matches(name.lstrip("-").replace("_", "-"), self._long, n=1)
        hint = f"did you mean --{near[0]}?" if near else self._see_help()
        raise UsageError(f"{name}: no such option", hint)

    def _see_help(self) -> str:
        return f"'{self.prog} --help' lists the options"

    # -- showing ------------------------------------------------------------------------------

    def _show(self, text: str) -> NoReturn:
        print(text)
        raise SystemExit(DONE)

    def help(self) -> str:
        """The text of ``--help``, as wide as the terminal."""
        from kojuto.common.helptext import help_text

        return help_text(self)


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


# -- running ----------------------------------------------------------------------------------


memory_words: str | None = None
"""What the native module says before it ends a command whose memory is out; None in a library."""


def run(
    command: Command,
    work: Callable[[Values, list[str]], int],
    argv: Sequence[str] | None,
    *,
    memory_hint: str | None = None,
) -> int:
    """Parse `argv` and do the work; turn every way it can end into an exit status.

    Args:
        command: the command line.
        work: the command itself; returns its exit status.
        argv: the arguments, ``sys.argv[1:]`` when None.
        memory_hint: what to do when the memory does not suffice.

    Returns:
        0 done, 1 failed, 2 called wrongly, 130 interrupted. A reader of standard output who is
        gone is a quiet end, but for a plugin: its figures are lost. With ``KOJUTO_DEBUG=1`` an
        error's traceback is shown too.
    """
    global memory_words  # noqa: PLW0603 (there is one command in a process)
    streams.prepare()
    hint = memory_hint or "it needs more memory than it may have (ulimit -v, MemoryMax=)"
    memory_words = f"{command.prog}: error: out of memory\nhint: {hint}\n"
    has_figures = False
    try:
        try:
            values, positional = command.parse(sys.argv[1:] if argv is None else argv)
            has_figures = command.prog.startswith("mackerel-plugin-")
            status = work(values, positional)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else FAILED
        return streams.finish(status)
    except BrokenPipeError as error:
        if has_figures or not streams.reader_is_gone():
            return _report(command.prog, error)
        return _end(DONE)
    except KeyboardInterrupt:
        return _end(INTERRUPTED)
    except Exception as error:
        return _report(command.prog, error, memory_hint)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a panic of the Rust core, by PyO3
            raise
        return _report(command.prog, error)


def end(status: int) -> NoReturn:
    """Leave the process with `status` at once: what is written is flushed, nothing is taken down.

    For the launchers of the plugins, after `run`. The interpreter's own end costs a tenth of a
    start. It is taken all the same where somebody may wait for it: a thread, or a function given
    to `atexit` (as coverage and other tools do), which need `threading` or `atexit` first.
    """
    if "atexit" in sys.modules or "threading" in sys.modules:
        sys.exit(status)
    try:
        streams.finish(status)
    except OSError as error:
        complain(os.path.basename(sys.argv[0]), f"error: standard output: {describe(error)}")
        status = status or FAILED
    os._exit(status)


def _report(prog: str, error: BaseException, memory_hint: str | None = None) -> int:
    from kojuto.common import failures

    if os.environ.get("KOJUTO_DEBUG", "") not in ("", "0"):
        import traceback

        streams.say("".join(traceback.format_exception(error)))
    status, message, hint = failures.words(error, memory_hint)
    complain(prog, f"error: {message}", hint)
    return _end(status)


def _end(status: int) -> int:
    """End with what could not be written let go of."""
    streams.give_up(1)
    try:
        return streams.finish(status)
    except (OSError, ValueError):
        return status


def describe(error: OSError) -> str:
    """An `OSError` in one line: the file or address, then the system's words."""
    text = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return text
    name = error.filename
    return f"{name.decode(errors='replace') if isinstance(name, bytes) else name}: {text}"


def complain(prog: str, message: str, hint: str | None = None) -> None:
    """Write ``PROG: MESSAGE`` and a hint to standard error, each in one line."""
    lines = f"{prog}: {one_line(message)}\n"
    if hint:
        lines += f"hint: {one_line(hint)}\n"
    streams.say(lines)


def must_be_open(descriptor: int, name: str) -> None:
    """Refuse a standard stream that was closed when the process began.

    Raises:
        KojutoError: it was.
    """
    if descriptor in streams.closed:
        from errno import EBADF

        raise KojutoError(f"{name}: {os.strerror(EBADF)}", "it must be open")


def one_line(text: str) -> str:
    """`text` with control characters escaped, so that it stays one harmless line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
