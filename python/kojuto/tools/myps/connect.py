"""How ``myps`` reaches the server: option files, environment, command line, TLS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT

from kojuto.common.cli import complain, one_line
from kojuto.common.hide import hide_argument
from kojuto.errors import KojutoError
from kojuto.tools.myps.ed25519 import Ed25519Login
from kojuto.tools.myps.optionfile import client_options
from kojuto.tools.myps.prefixes import settings
from kojuto.tools.myps.tls import Tls

if TYPE_CHECKING:
    from pymysql.cursors import Cursor

    from kojuto.common.cli import Values

if TYPE_CHECKING:
    _Connection = Connection[Cursor]
else:
    _Connection = Connection

SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")  # noqa: S108
PROTOCOLS = ("tcp", "socket", "pipe", "memory")
TLS_OPTIONS = ("ssl-ca", "ssl-cert", "ssl-key", "ssl-mode")
# What a server may be set to for everybody would cut our lists short without a word, refuse them
# or turn a condition around (HIGH_NOT_PRECEDENCE). DEFAULT would be the value for everybody.
OWN_SETTINGS = (
    "SET SESSION sql_mode = '', sql_select_limit = 18446744073709551615, sql_big_selects = 1"
)
# The server or the way to it went away: worth another try in a watch.
GONE = frozenset(
    {1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 2002, 2003, 2006, 2013, 2055, 4031}
)
# pymysql's words for a server that asks for the login of old: without a name, and by its name.
OLD_LOGIN = ("received unknown auth switch request", "'mysql_old_password'")


class MypsConnection(_Connection):
    """A connection that never sends credentials before the TLS it was told to require."""

    require_tls = False
    server_capabilities: int
    client_flag: int

    def _request_authentication(self) -> None:
        if not self.server_capabilities & CLIENT.SSL:
            if self.require_tls:
                raise pymysql.err.OperationalError(2026, "the server offers no TLS")
            # It was preferred, not required. MySQL (MariaDB not) takes the mere flag for the
            # beginning of TLS.
            self.ssl = False
            self.client_flag &= ~CLIENT.SSL
        super()._request_authentication()  # type: ignore[misc]


class _PlainPassword:
    """Answers a server that wants the password as it is: only where nobody can listen."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def authenticate(self, _: object) -> Any:
        """Send the password, or refuse."""
        if not (self.connection._secure or self.connection.unix_socket):
            raise pymysql.err.OperationalError(
                2059, "the server asks for the password in plain text on an unencrypted connection"
            )
        self.connection.write_packet(self.connection.password + b"\0")
        packet = self.connection._read_packet()
        packet.check_error()
        return packet


class _TlsConnection(MypsConnection):
    require_tls = True


