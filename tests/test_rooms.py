"""The rooms of the Python part stay small, and no module imports one that imports it back."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = ROOT / "python"
MOST_LINES = 400
MOST_TEST_LINES = 500
MOST_FUNCTION_LINES = 60
MOST_FILES = 24
"""In one folder."""


def modules(source: Path) -> dict[str, Path]:
    """The modules below a folder, and the stub of the native one, by name."""
    found = {}
    for path in [*source.rglob("*.py"), *source.rglob("*.pyi")]:
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: Path) -> dict[str, set[str]]:
    """Which module imports which: at the top, for types alone, or in a function."""
    known = modules(source)
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                named.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno}: a relative import"
                base = node.module or ""
                for alias in node.names:
                    whole = f"{base}.{alias.name}"
                    named.add(whole if whole in known else base)
        graph[name] = (named & known.keys()) - {name}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other, in order; nothing when there are none."""
    clear: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in clear:
            return []
        for other in sorted(graph[name]):
            if found := walk(other, [*way, name]):
                return found
        clear.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_no_module_imports_one_that_imports_it_back() -> None:
    graph = imports(SOURCE)
    assert "kojuto.common.cli" in graph["kojuto.tools.sabo"]
    assert "kojuto._native" in graph["kojuto.tools.sabo"]
    found = circle(graph)
    assert not found, " -> ".join([*found, found[0]])


@pytest.mark.parametrize(
    "back",
    [
        "from kojuto import one",
        "import kojuto.one",
        "from kojuto.one import X",
        "if TYPE_CHECKING:\n    from kojuto.one import X",
        "def late():\n    from kojuto import one",
    ],
)
def test_a_circle_is_seen_wherever_the_import_stands(tmp_path: Path, back: str) -> None:
    room = tmp_path / "kojuto"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "one.py").write_text("from kojuto import two")
    (room / "two.py").write_text("from kojuto import three")
    (room / "three.py").write_text("")
    assert circle(imports(tmp_path)) == []
    (room / "three.py").write_text(back)
    assert sorted(circle(imports(tmp_path))) == ["kojuto.one", "kojuto.three", "kojuto.two"]


def test_a_circle_through_the_stub_of_a_native_module_is_seen(tmp_path: Path) -> None:
    room = tmp_path / "kojuto"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "one.py").write_text("def late():\n    from kojuto._native import work")
    (room / "_native.pyi").write_text("def work(): ...")
    assert circle(imports(tmp_path)) == []
    (room / "_native.pyi").write_text("from kojuto.one import Options")
    assert sorted(circle(imports(tmp_path))) == ["kojuto._native", "kojuto.one"]


def test_the_wings_import_nothing_by_themselves() -> None:
    """Each plugin's start would pay for what stands in the way of its imports."""
    for wing in ("common", "common/gateway", "common/plugin", "common/server", "tools"):
        body = ast.parse((SOURCE / "kojuto" / wing / "__init__.py").read_text()).body
        assert [type(node) for node in body] == [ast.Expr], wing


def test_no_file_is_too_long_to_be_read_in_one_sitting() -> None:
    lengths = {
        str(path.relative_to(SOURCE)): len(path.read_text().splitlines())
        for path in SOURCE.rglob("*.py")
    }
    assert len(lengths) > 90
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_file_of_tests_has_several_subjects() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / "tests").rglob("*.py")
    }
    assert len(lengths) > 150
    assert {name: lines for name, lines in lengths.items() if lines > MOST_TEST_LINES} == {}


def test_no_function_is_too_long_to_be_seen_at_once() -> None:
    over = [
        f"{path.relative_to(SOURCE)}:{node.lineno}: {node.name}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MOST_FUNCTION_LINES
    ]
    assert over == []


def test_no_folder_has_too_many_files() -> None:
    counts = {
        str(folder.relative_to(SOURCE)): sum(f.suffix in (".py", ".pyi") for f in folder.iterdir())
        for folder in [SOURCE, *SOURCE.rglob("*")]
        if folder.is_dir()
    }
    assert counts["kojuto/common"] > 5
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}
