"""A command line as data: its options, their help, what a call of it gave."""

from __future__ import annotations

from kojuto.common.units import integer
from kojuto.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


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
        offers: values that a shell offers where others are taken too.
        bare: what an option that is written without ``=VALUE`` means, as it would be typed; such
            an option never takes the next argument.
        group: the heading under which ``--help`` lists it.
        alone: it asks for something else than the command's work, so that nothing is required then.
        empty_ok: whether an empty value has a meaning. Elsewhere it is refused: it comes from a
            variable that is not set.
    """

    __slots__ = (
        "alone", "bare", "choices", "default", "dest", "empty_ok", "group", "help", "metavar",
        "names", "offers", "read", "repeat", "required",
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
        offers: Sequence[str] = (),
        bare: str | None = None,
        group: str | None = None,
        empty_ok: bool = False,
        alone: bool = False,
    ) -> None:
        self.names = names
        self.alone = alone
        self.help = help
        self.read = read
        self.default = default
        self.empty_ok = empty_ok
        self.metavar = metavar
        self.required = required
        self.repeat = repeat
        self.choices = choices
        self.offers = offers
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
            commands that have others, and for those that run another program).
        runs_program: what it leaves alone is the command line of another program.
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
        runs_program: bool = False,
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
        self.runs_program = runs_program
        self.passes_over = passes_over
        self.commands = commands or {}


# -- options of commands that share nothing else ------------------------------------------------


def max_groups(what: str, *, most: int, default: str, group: str) -> Option:
    """``--max-groups`` of a command that pools the groups beyond them; `what` is kept apart."""
    return Option(
        "--max-groups",
        metavar="N",
        read=integer(1, most),
        default=default,
        help=f"{what}; the rest is pooled as 'other'",
        group=group,
    )


def envelope(group: str | None = None) -> Option:
    """``--envelope`` of a command that reads access logs."""
    return Option(
        "--envelope",
        metavar="NAME",
        choices=("docker", "cri", "journald", "syslog", "auto"),
        help="what stands around each line: docker (json-file), cri (Kubernetes), journald "
        "(journalctl -o json), syslog (RFC 5424 and 3164) or auto; with --format auto it is "
        "found",
        group=group,
    )


def log_format(group: str) -> Option:
    """``--log-format`` of a command that reads access logs."""
    return Option(
        "--log-format",
        metavar="FORMAT",
        help="lines in nginx's or Apache's words, as in their configuration: "
        "'$remote_addr [$time_local] \"$request\" $status $request_time'",
        group=group,
    )


def textfile(text: str) -> str:
    """A file for node_exporter's textfile collector.

    Raises:
        ValueError: node_exporter would not read it.
    """
    if not text.endswith(".prom") or text.endswith("/.prom") or text == ".prom":
        raise ValueError("node_exporter reads only *.prom (write DIRECTORY/NAME.prom)")
    return text


TEXTFILE = Option(
    "--textfile",
    metavar="FILE",
    read=textfile,
    help="replace FILE.prom by the metrics, for node_exporter's textfile collector, and print "
    "nothing",
)


def check_textfile(values: Values) -> None:
    """Refuse another form than Prometheus' for a textfile, before anything is read.

    Raises:
        UsageError: it was asked for.
    """
    if values.textfile is not None and "output" in values.given and values.output != "prometheus":
        raise UsageError(
            f"--textfile cannot go with --output {values.output}",
            "node_exporter reads the form of --output prometheus; leave --output out",
        )
