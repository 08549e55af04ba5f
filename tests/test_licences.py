"""What the wheel links and what it installs beside it may be shipped under its own licence."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
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


def linked_crates() -> list[dict[str, Any]]:
    """The crates that end up in the extension module: no tests' and no build scripts'."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    document = json.loads(done.stdout)
    packages = {package["id"]: package for package in document["packages"]}
    nodes = {node["id"]: node for node in document["resolve"]["nodes"]}
    waiting = [id_ for id_, package in packages.items() if package["name"] == "kojuto-py"]
    found: dict[str, dict[str, Any]] = {}
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        found[at] = packages[at]
        waiting += [
            dep["pkg"]
            for dep in nodes[at]["deps"]
            if any(kind["kind"] is None for kind in dep["dep_kinds"])
        ]
    return [package for package in found.values() if package["source"] is not None]


def test_every_linked_crate_may_be_shipped() -> None:
    crates = linked_crates()
    assert {"libc", "memchr", "pyo3"} <= {crate["name"] for crate in crates}
    refused = [
        f"{crate['name']} {crate['version']}: {crate['license']}"
        for crate in crates
        if not allows(crate["license"] or "none", PERMISSIVE)
    ]
    assert not refused


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
