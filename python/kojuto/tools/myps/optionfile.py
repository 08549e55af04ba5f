"""MySQL option files by the rules of the mysql client.

Source: the reference manual, "Using Option Files", and the behaviour of ``my_print_defaults``.
Later options win; ``-`` and ``_`` in a name are the same.
"""

from __future__ import annotations

import os
import stat
import struct

from kojuto.errors import KojutoError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_FILE_BYTES = 1 << 20
MAX_LINE_BYTES = 4096
MAX_DEPTH = 10
MAX_FILES = 1000
GLOBAL_FILES = ("/etc/my.cnf", "/etc/mysql/my.cnf")

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", "\\": "\\", '"': '"', "'": "'"}
_BLANK = " \t\n\r\v\f"


class OptionFileError(KojutoError):
    """A file that must be read cannot be, or a line is wrong; the message has file and line."""


def unquote(value: str) -> str:
    """The value of an option as it is meant: blanks off, one pair of quotes off, escapes read."""
    value = value.strip(_BLANK)
    if len(value) >= 2 and value[0] in "'\"" and value[0] == value[-1]:
        value = value[1:-1]
    if "\\" not in value:
        return value
    out = []
    position = 0
    while position < len(value):
        letter = value[position]
        position += 1
        if letter == "\\" and position < len(value):
            following = value[position]
            position += 1
            out.append(_ESCAPES.get(following, "\\" + following))
        else:
            out.append(letter)
    return "".join(out)


def strip_comment(line: str) -> str:
    """`line` up to a ``#`` that stands outside quotes, wherever in the line."""
    if "#" not in line:
        return line
    quote = ""
    escaped = False
    for position, letter in enumerate(line):
        if letter in "'\"" and not escaped:
            if not quote:
                quote = letter
            elif quote == letter:
                quote = ""
        if letter == "#" and not quote:
            return line[:position]
        escaped = bool(quote) and letter == "\\" and not escaped
    return line


