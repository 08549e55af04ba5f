"""``deteco doctor``: what in an nginx configuration leads past the gate, or makes it refuse."""

from __future__ import annotations

import sys

from kojuto.common import cli, streams
from kojuto.common.cli import Command, Values
from kojuto.errors import KojutoError, UsageError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 64 << 20
MAX_DEPTH = 100
NGINX_S = 30.0

COMMAND = Command(
    "deteco doctor",
    "Looks through an nginx configuration for what leads past the gate, or makes it refuse honest "
    "requests: exit status 0 when there is nothing, 1 when there is.",
    [],
    positional="[FILE]",
    usage="[FILE]",
    epilog="""
FILE is what 'nginx -T' prints, - for standard input. Without FILE, nginx -T is run.
""",
)


class Block:
    """A directive with what is in its braces.

    Args:
        words: its name and its arguments.
        where: file and line.
        parent: the block around it.
    """

    __slots__ = ("inside", "parent", "where", "words")

    @property
    def file(self) -> str:
        """The file that it stands in; empty where no name was printed."""
        return self.where.rpartition(":")[0]

    def __init__(self, words: list[str], where: str, parent: Block | None) -> None:
        self.words = words
        self.where = where
        self.parent = parent
        self.inside: list[Block] = []

    def walk(self) -> Iterator[Block]:
        """This block and all in it."""
        yield self
        for block in self.inside:
            yield from block.walk()

    def find(self, *words: str) -> list[Block]:
        """What is directly in it and begins with these words."""
        return [block for block in self.inside if tuple(block.words[: len(words)]) == words]

    def inherited(self, name: str) -> list[Block]:
        """The directives of a name that hold here: nginx takes those of the innermost block."""
        block: Block | None = self
        while block is not None:
            if found := block.find(name):
                return found
            block = block.parent
        return []


def work(_: Values, arguments: list[str]) -> int:
    """Print what is found; returns the exit status.

    Raises:
        UsageError: there is more than one argument.
        KojutoError: there is no configuration to be had.
    """
    if len(arguments) > 1:
        raise UsageError(f"{len(arguments)} arguments, one is expected", "deteco doctor FILE")
    text = _read(arguments[0]) if arguments else _ask_nginx()
    found, gates = examine(text)
    if not gates:
        found.append("no auth_request: nothing is asked of deteco")
    streams.print_whole("\n".join(found or [f"{gates} auth_request, nothing to complain of"]))
    return cli.FAILED if found else cli.DONE


def _read(path: str) -> str:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise KojutoError(f"{path}: {words(error)}") from None
    if len(data) > MAX_BYTES:
        raise KojutoError(f"{path}: over {MAX_BYTES} bytes")
    return data.decode("utf-8", "replace")


