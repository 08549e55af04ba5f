"""The command lines of ``myps grep``, ``kill``, ``blockers`` and ``top``."""

from __future__ import annotations

from kojuto.common.cli import Command, Option
from kojuto.common.units import integer, timed

FILTER = "Filters (% and _ are wildcards)"
SERVER = "Connection"
SSL_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


def _ssl_mode(text: str) -> str:
    if text.upper() not in SSL_MODES:
        raise ValueError(f"not one of {', '.join(SSL_MODES)}")
    return text.upper()


def _filters() -> list[Option]:
    def like(short: str, long: str, what: str) -> Option:
        return Option(short, long, metavar="PATTERN", help=what, group=FILTER)

    return [
        Option("-t", "--time", "--duration", metavar="SECONDS", read=timed("0", "36500d"),
               group=FILTER, help="for at least this long in its present state"),
        like("-u", "--user", "of this user"),
        Option("--host", metavar="PATTERN", group=FILTER,
               help="from this host, with or without its port"),
        like("-d", "--db", "in this database"),
        like("-c", "--command", "of this command (Query, Sleep, …)"),
        like("-s", "--state", "in this state"),
        like("-i", "--info", "whose statement matches; a bare argument is the same"),
    ]  # fmt: skip


def _connection() -> list[Option]:
    def server(name: str, metavar: str, what: str) -> Option:
        return Option(name, metavar=metavar, help=what, group=SERVER)

    return [
        server("--mysql-host", "HOST", "server; localhost means its UNIX socket"),
        Option("--mysql-port", metavar="PORT", read=integer(1, 65535), help="TCP port",
               group=SERVER),
        server("--mysql-user", "USER", "user to log in as"),
        server("--mysql-password", "PASSWORD",
               "password (better in an option file; hidden from ps as soon as it is read)"),
        Option("--ask-password", help="ask for the password on the terminal", group=SERVER),
        server("--mysql-socket", "PATH", "UNIX socket of the server"),
        Option("--mysql-timeout", metavar="TIME", read=timed("1ms", "24h"), default="30s",
               group=SERVER,
               help="how long to wait for the connection and for each answer, in seconds or 30s"),
        server("--defaults-extra-file", "FILE", "read this option file after the global ones"),
        server("--defaults-file", "FILE", "read only this option file"),
        server("--defaults-group-suffix", "TEXT", "read the groups with this suffix too"),
        server("--login-path", "NAME", "read this group of ~/.mylogin.cnf too"),
        Option("--no-defaults", help="read no option file but ~/.mylogin.cnf", group=SERVER),
        Option("--ssl-mode", metavar="MODE", group=SERVER, read=_ssl_mode, offers=SSL_MODES,
               help="TLS: DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY"),
        server("--ssl-ca", "FILE", "certificates of the authorities (CA) to trust"),
        server("--ssl-cert", "FILE", "client certificate"),
        server("--ssl-key", "FILE", "private key of the client certificate"),
    ]  # fmt: skip


def _display() -> list[Option]:
    return [
        Option("-f", "--full", help="show whole statements, not 110 characters", group="Display"),
        Option("-D", "--debug", help="print the SQL that is sent to the server on stderr",
               group="Display"),
    ]  # fmt: skip


def _output() -> Option:
    return Option("--output", metavar="FORMAT", default="ltsv", choices=("ltsv", "json"),
                  help="how threads are listed: ltsv, or json, an object a line",
                  group="Display")  # fmt: skip


def _statement_timeout(group: str) -> Option:
    return Option("--statement-timeout", metavar="TIME", read=timed("1ms", "24h"), default="5s",
                  help="after this time the server gives up the question for locks",
                  group=group)  # fmt: skip


def _killing() -> list[Option]:
    return [
        Option("-y", "--yes", help="do not ask", group="Killing"),
        Option("--dry-run", help="list what would be killed and kill nothing", group="Killing"),
        Option("--query-only", help="end the statement, leave the connection (KILL QUERY)",
               group="Killing"),
        Option("--victims", metavar="WHICH", default="all", group="Killing",
               choices=("all", "oldest", "all-but-oldest"),
               help="of those that match: all, the oldest alone, or all but that one"),
        Option("--limit", metavar="N", read=integer(1, 10**9), group="Killing",
               help="kill no more than N, the oldest first"),
        *[
            Option(f"--ignore-{name}", metavar="PATTERN", repeat=True, group="Killing",
                   help=f"do not kill threads {of}")
            for name, of in (
                ("user", "of this user"), ("host", "from this host"), ("db", "in this database"),
                ("command", "of this command"), ("state", "in this state"),
                ("info", "whose statement matches"),
            )
        ],
        Option("--blockers", group="Killing",
               help="only threads that keep others waiting and wait for nobody (myps blockers)"),
        _statement_timeout("Killing"),
        Option("--include-system", group="Killing",
               help="kill replication, binlog dump and event scheduler threads too"),
        Option("--interval", metavar="TIME", read=timed("100ms", "24h"), group="Watching",
               help="repeat at this interval; needs --yes or --dry-run"),
        Option("--run-time", metavar="TIME", read=timed("1ms", "3650d"), group="Watching",
               help="stop watching after this time"),
        Option("--log", metavar="FILE", group="Watching",
               help="append every kill to this file, a line of LTSV each"),
    ]  # fmt: skip


GREP = Command(
    "myps grep",
    "List the threads that match all filters. Status 1 when none does.",
    [*_filters(), *_display(), _output(), *_connection()],
    usage="[options] [INFO]",
    positional="INFO",
)
KILL = Command(
    "myps kill",
    "List the threads that match all filters, ask, and kill those that still run the same "
    "statement.",
    [*_filters(), *_killing(), *_display(), _output(), *_connection()],
    usage="[options] [INFO]",
    positional="INFO",
)
BLOCKERS = Command(
    "myps blockers",
    "Show who waits for whom, by row locks and metadata locks, as a tree. Status 1 when nobody "
    "waits.",
    [
        *_display(),
        Option(
            "--output",
            metavar="FORMAT",
            default="tree",
            choices=("tree", "json"),
            help="tree, or json: an object for each wait, one a line",
            group="Display",
        ),
        _statement_timeout("Display"),
        *_connection(),
    ],
    usage="[options]",
)
TOP = Command(
    "myps top",
    "A live view of the threads. Keys: t u d c s n sort, r reverses, / filters, a shows "
    "sleeping ones too, j k or arrows choose, Enter shows the whole statement, K kills it, X "
    "kills the connection, space pauses, q ends.",
    [
        *_filters(),
        Option(
            "--refresh",
            metavar="TIME",
            read=timed("200ms", "24h"),
            default="2s",
            help="how often the view is refreshed",
            group="Display",
        ),
        Option("--all", help="show sleeping connections too", group="Display"),
        *_display(),
        *_connection(),
    ],
    usage="[options] [INFO]",
    positional="INFO",
)
