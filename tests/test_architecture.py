"""ARCHITECTURE.md agrees with the tree: each module is on its map and has a test, each path exists.

A file without a place in the map's row of its folder, or without a test by its name or in the
table, fails here.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = (ROOT / "ARCHITECTURE.md").read_text()
SOURCES = ("rust/kojuto-*/src", "rust/no-excl-open/src", "python/kojuto")
SUFFIXES = {".rs", ".c", ".py", ".pyi"}
# They stand for their folder: what they hold is in the folder's own row.
OF_FOLDER = {"mod", "lib", "__init__", "tests"}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def modules() -> list[Path]:
    found = [
        path
        for pattern in SOURCES
        for top in ROOT.glob(pattern)
        for path in top.rglob("*")
        if path.suffix in SUFFIXES
    ]
    return sorted(found)


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the tables below a heading, up to the next one of its level."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, heading
    for line in section[1].splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_map_has_each_module_and_no_other() -> None:
    mapped = {}
    for cells in rows("The map"):
        (folder,) = quoted(cells[0])
        assert folder not in mapped
        mapped[folder] = sorted(quoted(cells[-1]))
    there: dict[str, list[str]] = {}
    for path in modules():
        names = there.setdefault(f"{path.parent.relative_to(ROOT)}/", [])
        if path.stem not in OF_FOLDER:
            names.append(path.stem)
    alone = {folder for folder, names in there.items() if not names}
    assert {folder: sorted(names) for folder, names in there.items() if names} == {
        folder: names for folder, names in mapped.items() if folder not in alone
    }


PATH = re.compile(r"`((?:rust|python|tests|benches|release|kojuto\.data)/[^`\s:]*)(?:::?[\w:.]+)?`")


def test_each_path_in_it_exists() -> None:
    paths = PATH.findall(TEXT)
    assert len(paths) > 100
    assert [path for path in paths if not (ROOT / path).exists()] == []


WALKS = [
    ("### What no file name tells", "## The map", 10),
    ("## Six walks", "## The life of a relayed connection", 50),
]


@pytest.mark.parametrize(("begin", "end", "least"), WALKS)
def test_each_function_of_a_walk_is_in_its_file(begin: str, end: str, least: int) -> None:
    """A walk names `path` and, behind it up to the next path, the functions of that file."""
    section = TEXT[TEXT.index(begin) : TEXT.index(end)]
    missing, seen, text = [], 0, ""
    for word in quoted(section):
        if "/" in word and not word.startswith("/"):
            text = (ROOT / word).read_text()
        elif word.endswith("()"):
            seen += 1
            if not re.search(rf"\b(?:fn|def) {re.escape(word[:-2])}\b", text):
                missing.append(word)
    assert seen > least
    assert missing == []


def has_code(path: Path) -> bool:
    """Whether there is anything to test: no list of modules, no empty package."""
    text = path.read_text()
    if path.suffix == ".py":
        return any(isinstance(node, DEFINITIONS) for node in ast.walk(ast.parse(text)))
    return path.suffix != ".pyi" and (path.suffix == ".c" or re.search(r"\bfn ", text) is not None)


def has_test_by_name(path: Path) -> bool:
    """By the rules of "Which test": inside the file, or in one that is named after it."""
    if path.suffix == ".rs":
        return path.stem == "tests" or "#[cfg(test)]" in path.read_text()
    if path.suffix != ".py":
        return False
    parts = list(path.relative_to(ROOT / "python/kojuto").with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    if not parts:
        return False
    if parts[0] == "tools":
        return (ROOT / f"tests/tools/test_{'_'.join(parts[1:])}.py").exists()
    name = f"test_{parts[-1]}.py"
    beside = [ROOT / "tests"] if len(parts) <= 2 else []
    deeper = [ROOT / "tests/common", ROOT / "tests/io"] if len(parts) > 1 else []
    return any((folder / name).exists() for folder in beside) or any(
        found for folder in deeper for found in folder.rglob(name)
    )


def table() -> dict[Path, list[str]]:
    found = {}
    for folder, names, tests in rows("Which test"):
        (top,) = quoted(folder)
        for name in quoted(names):
            paths = [path for path in (ROOT / top).glob(f"{name}.*") if path.suffix in SUFFIXES]
            assert paths, f"{top}{name} is in the table and not in the tree"
            found.update(dict.fromkeys(paths, quoted(tests)))
    return found


def test_each_module_has_a_test() -> None:
    listed = table()
    without = [
        str(path.relative_to(ROOT))
        for path in modules()
        if has_code(path) and not has_test_by_name(path) and path not in listed
    ]
    assert without == []


@pytest.mark.parametrize("test", sorted({test for tests in table().values() for test in tests}))
def test_what_the_table_names_tests_something(test: str) -> None:
    text = (ROOT / test).read_text()
    assert re.search(r"^(?:async )?def test_|#\[test\]|fuzz_target!|proptest!", text, re.MULTILINE)


def test_the_table_has_nothing_that_the_rule_covers() -> None:
    """Or it would hide the day on which the test of that name goes."""
    assert [str(path) for path in table() if has_test_by_name(path) or not has_code(path)] == []


def names_of(path: Path) -> set[str]:
    """What is defined or used under a name in a source file, whatever its comments say."""
    text = path.read_text()
    if path.suffix in {".py", ".pyi"}:
        tree = list(ast.walk(ast.parse(text)))
        found = {node.id for node in tree if isinstance(node, ast.Name)}
        found |= {node.attr for node in tree if isinstance(node, ast.Attribute)}
        return found | {node.name for node in tree if isinstance(node, DEFINITIONS)}
    code = re.sub(r"//.*|/\*.*?\*/|'\"'|\"(?:[^\"\\]|\\.)*\"", " ", text)
    return set(re.findall(r"\w+", code))


def test_no_word_that_the_glossary_replaced_is_a_name_again() -> None:
    section = re.search(r"^## Glossary\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
    assert section
    rows = [line.strip("|").split(" | ") for line in section[1].splitlines() if "|" in line]
    replaced = {word for cells in rows[2:] for word in quoted(cells[-1])}
    assert {"patience", "set_care", "farewell"} <= replaced
    again = {str(path.relative_to(ROOT)): names_of(path) & replaced for path in modules()}
    assert {path: names for path, names in again.items() if names} == {}


def test_unsafe_stands_only_where_a_reason_does() -> None:
    reasons = {path for cells in rows("By hand") for path in quoted(cells[0])}
    places = {
        str(path.relative_to(ROOT))
        for path in modules()
        if path.suffix == ".rs" and "kojuto-core" not in path.parts and "unsafe" in names_of(path)
    }
    assert {path for path in places if not path.startswith("rust/no-excl-open")} == reasons