def _ask_nginx() -> str:
    import subprocess

    hint = "deteco doctor FILE reads what 'nginx -T' has printed"
    try:
        done = subprocess.run(["nginx", "-T"], capture_output=True, timeout=NGINX_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KojutoError(f"nginx -T: {words(error)}", hint) from None
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise KojutoError(f"nginx -T: {'; '.join(told)}", hint)
    return done.stdout.decode("utf-8", "replace")


def examine(text: str) -> tuple[list[str], int]:
    """What is wrong in a configuration, a line for each, and how many auth_request it has.

    Raises:
        KojutoError: it is no configuration of nginx.
    """
    root = put_together(parse(text))
    found: dict[str, None] = {}
    gates = 0
    for block in root.walk():
        if block.words[0] == "auth_request" and block.words[1:] not in ([], ["off"]):
            gates += 1
            for line in _gate(block):
                found[line] = None
        if block.words[0] == "alias" and (line := _alias(block)):
            found[line] = None
    return list(found), gates


def put_together(root: Block) -> Block:
    """The configuration with what it includes in the places of the ``include``.

    ``nginx -T`` prints the main file first and each included one behind it, below its name. A name
    that does not begin with a slash is meant below the folder of the main file.

    Raises:
        KojutoError: files include each other without an end.
    """
    files: dict[str, list[Block]] = {}
    for block in root.inside:
        files.setdefault(block.file, []).append(block)
    main = root.inside[0].file if root.inside else ""
    if not main:
        return root
    whole, includes = Block([""], "", None), _Includes(files, main)
    includes.copy(files[main], whole)
    for name in files.keys() - includes.used - {main}:  # of a configuration that is not whole
        includes.copy(files[name], whole)
    return whole


class _Includes:
    """The files of a configuration, by name, and which of them were included."""

    def __init__(self, files: dict[str, list[Block]], main: str) -> None:
        self._files = files
        self._main = main
        self.used: set[str] = set()

    def copy(self, blocks: list[Block], into: Block, depth: int = 0) -> None:
        """Copy blocks into another one, and what they include in its place."""
        if depth > MAX_DEPTH:
            raise KojutoError(f"{blocks[0].where}: files include each other")
        for block in blocks:
            if block.words[0] == "include" and len(block.words) == 2:
                for name in self._named(block.words[1]):
                    self.used.add(name)
                    self.copy(self._files[name], into, depth + 1)
                continue
            copy = Block(block.words, block.where, into)
            into.inside.append(copy)
            self.copy(block.inside, copy, depth + 1)

    def _named(self, pattern: str) -> list[str]:
        """The files that a pattern of glob(7) names, in their order."""
        import os
        from fnmatch import fnmatchcase

        path = os.path.normpath(os.path.join(os.path.dirname(self._main), pattern))
        return [
            name
            for name in self._files
            # A * does not stand for a slash.
            if name.count("/") == path.count("/") and fnmatchcase(os.path.normpath(name), path)
        ]


def _gate(asking: Block) -> Iterator[str]:
    """What is wrong with the location that an auth_request asks."""
    uri = asking.words[1]
    server = asking.parent
    while server is not None and server.words[0] != "server":
        server = server.parent
    if server is None:
        return  # for all servers of http: which ones have the location is not said
    known = [
        block
        for block in server.walk()
        if block.words[0] == "location" and block.words[1:] in ([uri], ["=", uri], ["^~", uri])
    ]
    if not known:
        yield f"{asking.where}: auth_request {uri}: its server has no location {uri}"
        return
    for location in known:
        where = f"{location.where}: location {uri}"
        headers = {
            block.words[1].lower(): block.words[2] if len(block.words) > 2 else ""
            for block in location.inherited("proxy_set_header")
            if len(block.words) > 1
        }
        if headers.get("content-length", "missing"):
            yield f'{where}: proxy_set_header Content-Length ""; is missing: its body never comes'
        body = location.inherited("proxy_pass_request_body")
        if not body or body[0].words[1:] != ["off"]:
            yield f"{where}: proxy_pass_request_body off; is missing: bodies are sent for nothing"
        original = headers.get("x-original-uri")
        if original is None:
            yield f"{where}: proxy_set_header X-Original-URI $request_uri; is missing: all is 403"
        elif original != "$request_uri":
            yield (
                f"{where}: X-Original-URI is {original}: only $request_uri is what the client "
                "sent, others are decoded or rewritten"
            )
        if headers.get("x-original-method", "$request_method") != "$request_method":
            yield f"{where}: X-Original-Method is not $request_method"
        if not location.find("internal"):
            yield f"{where}: internal; is missing: clients may ask it themselves"


def _alias(alias: Block) -> str:
    """What is wrong with an alias; or nothing."""
    location = alias.parent
    if location is None or location.words[0] != "location" or len(alias.words) < 2:
        return ""
    if location.words[1:-1] not in ([], ["^~"]):
        return ""
    path, target = location.words[-1], alias.words[1]
    if path.endswith("/") or not target.endswith("/"):
        return ""
    return (
        f"{alias.where}: location {path} without a slash at its end and alias {target}: "
        f"{path}../ leads out of it"
    )


def parse(text: str) -> Block:
    """The directives of what ``nginx -T`` prints, in a block without a name.

    Raises:
        KojutoError: braces or quotes do not fit.
    """
    root = block = Block([""], "", None)
    words: list[str] = []
    name, depth, began = "", 0, ""
    for word, line in _tokens(text):
        if line < 0:
            name = word
            continue
        where = f"{name}:{line}" if name else f"line {line}"
        if word == ";":
            if words:
                block.inside.append(Block(words, began, block))
            words = []
        elif word == "{":
            depth += 1
            if depth > MAX_DEPTH:
                raise KojutoError(f"{where}: braces are nested too deep")
            inner = Block(words or ["{"], began or where, block)
            block.inside.append(inner)
            block, words = inner, []
        elif word == "}":
            if block.parent is None:
                raise KojutoError(f"{where}: a brace too much: not a configuration of nginx")
            block, words, depth = block.parent, [], depth - 1
        else:
            began = began if words else where
            words.append(word[1:] if word[0] == "\0" else word)
    if block is not root:
        raise KojutoError(f"{block.where}: {block.words[0]} has no end")
    return root


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Words with their lines; one from quotes begins with a NUL. A file's name has the line -1."""
    import re

    token = re.compile(
        r"""[ \t\r]+|(?P<file>\#\ configuration\ file\ (?P<name>[^\n]*):(?=\n))|\#[^\n]*
        |(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<end>\n)|(?P<mark>[;{}])
        |(?P<word>(?:\$\{[^}\s]*\}|\\.|[^\s;{}"'\\])(?:\$\{[^}\s]*\}|\\.|[^\s;{}\\])*)|(?P<odd>.)""",
        re.VERBOSE | re.DOTALL,
    )
    line = 1
    for match in token.finditer(text):
        kind = match.lastgroup
        if match["file"] is not None:
            yield match["name"], -1
            line = 0  # its first line follows
        elif kind == "quoted":
            yield "\0" + match["quoted"][1:-1], line
        elif kind in ("mark", "word"):
            yield match[0], line
        elif kind == "odd":
            raise KojutoError(f"line {line}: {match[0]!r} does not fit: not nginx's configuration")
        line += match[0].count("\n")
