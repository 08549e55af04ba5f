"""The functions that no test reaches, against the list of those with a reason (`unreached.md`).

    python -m tests.unreached PYTHON.json RUST.json...

PYTHON.json is what `coverage json` writes, each RUST.json what `llvm-cov export` does. A function
counts as reached when any of the files says so. Prints what is unreached and not on the list, then
what is on the list and was reached all the same; the exit status is 1 if there is either. A row of
functions that are for some processors only holds "where the processor has no FLAG".
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_name("unreached.md")

Function = tuple[str, str]
"""A path from the root of the repository and a name: `Class.method` in Python, in Rust with the
head of the `impl`: `Debug for Key::fmt`."""

_ROW = re.compile(r"^\| `([^`]+)` \| ((?:`[^`]+` ?)+)\| (.*) \|$")
_WITHOUT = re.compile(r"where the processor has no (\w+)")
_FN = re.compile(
    r'(?:pub(?:\([^)]*\))? )?(?:const |unsafe |async |extern "[^"]*" )*fn ([A-Za-z_0-9]+)'
)
_IMPL = re.compile(r"(?:unsafe )?impl(?:<.*?>(?= ))? ([^{]+?)(?: where.*)? \{")
_TEST_MODULE = re.compile(r"^#\[cfg\(test\)\]$", re.MULTILINE)


def listed(text: str) -> dict[Function, str]:
    """The rows of the list, each function with its reason."""
    found: dict[Function, str] = {}
    for line in text.splitlines():
        if row := _ROW.match(line):
            for name in re.findall(r"`([^`]+)`", row[2]):
                assert (row[1], name) not in found, f"twice: {row[1]} {name}"
                found[row[1], name] = row[3]
    return found


def holding(rows: dict[Function, str], flags: set[str]) -> set[Function]:
    """The functions whose rows hold on a processor with these flags (as in /proc/cpuinfo)."""
    return {
        function
        for function, why in rows.items()
        if not ((without := _WITHOUT.search(why)) and without[1] in flags)
    }


def in_python(source: str) -> set[str]:
    """The functions of a module, with their classes and the functions around them."""
    names = set()

    def walk(node: ast.AST, outer: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{outer}{child.name}"
                if not isinstance(child, ast.ClassDef):
                    names.add(name)
                walk(child, f"{name}.")
            else:
                walk(child, outer)

    walk(ast.parse(source), "")
    return names


def in_rust(source: str) -> dict[int, str]:
    """The functions of a file by their lines, without the module of its tests."""
    if tests := _TEST_MODULE.search(source):
        source = source[: tests.start()]
    names, head = {}, ""
    for number, line in enumerate(source.splitlines(), 1):
        if impl := _IMPL.match(line):
            head = f"{impl[1]}::"
        elif line == "}":
            head = ""
        elif function := _FN.match(line.strip()):
            names[number] = (head if line.startswith(" ") else "") + function[1]
    return names


def functions(path: Path) -> set[str]:
    source = path.read_text()
    return in_python(source) if path.suffix == ".py" else set(in_rust(source).values())


def python_counts(measured: dict[str, Any]) -> Iterator[tuple[Function, bool]]:
    """Whether each function was reached, from `coverage json`."""
    for path, file in measured["files"].items():
        _, _, inside = path.rpartition("kojuto/kojuto/" if "kojuto/kojuto/" in path else "kojuto/")
        for name, lines in file["functions"].items():
            if name and (lines["executed_lines"] or lines["missing_lines"]):
                yield (f"python/kojuto/{inside}", name), bool(lines["executed_lines"])


def rust_counts(measured: dict[str, Any], root: Path) -> Iterator[tuple[Function, bool]]:
    """Whether each function was reached, from `llvm-cov export`; a generic one once for each type
    that it was made for.
    """
    names: dict[str, dict[int, str]] = {}
    for function in measured["data"][0]["functions"]:
        path = Path(function["filenames"][0])
        if not path.is_relative_to(root / "rust") or not path.is_file():
            continue
        inside = str(path.relative_to(root))
        if inside not in names:
            is_code = "/src/" in inside and path.name != "tests.rs"
            names[inside] = in_rust(path.read_text()) if is_code else {}
        line = min(region[0] for region in function["regions"] if region[5] == 0)
        if name := names[inside].get(line):
            yield (inside, name), function["count"] > 0


def unreached(counts: Iterable[tuple[Function, bool]]) -> tuple[set[Function], set[Function]]:
    """Those that nothing reached, and those that something did."""
    all_, reached = set(), set()
    for function, is_reached in counts:
        all_.add(function)
        if is_reached:
            reached.add(function)
    return all_ - reached, reached


def main(python: str, *rust: str) -> int:
    counts = list(python_counts(json.loads(Path(python).read_text())))
    for path in rust:
        counts += rust_counts(json.loads(Path(path).read_text()), ROOT)
    missing, reached = unreached(counts)
    flags = set(Path("/proc/cpuinfo").read_text().split())
    reasons = holding(listed(LIST.read_text()), flags)
    new, stale = sorted(missing - reasons), sorted(reached & reasons)
    for title, found in (("without a reason", new), ("listed, but reached", stale)):
        print(f"{title}: {len(found)}")
        for path, name in found:
            print(f"    {path} {name}")
    return 1 if new or stale else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
