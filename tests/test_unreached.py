"""The list of what no test reaches is of functions that exist, and its reader reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests import unreached
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

RUST = """\
impl<T: Read> Debug for Key<T> {
    fn fmt(&self) {}

    pub(crate) const fn new() {}
}

unsafe extern "C" fn caught(signal: i32) {}

#[cfg(test)]
mod tests {
    fn helper() {}
}
"""
PYTHON = """\
class Key:
    def __repr__(self): return "Key()"

def outer():
    async def inner(): pass
"""


def test_what_is_listed_as_unreached_exists_and_has_a_reason() -> None:
    listed = unreached.listed(unreached.LIST.read_text())
    assert listed
    for (path, name), why in listed.items():
        assert (ROOT / path).is_file(), path
        assert name in unreached.functions(ROOT / path), f"{path} has no {name}"
        assert len(why) > 10, f"{path} {name}: why?"


def test_every_row_of_the_list_is_read() -> None:
    rows = [line for line in unreached.LIST.read_text().splitlines() if line.startswith("| `")]
    listed = unreached.listed("\n".join(rows))
    assert len({(path, why) for (path, _), why in listed.items()}) == len(rows)
    with pytest.raises(AssertionError, match="twice: a f"):
        unreached.listed("| `a` | `f` | why |\n| `a` | `g` `f` | why |\n")


def test_a_row_for_some_processors_holds_only_where_they_are_not() -> None:
    rows = unreached.listed(
        "| `a` | `f` | where the processor has no avx512bw |\n| `a` | `g` | w |"
    )
    assert unreached.holding(rows, {"avx2", "avx512bw"}) == {("a", "g")}
    assert unreached.holding(rows, {"avx2"}) == {("a", "f"), ("a", "g")}


def test_functions_are_named_with_what_they_belong_to() -> None:
    assert unreached.in_python(PYTHON) == {"Key.__repr__", "outer", "outer.inner"}
    assert unreached.in_rust(RUST) == {
        2: "Debug for Key<T>::fmt",
        4: "Debug for Key<T>::new",
        7: "caught",
    }


def _exported(root: Path, *functions: tuple[int, int]) -> dict[str, Any]:
    """What llvm-cov exports for functions of `a.rs`: (line, count)."""
    name = str(root / "rust" / "x" / "src" / "a.rs")
    return {
        "data": [
            {
                "functions": [
                    {
                        "count": count,
                        "filenames": [name],
                        "regions": [[line + 1, 1, 9, 9, count, 0], [line, 1, 9, 9, count, 0]],
                    }
                    for line, count in functions
                ]
            }
        ]
    }


def test_a_generic_function_is_reached_by_any_of_its_types(tmp_path: Path) -> None:
    folder = tmp_path / "rust" / "x" / "src"
    folder.mkdir(parents=True)
    (folder / "a.rs").write_text(RUST)
    exported = _exported(tmp_path, (2, 0), (2, 3), (4, 0), (7, 1), (3, 0))
    missing, reached = unreached.unreached(unreached.rust_counts(exported, tmp_path))
    path = "rust/x/src/a.rs"
    assert missing == {(path, "Debug for Key<T>::new")}
    assert reached == {(path, "Debug for Key<T>::fmt"), (path, "caught")}


def test_a_python_function_is_reached_by_any_of_its_lines() -> None:
    def lines(executed: list[int], missing: list[int]) -> dict[str, list[int]]:
        return {"executed_lines": executed, "missing_lines": missing}

    measured = {
        "files": {
            "kojuto/common/a.py": {
                "functions": {
                    "": lines([1], [2]),
                    "f": lines([3], [4]),
                    "K.g": lines([], [6]),
                    "stub": lines([], []),
                }
            }
        }
    }
    missing, reached = unreached.unreached(unreached.python_counts(measured))
    assert missing == {("python/kojuto/common/a.py", "K.g")}
    assert reached == {("python/kojuto/common/a.py", "f")}
