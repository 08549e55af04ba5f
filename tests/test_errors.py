"""Errors are values: their words are made in one place, and nothing is decided on a text."""

from __future__ import annotations

import ast
import builtins
import errno
import re
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from kojuto.errors import describe, words
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = ROOT / "python"
FOREIGN = {
    "kojuto/common/failures.py: _kind": "codecs, threads and dlopen(3) have nothing else",
}
"""Where words of others become a kind, and why."""
TEXTS = {"strerror", "reason", "message"}
LOOKS = {"startswith", "endswith", "find", "index", "partition", "split", "removeprefix"}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOENT, "No such file or directory", "x"), "No such file or directory"),
        (OSError("only words"), "only words"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
         "Name or service not known"),
        (ssl.SSLError(1, "[SSL] bad"), "[SSL] bad"),
        (TimeoutError(), "timed out"),
        (TimeoutError("The read operation timed out"), "timed out"),
        (TimeoutError(errno.ETIMEDOUT, "the client did not take the answer in time"),
         "the client did not take the answer in time"),
        (ValueError("x: no number"), "x: no number"),
        (EOFError(), "EOFError"),
    ],
)  # fmt: skip
def test_the_words_of_an_error(error: Exception, text: str) -> None:
    assert words(error) == text


def test_an_error_of_a_file_names_it() -> None:
    assert describe(OSError(errno.EACCES, "Permission denied", "/x")) == "/x: Permission denied"
    assert describe(OSError(errno.EACCES, "Permission denied", b"/\xff")) == "/�: Permission denied"
    assert describe(OSError(errno.EACCES, "Permission denied")) == "Permission denied"


# -- the house --------------------------------------------------------------------------------


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def errors_of(function: ast.AST) -> set[str]:
    """Names that hold an exception: what is caught, and arguments that are declared as one."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        if isinstance(node, ast.arg) and node.annotation is not None:
            kind = ast.unparse(node.annotation).strip("'\"")
            if kind.endswith(("Error", "Exception")):
                found.add(node.arg)
    return found


def tells(node: ast.AST, errors: set[str], told: set[str]) -> bool:
    """Whether an expression holds the text of an error: `str` and `words` of one, and the like."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in told:
            return True
        if isinstance(part, ast.Attribute) and part.attr in TEXTS and _is(part.value, errors):
            return True
        if isinstance(part, ast.FormattedValue) and _is(part.value, errors):
            return True
        if isinstance(part, ast.Call) and any(_is(one, errors) for one in part.args):
            name = ast.unparse(part.func)
            if name in ("str", "repr") or name.endswith(("words", "describe", "_reason")):
                return True
    return False