class OptionFiles:
    """Reads files and collects the options of some groups.

    Args:
        groups: whose options count.
        warn: told, in a sentence, of each file that is skipped.

    Attributes:
        options: (name with ``-``, value or None without ``=``) in the order found.
    """

    def __init__(self, groups: Sequence[str], warn: Callable[[str], None]) -> None:
        self.options: list[tuple[str, str | None]] = []
        self._groups = frozenset(group.lower() for group in groups)
        self._warn = warn
        self._files = 0

    def read(self, path: str, *, required: bool = False) -> None:
        """Read a file and what it includes; one that is not there is passed over.

        Raises:
            OptionFileError: a required file is missing, or a line is wrong.
        """
        self._read(path, 0, required)

    def _read(self, path: str, depth: int, required: bool) -> None:
        text = self._content(path, required)
        if text is None:
            return
        # A group goes on over an include but not into the included file.
        group: str | None = None
        for number, raw in enumerate(text.split("\n"), start=1):
            if len(raw.encode("utf-8", "surrogateescape")) > MAX_LINE_BYTES:
                raise OptionFileError(
                    f"{path}:{number}: a line of more than {MAX_LINE_BYTES} bytes"
                )
            line = raw.lstrip(_BLANK)
            if not line or line[0] in "#;":
                continue
            if line[0] == "!":
                self._directive(line[1:].strip(_BLANK), f"{path}:{number}", depth)
            elif line[0] == "[":
                end = line.find("]")
                if end < 0:
                    raise OptionFileError(f"{path}:{number}: wrong group definition (no ])")
                group = line[1:end].rstrip(_BLANK)
            elif group is None:
                raise OptionFileError(
                    f"{path}:{number}: an option before any [group]",
                    "put [client] before it",
                )
            elif group.lower() in self._groups:
                self._option(line)

    def _option(self, line: str) -> None:
        name, equals, value = strip_comment(line).partition("=")
        name = name.rstrip(_BLANK).replace("_", "-")
        self.options.append((name, unquote(value) if equals else None))

    def _directive(self, text: str, where: str, depth: int) -> None:
        word, *rest = text.split(None, 1) or [""]
        target = rest[0] if rest else ""
        if word not in ("include", "includedir"):
            self._warn(f"{where}: unknown directive !{text} is passed over")
            return
        if not target:
            raise OptionFileError(f"{where}: wrong directive !{text}")
        if depth >= MAX_DEPTH:
            self._warn(f"{where}: !{word} skipped, more than {MAX_DEPTH} levels deep")
            return
        if word == "include":
            self._read(target, depth + 1, required=False)
            return
        try:
            names = sorted(os.listdir(target), key=os.fsencode)
        except OSError as error:
            raise OptionFileError(f"{where}: {target}: {words(error)}") from None
        for name in names:
            if name.endswith(".cnf"):
                self._read(os.path.join(target, name), depth + 1, required=False)

    def _content(self, path: str, required: bool) -> str | None:
        self._files += 1
        if self._files > MAX_FILES:
            raise OptionFileError(f"{path}: more than {MAX_FILES} option files")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if required:
                raise OptionFileError(f"{path}: {words(error)}") from None
            return None
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):  # which no file object takes
            os.close(descriptor)
            return None
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
                self._warn(f"{path}: world-writable option file is ignored")
                return None
            content = file.read(MAX_FILE_BYTES + 1) or b""
        if len(content) > MAX_FILE_BYTES:
            raise OptionFileError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
        return content.decode("utf-8", "surrogateescape")

    def read_login_file(self, path: str) -> None:
        """Read a ``.mylogin.cnf``, the scrambled file of ``mysql_config_editor``.

        Raises:
            OptionFileError: it is there and broken.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            return
        with open(descriptor, "rb") as file:
            if mode & (stat.S_IXUSR | stat.S_IRWXG | stat.S_IRWXO):
                self._warn(f"{path}: others may read it (it must be mode 0600); ignored")
                return
            content = file.read(MAX_FILE_BYTES + 1)
        group: str | None = None
        for line in unscramble(content, path).splitlines():
            text = line.strip(_BLANK)
            if text.startswith("[") and "]" in text:
                group = text[1 : text.index("]")].rstrip(_BLANK)
            elif group and group.lower() in self._groups and text and text[0] not in "#;":
                self._option(text)


def unscramble(content: bytes, path: str) -> str:
    """The text of a login file: 4 unused bytes, 20 of key, then length and AES block each line.

    Raises:
        OptionFileError: it is cut short or not such a file.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    broken = OptionFileError(f"{path}: not a login file", "write it again with mysql_config_editor")
    if len(content) > MAX_FILE_BYTES or len(content) < 24:
        raise broken
    key = bytearray(16)
    for position, byte in enumerate(content[4:24]):
        key[position % 16] ^= byte
    # The format is what it is: AES-128 in ECB mode hides the text from a glance, no more.
    cipher = Cipher(algorithms.AES(bytes(key)), modes.ECB())  # noqa: S305
    lines = []
    position = 24
    while position < len(content):
        if position + 4 > len(content):
            raise broken
        (length,) = struct.unpack_from("<I", content, position)
        position += 4
        if length == 0 or length % 16 or position + length > len(content):
            raise broken
        decryptor = cipher.decryptor()
        plain = decryptor.update(content[position : position + length]) + decryptor.finalize()
        position += length
        pad = plain[-1]
        if not 1 <= pad <= 16 or plain[-pad:] != bytes([pad]) * pad:
            raise broken
        lines.append(plain[:-pad].decode("utf-8", "surrogateescape"))
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def client_options(
    program: str,
    environ: Mapping[str, str],
    warn: Callable[[str], None],
    *,
    defaults_file: str | None = None,
    extra_file: str | None = None,
    group_suffix: str | None = None,
    login_path: str | None = None,
    no_defaults: bool = False,
    global_files: Sequence[str] = GLOBAL_FILES,
) -> list[tuple[str, str | None]]:
    """The options of the clients' groups and ``[PROGRAM]`` from all files, in the order found.

    Args:
        program: the name of the last group.
        environ: ``HOME``, ``MYSQL_HOME``, ``MYSQL_GROUP_SUFFIX``, ``MYSQL_TEST_LOGIN_FILE``.
        warn: told of files that are skipped.
        defaults_file: read this one alone (and the login file).
        extra_file: read after the global files and before the user's.
        group_suffix: read ``[clientSUFFIX]`` too.
        login_path: a group of the login file to read too.
        no_defaults: read the login file alone.
        global_files: the machine's own files.

    Raises:
        OptionFileError: a file that was named is missing, or a line is wrong.
    """
    suffix = group_suffix if group_suffix is not None else environ.get("MYSQL_GROUP_SUFFIX", "")
    groups = ["client", "client-server", "client-mariadb", program]
    if suffix:
        groups += [group + suffix for group in groups]
    files = OptionFiles(groups, warn)
    home = environ.get("HOME")
    if defaults_file is not None:
        files.read(defaults_file, required=True)
    elif not no_defaults:
        for path in global_files:
            files.read(path)
        if environ.get("MYSQL_HOME"):
            files.read(os.path.join(environ["MYSQL_HOME"], "my.cnf"))
        if extra_file is not None:
            files.read(extra_file, required=True)
        if home:
            files.read(os.path.join(home, ".my.cnf"))
    login = environ.get("MYSQL_TEST_LOGIN_FILE") or (home and os.path.join(home, ".mylogin.cnf"))
    if login:
        if login_path:
            groups.append(login_path)
            if suffix:
                groups.append(login_path + suffix)
        own = OptionFiles(groups, warn)
        own.read_login_file(login)
        files.options += own.options
    return files.options
