"""The rooms of the Rust part stay small, and no module imports one that imports it back.

A module is a file. What it imports is read from its `use` lines (`crate::`, `super::`, `self::`,
`kojuto_core::` and `kojuto_io::`); a name that a `mod.rs` only hands on by `pub use` counts as
imported from the file that has it. A module may import what stands in one of those above it: a part
of a whole knows the whole. So only the others' imports are looked at for circles. Paths written
out within code, tests, and what a macro makes are not seen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.conftest import ROOT
from tests.test_rooms import MOST_FILES, MOST_FUNCTION_LINES, MOST_LINES, circle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CRATES = {name: ROOT / "rust" / name / "src" for name in ("kojuto-core", "kojuto-io", "kojuto-py")}
QUIET = re.compile(
    r"""//[^\n]*"""  # comments
    r"""|b?r(?P<hashes>\#*)".*?"(?P=hashes)"""
    r"""|b?"(?:\\.|[^"\\])*\""""
    r"""|b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\\n])'""",
    re.DOTALL | re.VERBOSE,
)
"""What is no code, where braces do not count."""
TESTS = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+\w+\s*(?=[{;])")
USE = re.compile(r"\b(?P<public>pub(?:\([^)]*\))?\s+)?use\s+(?P<tree>[^;]+);")
FUNCTION = re.compile(r"\bfn\s+(?P<name>\w+)")


class Import(NamedTuple):
    """A path of a `use` line, the name it has here, and whether others get it from here."""

    path: tuple[str, ...]
    name: str
    public: bool


def blanked(text: str) -> str:
    """The code with comments and literals made of spaces, so that places stay what they are."""
    return QUIET.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def block_end(code: str, start: int) -> int:
    """The place behind the block that opens first from `start`, or behind the `;` before it.

    A `;` within parentheses or brackets (an array type) ends nothing.
    """
    braces = others = 0
    for at in range(start, len(code)):
        char = code[at]
        if char in "([":
            others += 1
        elif char in ")]":
            others -= 1
        elif char == "{":
            braces += 1
        elif char == "}":
            braces -= 1
            if braces == 0:
                return at + 1
        elif char == ";" and braces == others == 0:
            return at + 1
    raise AssertionError("a block has no end")


def without_tests(text: str) -> str:
    """The code, comments included, without the modules that only tests have."""
    while found := TESTS.search(code := blanked(text)):
        text = text[: found.start()] + text[block_end(code, found.end()) :]
    return text


def split_list(text: str) -> Iterator[str]:
    """The parts between the commas that are in no braces."""
    depth, begin = 0, 0
    for at, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            yield text[begin:at].strip()
            begin = at + 1
    yield text[begin:].strip()


def paths(tree: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each path of a `use` tree with the name that it gets."""
    head, brace, rest = tree.partition("{")
    front = tuple(part.strip() for part in head.split("::") if part.strip())
    if brace:
        for item in filter(None, split_list(rest.rpartition("}")[0])):
            for path, name in paths(item):
                yield front + path, name
        return
    last, _, alias = front[-1].partition(" as ")
    whole = (*front[:-1], last.strip())
    if whole[-1] == "self" and len(whole) > 1:
        whole = whole[:-1]
    yield whole, alias.strip() or whole[-1]


def uses(text: str) -> list[Import]:
    """The imports of a file, those of its tests left out."""
    found = []
    for line in USE.finditer(blanked(without_tests(text))):
        public = bool(line["public"])
        found += [Import(path, name, public) for path, name in paths(line["tree"])]
    return found


def sources(root: Path) -> dict[str, Path]:
    """The files of a crate without its tests, by the path of their module below `crate`."""
    found = {}
    for path in root.rglob("*.rs"):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[-1] != "tests":
            found["::".join(("crate", *parts)).removesuffix("::mod").removesuffix("::lib")] = path
    return found


class Graph:
    """Which module imports which, over all crates."""

    def __init__(self, crates: dict[str, Path]) -> None:
        self.modules: dict[str, list[Import]] = {}
        for crate, root in crates.items():
            for name, path in sources(root).items():
                module = crate.replace("-", "_") + name.removeprefix("crate")
                self.modules[module] = uses(path.read_text())

    def absolute(self, module: str, path: tuple[str, ...]) -> list[str] | None:
        """The path from its crate on; None for one that leads out of ours."""
        parts = module.split("::")
        here, first = list(path), path[0]
        if first == "crate":
            return [parts[0], *here[1:]]
        if first in ("self", "super"):
            while here and here[0] in ("self", "super"):
                if here.pop(0) == "super":
                    parts.pop()
            return [*parts, *here]
        if f"{module}::{first}" in self.modules:
            return [*parts, *here]
        return here if first in self.modules else None

    def home(self, path: list[str]) -> str:
        """The file that has what a path names, found through what others hand on."""
        seen: set[tuple[str, ...]] = set()
        while tuple(path) not in seen:
            seen.add(tuple(path))
            depth = max(
                n for n in range(len(path) + 1) if "::".join(path[:n]) in self.modules or n == 0
            )
            module, rest = "::".join(path[:depth]), path[depth:]
            handed = [i for i in self.modules[module] if i.public and rest and i.name == rest[0]]
            further = self.absolute(module, handed[0].path) if handed else None
            if further is None:
                return module
            path = [*further, *rest[1:]]
        return "::".join(path)

    def edges(self) -> dict[str, set[str]]:
        """For each module those it imports, without itself and those above it."""
        graph: dict[str, set[str]] = {}
        for module, imports in self.modules.items():
            whole = (
                self.absolute(module, one.path) for one in imports if not self.hands_on(module, one)
            )
            homes = {self.home(path) for path in whole if path}
            graph[module] = {home for home in homes if not f"{module}::".startswith(f"{home}::")}
        return graph

    def hands_on(self, module: str, one: Import) -> bool:
        """Whether a `use` only shows what is in a part of this module to the outside."""
        path = self.absolute(module, one.path)
        return one.public and path is not None and self.home(path).startswith(f"{module}::")


def functions(text: str) -> Iterator[tuple[str, int]]:
    """The functions of a file and their lines, from `fn` to the closing brace."""
    code = blanked(without_tests(text))
    for found in FUNCTION.finditer(code):
        yield found["name"], code.count("\n", found.start(), block_end(code, found.end())) + 1


def all_sources() -> dict[str, str]:
    """The text of each file by its path from `rust/`, without files of tests alone."""
    found = {}
    for root in CRATES.values():
        for path in sources(root).values():
            found[str(path.relative_to(ROOT / "rust"))] = path.read_text()
    return found


def test_no_module_imports_one_that_imports_it_back() -> None:
    graph = Graph(CRATES).edges()
    assert "kojuto_io::cancel" in graph["kojuto_io::running"], "read through pub use"
    found = circle(graph)
    assert not found, " -> ".join([*found, found[0]])


def test_no_file_is_too_long_to_be_read_in_one_sitting() -> None:
    lengths = {name: without_tests(text).count("\n") for name, text in all_sources().items()}
    assert lengths["kojuto-io/src/cancel.rs"] > 20
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_is_too_long_to_be_seen_at_once() -> None:
    lengths: dict[str, int] = {}
    for file, text in all_sources().items():
        for name, lines in functions(text):
            lengths[f"{file}: {name}"] = max(lines, lengths.get(f"{file}: {name}", 0))
    assert lengths["kojuto-io/src/http/worker.rs: admit"] > 20
    assert {name: lines for name, lines in lengths.items() if lines > MOST_FUNCTION_LINES} == {}


def test_no_folder_has_too_many_files() -> None:
    folders = [f for root in CRATES.values() for f in (root, *root.rglob("*")) if f.is_dir()]
    counts = {str(f.relative_to(ROOT)): len(list(f.glob("*.rs"))) for f in folders}
    assert counts["rust/kojuto-io/src/relay"] > 5
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def crate(folder: Path, files: dict[str, str]) -> Graph:
    """The graph of a crate `io` with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Graph({"io": folder})


@pytest.mark.parametrize(
    "back",
    [
        "use crate::a::One;",
        "use crate::{room::X, a::One as Other};",
        "use crate::{\n    room::{X, Y}, // one, two\n    a,\n};",
        "use super::super::a::{self, One};",
        "fn late() { use crate::a::One; }",
        "use crate::One;",
        "pub(crate) use io::One as Again;",
        "use crate::hall::Two;",
    ],
)
def test_a_circle_is_seen_however_the_import_is_written(tmp_path: Path, back: str) -> None:
    files = {
        "lib.rs": "pub use a::One;\n",
        "a.rs": "use crate::room::b::X;\n",
        "hall.rs": "pub use crate::One as Two;\n",
        "room/mod.rs": "mod b;\n",
        "room/b.rs": f"use std::a::One; // {back}\n#[cfg(test)]\nmod tests {{ {back} }}\n",
    }
    assert circle(crate(tmp_path, files).edges()) == []
    found = circle(crate(tmp_path, {"room/b.rs": back}).edges())
    assert sorted(found) == ["io::a", "io::room::b"]


def test_a_part_may_import_from_its_whole(tmp_path: Path) -> None:
    files = {"lib.rs": "", "room/mod.rs": "use b::X;\n", "room/b.rs": "use super::Y;\n"}
    assert circle(crate(tmp_path, files).edges()) == []


def test_lines_are_those_of_the_code_without_tests() -> None:
    text = "fn f(a: [u8; 2]) {\n    \"}\"; '}'; // }\n    if a { }\n}\n"
    tests = "#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n"
    assert without_tests(text + tests).strip() == text.strip()
    assert list(functions(text + tests)) == [("f", 4)]
    assert without_tests("a\n#[cfg(test)]\nmod tests;\n").split() == ["a"]
