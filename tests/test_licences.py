"""What the wheel links and what it installs beside it may be shipped under its own licence."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from release import documents, linked
from release.targets import TARGETS, Target, output
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from email.message import Message

PERMISSIVE = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CDLA-Permissive-2.0", "ISC",
    "MIT", "MIT-0", "PSF-2.0", "Unicode-3.0", "Unlicense", "Zlib", "BSL-1.0",
}  # fmt: skip
# Its files are not changed and not linked: a Python package beside ours.
PERMISSIVE_BESIDE = PERMISSIVE | {"MPL-2.0"}

# How Python packages that give no expression name what they are.
SPELLINGS = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def allows(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met by the allowed licences (SPDX 2.3, annex D)."""
    tokens = re.findall(r"[()]|[^\s()/]+|/", expression)
    words = []
    skip = False
    for token in tokens:
        if skip:  # an exception (WITH …) only allows more
            skip = False
        elif token == "WITH":
            skip = True
        elif token in ("(", ")"):
            words.append(token)
        elif token in ("AND", "OR", "/"):
            words.append("and" if token == "AND" else "or")
        else:
            words.append(str(token in allowed))
    return bool(eval(" ".join(words), {"__builtins__": {}}))  # brackets, and, or, True, False


def test_expressions_are_understood() -> None:
    assert allows("MIT OR GPL-3.0-only", PERMISSIVE)
    assert not allows("MIT AND GPL-3.0-only", PERMISSIVE)
    assert allows("(MIT OR Apache-2.0) AND Unicode-3.0", PERMISSIVE)
    assert allows("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", PERMISSIVE)
    assert allows("MIT/Apache-2.0", PERMISSIVE)
    assert not allows("LGPL-2.1-or-later", PERMISSIVE)


def platforms() -> list[Target]:
    """Those for which Rust's library is here: the first at least, all after `make wheels`."""
    libraries = Path(output("rustc", "--print", "sysroot").strip()) / "lib/rustlib"
    first, *others = TARGETS
    return [first, *(each for each in others if (libraries / each.triple).exists())]


@pytest.fixture(scope="module", params=platforms(), ids=lambda target: target.platform)
def target(request: pytest.FixtureRequest) -> Target:
    """A platform; `make release-check` sees all of them."""
    found: Target = request.param
    return found


def refused(parts: Iterable[linked.Part]) -> list[str]:
    """Those that may not be shipped, each with its licence."""
    return [
        f"{part.name} {part.version}: {part.licence}"
        for part in parts
        if not allows(part.licence, PERMISSIVE)
    ]


def test_a_part_that_may_not_be_shipped_is_named() -> None:
    part = linked.Part("readline", "8.2", "GPL-3.0-or-later", "pkg:generic/readline", None, ())
    assert refused([part]) == ["readline 8.2: GPL-3.0-or-later"]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.platform)
def test_the_crates_of_every_platform_may_be_shipped(target: Target) -> None:
    """For these no library of Rust's for the platform has to be here."""
    crates = linked.crates(target)
    assert {"libc", "memchr", "pyo3"} <= {crate.name for crate in crates}
    assert not refused(crates)


def test_all_that_is_linked_may_be_shipped(target: Target) -> None:
    parts = linked.parts(target)
    assert {"libc", "rust-std", "zig-compiler-rt"} <= {part.name for part in parts}
    assert not refused(parts)


def test_the_notices_of_a_wheel_have_each_text_once(target: Target) -> None:
    parts = linked.parts(target)
    notices = documents.texts(target, parts)
    assert len(parts) > 50
    for part in parts:
        assert f"\n  {part.name} {part.version}: {part.licence}\n" in notices
    sections = [" ".join(text.split()) for text in notices.split(documents.RULE)[2::2]]
    assert len(set(sections)) == len(sections)
    assert {" ".join(text.split()) for part in parts for text in part.texts} == set(sections)


def test_a_crate_without_a_text_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no crate is excused that has one."""
    assert linked.WITHOUT_TEXT
    monkeypatch.setattr(linked, "WITHOUT_TEXT", {})
    with pytest.raises(linked.MissingTextError, match="flatbuffers 25"):
        linked.crates(TARGETS[0])


def test_a_bill_of_materials_has_neither_clock_nor_chance(target: Target) -> None:
    parts = linked.parts(target)
    bill = documents.bill(target, parts)
    assert bill == documents.bill(target, list(parts))
    listed = json.loads(bill)["components"]
    assert [part["bom-ref"] for part in listed] == [part.purl for part in parts]
    assert len({part["bom-ref"] for part in listed}) == len(listed)
    named = re.findall(r'name = "(\S+)"\nversion = "(\S+)"', (ROOT / "Cargo.lock").read_text())
    crates = {(part["name"], part["version"]) for part in listed if "hashes" in part}
    assert crates < set(named)
    assert not {"cc", "syn", "proptest"} & {name for name, _ in crates}  # not in any binary


def installed_beside() -> list[str]:
    """The packages that `pip install kojuto` brings with every extra, by following what each
    requires.
    """
    from packaging.requirements import Requirement

    waiting, found = ["kojuto"], set[str]()
    ours = importlib.metadata.metadata("kojuto").get_all("Provides-Extra") or []
    while waiting:
        name = waiting.pop()
        extras = ["", *(ours if name == "kojuto" else [])]
        for text in importlib.metadata.requires(name) or []:
            need = Requirement(text)
            marker = need.marker
            if marker is not None and not any(marker.evaluate({"extra": one}) for one in extras):
                continue
            if need.name.lower() not in found:
                found.add(need.name.lower())
                waiting.append(need.name)
    return sorted(found)


@pytest.mark.parametrize("name", installed_beside())
def test_every_package_beside_may_be_used(name: str) -> None:
    meta = cast("Message", importlib.metadata.metadata(name))
    given = meta.get("License-Expression")
    if given is None:
        kinds = [
            text.rpartition(" :: ")[2]
            for text in meta.get_all("Classifier") or []
            if text.startswith("License :: ") and not text.endswith("OSI Approved")
        ]
        text = (meta.get("License") or "").strip().splitlines()[0:1]
        given = " OR ".join(SPELLINGS.get(kind, "unknown") for kind in kinds) or (
            SPELLINGS.get(text[0], text[0]) if text else "none"
        )
    assert allows(given, PERMISSIVE_BESIDE), f"{name}: {given}"