class Target:
    """Where to connect and as whom.

    Args:
        values: the command line.
    """

    def __init__(self, values: Values) -> None:
        if not hide_argument(values.mysql_password):
            complain("myps", "warning: the password on the command line can be seen by ps")
        found = client_options(
            "myps",
            os.environ,
            lambda text: complain("myps", f"warning: {text}"),
            defaults_file=values.defaults_file,
            extra_file=values.defaults_extra_file,
            group_suffix=values.defaults_group_suffix,
            login_path=values.login_path,
            no_defaults=values.no_defaults,
        )
        # Of those on the command line the mode is the last, whatever their order there.
        more = [(name, getattr(values, name.replace("-", "_"))) for name in TLS_OPTIONS]
        wished = settings(found)
        options = dict(wished)
        environ = os.environ
        self.host = values.mysql_host or options.get("host") or environ.get("MYSQL_HOST") or ""
        self.port = values.mysql_port or _port(options.get("port"), environ.get("MYSQL_TCP_PORT"))
        socket = values.mysql_socket or options.get("socket") or environ.get("MYSQL_UNIX_PORT")
        self.user = values.mysql_user or options.get("user") or environ.get("USER") or _login()
        self.password = options.get("password", environ.get("MYSQL_PWD")) or ""
        asked = "password" in options and options["password"] is None
        if values.mysql_password is not None:
            self.password = values.mysql_password
            asked = False
        if values.ask_password or asked:
            from getpass import getpass

            self.password = getpass("Password: ")
        self.timeout_s = values.mysql_timeout
        self.socket = self._choose_socket(values, options, socket)
        self._tls = Tls(wished + [(name, value) for name, value in more if value is not None])
        self.debug = values.debug

    def _choose_socket(
        self, values: Values, options: dict[str, str | None], socket: str | None
    ) -> str | None:
        """The socket when the host is this machine by name; None for TCP (the client's rule)."""
        protocol = options.get("protocol") or ""
        if protocol and not any(known.startswith(protocol.lower()) for known in PROTOCOLS):
            raise KojutoError(f"protocol={protocol}: not one of {', '.join(PROTOCOLS)}")
        if "tcp".startswith(protocol.lower() or "-") or self.host not in ("", "localhost"):
            return None
        if values.mysql_socket is None and values.mysql_port and self.host == "":
            return None  # a port on the command line means TCP
        if socket:
            return socket
        found = [path for path in SOCKETS if os.path.exists(path)]
        return found[0] if found else None

    @property
    def address(self) -> str:
        """For messages."""
        if self.socket is not None:
            return self.socket
        host = self.host or "127.0.0.1"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def connect(self) -> MypsConnection:
        """A new connection, answers as bytes.

        Raises:
            KojutoError: why there is none; `__cause__` is pymysql's error.
        """
        if self.debug:
            log(f"DSN: {self.user}:xxxx@{self.address} tls={self._tls.mode}")
        where: dict[str, Any] = {"host": self.host or "127.0.0.1", "port": self.port}
        if self.socket is not None:
            where = {"unix_socket": self.socket}
        secure = self._tls.arguments(self.socket is not None)
        kind = _TlsConnection if self._tls.required else MypsConnection
        try:
            return kind(
                user=self.user,
                password=self.password.encode("utf-8", "surrogateescape"),  # pymysql takes latin1
                charset="utf8mb4",
                use_unicode=False,
                autocommit=True,
                init_command=OWN_SETTINGS,
                connect_timeout=max(1, round(self.timeout_s)),
                read_timeout=max(1, round(self.timeout_s)),
                write_timeout=max(1, round(self.timeout_s)),
                client_flag=CLIENT.MULTI_STATEMENTS,
                program_name="myps",
                auth_plugin_map={
                    "mysql_clear_password": _PlainPassword,
                    "client_ed25519": Ed25519Login,
                },
                **where,
                **secure,
            )
        except (pymysql.err.MySQLError, OSError, RuntimeError) as error:
            text, hint = server_words(error), _hint(error, self)
            if any(sign in text for sign in OLD_LOGIN):
                text = "the password of this user is kept in the format of before MySQL 4.1"
                hint = "SET old_passwords = 0, then SET PASSWORD FOR … = PASSWORD('…') renews it"
            raise KojutoError(f"{self.user}@{self.address}: {text}", hint) from error


def _port(*texts: str | None) -> int:
    for text in texts:
        if text and text != "0":  # which is no port of its own to the client either
            if not text.isdigit() or not 0 < int(text) < 65536:
                raise KojutoError(
                    f"port={text}: not a port", "a port is 1 to 65535; see the option files"
                )
            return int(text)
    return 3306


def _login() -> str:
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        who = f"user id {os.getuid()} has no name on this machine"
        raise KojutoError(who, "give --mysql-user NAME") from None


def server_words(error: BaseException) -> str:
    """A failure in the server's words with its number, or in the error's own, in one line."""
    if isinstance(error, pymysql.err.MySQLError) and len(error.args) >= 2:
        return one_line(f"{error.args[1]} ({error.args[0]})")
    return one_line(str(error))


def code(error: BaseException) -> int:
    """The number of a MySQL error, 0 for others."""
    if isinstance(error, pymysql.err.MySQLError) and error.args and isinstance(error.args[0], int):
        return error.args[0]
    return 0


def _hint(error: BaseException, target: Target) -> str | None:
    if code(error) == 1045:
        return "give --mysql-user and a password, or put them under [client] in ~/.my.cnf"
    if code(error) == 1040:
        return (
            "one more is kept for a user with CONNECTION ADMIN or SUPER (--mysql-user), and "
            "some at the extra_port of MariaDB (--mysql-port)"
        )
    if code(error) == 2026:
        return "see --ssl-mode and --ssl-ca"
    if code(error) in (2002, 2003):
        where = "--mysql-socket" if target.socket is not None else "--mysql-host and --mysql-port"
        return f"is the server running there? see {where}"
    return None


def log(text: str) -> None:
    """A line of ``--debug``."""
    complain("myps", text)