def _is(node: ast.AST, errors: set[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in errors


def decisions(source: str) -> list[str]:
    """Functions that compare the text of an error, or look into it, by name and line."""
    found = []
    for function in functions(ast.parse(source)):
        errors = errors_of(function)
        told: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = {one.id for one in targets if isinstance(one, ast.Name)}
                if tells(node.value, errors, told) and not isinstance(node.value, ast.Compare):
                    told |= names
        for node in ast.walk(function):
            looked: list[ast.expr] = []
            if isinstance(node, ast.Compare):
                looked = [node.left, *node.comparators]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
                looked = list(node.args)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                looked = [node.func.value] if node.func.attr in LOOKS else []
            if any(tells(one, errors, told) for one in looked):
                found.append(f"{function.name} (line {looked[0].lineno})")
    return found


def modules() -> dict[str, Path]:
    return {str(path.relative_to(SOURCE)): path for path in sorted(SOURCE.rglob("*.py"))}


def test_nothing_is_decided_on_the_text_of_an_error() -> None:
    found = [
        f"{name}: {decision}"
        for name, path in modules().items()
        for decision in decisions(path.read_text())
    ]
    used = {place for place in FOREIGN if any(one.startswith(f"{place} (") for one in found)}
    assert used == FOREIGN.keys(), "what is not needed any more goes"
    assert not [one for one in found if one.partition(" (")[0] not in FOREIGN]


@pytest.mark.parametrize(
    "body",
    [
        "if 'accuracy' in str(error): pass",
        "missing = error.reason.startswith('no ')",
        "text = f'{error}'.lower()\n        if 'tls' in text: pass",
        "if str(error) != told: pass",
        "if words(error) == 'x': pass",
        "if re.search('x', str(error)): pass",
    ],
)
def test_a_decision_on_the_text_of_an_error_is_seen(body: str) -> None:
    source = (
        f"def work():\n    try:\n        pass\n    except ValueError as error:\n        {body}\n"
    )
    assert decisions(source), body
    assert decisions(f"def work(error: TokenError):\n    if 1:\n        {body}\n"), body
    assert not decisions("def work(name: str):\n    if name.startswith('no '): pass\n")


def test_the_words_of_an_error_are_made_in_one_place() -> None:
    """Nothing beside `kojuto.errors.words` falls back from the system's words to others."""
    assert not [
        f"{name}:{node.lineno}"
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BoolOp) and "strerror" in ast.unparse(node.values[0])
    ]


def test_numbers_of_system_errors_have_their_names() -> None:
    found = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            numbers: list[ast.expr] = []
            if isinstance(node, ast.Compare) and ast.unparse(node.left).endswith(".errno"):
                numbers = node.comparators
            elif isinstance(node, ast.Call) and _makes_a_system_error(node.func):
                numbers = node.args[:1]
            found += [
                f"{name}:{number.lineno}"
                for number in numbers
                for part in ast.walk(number)
                if isinstance(part, ast.Constant) and isinstance(part.value, int) and part.value
            ]
    assert found == []


def _makes_a_system_error(function: ast.expr) -> bool:
    kind = getattr(builtins, ast.unparse(function), None)
    return isinstance(kind, type) and issubclass(kind, OSError)


# -- the Rust part ----------------------------------------------------------------------------

RUST = sorted((ROOT / "rust").glob("kojuto-*/src/**/*.rs"))
MADE = re.compile(r"\bnew_err\b|\bPyErr::(?:new|from_type)\b|\bcreate_exception!")
LOOKED_INTO = re.compile(
    r"(?:to_string\(\)|format!\((?:(?!=>)[^;])*\))\s*\.\s*(?:contains|starts_with|ends_with|find|split\w*)\("
)
"""A text that was just made is looked into."""


def rust_code(path: Path) -> str:
    """A file without its tests and comments."""
    code = path.read_text().partition("#[cfg(test)]")[0]
    return re.sub(r"//[^\n]*", "", code)


def test_exceptions_are_made_in_one_file() -> None:
    """How an error looks in Python is decided in `errors.rs`, not where it happens."""
    made = {path.name for path in RUST if MADE.search(rust_code(path))}
    assert made == {"errors.rs"}


def test_nothing_is_decided_on_the_text_of_an_error_in_rust() -> None:
    files = [path for path in RUST if not path.stem.endswith("tests")]
    assert [path.name for path in files if LOOKED_INTO.search(rust_code(path))] == []
    assert [path.name for path in files if "(os error" in rust_code(path)] == ["error.rs"]
    assert LOOKED_INTO.search('if error.to_string().contains("tls") {')


def results(code: str) -> Iterator[tuple[str, str]]:
    """What each ``Result<T, E>`` of a text is of: T and E."""
    for found in re.finditer(r"\bResult\s*<", code):
        depth, parts, start = 1, [], found.end()
        for at in range(found.end(), len(code)):
            opens = code[at] in "<([{"
            closes = code[at] in ")]}" or (code[at] == ">" and code[at - 1] not in "-=")
            depth += opens - closes
            if depth == 0 or (depth == 1 and code[at] == ","):
                parts.append(code[start:at].strip())
                start = at + 1
            if depth == 0:
                break
        if len(parts) == 2:
            yield parts[0], parts[1]


def test_no_error_in_rust_is_a_text() -> None:
    """An error says what, as a value; its words are made where it is shown."""
    texts = {"String", "&str", "&'static str", "Cow<'static, str>", "Box<str>"}
    files = [path for path in RUST if not path.stem.endswith("tests")]
    assert [
        f"{path.relative_to(ROOT)}: Result<{value}, {error}>"
        for path in files
        for value, error in results(rust_code(path))
        if error in texts
    ] == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("fn read() -> Result<(), String> {", ("()", "String")),
        ("-> Vec<Result<SocketAddr, String>> {", ("SocketAddr", "String")),
        ("Result<(A, Vec<String>), &'static str>", ("(A, Vec<String>)", "&'static str")),
        ("Result<HashMap<String, String>, Error>", ("HashMap<String, String>", "Error")),
        ("Result<fn(u8) -> u8, String>", ("fn(u8) -> u8", "String")),
    ],
)  # fmt: skip
def test_an_error_that_is_a_text_is_seen(code: str, expected: tuple[str, str]) -> None:
    assert list(results(code)) == [expected]
    assert list(results("fn read() -> Result<HashMap<String, String>> {")) == []
